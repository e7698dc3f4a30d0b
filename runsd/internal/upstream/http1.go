package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// errStale says that a kept connection had ended before the request was written.
var errStale = errors.New("connection ended while idle")

// conn1 is a connection of HTTP/1.1. One goroutine writes a request to it and
// reads the answer: no hand-over to a goroutine that writes and back from one
// that reads, which is a good third of what a small request costs with net/http's
// transport. What keeps that simple and safe:
//
//   - only requests whose whole body is at hand, so that nothing needs to be
//     written while the answer is being read;
//   - answers are parsed by net/http, as its transport does, and whatever comes
//     beyond one ends the connection;
//   - before a request is written the socket is asked whether the other end has
//     closed it or sent something unasked: then it isn't used.
type conn1 struct {
	origin *origin
	net.Conn
	raw   net.Conn // the socket under TLS
	br    *bufio.Reader
	used  bool // carried a request before
	since time.Time
}

func newConn1(o *origin, c, raw net.Conn) *conn1 {
	return &conn1{origin: o, Conn: c, raw: raw, br: bufio.NewReaderSize(c, 4<<10)}
}

// close closes the socket without TLS's goodbye, which could block.
func (c *conn1) close() { c.raw.Close() }

// alive reports whether the other end still has the connection open and silent.
func (c *conn1) alive() bool {
	if c.br.Buffered() > 0 || time.Since(c.since.Round(0)) > idleLimit {
		return false
	}
	sc, ok := c.raw.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		alive = err == syscall.EAGAIN
	})
	return err == nil && alive
}

var heads = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// maxHead is the largest buffer for a head and body that is kept.
const maxHead = 64 << 10

func (c *conn1) roundTrip(req *http.Request, body []byte) (*http.Response, error) {
	ctx := req.Context()
	stop := context.AfterFunc(ctx, func() { c.raw.SetDeadline(time.Unix(1, 0)) })
	fail := func(err error) (*http.Response, error) {
		stop()
		c.close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}

	buf := heads.Get().(*[]byte)
	b := appendRequest((*buf)[:0], req, body)
	_, err := c.Write(b)
	if cap(b) <= maxHead {
		*buf = b
		heads.Put(buf)
	}
	if err != nil {
		return fail(fmt.Errorf("write request to %s: %w", c.origin.addr, err))
	}
	c.used = true

	for {
		resp, err := http.ReadResponse(c.br, req)
		if err != nil {
			if err == io.ErrUnexpectedEOF && c.br.Buffered() == 0 {
				err = errors.New("connection closed before an answer")
			}
			return fail(fmt.Errorf("read answer of %s: %w", c.origin.addr, err))
		}
		switch {
		case resp.StatusCode == http.StatusSwitchingProtocols:
			return fail(fmt.Errorf("read answer of %s: 101 unasked", c.origin.addr))
		case resp.StatusCode < 200:
			if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.Got1xxResponse != nil {
				if err := trace.Got1xxResponse(resp.StatusCode, textproto.MIMEHeader(resp.Header)); err != nil {
					return fail(err)
				}
			}
			continue
		}
		eb := &body1{c: c, ReadCloser: resp.Body, stop: stop, keep: !resp.Close, left: resp.ContentLength}
		resp.Body = eb
		if resp.ContentLength == 0 || req.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified {
			eb.done(true)
		}
		return resp, nil
	}
}

// body1 gives its connection back when it has been read to its end, and closes it
// when it is closed before.
type body1 struct {
	io.ReadCloser
	c     *conn1
	stop  func() bool
	keep  bool
	left  int64 // of a known length
	ended bool
}

func (b *body1) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	if b.left > 0 {
		if b.left -= int64(n); b.left == 0 && err == nil {
			err = io.EOF // now, not with the next Read
		}
	}
	if err != nil {
		b.done(err == io.EOF)
	}
	return n, err
}

func (b *body1) Close() error {
	b.done(false)
	return nil
}

func (b *body1) done(whole bool) {
	if b.ended {
		return
	}
	b.ended = true
	// If the context's end was too late to be prevented, a deadline is set that
	// would hit the next request.
	if !b.stop() || !whole || !b.keep || b.c.br.Buffered() > 0 {
		b.c.close()
		return
	}
	o := b.c.origin
	o.mu.Lock()
	o.put(b.c)
	o.mu.Unlock()
}

// appendRequest appends req with body as HTTP/1.1 has it. The header has come
// through net/http's server, which lets neither names nor values with line breaks
// in; what is framed here, the length, is taken from body alone.
func appendRequest(b []byte, req *http.Request, body []byte) []byte {
	b = append(b, req.Method...)
	b = append(b, ' ')
	b = append(b, requestTarget(req)...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, req.Host...)
	b = append(b, "\r\n"...)
	for name, values := range req.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection":
			continue
		}
		for _, v := range values {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
	}
	if len(body) > 0 || req.ContentLength == 0 && (req.Method == "POST" || req.Method == "PUT" || req.Method == "PATCH") {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	return append(b, body...)
}

// requestTarget returns the bytes of the path and query as the app sent them:
// URL.Opaque is "//host" and those bytes.
func requestTarget(req *http.Request) string {
	if len(req.URL.Opaque) > 2+len(req.URL.Host) {
		return req.URL.Opaque[2+len(req.URL.Host):]
	}
	return req.URL.RequestURI()
}
