package upstream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amammay/otorun/runsd/internal/upstream"
)

// origin is an HTTP/1.1 server that answers each connection by a script: what it
// returns for a request is written as it is, and then the connection is closed if
// it says so.
func origin(t *testing.T, script func(conn, n int, r *http.Request) (answer string, end bool)) (addr string, conns *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conns = &atomic.Int32{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			id := int(conns.Add(1))
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for n := 1; ; n++ {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					answer, end := script(id, n, r)
					io.WriteString(c, answer)
					if end {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), conns
}

func send(t *testing.T, p *upstream.Pool, method, addr string, body string) (string, error) {
	t.Helper()
	req := &http.Request{Method: method, URL: &url.URL{Scheme: "http", Host: addr, Path: "/"}, Host: addr, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body))}
	resp, err := p.RoundTrip(req.WithContext(t.Context()), []byte(body))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestMoreThanAnAnswer: bytes beyond an answer are never taken for the next one:
// that would be response splitting.
func TestMoreThanAnAnswer(t *testing.T) {
	for name, answer := range map[string]string{
		"another answer":        ok + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmear",
		"after HEAD's":          ok + "x",
		"length and chunks":     "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nextra",
		"until the end":         "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
		"without a length, 1.0": "HTTP/1.0 200 OK\r\n\r\nok",
	} {
		t.Run(name, func(t *testing.T) {
			end := !strings.Contains(answer, "Content-Length")
			addr, conns := origin(t, func(int, int, *http.Request) (string, bool) { return answer, end })
			p := upstream.New(upstream.Config{})
			defer p.Close()
			for range 3 {
				if got, err := send(t, p, "GET", addr, ""); got != "ok" || err != nil {
					t.Fatalf("%q, %v, want ok", got, err)
				}
			}
			if n := conns.Load(); n != 3 {
				t.Errorf("%d connections for 3 requests, want 3: none may be used again", n)
			}
		})
	}
}

func TestReuse(t *testing.T) {
	addr, conns := origin(t, func(int, int, *http.Request) (string, bool) { return ok, false })
	p := upstream.New(upstream.Config{})
	defer p.Close()
	for range 10 {
		if got, err := send(t, p, "POST", addr, "taco"); got != "ok" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 10 requests in turn, want 1", n)
	}
}

// TestClosedWhileIdle: a POST doesn't go out on a connection that has ended.
func TestClosedWhileIdle(t *testing.T) {
	var posts atomic.Int32
	closed := make(chan bool)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err == nil {
				io.Copy(io.Discard, r.Body)
				posts.Add(1)
				io.WriteString(c, ok)
			}
			c.Close()
			closed <- true
		}
	}()
	p := upstream.New(upstream.Config{})
	defer p.Close()
	for range 20 {
		if got, err := send(t, p, "POST", l.Addr().String(), "taco"); got != "ok" || err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		<-closed
	}
	if posts.Load() != 20 {
		t.Errorf("%d posts arrived, want 20", posts.Load())
	}
}

// TestLostBeforeAnswer: a request whose connection ends without an answer is sent
// again if it is idempotent and the connection was an old one, else not.
func TestLostBeforeAnswer(t *testing.T) {
	var requests atomic.Int32
	script := func(conn, n int, r *http.Request) (string, bool) {
		requests.Add(1)
		if conn == 1 && n == 2 {
			return "", true
		}
		return ok, false
	}
	for method, want := range map[string]int32{"GET": 3, "PUT": 3, "POST": 2} {
		requests.Store(0)
		addr, _ := origin(t, script)
		p := upstream.New(upstream.Config{})
		defer p.Close()
		send(t, p, method, addr, "x")
		_, err := send(t, p, method, addr, "x")
		if (err != nil) != (method == "POST") || requests.Load() != want {
			t.Errorf("%s: %v after %d requests, want %d", method, err, requests.Load(), want)
		}
	}
}

func TestUnasked101(t *testing.T) {
	addr, _ := origin(t, func(int, int, *http.Request) (string, bool) {
		return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", false
	})
	p := upstream.New(upstream.Config{})
	defer p.Close()
	if _, err := send(t, p, "GET", addr, ""); err == nil {
		t.Error("101 unasked was taken for an answer")
	}
}

