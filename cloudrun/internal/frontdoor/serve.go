package frontdoor

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/amammay/otorun/internal/runhost"
)

func newServer(d *Door) *http.Server {
	srv := &http.Server{
		Handler:           d,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       10 * time.Minute,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	// For gRPC clients of http://SERVICE.localhost.
	srv.Protocols.SetUnencryptedHTTP2(true)
	return srv
}

// Serve answers plain HTTP: redirects for run.app hosts, the services themselves
// for SERVICE.localhost, and the requests of those who use it as their HTTP
// proxy, with CONNECT or without. It returns [http.ErrServerClosed] after
// Shutdown or Close. It may be called for several listeners.
func (d *Door) Serve(l net.Listener) error { return d.srv.Serve(l) }

// ServeTLS answers HTTPS, with HTTP/2 for who asks for it, as [Door.Serve] does.
func (d *Door) ServeTLS(l net.Listener) error {
	if d.cfg.TLS == nil {
		return errors.New("serve HTTPS: no certificates")
	}
	return d.srv.Serve(tls.NewListener(l, d.cfg.TLS))
}

// Shutdown takes no more requests and waits for those under way until ctx ends,
// then breaks them off.
func (d *Door) Shutdown(ctx context.Context) error {
	err := d.srv.Shutdown(ctx)
	d.close(errClosed)
	return errors.Join(err, d.srv.Close(), d.tunnels.Close())
}

// Close breaks off all requests.
func (d *Door) Close() error {
	d.close(errClosed)
	return errors.Join(d.srv.Close(), d.tunnels.Close())
}

// tunnel answers CONNECT: the caller uses the door as its proxy. The TLS ends
// here, with a certificate of the run.
func (d *Door) tunnel(w http.ResponseWriter, r *http.Request) {
	host, port, err := net.SplitHostPort(r.URL.Host)
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if err != nil || port != "443" && port != "80" || d.cfg.TLS == nil || !d.intercepts(host) {
		d.refuse(w, r, nil, Refusal{Status: http.StatusForbidden, Why: "CONNECT to " + quote(r.URL.Host) + ": nothing outside is reachable from a local run"})
		return
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		d.refuse(w, r, nil, Refusal{Status: http.StatusInternalServerError, Why: "CONNECT: " + err.Error()})
		return
	}
	conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		conn.Close()
		return
	}
	if buf.Reader.Buffered() > 0 { // the client didn't wait
		conn = &readAhead{Conn: conn, r: buf.Reader}
	}
	if port == "443" {
		conn = tls.Server(conn, d.cfg.TLS)
	}
	d.tunnels.once.Do(func() { go d.srv.Serve(d.tunnels) })
	d.tunnels.give(conn)
}

func (d *Door) intercepts(host string) bool {
	if host == runhost.Domain || strings.HasSuffix(host, "."+runhost.Domain) {
		return true
	}
	return d.cfg.Intercept != nil && d.cfg.Intercept(host)
}

type readAhead struct {
	net.Conn
	r *bufio.Reader
}

func (c *readAhead) Read(p []byte) (int, error) { return c.r.Read(p) }

// tunnels is the listener whose connections came by CONNECT.
type tunnels struct {
	once  sync.Once // serving it
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newTunnels() *tunnels {
	t := &tunnels{conns: make(chan net.Conn), done: make(chan struct{})}
	t.close = sync.OnceFunc(func() { close(t.done) })
	return t
}

func (t *tunnels) give(c net.Conn) {
	select {
	case t.conns <- c:
	case <-t.done:
		c.Close()
	}
}

func (t *tunnels) Accept() (net.Conn, error) {
	select {
	case c := <-t.conns:
		return c, nil
	case <-t.done:
		return nil, net.ErrClosed
	}
}

func (t *tunnels) Close() error {
	t.close()
	return nil
}

func (t *tunnels) Addr() net.Addr { return &net.TCPAddr{} }
