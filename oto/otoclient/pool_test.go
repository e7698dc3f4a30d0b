package otoclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// post calls a server in the way that Call does, and returns the answer's body.
func post(ctx context.Context, tr *transport, to *target, body []byte) (status int, text string, err error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	answer, err := tr.post(ctx, deadline, to, body)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b), err
}

// connServer answers each request with its body, and has its connections at hand.
type connServer struct {
	net.Listener
	mu       sync.Mutex
	conns    []net.Conn
	accepted int
	handled  map[string]int // requests, by body
	// after is what becomes of a connection once an answer was written.
	after func(net.Conn)
}

func serveConns(t testing.TB, addr string, after func(net.Conn)) *connServer {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &connServer{Listener: l, handled: make(map[string]int), after: after}
	t.Cleanup(func() { s.Close(); s.closeAll(func() bool { return true }) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.accepted++
			s.mu.Unlock()
			go s.serve(c)
		}
	}()
	return s
}

func (s *connServer) serve(c net.Conn) {
	for in := bufio.NewReader(c); ; {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.handled[string(body)]++
		s.mu.Unlock()
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if s.after != nil {
			s.after(c)
		}
	}
}

// connections returns how many there were.
func (s *connServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// closeAll closes those of the connections for which it is told to.
func (s *connServer) closeAll(which func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []net.Conn
	for _, c := range s.conns {
		if which() {
			c.Close()
		} else {
			left = append(left, c)
		}
	}
	s.conns = left
}

func targetAt(t testing.TB, l net.Listener) *target {
	t.Helper()
	to, err := newTarget("http://" + l.Addr().String() + "/oto/TacoService.EatTaco")
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// 80 callers call again and again while the server closes, between any two rounds,
// about half of the connections, all of them idle: no call fails and none is
// handled twice.
func TestServerClosesIdleConnections(t *testing.T) {
	t.Parallel()
	s := serveConns(t, "127.0.0.1:0", nil)
	tr, to := newTransport(t), targetAt(t, s)
	const rounds, callers = 20, maxConns
	for round := range rounds {
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				want := fmt.Sprintf("%d of %d", round, caller)
				if status, got, err := post(t.Context(), tr, to, []byte(want)); err != nil || status != 200 || got != want {
					t.Errorf("call %s: %d %q, %v", want, status, got, err)
				}
			})
		}
		wg.Wait()
		s.closeAll(func() bool { return rand.IntN(2) == 0 })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.handled) != rounds*callers {
		t.Errorf("%d different calls were handled, want %d", len(s.handled), rounds*callers)
	}
	for call, times := range s.handled {
		if times != 1 {
			t.Errorf("call %s was handled %d times", call, times)
		}
	}
}

