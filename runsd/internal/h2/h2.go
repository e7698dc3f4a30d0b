// Package h2 is the client's end of an HTTP/2 connection (RFC 9113), made for a
// proxy: many small requests at once on one connection.
//
//	c, err := h2.NewConn(tlsConn, h2.Config{})
//	if c.Reserve() {
//		resp, err := c.RoundTrip(req, body)
//	}
//
// net/http's client starts a goroutine for each request and writes each to the
// socket by itself. Here the caller's goroutine does the work, and what several
// of them have to send while one of them is writing leaves in one write. That is
// a good part of what a small request costs.
//
// A Conn neither dials nor retries; an error that is a [NotHandledError] says
// that the request may be sent elsewhere.
package h2

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
)

// PingAfter and PingLimit are a [Config]'s if it doesn't say others.
const (
	PingAfter = 15 * time.Second
	PingLimit = 10 * time.Second
)

// Config is how a connection is looked after. Its zero fields have defaults.
type Config struct {
	// PingAfter is how long nothing may arrive before the other end is asked
	// whether it lives, PingLimit how long it may take to say so: 15 s and 10 s.
	PingAfter, PingLimit time.Duration
	// IdleAfter is how long the connection is kept without a request: 90 s.
	IdleAfter time.Duration
	// Streams is how many the other end is taken to allow until it says: 100.
	Streams int
}

const (
	// streamWindow is how much of an answer may arrive before the reader has taken
	// it; at most this much is kept for each stream.
	streamWindow = 1 << 20
	// connWindow is given back as soon as data arrive, so that an answer that
	// nobody reads holds up no other.
	connWindow = 16 << 20
	// maxHead is the size that a head may have, and roughly what it may take while
	// it arrives.
	maxHead = 1 << 20
	// maxUnsent is how much may wait for the socket before bodies wait for it too,
	// maxFlood what only answers to a flood of frames come to.
	maxUnsent    = 1 << 20
	maxFlood     = 16 << 20
	goodbyeLimit = 100 * time.Millisecond
	// lastWords is how long the other end is read after writing to it has failed.
	lastWords = time.Second
	// standstill is by how much a timer comes late when this process stood still.
	standstill = time.Second
	preface    = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// A NotHandledError says that the other end did nothing with the request: it may
// be sent again, whatever its method.
type NotHandledError struct{ Reason string }

func (e *NotHandledError) Error() string { return "request not begun: " + e.Reason }

// A LostError says that the connection ended before the answer did: whether the
// request was handled isn't known.
type LostError struct{ Err error }

func (e *LostError) Error() string { return e.Err.Error() }
func (e *LostError) Unwrap() error { return e.Err }

var (
	errClosed = errors.New("connection closed")
	errIdle   = errors.New("connection idle")
	errSilent = errors.New("the other end doesn't answer pings")
)

// A connError ends a connection with a GOAWAY that says why.
type connError struct {
	code   errCode
	reason string
}

func (e *connError) Error() string { return fmt.Sprintf("HTTP/2 %s: %s", e.code, e.reason) }

// A Conn is a connection. Its methods may be called at any time, by anybody.
type Conn struct {
	nc  net.Conn
	cfg Config

	// What is written. wmu comes before mu.
	wmu      sync.Mutex
	unsent   []byte
	spare    []byte // the buffer that unsent is swapped with
	writing  bool   // somebody is at the socket
	sent     *sync.Cond
	writeErr error
	goodbye  []byte       // what is written last
	block    bytes.Buffer // of header fields
	encoder  *hpack.Encoder
	nextID   uint32
	maxFrame int

	mu            sync.Mutex
	streams       map[uint32]*stream
	reserved      int
	maxStreams    int
	sendWindow    int64 // of the connection
	initialWindow int64 // of a stream
	maxHeaderList uint64
	opened        uint32 // the highest stream so far
	window        *sync.Cond
	leaving       bool  // the other end takes no more streams
	broken        error // why nothing can be written
	err           error // why the connection has ended
	idleSince     time.Time
	timer         *time.Timer
	pinged        time.Time // when a ping went out that nothing has followed

	lastRead atomic.Int64 // in nanoseconds since begun
	begun    time.Time
}

// NewConn starts HTTP/2 on a connection that has agreed to it.
func NewConn(nc net.Conn, cfg Config) (*Conn, error) {
	cfg.PingAfter = cmp.Or(cfg.PingAfter, PingAfter)
	cfg.PingLimit = cmp.Or(cfg.PingLimit, PingLimit)
	cfg.IdleAfter = cmp.Or(cfg.IdleAfter, 90*time.Second)
	cfg.Streams = cmp.Or(cfg.Streams, 100)
	now := time.Now()
	c := &Conn{
		nc:            nc,
		cfg:           cfg,
		nextID:        1,
		streams:       make(map[uint32]*stream),
		maxStreams:    cfg.Streams,
		sendWindow:    defaultWindow,
		initialWindow: defaultWindow,
		maxFrame:      minMaxFrame,
		maxHeaderList: 1<<64 - 1,
		begun:         now,
		idleSince:     now,
	}
	c.sent, c.window = sync.NewCond(&c.wmu), sync.NewCond(&c.mu)
	c.encoder = hpack.NewEncoder(&c.block)
	b := append([]byte(nil), preface...)
	b = appendSettings(b, setting{settingEnablePush, 0}, setting{settingInitialWindow, streamWindow}, setting{settingMaxHeaderList, maxHead})
	b = appendWindowUpdate(b, 0, connWindow-defaultWindow)
	if _, err := nc.Write(b); err != nil {
		nc.Close()
		return nil, fmt.Errorf("begin HTTP/2: %w", err)
	}
	r := &reader{c: c, window: connWindow}
	r.br = bufio.NewReaderSize(r, 2*minMaxFrame) // a whole frame fits
	c.mu.Lock()
	c.timer = time.AfterFunc(cfg.PingAfter, c.tick)
	c.mu.Unlock()
	go r.run()
	return c, nil
}

// Reserve keeps a stream for a RoundTrip, which must follow. It returns false if
// the connection has none left, for now or for good: see Usable.
func (c *Conn) Reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.leaving || len(c.streams)+c.reserved >= c.maxStreams {
		return false
	}
	// By the clock on the wall: the timers' may stand still with the process.
	if len(c.streams)+c.reserved == 0 && time.Since(c.idleSince.Round(0)) >= c.cfg.IdleAfter {
		c.leaving = true
		c.timer.Reset(0)
		return false
	}
	c.reserved++
	return true
}

