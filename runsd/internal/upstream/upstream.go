// Package upstream carries requests to the front doors of services.
//
//	pool := upstream.New(upstream.Config{Dial: dialer.DialContext})
//	resp, err := pool.RoundTrip(req, body)
//
// Where the other end speaks HTTP/2 all requests to it share one connection per
// hundred, and a stampede waits for one handshake. Where it speaks HTTP/1.1 a
// request whose body is at hand is written and its answer read by the caller's
// own goroutine, on a connection of a pool without a limit of its own; requests
// that stream their bodies go by net/http's transport.
package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amammay/otorun/runsd/internal/h2"
)

const (
	// dialLimit bounds a connection's making, TLS included.
	dialLimit = 10 * time.Second
	// idleLimit is less than the 10 minutes after which Cloud Run's network forgets
	// a connection, and than what front ends allow.
	idleLimit = 90 * time.Second
	// maxIdle is how many idle HTTP/1.1 connections to one host are kept: Cloud
	// Run's highest concurrency.
	maxIdle = 1000
	// streamsPerConn is what a host's first HTTP/2 connection is expected to carry;
	// Google's front ends allow 100.
	streamsPerConn = 100
	maxTries       = 3
)

// Config is what a Pool needs to know.
type Config struct {
	// Dial makes TCP connections; net.Dialer's if nil.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is cloned for each host; nil for the system's roots.
	TLS *tls.Config
	// HTTP1Only offers no HTTP/2.
	HTTP1Only bool
	// PingAfter and PingLimit are how long an HTTP/2 connection may be silent
	// before it is asked whether it lives, and how long it may take to say so; 15 s
	// and 10 s if 0. Cloud Run resets idle connections now and then.
	PingAfter, PingLimit time.Duration
}

// A Pool keeps connections by scheme and host.
type Pool struct {
	cfg     Config
	stream1 *http.Transport // HTTP/1.1 for bodies that stream, and for upgrades
	streamC *http.Transport // HTTP/2 in the clear, for gRPC to a port of this machine

	mu      sync.Mutex
	origins map[string]*origin
}

// New returns an empty pool.
func New(cfg Config) *Pool {
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: dialLimit}).DialContext
	}
	if cfg.TLS == nil {
		cfg.TLS = &tls.Config{}
	}
	cfg.TLS = cfg.TLS.Clone()
	if cfg.TLS.ClientSessionCache == nil {
		cfg.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(128)
	}
	var one, clear http.Protocols
	one.SetHTTP1(true)
	clear.SetUnencryptedHTTP2(true)
	pings := &http.HTTP2Config{SendPingTimeout: cmp.Or(cfg.PingAfter, h2.PingAfter), PingTimeout: cmp.Or(cfg.PingLimit, h2.PingLimit)}
	tls1 := cfg.TLS.Clone()
	tls1.NextProtos = []string{"http/1.1"}
	return &Pool{
		cfg:     cfg,
		origins: make(map[string]*origin),
		stream1: &http.Transport{
			Protocols: &one, TLSClientConfig: tls1, DialContext: cfg.Dial, TLSHandshakeTimeout: dialLimit,
			MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleLimit, DisableCompression: true,
		},
		streamC: &http.Transport{Protocols: &clear, HTTP2: pings, DialContext: cfg.Dial, IdleConnTimeout: idleLimit, DisableCompression: true},
	}
}

// HTTP1 returns a transport that speaks HTTP/1.1 only, for upgrades such as
// WebSocket, which HTTP/2 has no connection header for.
func (p *Pool) HTTP1() http.RoundTripper { return p.stream1 }

// RoundTrip sends req, whose body is body if req.Body is nil. As with net/http,
// req and body may be read after it has returned, and must not be changed. It may
// send a request with such a body again, on another connection: if none of it was
// handled, and also when it is idempotent (RFC 9110 section 9.2.2) and its
// connection was lost before an answer.
func (p *Pool) RoundTrip(req *http.Request, body []byte) (*http.Response, error) {
	if req.URL.Scheme == "http" && req.ProtoMajor == 2 && strings.HasPrefix(req.Header.Get("Content-Type"), "application/grpc") {
		return p.streamC.RoundTrip(withBody(req, body))
	}
	o := p.origin(req.URL.Scheme, req.URL.Host)
	app, stream := req.Body, (*tryBody)(nil)
	for try := 1; ; try++ {
		c, err := o.acquire(req.Context(), app != nil)
		if err != nil {
			return nil, err
		}
		if app != nil {
			stream = &tryBody{ReadCloser: app}
			req = req.WithContext(req.Context())
			req.Body = stream
		}
		var resp *http.Response
		lost := false // with a connection that was there before
		switch {
		case c.h2 != nil:
			resp, err = c.h2.RoundTrip(req, body)
			_, lost = errors.AsType[*h2.LostError](err)
		case c.h1 != nil:
			lost = c.h1.used
			resp, err = c.h1.roundTrip(req, body)
		default:
			return p.stream1.RoundTrip(originForm(req))
		}
		if err == nil || try == maxTries || req.Context().Err() != nil {
			return resp, err
		}
		switch {
		case stream != nil && (!notHandled(err) || !stream.leave()):
			return nil, err
		case notHandled(err):
		case !lost || !idempotent(req):
			return nil, err
		}
	}
}