// A server that closes each connection after an answer, without saying so, may hit
// the next request. That call fails then: nothing is sent again.
func TestServerClosesBusyConnections(t *testing.T) {
	t.Parallel()
	s := serveConns(t, "127.0.0.1:0", func(c net.Conn) { c.Close() })
	tr, to := newTransport(t), targetAt(t, s)
	var ok, failed atomic.Int64
	var wg sync.WaitGroup
	for caller := range 20 {
		wg.Go(func() {
			for i := range 50 {
				want := fmt.Sprintf("%d of %d", i, caller)
				if _, got, err := post(t.Context(), tr, to, []byte(want)); err != nil {
					failed.Add(1)
				} else if ok.Add(1); got != want {
					t.Errorf("call %s: %q", want, got)
				}
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok.Load()+failed.Load() != 1000 || int64(len(s.handled)) < ok.Load() {
		t.Errorf("%d calls went well and %d failed, %d were handled", ok.Load(), failed.Load(), len(s.handled))
	}
	for call, times := range s.handled {
		if times != 1 {
			t.Errorf("call %s was handled %d times", call, times)
		}
	}
	wantEmpty(t, tr.conns)
}

// A server that starts again at its address is called again, over new connections.
func TestServerStartsAgain(t *testing.T) {
	t.Parallel()
	first := serveConns(t, "127.0.0.1:0", nil)
	tr, to := newTransport(t), targetAt(t, first)
	call := func(want string) {
		t.Helper()
		if _, got, err := post(t.Context(), tr, to, []byte(want)); err != nil || got != want {
			t.Errorf("call %s: %q, %v", want, got, err)
		}
	}
	call("a")
	first.Close()
	first.closeAll(func() bool { return true })
	if _, _, err := post(t.Context(), tr, to, []byte("b")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("while nobody listens: %v", err)
	}
	wantEmpty(t, tr.conns)
	second := serveConns(t, first.Addr().String(), nil)
	call("c")
	second.mu.Lock()
	defer second.mu.Unlock()
	if len(second.handled) != 1 || second.handled["c"] != 1 {
		t.Errorf("the second server handled %v, want c", second.handled)
	}
}

// What a server says unasked on an idle connection is no answer to the next call.
func TestUnaskedAnswer(t *testing.T) {
	t.Parallel()
	s := serveConns(t, "127.0.0.1:0", nil)
	tr, to := newTransport(t), targetAt(t, s)
	for _, want := range []string{"a", "b"} {
		if _, got, err := post(t.Context(), tr, to, []byte(want)); err != nil || got != want {
			t.Errorf("call %s: %q, %v", want, got, err)
		}
		s.mu.Lock()
		io.WriteString(s.conns[len(s.conns)-1], "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
		s.mu.Unlock()
	}
	if s.connections() != 2 {
		t.Errorf("%d connections, want 2", s.connections())
	}
}

// There are never more connections than calls at a time, nor more than the limit;
// calls beyond it take turns, and none is lost.
func TestConnectionsAreAsManyAsCallers(t *testing.T) {
	t.Parallel()
	for _, callers := range []int{1, 8, maxConns, 300} {
		t.Run(strconv.Itoa(callers), func(t *testing.T) {
			t.Parallel()
			s := serveConns(t, "127.0.0.1:0", nil)
			tr, to := newTransport(t), targetAt(t, s)
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					for i := range 20 {
						want := fmt.Sprintf("%d of %d", i, caller)
						if _, got, err := post(t.Context(), tr, to, []byte(want)); err != nil || got != want {
							t.Errorf("call %s: %q, %v", want, got, err)
						}
					}
				})
			}
			wg.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if most := min(callers, maxConns); s.accepted > most {
				t.Errorf("%d callers opened %d connections, want at most %d", callers, s.accepted, most)
			}
		})
	}
}

// held is a server whose requests wait until they are let go.
type held struct {
	*target
	arrived chan string
	release chan struct{}
}

func hold(t *testing.T) *held {
	h := &held{arrived: make(chan string, 2*maxConns), release: make(chan struct{})}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.arrived <- string(body)
		select {
		case <-h.release:
		case <-r.Context().Done():
		}
		w.Write(body)
	}))
	t.Cleanup(s.Close)
	h.target = targetAt(t, s.Listener)
	return h
}

// Calls beyond the limit get a connection in the order in which they came.
func TestCallsTakeTurnsInOrder(t *testing.T) {
	t.Parallel()
	h, tr := hold(t), newTransport(t)
	var wg sync.WaitGroup
	call := func(ctx context.Context, body string) {
		wg.Go(func() {
			if _, got, err := post(ctx, tr, h.target, []byte(body)); err != nil || got != body {
				t.Errorf("call %s: %q, %v", body, got, err)
			}
		})
	}
	for range maxConns {
		call(t.Context(), "first")
	}
	for range maxConns {
		<-h.arrived
	}
	for i := range 10 {
		ctx, waits := tellingContext(t.Context())
		call(ctx, strconv.Itoa(i))
		<-waits
	}
	for i := range 10 {
		h.release <- struct{}{}
		if got := <-h.arrived; got != strconv.Itoa(i) {
			t.Errorf("turn %d is of call %s", i, got)
		}
	}
	close(h.release)
	wg.Wait()
	wantEmpty(t, tr.conns)
}