// Available returns how many streams there are left to reserve.
func (c *Conn) Available() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.leaving {
		return 0
	}
	return max(c.maxStreams-len(c.streams)-c.reserved, 0)
}

// Limit returns how many streams the other end allows at once.
func (c *Conn) Limit() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.maxStreams
}

// Usable says whether the connection will take requests again.
func (c *Conn) Usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.leaving && c.maxStreams > 0
}

// Close ends the connection and all requests on it.
func (c *Conn) Close() { c.fail(errClosed) }

// fail ends the connection: all its streams fail by err.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if c.broken != nil {
		err = c.broken
	}
	c.err = err
	streams := c.streams
	c.streams = nil
	c.timer.Stop()
	c.window.Broadcast()
	c.mu.Unlock()
	for _, s := range streams {
		s.fail(&LostError{err})
	}
	code := errNone
	if ce, ok := errors.AsType[*connError](err); ok {
		code = ce.code
	}
	// The goodbye may not wait long for a socket that is full.
	_ = c.nc.SetWriteDeadline(time.Now().Add(goodbyeLimit))
	c.wmu.Lock()
	c.writeErr = err
	c.goodbye = appendGoAway(c.unsent, 0, code)
	c.unsent = nil
	c.sent.Broadcast()
	if !c.writing { // else whoever writes does it
		c.end()
	}
	c.wmu.Unlock()
}

// end says goodbye and closes the connection. wmu is held.
func (c *Conn) end() {
	_, _ = c.nc.Write(c.goodbye)
	if tc, ok := c.nc.(*tls.Conn); ok {
		tc.NetConn().Close() // TLS's own goodbye could wait for seconds
		return
	}
	c.nc.Close()
}

// flush has what is unsent written: by the caller, or by who is writing already.
// The caller holds wmu and loses it.
func (c *Conn) flush() {
	// Who has written for others a few times leaves the rest to a goroutine.
	c.write(4)
}

