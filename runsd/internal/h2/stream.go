package h2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2/hpack"
)

// A stream is a request and its answer.
type stream struct {
	c    *Conn
	id   uint32
	req  *http.Request
	more chan struct{} // there is something new for whoever reads the answer
	gone atomic.Bool   // the connection has forgotten it

	sendWindow int64 // c.mu's
	reset      bool  // c.wmu's: this end has reset it

	mu         sync.Mutex
	infos      []informational
	resp       *http.Response // to be returned
	final      *http.Response // the same, from when it has come
	body       []byte         // what has come of the answer's body, from read on
	read       int
	announced  bool  // Content-Length says how long the body is
	left       int64 // and this much of it hasn't come
	recvWindow int   // what may come
	taken      int   // what was read and not given back to the window yet
	trailer    http.Header
	ended      bool  // the answer has come to its end
	sentAll    bool  // and so has the request
	closed     bool  // nobody reads the answer
	err        error // why no more will come
}

type informational struct {
	status int
	header http.Header
}

// RoundTrip sends a request, for which a stream was reserved, and returns its
// answer. The request's body is body; if that is empty and req.Body isn't nil, it
// is read from there, by another goroutine, maybe after RoundTrip has returned.
// Of the header everything is sent but what belongs to a connection. When the
// request's context ends so do RoundTrip and the reading of the answer.
func (c *Conn) RoundTrip(req *http.Request, body []byte) (*http.Response, error) {
	s := &stream{c: c, req: req, more: make(chan struct{}, 1), recvWindow: streamWindow}
	streaming := len(body) == 0 && req.Body != nil && req.Body != http.NoBody
	rest, err := s.open(body, streaming)
	switch {
	case err != nil:
		return nil, err
	case streaming:
		go s.sendBody()
	case len(rest) > 0:
		go s.sendAll(rest)
	}
	ctx := req.Context()
	for {
		s.mu.Lock()
		infos, resp, err := s.infos, s.resp, s.err
		s.infos, s.resp = nil, nil
		s.mu.Unlock()
		for _, i := range infos {
			if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.Got1xxResponse != nil {
				if err := trace.Got1xxResponse(i.status, textproto.MIMEHeader(i.header)); err != nil {
					s.abort(err)
					return nil, err
				}
			}
		}
		if resp != nil {
			return resp, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			err := context.Cause(ctx)
			s.abort(err)
			return nil, err
		}
	}
}

// open sends the request's head and what of its body it may, and returns the
// rest.
func (s *stream) open(body []byte, streaming bool) (rest []byte, err error) {
	c := s.c
	err = c.fits(s.req, len(body), streaming)
	c.wmu.Lock()
	c.mu.Lock()
	c.reserved--
	switch {
	case err != nil:
	case c.err != nil:
		err = &NotHandledError{c.err.Error()}
	case c.leaving:
		err = &NotHandledError{"the connection takes no more"}
	case len(c.streams) >= c.maxStreams: // reserved before the other end said
		err = &NotHandledError{fmt.Sprintf("the connection takes %d at once", c.maxStreams)}
	}
	if err != nil {
		done := c.leaving && len(c.streams)+c.reserved == 0
		c.mu.Unlock()
		c.wmu.Unlock()
		if done {
			c.fail(errClosed)
		}
		return nil, err
	}
	// From here on it is the connection's, so that GOAWAY finds it, and is sent
	// whatever happens, so that both ends' tables of fields agree.
	s.id = c.nextID
	c.nextID += 2
	c.opened = s.id
	c.leaving = c.nextID > maxStreamID
	s.sendWindow = c.initialWindow
	room := max(min(s.sendWindow, c.sendWindow, int64(maxUnsent-len(c.unsent))), 0)
	now := body[:min(int64(len(body)), room)]
	rest = body[len(now):]
	s.sentAll = !streaming && len(rest) == 0
	s.sendWindow -= int64(len(now))
	c.sendWindow -= int64(len(now))
	last := s.sentAll
	c.streams[s.id] = s
	c.mu.Unlock()

	c.block.Reset()
	fields(s.req, len(body), streaming, c.encodeField)
	c.unsent = appendHeaders(c.unsent, s.id, c.block.Bytes(), c.maxFrame, last && len(now) == 0)
	if len(now) > 0 {
		c.unsent = appendData(c.unsent, s.id, now, c.maxFrame, last)
	}
	c.flush()
	return rest, nil
}