// tellingContext returns a context that tells when it is first waited for, which the
// pool does of a call that finds no connection once it stands in the line.
func tellingContext(ctx context.Context) (context.Context, <-chan struct{}) {
	c := &telling{Context: ctx, waits: make(chan struct{})}
	return c, c.waits
}

type telling struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (c *telling) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waits) })
	return c.Context.Done()
}

var errTired = errors.New("tired of waiting")

// ends are the ways in which a call's context ends; reached says that the call has
// got where it is to be ended.
var ends = map[string]struct {
	start func(context.Context) (context.Context, func(reached <-chan struct{}))
	want  []error
}{
	"cancelled": {want: []error{context.Canceled}, start: func(ctx context.Context) (context.Context, func(<-chan struct{})) {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, func(reached <-chan struct{}) { <-reached; cancel() }
	}},
	"cancelled with a cause": {want: []error{context.Canceled, errTired}, start: func(ctx context.Context) (context.Context, func(<-chan struct{})) {
		ctx, cancel := context.WithCancelCause(ctx)
		return ctx, func(reached <-chan struct{}) { <-reached; cancel(errTired) }
	}},
	"past its deadline": {want: []error{context.DeadlineExceeded}, start: func(ctx context.Context) (context.Context, func(<-chan struct{})) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
		return ctx, func(<-chan struct{}) { <-ctx.Done(); cancel() }
	}},
}

// stages are the places where a call can be ended: each makes one that gets no
// further, and tells when it is there.
var stages = map[string]func(t *testing.T, reached chan<- struct{}) (*transport, *target, []byte){
	"before it starts": func(t *testing.T, reached chan<- struct{}) (*transport, *target, []byte) {
		return nil, nil, nil // see below
	},
	"waiting for a connection": func(t *testing.T, reached chan<- struct{}) (*transport, *target, []byte) {
		h, tr := hold(t), newTransport(t)
		var wg sync.WaitGroup
		for range maxConns {
			wg.Go(func() { post(t.Context(), tr, h.target, []byte("{}")) })
		}
		for range maxConns {
			<-h.arrived
		}
		t.Cleanup(wg.Wait)
		t.Cleanup(func() { close(h.release) })
		return tr, h.target, []byte("{}")
	},
	"dialling": func(t *testing.T, reached chan<- struct{}) (*transport, *target, []byte) {
		tr := newTransport(t)
		tr.conns = newPool(func(ctx context.Context, network, addr string) (net.Conn, error) {
			close(reached)
			<-ctx.Done()
			return nil, errors.New("dial: operation was canceled")
		})
		return tr, targetAt(t, serveConns(t, "127.0.0.1:0", nil)), []byte("{}")
	},
	"writing": func(t *testing.T, reached chan<- struct{}) (*transport, *target, []byte) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			c.Read(make([]byte, 10))
			close(reached)
		}()
		return newTransport(t), targetAt(t, l), make([]byte, 32<<20)
	},
	"waiting for the answer": func(t *testing.T, reached chan<- struct{}) (*transport, *target, []byte) {
		h := hold(t)
		go func() { <-h.arrived; close(reached) }()
		return newTransport(t), h.target, []byte("{}")
	},
	"reading the head": func(t *testing.T, reached chan<- struct{}) (*transport, *target, []byte) {
		return newTransport(t), stall(t, "HTTP/1.1 200 OK\r\nConte", reached), []byte("{}")
	},
	"reading the body": func(t *testing.T, reached chan<- struct{}) (*transport, *target, []byte) {
		return newTransport(t), stall(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", reached), []byte("{}")
	},
}