// flushLater is flush for the reader, which may not wait for the socket: the other
// end might be waiting for it to read.
func (c *Conn) flushLater() { c.write(0) }

// write writes what is unsent, the caller a few times, then a goroutine. wmu is
// held, and unlocked.
func (c *Conn) write(times int) {
	if c.writeErr != nil {
		c.unsent = nil
		c.wmu.Unlock()
		return
	}
	if c.writing {
		flooded := len(c.unsent) > maxFlood
		c.wmu.Unlock()
		if flooded {
			c.fail(&connError{errEnhanceYourCalm, "more to answer than it takes"})
		}
		return
	}
	c.writing = true
	for range times {
		if !c.writeOnce() {
			c.wmu.Unlock()
			return
		}
	}
	go func() {
		c.wmu.Lock()
		for c.writeOnce() {
		}
		c.wmu.Unlock()
	}()
	c.wmu.Unlock()
}

// writeOnce writes what is unsent and reports whether there is more. wmu is held,
// but not while it writes.
func (c *Conn) writeOnce() bool {
	if c.writeErr == nil && len(c.unsent) > 0 {
		b := c.unsent
		c.unsent, c.spare = c.spare[:0], nil
		c.wmu.Unlock()
		_, err := c.nc.Write(b)
		if err != nil {
			err = c.unwritable(err)
		}
		c.wmu.Lock()
		if c.writeErr = cmp.Or(c.writeErr, err); c.writeErr != nil {
			c.unsent = nil
		}
		if cap(b) <= 64<<10 {
			c.spare = b
		}
		c.sent.Broadcast()
	}
	switch {
	case c.goodbye != nil:
		c.end()
	case len(c.unsent) > 0:
		return true
	}
	c.writing = false
	return false
}

// unwritable notes that the connection can't be written to any more. What the
// other end said before it closed it, such as 413 to a body that it didn't read,
// is still read; then the reader ends the connection.
func (c *Conn) unwritable(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = fmt.Errorf("write: %w", err)
	c.leaving = true
	_ = c.nc.SetReadDeadline(time.Now().Add(lastWords))
	return c.broken
}

// send writes a frame that no request waits for.
func (c *Conn) send(flush func(), appendTo func(b []byte) []byte) {
	c.wmu.Lock()
	c.unsent = appendTo(c.unsent)
	flush()
}

// tick looks after the connection when it has been silent, or idle, for a while.
func (c *Conn) tick() {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	now := time.Now()
	read := c.begun.Add(time.Duration(c.lastRead.Load()))
	if len(c.streams)+c.reserved == 0 && (c.leaving || now.Sub(c.idleSince) >= c.cfg.IdleAfter) {
		c.mu.Unlock()
		c.fail(errIdle)
		return
	}
	var next time.Duration
	silent, waited := now.Sub(read), now.Sub(c.pinged)
	answered := !read.Before(c.pinged)
	switch {
	case answered && silent < c.cfg.PingAfter:
		next = c.cfg.PingAfter - silent
	// A process that stood still, as on Cloud Run between requests, may have had an
	// answer that it hasn't read yet: it asks again.
	case answered, waited >= c.cfg.PingLimit+standstill:
		c.pinged = now
		next = c.cfg.PingLimit
		// Not here: if the socket is full, the limit must still be kept.
		go c.send(c.flush, func(b []byte) []byte { return appendPing(b, false, [8]byte{'r', 'u', 'n', 's', 'd'}) })
	case waited >= c.cfg.PingLimit:
		c.mu.Unlock()
		c.fail(errSilent)
		return
	default:
		next = c.cfg.PingLimit - waited
	}
	c.timer.Reset(next)
	c.mu.Unlock()
}

// forget takes a stream out. A connection that is to end does so with the last.
func (c *Conn) forget(s *stream) {
	c.mu.Lock()
	if c.streams[s.id] != s {
		c.mu.Unlock()
		return
	}
	delete(c.streams, s.id)
	s.gone.Store(true)
	if len(c.streams) == 0 {
		c.idleSince = time.Now()
	}
	done := c.leaving && len(c.streams)+c.reserved == 0
	c.window.Broadcast()
	c.mu.Unlock()
	if done {
		c.fail(errClosed)
	}
}