// TestDialFailure: all who waited are told; the next try is a new one.
func TestDialFailure(t *testing.T) {
	var dials atomic.Int32
	p := upstream.New(upstream.Config{Dial: func(context.Context, string, string) (net.Conn, error) {
		dials.Add(1)
		return nil, errors.New("no route")
	}})
	for range 3 {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://hello-1.us-east1.run.app/", nil)
		_, err := p.RoundTrip(req, nil)
		var de *upstream.DialError
		if !errors.As(err, &de) || de.Addr != "hello-1.us-east1.run.app:443" {
			t.Errorf("%v, want a DialError", err)
		}
	}
	if dials.Load() != 3 {
		t.Errorf("%d dials, want 3", dials.Load())
	}
}

func TestWaiterGivesUp(t *testing.T) {
	p := upstream.New(upstream.Config{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://hello-1.us-east1.run.app/", nil)
	go cancel()
	if _, err := p.RoundTrip(req, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

// stallable is a connection that can be made to look alive while nothing arrives
// any more, as after a NAT forgot it.
type stallable struct {
	net.Conn
	stalled atomic.Bool
	closed  chan struct{}
	once    sync.Once
}

func (c *stallable) Write(p []byte) (int, error) {
	if c.stalled.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *stallable) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// TestDeadConnection: an HTTP/2 connection that no longer answers is found out by
// pings, and what was idempotent goes out on another.
func TestDeadConnection(t *testing.T) {
	door := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	door.EnableHTTP2 = true
	door.StartTLS()
	defer door.Close()
	roots := x509.NewCertPool()
	roots.AddCert(door.Certificate())
	var conns []*stallable
	p := upstream.New(upstream.Config{
		TLS:       &tls.Config{RootCAs: roots, ServerName: "example.com"},
		PingAfter: 20 * time.Millisecond, PingLimit: 50 * time.Millisecond,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", door.Listener.Addr().String())
			if err != nil {
				return nil, err
			}
			conns = append(conns, &stallable{Conn: c, closed: make(chan struct{})})
			return conns[len(conns)-1], nil
		},
	})
	defer p.Close()
	get := func() {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://hello-1.us-east1.run.app/", nil)
		resp, err := p.RoundTrip(req, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); string(b) != "HTTP/2.0" || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
	}
	get()
	conns[0].stalled.Store(true)
	get()
	<-conns[0].closed
	if len(conns) != 2 {
		t.Errorf("%d connections, want 2", len(conns))
	}
}

// TestFewStreams: a stampede to a host that allows few streams to a connection is
// served by as many connections as it takes.
func TestFewStreams(t *testing.T) {
	var arrived atomic.Int32
	all := make(chan bool)
	door := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if arrived.Add(1) == 100 {
			close(all)
		}
		select { // all of them at once
		case <-all:
		case <-r.Context().Done():
		}
	}))
	door.EnableHTTP2 = true
	door.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 10}
	door.StartTLS()
	defer door.Close()
	roots := x509.NewCertPool()
	roots.AddCert(door.Certificate())
	var conns atomic.Int32
	p := upstream.New(upstream.Config{
		TLS: &tls.Config{RootCAs: roots, ServerName: "example.com"},
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conns.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", door.Listener.Addr().String())
		},
	})
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "POST", "https://hello-1.us-east1.run.app/", nil)
			resp, err := p.RoundTrip(req, []byte("taco"))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})
	}
	wg.Wait()
	if n := conns.Load(); n < 10 || n > 20 {
		t.Errorf("%d connections for 100 requests, 10 on each, want 10 or a few more", n)
	}
}

// TestResetIsAnAnswer: a stream that the other end reset isn't tried again, as a
// lost connection is: the service may fail so on purpose.
func TestResetIsAnAnswer(t *testing.T) {
	var requests atomic.Int32
	door := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		requests.Add(1)
		panic(http.ErrAbortHandler)
	}))
	door.EnableHTTP2 = true
	door.StartTLS()
	defer door.Close()
	roots := x509.NewCertPool()
	roots.AddCert(door.Certificate())
	p := upstream.New(upstream.Config{TLS: &tls.Config{RootCAs: roots}})
	defer p.Close()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", door.URL, nil)
	if _, err := p.RoundTrip(req, nil); err == nil {
		t.Error("a reset was taken for an answer")
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}
