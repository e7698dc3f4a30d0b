package h2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/amammay/otorun/runsd/internal/h2"
)

// upload is a request whose body is what is written to w.
func upload(ctx context.Context) (req *http.Request, w *io.PipeWriter) {
	pr, pw := io.Pipe()
	req = request(ctx, "POST", "/")
	req.Body, req.ContentLength = pr, -1
	return req, pw
}

// newHeldPeer returns a connection and its other end, which has said nothing; hold
// holds what the connection writes until it is released.
func newHeldPeer(t *testing.T) (c *h2.Conn, p *peer, hold func() (release func())) {
	t.Helper()
	open := make(chan struct{})
	close(open)
	held := open
	c, p = newPeerOn(t, h2.Config{}, func(nc net.Conn) net.Conn { return &heldConn{nc, new(atomic.Int32), &held} })
	return c, p, func() func() {
		held = make(chan struct{})
		return func() { close(held) }
	}
}

// TestWindowOfTheCancelled: what a request took of the connection's window and
// didn't send, others may.
func TestWindowOfTheCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = 4 << 20
		c, p, hold := newHeldPeer(t)
		p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 2 * window})
		p.WriteWindowUpdate(0, window-65535)
		p.expect(t, "SETTINGS")
		p.expect(t, "SETTINGS ACK")
		synctest.Wait()
		release := hold()
		first := get(t, c, "POST", "first")
		synctest.Wait() // it is at the socket
		get(t, c, "POST", strings.Repeat("x", 3<<19))
		synctest.Wait() // and this is all that may wait for it
		ctx, cancel := context.WithCancel(t.Context())
		for range 20 {
			req, w := upload(ctx)
			if !c.Reserve() {
				t.Fatal("no stream")
			}
			go c.RoundTrip(req, nil)
			go w.Write(make([]byte, 10<<10)) // less than a piece
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		release()
		p.expect(t, "HEADERS")
		p.expect(t, "DATA first END")
		p.head(1, true, ":status", "200")
		<-first
		req, w := upload(t.Context())
		if !c.Reserve() {
			t.Fatal("no stream")
		}
		go c.RoundTrip(req, nil)
		go w.Write(make([]byte, 2*window))
		synctest.Wait()
		sent := len("first")
		for len(p.frames) > 0 {
			if data, ok := strings.CutPrefix(<-p.frames, "DATA "); ok {
				sent += len(strings.TrimSuffix(data, " END"))
			}
			synctest.Wait()
		}
		if sent != window {
			t.Errorf("%d bytes of DATA sent, of a window of %d", sent, window)
		}
		w.Close()
		c.Close()
	})
}

// TestBodiesWaitForTheSocket: what waits for a socket that is slow is bounded, and
// no reason to give the connection up.
func TestBodiesWaitForTheSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, hold := newHeldPeer(t)
		p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		p.WriteWindowUpdate(0, 1<<30)
		p.expect(t, "SETTINGS")
		p.expect(t, "SETTINGS ACK")
		synctest.Wait()
		release := hold()
		var answers []chan outcome
		for range 20 {
			answers = append(answers, get(t, c, "POST", strings.Repeat("x", 1<<20)))
			synctest.Wait()
		}
		go func() {
			ended := 0
			for f := range p.frames {
				if strings.HasSuffix(f, " END") {
					if ended++; ended == len(answers) {
						break
					}
				}
			}
			for i := range answers {
				p.head(uint32(2*i+1), true, ":status", "200")
			}
			for range p.frames {
			}
		}()
		release()
		for _, a := range answers {
			if o := <-a; o.status != http.StatusOK {
				t.Fatalf("%v", o.err)
			}
		}
		c.Close()
	})
}