// stall is a server that begins an answer and says no more until the other end
// closes.
func stall(t *testing.T, begin string, reached chan<- struct{}) *target {
	return serveRaw(t, func(c net.Conn) {
		io.WriteString(c, begin)
		close(reached)
		c.Read(make([]byte, 1))
	}).target(t)
}

// A context that ends ends the call, wherever it is, and leaves no connection.
func TestContextEndsTheCall(t *testing.T) {
	t.Parallel()
	for stage, at := range stages {
		for end, by := range ends {
			t.Run(stage+"/"+end, func(t *testing.T) {
				t.Parallel()
				reached := make(chan struct{})
				tr, to, body := at(t, reached)
				ctx, stop := by.start(t.Context())
				if tr == nil { // before it starts
					close(reached)
					stop(reached)
					s := serveConns(t, "127.0.0.1:0", nil)
					tr, to, body = newTransport(t), targetAt(t, s), []byte("{}")
					defer func() {
						if s.connections() > 0 {
							t.Error("a call that had ended was sent")
						}
					}()
				} else {
					go stop(reached)
				}
				if stage == "waiting for a connection" {
					ctx = &telling{Context: ctx, waits: reached} // the stage itself can't tell
				}
				_, _, err := post(ctx, tr, to, body)
				for _, want := range by.want {
					if !errors.Is(err, want) {
						t.Errorf("error %v, want %v", err, want)
					}
				}
				if stage != "waiting for a connection" {
					wantEmpty(t, tr.conns)
				}
			})
		}
	}
}

// The default limit has no context of its own, and ends a call at each stage too.
func TestDeadlineWithoutContext(t *testing.T) {
	t.Parallel()
	for stage, at := range stages {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			reached := make(chan struct{})
			tr, to, body := at(t, reached)
			if tr == nil {
				return
			}
			answer, err := tr.post(context.WithoutCancel(t.Context()), time.Now().Add(30*time.Millisecond), to, body)
			if err == nil {
				_, err = io.ReadAll(answer.Body)
				answer.Body.Close()
			}
			if !errors.Is(err, context.DeadlineExceeded) || err.Error() != context.DeadlineExceeded.Error() {
				t.Errorf("error %v, want that the deadline is exceeded", err)
			}
			if stage != "waiting for a connection" {
				wantEmpty(t, tr.conns)
			}
		})
	}
}

// A context that ends just as the answer comes never hits the next call.
func TestContextEndsWithTheAnswer(t *testing.T) {
	t.Parallel()
	s := serveConns(t, "127.0.0.1:0", nil)
	tr, to := newTransport(t), targetAt(t, s)
	deadline := time.Now().Add(time.Minute)
	for i := range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		if i%2 == 0 {
			go cancel()
		}
		answer, err := tr.post(ctx, deadline, to, []byte("a"))
		cancel() // at the latest when the head has come, and most often the body with it
		if err == nil {
			_, err = io.ReadAll(answer.Body)
			if idle(tr.conns) > 0 {
				t.Error("a connection is kept that is about to be aborted")
			}
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		answer, err = tr.post(t.Context(), deadline, to, []byte("b"))
		if err != nil {
			t.Fatalf("the next call: %v", err)
		}
		if text, err := io.ReadAll(answer.Body); err != nil || string(text) != "b" {
			t.Errorf("the next call: %q, %v", text, err)
		}
	}
}

