package frontdoor

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
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

// Serve answers plain HTTP: redirects for run.app hosts, and the services
// themselves for SERVICE.localhost. It returns [http.ErrServerClosed] after
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
	return errors.Join(err, d.srv.Close())
}

// Close breaks off all requests.
func (d *Door) Close() error {
	d.close(errClosed)
	return d.srv.Close()
}
