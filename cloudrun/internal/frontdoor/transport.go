package frontdoor

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// NewTransport returns a transport to one instance, which dial reaches: HTTP/1.1,
// or HTTP/2 without TLS. It sends a request once, and its error is an unsentError
// if no byte of the request can have reached the container.
func NewTransport(dial func(context.Context) (net.Conn, error), http2 bool) http.RoundTripper {
	t := &http.Transport{
		DisableCompression:    true, // what the client asked for is passed on
		ExpectContinueTimeout: time.Second,
		Protocols:             new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetUnencryptedHTTP2(http2)
	told := func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil && isGone(err) {
			return nil, &unsentError{err: err, gone: true}
		}
		return conn, err
	}
	if http2 {
		// What this sends again was refused by the container unseen, by HTTP/2's
		// own rules.
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return told(ctx) }
		t.IdleConnTimeout = idleTimeout
		return t
	}
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return ctx.Value(wireKey{}).(*wire), nil
	}
	return &connections{dial: told, transport: t}
}

// idleTimeout is shorter than the 5 s after which Node.js closes idle connections.
const idleTimeout = 2 * time.Second

// An unsentError says that a container has seen nothing of a request.
type unsentError struct {
	err error
	// gone says that the instance takes no connections any more.
	gone bool
}

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// isGone says whether a failed dial means that nothing listens any more, not
// that this machine is short of something.
func isGone(err error) bool {
	for _, gone := range []error{os.ErrProcessDone, syscall.ECONNREFUSED, syscall.ECONNRESET, net.ErrClosed} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// connections are those to an instance that speaks HTTP/1.1.
//
// [http.Transport] isn't used for them as it is: it sends a GET again when a
// connection breaks that was used before, although the container may have seen
// it, and it doesn't say of other requests whether it may have.
type connections struct {
	dial      func(context.Context) (net.Conn, error)
	transport *http.Transport // makes a ClientConn of a wire

	mu   sync.Mutex
	idle []*connection // the last used last
}

type connection struct {
	*http.ClientConn
	wire   *wire
	expiry *time.Timer
}

// RoundTrip implements [http.RoundTripper], but for a body that wasn't read: that
// is the caller's to close.
func (c *connections) RoundTrip(r *http.Request) (*http.Response, error) {
	conn, err := c.take(r.Context())
	if err != nil {
		return nil, err
	}
	before := conn.wire.written.Load()
	resp, err := conn.RoundTrip(r)
	if err != nil {
		conn.Close()
		if conn.wire.broken.Load() && conn.wire.written.Load() == before {
			err = &unsentError{err: err}
		}
		return nil, err
	}
	switch {
	case conn.Available() > 0: // an answer without a body
		c.put(conn)
	case resp.StatusCode != http.StatusSwitchingProtocols:
		resp.Body = &answerBody{resp.Body, sync.OnceFunc(func() {
			if conn.Available() > 0 {
				c.put(conn)
			}
		})}
	}
	return resp, nil
}

// take returns an idle connection, or a new one.
func (c *connections) take(ctx context.Context) (*connection, error) {
	for conn := c.pop(); conn != nil; conn = c.pop() {
		if conn.Err() == nil {
			return conn, nil
		}
	}
	raw, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: raw}
	w.doubtful.Store(true)
	cc, err := c.transport.NewClientConn(context.WithValue(ctx, wireKey{}, w), "http", "instance:80")
	if err != nil {
		raw.Close()
		return nil, err
	}
	return &connection{ClientConn: cc, wire: w}, nil
}

func (c *connections) pop() *connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == 0 {
		return nil
	}
	conn := c.idle[len(c.idle)-1]
	c.idle = c.idle[:len(c.idle)-1]
	conn.expiry.Stop()
	return conn
}

// put keeps a connection for the next request, for a while.
func (c *connections) put(conn *connection) {
	conn.wire.doubtful.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, conn)
	if conn.expiry == nil {
		conn.expiry = time.AfterFunc(idleTimeout, func() { c.expire(conn) })
	} else {
		conn.expiry.Reset(idleTimeout)
	}
}

func (c *connections) expire(conn *connection) {
	c.mu.Lock()
	i := slices.Index(c.idle, conn)
	if i >= 0 {
		c.idle = slices.Delete(c.idle, i, i+1)
	}
	c.mu.Unlock()
	if i >= 0 {
		conn.Close()
	}
}

// An answerBody tells when it has been read.
type answerBody struct {
	io.ReadCloser
	done func()
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.done()
	}
	return n, err
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.done()
	return err
}

type wireKey struct{}

// A wire is a connection that knows what has been written to it.
type wire struct {
	net.Conn
	written atomic.Int64
	broken  atomic.Bool
	// doubtful says that nothing was written for a while, or ever: the other end
	// may be closed already.
	doubtful atomic.Bool
}

var errClosedIdle = errors.New("the container has closed the connection")

func (w *wire) Write(p []byte) (int, error) {
	// What is written to a connection that the other end has closed is lost
	// without an error, so this is asked before.
	if w.doubtful.Swap(false) && isClosed(w.Conn) {
		w.broken.Store(true)
		return 0, errClosedIdle
	}
	n, err := w.Conn.Write(p)
	w.written.Add(int64(n))
	if err != nil {
		w.broken.Store(true)
	}
	return n, err
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.broken.Store(true)
	}
	return n, err
}

// CloseWrite ends one direction of a WebSocket.
func (w *wire) CloseWrite() error {
	if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}