// An answer that comes before the request is written, by a server that doesn't
// read on, is told.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, keepBuffer, keepBuffer + 1, 32 << 20} {
		for name, closed := range map[string]bool{"closed": true, "kept open": false} {
			t.Run(fmt.Sprint(size, " bytes, ", name), func(t *testing.T) {
				t.Parallel()
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				go func() {
					c, err := l.Accept()
					if err != nil {
						return
					}
					if _, err := http.ReadRequest(bufio.NewReaderSize(c, 16)); err == nil {
						io.WriteString(c, "HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!")
					}
					if !closed {
						io.Copy(io.Discard, io.LimitReader(c, 100))
						t.Cleanup(func() { c.Close() })
						return
					}
					c.(*net.TCPConn).CloseWrite()
					time.AfterFunc(time.Second, func() { c.Close() }) // as net/http does, so that the answer isn't lost
				}()
				tr := newTransport(t)
				status, text, err := post(t.Context(), tr, targetAt(t, l), make([]byte, size))
				if err != nil || status != 413 || text != "no!" {
					t.Errorf("got %d %q, %v", status, text, err)
				}
				wantEmpty(t, tr.conns)
			})
		}
	}
}

// A request that is larger than what the socket takes arrives whole.
func TestLargeRequest(t *testing.T) {
	t.Parallel()
	s := serveConns(t, "127.0.0.1:0", nil)
	tr, to := newTransport(t), targetAt(t, s)
	for _, size := range []int{keepBuffer - 1, keepBuffer, keepBuffer + 1, 8 << 20, 10 << 20, 3} {
		want := strings.Repeat("0123456789", size/10+1)[:size]
		if _, got, err := post(t.Context(), tr, to, []byte(want)); err != nil || got != want {
			t.Errorf("%d bytes: got %d back, %v", size, len(got), err)
		}
		if idle(tr.conns) > 1 {
			t.Errorf("after %d bytes %d connections are idle, want at most 1", size, idle(tr.conns))
		}
	}
}

// A body that isn't read to its end takes the connection with it; one that is
// doesn't need to be closed.
func TestBodyNotRead(t *testing.T) {
	t.Parallel()
	s := serveConns(t, "127.0.0.1:0", nil)
	tr, to := newTransport(t), targetAt(t, s)
	for read, kept := range map[int]int{0: 0, 5: 0, 10: 1} {
		answer, err := tr.RoundTrip(to.newRequest(t.Context(), []byte("0123456789"), true))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(answer.Body, make([]byte, read)); err != nil {
			t.Fatal(err)
		}
		if read < 10 {
			answer.Body.Close()
			if _, err := answer.Body.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
				t.Errorf("read after close: %v", err)
			}
		} else if n, err := answer.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("read after the end: %d, %v", n, err)
		}
		if got := idle(tr.conns); got != kept {
			t.Errorf("of 10 bytes %d were read: %d connections are idle, want %d", read, got, kept)
		}
		wantEmpty(t, tr.conns)
	}
}

