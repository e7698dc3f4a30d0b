package otoclient

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// errNothingWritten says that a connection was closed before anything of a request
// was written to it.
var errNothingWritten = errors.New("connection closed before the request")

// conn is a connection of HTTP/1.1. One goroutine, the caller's, writes a request
// to it and reads the answer.
type conn struct {
	net.Conn
	pool     *pool
	host     *host
	br       *bufio.Reader
	left     int64           // how much of a head may still be read
	readErr  error           // the last of reading
	socket   syscall.RawConn // to be asked whether the other end is still there
	used     bool            // carried a request before
	since    time.Time       // when it became idle
	deadline time.Time       // that is set
	abort    func()          // ends what reads and writes at once, and with it the connection
}

func newConn(p *pool, h *host, nc net.Conn) (*conn, error) {
	c := &conn{Conn: nc, pool: p, host: h}
	c.br = bufio.NewReader((*connReader)(c))
	c.abort = func() { nc.SetDeadline(time.Unix(1, 0)) }
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("dial %s: %T is no socket", h.addr, nc)
	}
	var err error
	c.socket, err = sc.SyscallConn()
	return c, err
}

// usable reports whether a request may be written to an idle connection: the other
// end hasn't closed it, nor sent what nobody asked for. By the wall clock it hasn't
// been idle for too long either: a machine that slept has no timer to say so.
func (c *conn) usable() bool {
	return time.Now().Round(0).Sub(c.since.Round(0)) < idleTimeout && isSilent(c.socket)
}

// writeWait is how long a connection is kept for after an answer that came before
// the request was written.
const writeWait = 50 * time.Millisecond

// connReader is a conn as its bufio.Reader reads it.
type connReader conn

func (c *connReader) Read(b []byte) (int, error) {
	if c.left <= 0 {
		c.readErr = errLargeHead
		return 0, c.readErr
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), c.left)])
	c.left, c.readErr = c.left-int64(n), err
	return n, err
}

var errLargeHead = fmt.Errorf("the head of the answer is larger than %d bytes", maxHead)

// exchange writes a request, of which large is the end if there is so much of it
// that an answer may come before it is written, and reads the answer's head. The
// connection goes back to the pool, or is closed, with the answer's body.
func (c *conn) exchange(ctx context.Context, deadline time.Time, head, large []byte) (*http.Response, error) {
	e := &exchange{conn: c, ctx: ctx}
	if !deadline.Equal(c.deadline) {
		if err := c.SetDeadline(deadline); err != nil {
			return nil, e.fail(err)
		}
		c.deadline = deadline
	}
	if ctx.Done() != nil {
		e.stop = context.AfterFunc(ctx, c.abort)
	}
	var failed error // to write the request
	if large == nil {
		var n int
		n, failed = c.Write(head)
		if failed != nil && n == 0 && c.used && !errors.Is(failed, errDeadline) {
			e.fail(failed)
			return nil, errNothingWritten
		}
	} else {
		e.writing = make(chan error, 1)
		go func() {
			b := net.Buffers{head, large}
			_, err := b.WriteTo(c.Conn)
			e.writing <- err
		}()
	}
	c.used = true
	// If the request couldn't be written the other end may have said why.
	answer, err := c.readHead()
	if err != nil {
		if failed == nil && e.writing != nil {
			c.abort()
			if failed = <-e.writing; errors.Is(failed, errDeadline) {
				failed = nil
			}
			e.writing = nil
		}
		if failed != nil {
			err = failed
		}
		return nil, e.fail(err)
	}
	e.keep = failed == nil && !answer.Close && answer.StatusCode >= 200
	if answer.Body == http.NoBody {
		e.end(true)
		return answer, nil
	}
	e.body, answer.Body = answer.Body, e
	return answer, nil
}

// readHead reads the head of the answer, and passes over those of 1xx before it.
func (c *conn) readHead() (*http.Response, error) {
	c.left = maxHead
	for {
		answer, err := http.ReadResponse(c.br, nil)
		switch {
		case err == nil:
		case c.readErr == nil:
			return nil, err
		case c.readErr != io.EOF:
			return nil, c.readErr // which the parser may have taken for a malformed line
		case c.left == maxHead:
			return nil, fmt.Errorf("connection closed before an answer: %w", io.EOF)
		default:
			return nil, fmt.Errorf("connection closed within the head of an answer: %w", io.ErrUnexpectedEOF)
		}
		if answer.StatusCode < 100 || answer.StatusCode > 199 || answer.StatusCode == http.StatusSwitchingProtocols { // nobody asked for that
			c.left = math.MaxInt64
			return answer, nil
		}
	}
}

// exchange is a request and its answer on a connection, and the answer's body.
type exchange struct {
	conn    *conn
	ctx     context.Context
	stop    func() bool // the watch over ctx
	writing chan error  // tells when the request is written; nil if it is
	body    io.ReadCloser
	keep    bool // the connection, once the answer is read
	over    atomic.Bool
	last    error // of reading the body
}

// fail ends the exchange, and says of what.
func (e *exchange) fail(err error) error {
	e.end(false)
	return ended(e.ctx, err)
}

// end gives the connection back if the answer was read whole, or closes it.
func (e *exchange) end(whole bool) {
	if e.over.Swap(true) {
		return
	}
	// If the context's end was too late to be prevented, it sets a deadline that
	// would hit the next request.
	if e.stop != nil && !e.stop() {
		whole = false
	}
	if e.writing != nil {
		if !whole {
			e.conn.abort()
		}
		// Who has answered has most likely read the request, and the one who wrote it
		// is about to say so.
		late := time.AfterFunc(writeWait, e.conn.abort)
		err := <-e.writing
		whole = late.Stop() && whole && err == nil
	}
	if !whole || !e.keep || e.conn.br.Buffered() > 0 {
		e.conn.pool.drop(e.conn)
		return
	}
	e.conn.pool.put(e.conn)
}

// Read implements [io.Reader].
func (e *exchange) Read(b []byte) (int, error) {
	if e.over.Load() {
		return 0, cmp.Or(e.last, http.ErrBodyReadAfterClose)
	}
	n, err := e.body.Read(b)
	switch {
	case err == io.EOF:
		e.end(true)
	case err != nil:
		err = e.fail(err)
	}
	e.last = err
	return n, err
}

// Close implements [io.Closer]. An answer that isn't read to its end takes the
// connection with it.
func (e *exchange) Close() error {
	e.end(false)
	return nil
}

func appendLength(head []byte, n int) []byte {
	head = strconv.AppendInt(head, int64(n), 10)
	return append(head, "\r\n\r\n"...)
}