// TestGoAwayMeetsRequest: a request that GOAWAY overtakes wasn't begun.
func TestGoAwayMeetsRequest(t *testing.T) {
	for _, busy := range []bool{false, true} {
		for range 10 {
			c, p := newPeer(t, h2.Config{})
			last := uint32(0)
			if busy {
				get(t, c, "GET", "")
				p.expect(t, "HEADERS END")
				last = 1
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			req := request(ctx, "POST", "/")
			for i := range 1500 { // which takes a while to encode
				req.Header.Set(fmt.Sprint("X-", i), strings.Repeat("y", 500))
			}
			if !c.Reserve() {
				t.Fatal("no stream")
			}
			failed := make(chan error)
			go func() {
				_, err := c.RoundTrip(req, nil)
				failed <- err
			}()
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			p.WriteGoAway(last, http2.ErrCodeNo, nil)
			if err := <-failed; !errors.As(err, new(*h2.NotHandledError)) {
				t.Fatalf("busy %v: %v, want that it wasn't begun", busy, err)
			}
			cancel()
		}
	}
}

// TestReservedWhenLeaving: a connection that takes no more ends when the last that
// had a stream reserved has been told.
func TestReservedWhenLeaving(t *testing.T) {
	c, p := newPeer(t, h2.Config{})
	if !c.Reserve() {
		t.Fatal("no stream")
	}
	p.WriteGoAway(0, http2.ErrCodeNo, nil)
	p.seen(t)
	if _, err := c.RoundTrip(request(t.Context(), "GET", "/"), nil); !errors.As(err, new(*h2.NotHandledError)) {
		t.Errorf("%v", err)
	}
	p.expect(t, "GOAWAY NO_ERROR")
}

// TestNothingAfterReset: what is left of a request isn't sent on a stream that the
// other end has reset: for trailers net/http's server would end the connection.
func TestNothingAfterReset(t *testing.T) {
	c, p := newPeer(t, h2.Config{})
	req, w := upload(t.Context())
	req.Trailer = http.Header{"Said": nil}
	answered := make(chan *http.Response, 1)
	if !c.Reserve() {
		t.Fatal("no stream")
	}
	go func() {
		resp, err := c.RoundTrip(req, nil)
		if err != nil {
			t.Error(err)
		}
		answered <- resp
	}()
	p.expect(t, "HEADERS")
	p.head(1, true, ":status", "200")
	p.WriteRSTStream(1, http2.ErrCodeNo)
	<-answered
	p.seen(t)
	req.Trailer["Said"] = []string{"bye"}
	w.Close()
	for range 10 {
		p.seen(t)
		runtime.Gosched()
	}
}

// A lateConn reads only when it may.
type lateConn struct {
	net.Conn
	read chan struct{}
}

func (c *lateConn) Read(b []byte) (int, error) {
	<-c.read
	return c.Conn.Read(b)
}

// TestAnswerThenLost: an answer that has arrived counts, though the rest of the
// request can't be written any more, as when a server refuses a body unread.
func TestAnswerThenLost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	gone := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			gone <- err
			return
		}
		_, err = io.CopyN(io.Discard, nc, int64(len(http2.ClientPreface)))
		fr := http2.NewFramer(nc, nc)
		for err == nil {
			var f http2.Frame
			if f, err = fr.ReadFrame(); err == nil && f.Header().Type == http2.FrameData {
				break
			}
		}
		p := peer{Framer: fr}
		p.encode = hpack.NewEncoder(&p.block)
		fr.WriteSettings()
		p.head(1, false, ":status", "413")
		fr.WriteData(1, true, []byte("too large"))
		nc.(*net.TCPConn).SetLinger(-1)
		nc.Close() // with something unread, so it is a reset
		gone <- err
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	late := &lateConn{nc, make(chan struct{})}
	c, err := h2.NewConn(late, h2.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req, w := upload(t.Context())
	if !c.Reserve() {
		t.Fatal("no stream")
	}
	go func() {
		for err := error(nil); err == nil; {
			_, err = w.Write(make([]byte, 16<<10))
		}
	}()
	go func() {
		<-gone
		for c.Reserve() { // until writing has failed; each is a request that isn't sent
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			c.RoundTrip(request(ctx, "GET", "/"), nil)
		}
		close(late.read)
	}()
	resp, err := c.RoundTrip(req, nil)
	if got := read(t, resp, err); got != "too large" || resp.StatusCode != 413 {
		t.Errorf("%q, %+v", got, resp)
	}
	req.Body.Close()
}

// TestReaderReads: what this end has to say holds up no reading, or two ends that
// wait to be read first would wait for ever.
func TestReaderReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p, hold := newHeldPeer(t)
		p.WriteSettings()
		p.expect(t, "SETTINGS")
		p.expect(t, "SETTINGS ACK")
		answer := get(t, c, "GET", "")
		p.expect(t, "HEADERS END")
		broken := get(t, c, "GET", "")
		p.expect(t, "HEADERS END")
		synctest.Wait()
		release := hold()
		p.WritePing(false, [8]byte{})
		p.head(3, true, ":status", "99")
		p.WriteSettings()
		p.head(1, true, ":status", "200")
		if o := <-answer; o.status != 200 {
			t.Errorf("%+v", o)
		}
		if o := <-broken; o.err == nil {
			t.Errorf("%+v", o)
		}
		release()
		c.Close()
	})
}

// TestLongNames: what a connection remembers of the names of headers is little.
func TestLongNames(t *testing.T) {
	c, p := newPeer(t, h2.Config{})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 40 {
		got := get(t, c, "GET", "")
		p.expect(t, "HEADERS END")
		id := uint32(2*i + 1)
		block := append([]byte(nil), p.fields(":status", "200", fmt.Sprint("x-", i, strings.Repeat("x", 100_000)), "")...)
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:16<<10], EndStream: true})
		for block = block[16<<10:]; len(block) > 16<<10; block = block[16<<10:] {
			p.WriteContinuation(id, false, block[:16<<10])
		}
		p.WriteContinuation(id, true, block)
		if o := <-got; o.status != 200 {
			t.Fatalf("%+v", o)
		}
	}
	if after := heap(); after > before+2_000_000 {
		t.Errorf("40 answers leave %d bytes", after-before)
	}
	runtime.KeepAlive(c)
}

// TestIdleTooLong: a connection that was idle for too long isn't used, though
// nobody has looked after it yet: the process may have stood still.
func TestIdleTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := newPeer(t, h2.Config{PingAfter: time.Hour})
		answer := get(t, c, "GET", "")
		p.expect(t, "HEADERS END")
		p.head(1, true, ":status", "200")
		<-answer
		time.Sleep(89 * time.Second)
		if !c.Reserve() {
			t.Fatal("not usable after 89 s")
		}
		go c.RoundTrip(request(t.Context(), "GET", "/"), nil)
		p.expect(t, "HEADERS END")
		p.head(3, true, ":status", "200")
		time.Sleep(91 * time.Second)
		if c.Reserve() || c.Usable() {
			t.Error("usable after 91 s without a request")
		}
		p.expect(t, "GOAWAY NO_ERROR")
	})
}