// A request that a transport was given may be read by it even after RoundTrip
// has returned, so each try that differs gets a copy.

// withBody returns req with a body of a type that net/http knows, so that it
// needn't find out by reading whether there is one.
func withBody(req *http.Request, body []byte) *http.Request {
	if len(body) == 0 {
		return req
	}
	req = req.WithContext(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	return req
}

// originForm returns req such that net/http's HTTP/1.1 transport writes the path
// alone, as all servers expect it, wherever that leaves its bytes unchanged.
func originForm(req *http.Request) *http.Request {
	t := requestTarget(req)
	if strings.HasPrefix(t, "//") {
		return req
	}
	u := *req.URL
	u.Opaque, u.RawQuery, u.ForceQuery = t, "", false
	req = req.WithContext(req.Context())
	req.URL = &u
	return req
}

// A tryBody is the body that one try of a request streams. A try that has failed
// may still be about to read it; so that it can't take what the next one is to
// send, a try has either begun to read or is left, never both.
type tryBody struct {
	io.ReadCloser
	state atomic.Int32 // 0, tryBegun or tryLeft
}

const tryBegun, tryLeft = 1, 2

func (b *tryBody) Read(p []byte) (int, error) {
	if !b.state.CompareAndSwap(0, tryBegun) && b.state.Load() == tryLeft {
		return 0, errLeft
	}
	return b.ReadCloser.Read(p)
}

var errLeft = errors.New("the request is sent elsewhere")

// leave reports whether nothing was read, and then nothing will be.
func (b *tryBody) leave() bool { return b.state.CompareAndSwap(0, tryLeft) }

// Close leaves the request's body open: it belongs to the server that gave it.
func (b *tryBody) Close() error { return nil }

func idempotent(req *http.Request) bool {
	switch req.Method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	// As net/http: https://pkg.go.dev/net/http#Transport.
	return req.Header["Idempotency-Key"] != nil || req.Header["X-Idempotency-Key"] != nil
}

// notHandled reports whether err says that the other end did nothing with the
// request.
func notHandled(err error) bool {
	_, ok := errors.AsType[*h2.NotHandledError](err)
	return ok || errors.Is(err, errStale)
}

// A conn is one of two kinds, or neither: then the request is one for stream1.
type conn struct {
	h2 *h2.Conn
	h1 *conn1
}

// An origin is a scheme and a host with its connections.
type origin struct {
	pool   *Pool
	secure bool
	host   string // for TLS, and to say in errors
	addr   string // host:port

	mu      sync.Mutex
	http1   bool          // what its last connection spoke
	perConn int           // streams that an HTTP/2 connection carries, as the last full one
	conns   []*h2.Conn    // HTTP/2
	idle    []*conn1      // HTTP/1.1, the one used last at the end
	dials   int           // under way for whoever waits
	waiters []chan dialed // for one of them
}

type dialed struct {
	c   conn // may be empty: look again
	err error
}

func (p *Pool) origin(scheme, host string) *origin {
	key := scheme + "://" + host
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.origins[key]
	if o == nil {
		o = &origin{pool: p, secure: scheme == "https", host: host, addr: host, perConn: streamsPerConn}
		if _, _, err := net.SplitHostPort(host); err != nil {
			port := "443"
			if !o.secure {
				port = "80"
			}
			o.addr = net.JoinHostPort(strings.Trim(host, "[]"), port)
		} else {
			o.host, _, _ = net.SplitHostPort(host)
		}
		o.http1 = !o.secure
		p.origins[key] = o
	}
	return o
}

// acquire returns a connection that takes one more request: of HTTP/2 with a
// stream reserved, of HTTP/1.1 for the caller alone, or none of both for a
// request with a streaming body to a host that speaks HTTP/1.1.
func (o *origin) acquire(ctx context.Context, streaming bool) (conn, error) {
	o.mu.Lock()
	for {
		if cc := o.reserve(); cc != nil {
			o.mu.Unlock()
			return conn{h2: cc}, nil
		}
		if o.http1 {
			if streaming {
				o.mu.Unlock()
				return conn{}, nil
			}
			for n := len(o.idle); n > 0; n = len(o.idle) {
				c := o.idle[n-1]
				o.idle[n-1] = nil
				o.idle = o.idle[:n-1]
				if c.alive() {
					o.mu.Unlock()
					return conn{h1: c}, nil
				}
				c.close()
			}
			o.mu.Unlock()
			c, err := o.dial(ctx)
			if err != nil || c.h1 != nil {
				return c, err
			}
			o.mu.Lock()
			o.learn(c)
			continue
		}
		// One connection being made is enough for as many as it will carry.
		wait := make(chan dialed, 1)
		o.waiters = append(o.waiters, wait)
		if len(o.waiters) > o.dials*o.perConn {
			o.dials++
			go o.dialForWaiters()
		}
		o.mu.Unlock()
		select {
		case d := <-wait:
			if d.err != nil || d.c.h1 != nil && !streaming {
				return d.c, d.err
			}
			o.mu.Lock()
			if d.c.h1 != nil {
				o.put(d.c.h1)
			}
		case <-ctx.Done():
			o.leave(wait)
			return conn{}, context.Cause(ctx)
		}
	}
}

// reserve returns an HTTP/2 connection with a stream reserved, nil if none has one
// free. o.mu is held.
func (o *origin) reserve() *h2.Conn {
	for i := len(o.conns) - 1; i >= 0; i-- {
		cc := o.conns[i]
		if cc.Reserve() {
			return cc
		}
		if !cc.Usable() {
			o.conns = append(o.conns[:i], o.conns[i+1:]...)
		} else {
			o.perConn = max(cc.Limit(), 1)
		}
	}
	return nil
}

// leave takes a waiter that gave up out of the line.
func (o *origin) leave(wait chan dialed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, w := range o.waiters {
		if w == wait {
			o.waiters = append(o.waiters[:i], o.waiters[i+1:]...)
			return
		}
	}
	// Not in line: it was told, or is about to be. What it was given is kept.
	select {
	case d := <-wait:
		if d.c.h1 != nil {
			o.put(d.c.h1)
		}
	default:
	}
}

// dialForWaiters makes a connection that no caller's end cuts short and tells
// those who wait: that there is one, or all of them why not.
func (o *origin) dialForWaiters() {
	c, err := o.dial(context.Background())
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dials--
	if err == nil {
		o.learn(c)
	}
	// An error, or a host of HTTP/1.1, goes to all; with HTTP/2 as many as the
	// connection carries look again, and the others wait for the dials still out.
	n := len(o.waiters)
	if o.dials > 0 && c.h2 != nil {
		n = min(n, max(c.h2.Available(), 1))
	}
	if err != nil && o.dials > 0 {
		n = min(n, o.perConn)
	}
	for i, w := range o.waiters[:n] {
		d := dialed{err: err}
		if i == 0 {
			d.c.h1 = c.h1
		}
		w <- d
	}
	if n == 0 && c.h1 != nil {
		o.put(c.h1)
	}
	o.waiters = append([]chan dialed(nil), o.waiters[n:]...)
}

// learn keeps what a new connection tells of the origin. o.mu is held.
func (o *origin) learn(c conn) {
	o.http1 = c.h2 == nil
	if c.h2 != nil {
		o.conns = append(o.conns, c.h2)
	}
}

// put keeps an HTTP/1.1 connection for the next request. o.mu is held.
func (o *origin) put(c *conn1) {
	if len(o.idle) >= maxIdle {
		c.close()
		return
	}
	c.since = time.Now()
	o.idle = append(o.idle, c)
	// Those at the front are the longest idle.
	drop := 0
	for drop < len(o.idle) && time.Since(o.idle[drop].since) > idleLimit {
		o.idle[drop].close()
		drop++
	}
	if drop > 0 {
		o.idle = append(o.idle[:0], o.idle[drop:]...)
	}
}

func (o *origin) dial(ctx context.Context) (conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	raw, err := o.pool.cfg.Dial(ctx, "tcp", o.addr)
	if err != nil {
		return conn{}, &DialError{Addr: o.addr, What: "connect to", Err: err}
	}
	if !o.secure {
		return conn{h1: newConn1(o, raw, raw)}, nil
	}
	cfg := o.pool.cfg.TLS.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = o.host
	}
	cfg.NextProtos = []string{"h2", "http/1.1"}
	if o.pool.cfg.HTTP1Only {
		cfg.NextProtos = []string{"http/1.1"}
	}
	tc := tls.Client(raw, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		raw.Close()
		return conn{}, &DialError{Addr: o.addr, What: "TLS with", Err: err}
	}
	if tc.ConnectionState().NegotiatedProtocol != "h2" {
		return conn{h1: newConn1(o, tc, raw)}, nil
	}
	o.mu.Lock()
	streams := o.perConn
	o.mu.Unlock()
	cc, err := h2.NewConn(tc, h2.Config{PingAfter: o.pool.cfg.PingAfter, PingLimit: o.pool.cfg.PingLimit, IdleAfter: idleLimit, Streams: streams})
	if err != nil {
		return conn{}, &DialError{Addr: o.addr, What: "HTTP/2 with", Err: err}
	}
	return conn{h2: cc}, nil
}

// Close closes the connections that are idle.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.origins {
		o.mu.Lock()
		for _, c := range o.idle {
			c.close()
		}
		o.idle = nil
		for _, cc := range o.conns {
			cc.Close()
		}
		o.conns = nil
		o.mu.Unlock()
	}
	p.stream1.CloseIdleConnections()
	p.streamC.CloseIdleConnections()
}

// A DialError says that there was no connection: nothing was sent.
type DialError struct {
	Addr, What string
	Err        error
}

func (e *DialError) Error() string { return fmt.Sprintf("%s %s: %v", e.What, e.Addr, e.Err) }
func (e *DialError) Unwrap() error { return e.Err }