// fits returns an error if a request's header is more than the other end takes.
func (c *Conn) fits(req *http.Request, length int, streaming bool) error {
	c.mu.Lock()
	limit := c.maxHeaderList
	c.mu.Unlock()
	if limit >= maxHead {
		return nil
	}
	var size uint64
	fields(req, length, streaming, func(name, value string) { size += uint64(len(name) + len(value) + 32) })
	if size > limit {
		return fmt.Errorf("the request's header has %d bytes, and the other end takes %d", size, limit)
	}
	return nil
}

// fields emits the request's header fields.
func fields(req *http.Request, length int, streaming bool, emit func(name, value string)) {
	path := req.URL.RequestURI()
	if opaque, ok := strings.CutPrefix(req.URL.Opaque, "//"+req.URL.Host); ok && opaque != "" {
		path = opaque
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	emit(":method", req.Method)
	emit(":scheme", req.URL.Scheme)
	emit(":authority", host)
	emit(":path", path)
	for name, values := range req.Header {
		switch name {
		case "Host", "Content-Length", "Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Trailer":
			continue
		case "Te":
			if slices.Contains(values, "trailers") {
				emit("te", "trailers")
			}
			continue
		case "User-Agent":
			if len(values) > 0 && values[0] == "" {
				continue
			}
		}
		name = lower(name)
		for _, v := range values {
			emit(name, v)
		}
	}
	switch {
	case streaming && req.ContentLength >= 0:
		if req.ContentLength > 0 {
			emit("content-length", strconv.FormatInt(req.ContentLength, 10))
		}
	case streaming:
	case length > 0 || req.Method == "POST" || req.Method == "PUT" || req.Method == "PATCH":
		emit("content-length", strconv.Itoa(length))
	}
	if streaming && len(req.Trailer) > 0 {
		names := make([]string, 0, len(req.Trailer))
		for name := range req.Trailer {
			names = append(names, lower(name))
		}
		slices.Sort(names)
		emit("trailer", strings.Join(names, ","))
	}
}

// encodeField appends a field to c.block. What is another for each request isn't
// put into the table that both ends keep: it would push out what isn't, the
// identity token above all.
func (c *Conn) encodeField(name, value string) {
	once := false
	switch name {
	case "traceparent", "x-cloud-trace-context", "x-request-id":
		once = true
	}
	_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: once}) // to a bytes.Buffer
}

// lower returns a header's name as HTTP/2 spells it.
func lower(name string) string {
	if l, ok := lowered[name]; ok {
		return l
	}
	return strings.ToLower(name)
}

// lowered are the names that most requests have.
var lowered = map[string]string{
	"Accept": "accept", "Accept-Encoding": "accept-encoding", "Authorization": "authorization", "Content-Type": "content-type", "Cookie": "cookie",
	"Traceparent": "traceparent", "User-Agent": "user-agent", "X-Cloud-Trace-Context": "x-cloud-trace-context", "X-Forwarded-For": "x-forwarded-for",
	"X-Forwarded-Proto": "x-forwarded-proto", "X-Serverless-Authorization": "x-serverless-authorization",
}

// sendAll sends the rest of a body.
func (s *stream) sendAll(rest []byte) {
	if s.sendData(rest, true) {
		s.requestEnded()
	}
}

// A piece and its frame's head fill a record of TLS, which takes 16 KiB.
const pieceSize = 16<<10 - frameHead

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// sendBody sends the request's body as it comes, and its trailers.
func (s *stream) sendBody() {
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	for {
		n, err := s.req.Body.Read(piece[:])
		last := err == io.EOF && len(s.req.Trailer) == 0
		if (n > 0 || last) && !s.sendData(piece[:n], last) {
			return
		}
		switch {
		case last:
			s.requestEnded()
			return
		case err == io.EOF:
			s.sendTrailers()
			return
		case err != nil:
			s.abort(fmt.Errorf("read the request's body: %w", err))
			return
		}
	}
}

