// Package gateway is the platform's one address on this machine: what a person's
// curl, browser and gcloud talk to.
//
// Asked directly it serves SERVICE.localhost and, under any other name of this
// machine, the platform's control. Used as a proxy (HTTPS_PROXY, HTTP_PROXY) it
// ends TLS for the hosts that are the platform's, refuses other hosts of Google
// Cloud, so that nothing meant for the local platform reaches the real one, and
// passes all others on untouched.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/relay"
)

// Gateway is a server. Set its fields before Serve.
type Gateway struct {
	// Local serves SERVICE.localhost, and Hosts the hosts that Ours says are the
	// platform's. Requests from inside TLS have r.TLS set.
	Local, Hosts http.Handler
	// Ours says whether a host, without port, is the platform's.
	Ours func(host string) bool
	// Certificate returns the certificate for one of those hosts.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Control serves requests to the gateway itself.
	Control http.Handler
	// Log is told of connections that fail.
	Log *slog.Logger

	tunnels *tunnelListener
	inner   *http.Server
	outer   *http.Server
	pass    *httputil.ReverseProxy
	dialer  net.Dialer
	open    sync.WaitGroup // tunnels
	ending  context.Context
	end     context.CancelFunc
}

// Serve serves l until Close.
func (g *Gateway) Serve(l net.Listener) error {
	g.ending, g.end = context.WithCancel(context.Background())
	errorLog := slog.NewLogLogger(g.Log.Handler(), slog.LevelDebug)
	g.tunnels = newTunnelListener(l.Addr())
	g.inner = &http.Server{
		Handler:           g.Hosts,
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          errorLog,
		TLSConfig:         &tls.Config{GetCertificate: g.Certificate, MinVersion: tls.VersionTLS12},
	}
	go g.inner.ServeTLS(g.tunnels, "", "")
	g.dialer = net.Dialer{Timeout: 10 * time.Second}
	g.pass = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Host = r.In.Host
		},
		Transport:     &http.Transport{DialContext: g.dialer.DialContext, DisableCompression: true, IdleConnTimeout: 30 * time.Second},
		FlushInterval: -1,
		ErrorLog:      errorLog,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			http.Error(w, fmt.Sprintf("cloudrun: pass %s on to %s: %v", r.Method, r.Host, err), http.StatusBadGateway)
		},
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	g.outer = &http.Server{Handler: http.HandlerFunc(g.serve), ReadHeaderTimeout: 30 * time.Second, ErrorLog: errorLog, Protocols: &protocols}
	err := g.outer.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends all connections. Serve must have been called.
func (g *Gateway) Close() {
	g.end()
	g.outer.Close()
	g.inner.Close()
	g.tunnels.Close()
	g.open.Wait()
}

// serve takes a request to the gateway, or to a proxy.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	host := hostname(r.Host)
	proxied := r.Method == http.MethodConnect || r.URL.Host != ""
	switch {
	case proxied && !g.Ours(host) && IsGoogle(host):
		g.Log.Warn("refused: the local platform does not have this host of Google", "host", host, "method", r.Method)
		http.Error(w, fmt.Sprintf("cloudrun: %s is a host of Google Cloud that the local platform does not have, and nothing meant for it is sent to the real one", host), http.StatusForbidden)
	case r.Method == http.MethodConnect:
		g.connect(w, r, host)
	case isLocal(host):
		g.Local.ServeHTTP(w, r)
	case g.Ours(host):
		g.Hosts.ServeHTTP(w, r)
	case proxied:
		g.pass.ServeHTTP(w, r)
	default:
		g.Control.ServeHTTP(w, r)
	}
}

// connect makes a tunnel: to the platform, or to wherever it is for.
func (g *Gateway) connect(w http.ResponseWriter, r *http.Request, host string) {
	ours := g.Ours(host)
	var there net.Conn
	if !ours {
		var err error
		if there, err = g.dialer.DialContext(r.Context(), "tcp", r.Host); err != nil {
			http.Error(w, fmt.Sprintf("cloudrun: connect to %s: %v", r.Host, err), http.StatusBadGateway)
			return
		}
	}
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		if there != nil {
			there.Close()
		}
		http.Error(w, "cloudrun: CONNECT is for HTTP/1.1", http.StatusNotImplemented)
		return
	}
	here.SetDeadline(time.Time{})
	if _, err := io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		here.Close()
		if there != nil {
			there.Close()
		}
		return
	}
	// What came behind the request is read before the connection itself.
	conn := net.Conn(&prefixedConn{Conn: here, r: io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), here)})
	if ours {
		g.tunnels.put(conn)
		return
	}
	g.open.Go(func() { relay.Join(g.ending, conn, there) })
}

// hostname is a host in lower case, without port and final dot.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// isLocal says whether host is a SERVICE.localhost.
func isLocal(host string) bool { return strings.HasSuffix(host, ".localhost") }

// google is where Google's APIs, consoles, registries and services are.
var google = []string{
	"googleapis.com", "google.com", "run.app", "cloudfunctions.net", "pkg.dev", "gcr.io", "google.internal",
}

// IsGoogle says whether host belongs to Google Cloud.
func IsGoogle(host string) bool {
	for _, domain := range google {
		if host == domain || strings.HasSuffix(host, "."+domain) {
			return true
		}
	}
	return host == "169.254.169.254"
}

// prefixedConn is a connection of which some has been read before.
type prefixedConn struct {
	net.Conn
	r io.Reader
}

func (c *prefixedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *prefixedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// tunnelListener hands on connections that are put into it.
type tunnelListener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newTunnelListener(addr net.Addr) *tunnelListener {
	return &tunnelListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *tunnelListener) put(conn net.Conn) {
	select {
	case l.conns <- conn:
	case <-l.closed:
		conn.Close()
	}
}

func (l *tunnelListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *tunnelListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *tunnelListener) Addr() net.Addr { return l.addr }
