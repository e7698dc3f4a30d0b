package proxy

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// NewServer returns an HTTP server for h: HTTP/1.1, and HTTP/2 in the clear by
// prior knowledge. Its clients are the app in the same container, so that it has
// no time limits of its own.
func NewServer(h *Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{
		Handler:                      h,
		Protocols:                    &protocols,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: 1000},
		DisableGeneralOptionsHandler: true, // OPTIONS * is the service's to answer
		ErrorLog:                     slog.NewLogLogger(h.Log.Handler(), slog.Level(-2)),
		MaxHeaderBytes:               1 << 20,
	}
	h.tunnels = &tunnels{conns: make(chan net.Conn), closed: make(chan struct{})}
	go s.Serve(h.tunnels)
	s.RegisterOnShutdown(func() { h.tunnels.Close() })
	return s
}

// tunnels is a listener for connections that came as CONNECT to a service's name:
// WebSocket clients ask proxies for that even in the clear.
type tunnels struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (t *tunnels) Accept() (net.Conn, error) {
	select {
	case c := <-t.conns:
		return c, nil
	case <-t.closed:
		return nil, http.ErrServerClosed
	}
}

func (t *tunnels) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

func (t *tunnels) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (t *tunnels) serve(ctx context.Context, c net.Conn) {
	select {
	case t.conns <- c:
	case <-t.closed:
		c.Close()
	case <-ctx.Done():
		c.Close()
	}
}