// sendData sends p when the other end takes it, and reports whether the stream is
// still there to send to.
func (s *stream) sendData(p []byte, last bool) bool {
	c := s.c
	for {
		c.mu.Lock()
		for len(p) > 0 && !s.gone.Load() && c.err == nil && (s.sendWindow <= 0 || c.sendWindow <= 0) {
			c.window.Wait()
		}
		if s.gone.Load() || c.err != nil {
			c.mu.Unlock()
			return false
		}
		n := int64(0)
		if len(p) > 0 {
			n = min(int64(len(p)), s.sendWindow, c.sendWindow)
		}
		s.sendWindow -= n
		c.sendWindow -= n
		c.mu.Unlock()

		c.wmu.Lock()
		for len(c.unsent) > maxUnsent && !s.stopped() {
			c.sent.Wait()
		}
		if s.stopped() {
			c.wmu.Unlock()
			c.mu.Lock()
			c.sendWindow += n // for others
			c.window.Broadcast()
			c.mu.Unlock()
			return false
		}
		c.unsent = appendData(c.unsent, s.id, p[:n], c.maxFrame, last && int(n) == len(p))
		c.flush()
		if p = p[n:]; len(p) == 0 {
			return true
		}
	}
}

// stopped reports whether nothing more may be sent: either end has reset the
// stream, or the connection has ended. c.wmu is held.
func (s *stream) stopped() bool { return s.reset || s.gone.Load() || s.c.writeErr != nil }

func (s *stream) sendTrailers() {
	c := s.c
	c.wmu.Lock()
	if s.stopped() {
		c.wmu.Unlock()
		return
	}
	c.block.Reset()
	for name, values := range s.req.Trailer {
		for _, v := range values {
			c.encodeField(lower(name), v)
		}
	}
	if c.block.Len() == 0 { // announced, but none came
		c.unsent = appendData(c.unsent, s.id, nil, c.maxFrame, true)
	} else {
		c.unsent = appendHeaders(c.unsent, s.id, c.block.Bytes(), c.maxFrame, true)
	}
	c.flush()
	s.requestEnded()
}

// requestEnded notes that all of the request was sent.
func (s *stream) requestEnded() {
	s.mu.Lock()
	s.sentAll = true
	done := s.ended
	s.mu.Unlock()
	if done {
		s.c.forget(s)
	}
}

// fail has the stream end by err, if it hasn't ended yet.
func (s *stream) fail(err error) {
	s.mu.Lock()
	if s.err == nil && !s.ended {
		s.err = err
	}
	s.mu.Unlock()
	s.gone.Store(true)
	s.notify()
}

func (s *stream) notify() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// abort ends the stream from this side.
func (s *stream) abort(err error) {
	s.fail(err)
	s.cancel(errCancel, s.c.flush)
}

// cancel tells the other end to stop, and then forgets the stream: not before, or
// it might see one stream too many.
func (s *stream) cancel(code errCode, flush func()) {
	c := s.c
	c.wmu.Lock()
	if s.reset {
		c.wmu.Unlock()
		return
	}
	s.reset = true
	c.unsent = appendRST(c.unsent, s.id, code)
	flush()
	s.gone.Store(true)
	c.forget(s)
}

// errBodyClosed is what reading a closed body says.
var errBodyClosed = errors.New("read after close")

// answer is the body of a stream's answer.
type answer struct{ *stream }

func (a answer) Read(p []byte) (int, error) {
	s := a.stream
	if len(p) == 0 {
		return 0, nil
	}
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return 0, errBodyClosed
		}
		n := copy(p, s.body[s.read:])
		s.read += n
		empty := s.read == len(s.body)
		if empty {
			s.body, s.read = s.body[:0], 0
		}
		give := 0
		s.taken += n
		if s.taken >= streamWindow/4 && !s.ended && s.err == nil {
			give, s.taken = s.taken, 0
			s.recvWindow += give
		}
		var err error
		switch {
		case !empty:
		case s.ended:
			err = io.EOF
			s.giveTrailer()
		case n == 0:
			err = s.err
		}
		s.mu.Unlock()
		if give > 0 {
			s.c.send(s.c.flush, func(b []byte) []byte { return appendWindowUpdate(b, s.id, give) })
		}
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-s.more:
		case <-s.req.Context().Done():
			s.abort(context.Cause(s.req.Context()))
		}
	}
}

// giveTrailer puts what came after the body where net/http's callers look for it.
func (s *stream) giveTrailer() {
	if len(s.trailer) > 0 && s.final.Trailer == nil {
		s.final.Trailer = make(http.Header)
	}
	for name, values := range s.trailer {
		s.final.Trailer[name] = values
	}
	s.trailer = nil
}

// Close ends the stream, if it hasn't ended yet, and what it has kept.
func (a answer) Close() error {
	s := a.stream
	s.mu.Lock()
	s.closed = true
	s.body = nil
	s.mu.Unlock()
	if !s.gone.Load() {
		s.cancel(errCancel, s.c.flush)
	}
	return nil
}