// Close ends a Read that is under way.
func TestCloseWhileReading(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{})
	tr := newTransport(t)
	answer, err := tr.RoundTrip(stall(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", reached).newRequest(t.Context(), []byte("{}"), true))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { <-reached; answer.Body.Close(); close(closed) }()
	if _, err := io.ReadAll(answer.Body); err == nil {
		t.Error("a body that was closed ended well")
	}
	<-closed
	wantEmpty(t, tr.conns)
}

// Connections that were idle for too long are closed, by the timer or by the call
// that comes upon them.
func TestIdleForTooLong(t *testing.T) {
	t.Parallel()
	s := serveConns(t, "127.0.0.1:0", nil)
	tr, to := newTransport(t), targetAt(t, s)
	old := func(by time.Duration) {
		tr.conns.mu.Lock()
		defer tr.conns.mu.Unlock()
		for _, h := range tr.conns.hosts {
			for _, c := range h.idle {
				c.since = c.since.Add(-by)
			}
		}
	}
	call := func() {
		if _, _, err := post(t.Context(), tr, to, []byte("a")); err != nil {
			t.Error(err)
		}
	}
	call()
	old(idleTimeout - time.Minute)
	call()
	if s.connections() != 1 {
		t.Errorf("%d connections before the limit, want 1", s.connections())
	}
	old(idleTimeout)
	call()
	if s.connections() != 2 {
		t.Errorf("%d connections after the limit, want 2", s.connections())
	}
	tr.conns.sweep()
	if got := idle(tr.conns); got != 1 {
		t.Errorf("%d are idle after a sweep before the limit, want 1", got)
	}
	old(idleTimeout)
	tr.conns.sweep()
	if len(tr.conns.hosts) != 0 || tr.conns.timer != nil {
		t.Errorf("after a sweep there are %d hosts, timer %v", len(tr.conns.hosts), tr.conns.timer)
	}
	call()
	if tr.conns.timer == nil {
		t.Error("nothing will close the connection that is idle")
	}
}

// The transport keeps RoundTripper's contract: the request stays as it was.
func TestRoundTripLeavesTheRequest(t *testing.T) {
	t.Parallel()
	s := serveConns(t, "127.0.0.1:0", nil)
	tr := newTransport(t)
	r := targetAt(t, s).newRequest(t.Context(), []byte("a"), true)
	before, header, u := *r, fmt.Sprint(r.Header), *r.URL
	answer, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.Request != r || r.Body != before.Body || r.Host != before.Host || *r.URL != u || fmt.Sprint(r.Header) != header || r.ContentLength != 1 {
		t.Errorf("the request became %+v", r)
	}
	if again, _ := r.GetBody(); !bytes.Equal(again.(*body).data, []byte("a")) {
		t.Error("the body can't be got again")
	}
}

// failingConn fails to write for the second time, after some bytes.
type failingConn struct {
	*net.TCPConn
	writes  int
	written int
}

func (c *failingConn) Write(b []byte) (int, error) {
	if c.writes++; c.writes < 2 {
		return c.TCPConn.Write(b)
	}
	n, _ := c.TCPConn.Write(b[:c.written])
	c.TCPConn.Close()
	return n, syscall.EPIPE
}

// A kept connection that ends before anything is written to it is replaced; one to
// which a byte was written fails the call.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	for _, written := range []int{0, 1} {
		s := serveConns(t, "127.0.0.1:0", nil)
		tr, to := newTransport(t), targetAt(t, s)
		tr.conns = newPool(func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &failingConn{c.(*net.TCPConn), 0, written}, nil
		})
		if _, _, err := post(t.Context(), tr, to, []byte("a")); err != nil {
			t.Fatal(err)
		}
		_, got, err := post(t.Context(), tr, to, []byte("b"))
		if written == 0 && (err != nil || got != "b" || s.connections() != 2) {
			t.Errorf("nothing was written: %q, %v over %d connections, want an answer over 2", got, err, s.connections())
		}
		if written > 0 && (!errors.Is(err, syscall.EPIPE) || s.connections() != 1) {
			t.Errorf("a byte was written: %q, %v over %d connections, want that it fails over 1", got, err, s.connections())
		}
		wantEmpty(t, tr.conns)
	}
}

// A call that gives up when its turn has just come leaves that to the next one.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]slot{"a connection": {new(conn)}, "the right to dial one": {}} {
		p := newPool(nil)
		h := &host{route: route{addr: "x"}, open: 1}
		p.hosts[h.route] = h
		turn, next := make(chan slot, 1), make(chan slot, 1)
		h.waiting = []chan slot{turn, next}
		if s.conn != nil {
			s.conn.host = h
			p.put(s.conn)
		} else {
			p.leave(h)
		}
		p.giveUp(h, turn)
		select {
		case got := <-next:
			if got != s {
				t.Errorf("%s: the next call got %v", name, got)
			}
		default:
			t.Errorf("%s: the next call got nothing", name)
		}
		last := make(chan slot, 1)
		h.waiting = []chan slot{last}
		p.giveUp(h, last)
		if len(h.waiting) != 0 || h.open != 1 {
			t.Errorf("%s: %d calls wait and %d connections are open, want 0 and 1", name, len(h.waiting), h.open)
		}
	}
}
