package h2_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/amammay/otorun/runsd/internal/h2"
)

// A peer is the other end of a connection, frame by frame.
type peer struct {
	*http2.Framer
	nc     net.Conn
	block  bytes.Buffer
	encode *hpack.Encoder
	frames chan string // what comes, but for WINDOW_UPDATE
	done   chan struct{}
}

// newPeer returns a connection and its other end, which has said its SETTINGS.
func newPeer(t testing.TB, cfg h2.Config, settings ...http2.Setting) (*h2.Conn, *peer) {
	t.Helper()
	c, p := newPeerOn(t, cfg, func(nc net.Conn) net.Conn { return nc })
	p.WriteSettings(settings...)
	p.expect(t, "SETTINGS")
	p.expect(t, "SETTINGS ACK")
	return c, p
}

// newPeerOn returns a connection on what wrap makes of it, and its other end,
// which has said nothing.
func newPeerOn(t testing.TB, cfg h2.Config, wrap func(net.Conn) net.Conn) (*h2.Conn, *peer) {
	t.Helper()
	here, there := net.Pipe()
	p := &peer{nc: there, Framer: http2.NewFramer(there, there), frames: make(chan string, 1000), done: make(chan struct{})}
	p.encode = hpack.NewEncoder(&p.block)
	p.AllowIllegalWrites = true
	go func() {
		defer close(p.done)
		defer close(p.frames)
		if _, err := io.CopyN(io.Discard, there, int64(len(http2.ClientPreface))); err != nil {
			return
		}
		for {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			if _, ok := f.(*http2.WindowUpdateFrame); !ok {
				p.frames <- describe(f)
			}
		}
	}()
	c, err := h2.NewConn(wrap(here), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); there.Close(); <-p.done })
	return c, p
}

// A heldConn counts its writes, which wait until they may go on.
type heldConn struct {
	net.Conn
	writes *atomic.Int32
	held   *chan struct{}
}

func (c *heldConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	<-*c.held
	return c.Conn.Write(b)
}

func describe(f http2.Frame) string {
	s := f.Header().Type.String()
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			s += " ACK"
		}
	case *http2.PingFrame:
		if f.IsAck() {
			s += " ACK"
		}
	case *http2.DataFrame:
		s += " " + string(f.Data())
		if f.StreamEnded() {
			s += " END"
		}
	case *http2.HeadersFrame:
		if f.StreamEnded() {
			s += " END"
		}
	case *http2.RSTStreamFrame:
		s += " " + f.ErrCode.String()
	case *http2.GoAwayFrame:
		s += " " + f.ErrCode.String()
	}
	return s
}

// expect waits for a frame.
func (p *peer) expect(t testing.TB, want string) {
	t.Helper()
	if got, ok := <-p.frames; !ok {
		t.Errorf("the connection ended, want %s", want)
	} else if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// seen returns when all that was written before has been dealt with.
func (p *peer) seen(t testing.TB) {
	t.Helper()
	p.WritePing(false, [8]byte{1})
	p.expect(t, "PING ACK")
}

// fields encodes a head.
func (p *peer) fields(pairs ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		p.encode.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return p.block.Bytes()
}

func (p *peer) head(id uint32, end bool, pairs ...string) error {
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.fields(pairs...), EndHeaders: true, EndStream: end})
}

// outcome is what came of a request.
type outcome struct {
	status int
	body   string
	err    error
}

// get sends a request in the background.
func get(t testing.TB, c *h2.Conn, method, body string) chan outcome {
	t.Helper()
	if !c.Reserve() {
		t.Fatal("no stream left")
	}
	ch := make(chan outcome, 1)
	go func() {
		resp, err := c.RoundTrip(request(t.Context(), method, "/"), []byte(body))
		if err != nil {
			ch <- outcome{err: err}
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		ch <- outcome{resp.StatusCode, string(b), err}
	}()
	return ch
}

// TestFaultyAnswers: what isn't an answer that can be passed on ends its stream
// alone, where the connection is still in step.
func TestFaultyAnswers(t *testing.T) {
	ok := []string{":status", "200"}
	for name, write := range map[string]func(p *peer){
		"no status":                 func(p *peer) { p.head(1, true, "a", "b") },
		"status of two digits":      func(p *peer) { p.head(1, true, ":status", "20") },
		"status that is no number":  func(p *peer) { p.head(1, true, ":status", "2x0") },
		"two statuses":              func(p *peer) { p.head(1, true, ":status", "200", ":status", "201") },
		"status after a field":      func(p *peer) { p.head(1, true, "a", "b", ":status", "200") },
		"a request's pseudo-header": func(p *peer) { p.head(1, true, ":status", "200", ":path", "/") },
		"101":                       func(p *peer) { p.head(1, false, ":status", "101") },
		"informational at the end":  func(p *peer) { p.head(1, true, ":status", "103") },
		"capitals":                  func(p *peer) { p.head(1, true, ":status", "200", "Bad", "x") },
		"space in a name":           func(p *peer) { p.head(1, true, ":status", "200", "bad name", "x") },
		"line break in a value":     func(p *peer) { p.head(1, true, ":status", "200", "x", "a\r\nb: c") },
		"two lengths":               func(p *peer) { p.head(1, false, ":status", "200", "content-length", "1", "content-length", "2") },
		"a negative length":         func(p *peer) { p.head(1, false, ":status", "200", "content-length", "-1") },
		"a length with a sign":      func(p *peer) { p.head(1, false, ":status", "200", "content-length", "+1") },
		"less than its length": func(p *peer) {
			p.head(1, false, append(ok, "content-length", "5")...)
			p.WriteData(1, true, []byte("taco"))
		},
		"more than its length": func(p *peer) {
			p.head(1, false, append(ok, "content-length", "3")...)
			p.WriteData(1, true, []byte("taco"))
		},
		"nothing of its length":         func(p *peer) { p.head(1, true, append(ok, "content-length", "3")...) },
		"data first":                    func(p *peer) { p.WriteData(1, true, []byte("taco")) },
		"a second head":                 func(p *peer) { p.head(1, false, ok...); p.head(1, false, "a", "b") },
		"a second status":               func(p *peer) { p.head(1, false, ok...); p.head(1, true, ok...) },
		"a header too large":            func(p *peer) { p.large(1) },
		"a window update by nothing":    func(p *peer) { p.WriteRawFrame(http2.FrameWindowUpdate, 0, 1, make([]byte, 4)) },
		"a window larger than any":      func(p *peer) { p.WriteWindowUpdate(1, 1<<31-1) },
		"more than the stream's window": func(p *peer) { p.head(1, false, ok...); p.flood(1, 1<<20+1) },
		"informational answers endlessly": func(p *peer) {
			for range 1000 {
				if p.head(1, false, ":status", "103") != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newPeer(t, h2.Config{})
			// The body isn't read, for the flood's sake.
			if !c.Reserve() {
				t.Fatal("no stream")
			}
			failed := make(chan error, 1)
			hold := make(chan struct{})
			go func() {
				resp, err := c.RoundTrip(request(t.Context(), "GET", "/"), nil)
				if err == nil {
					<-hold
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				failed <- err
			}()
			p.expect(t, "HEADERS END")
			write(p)
			for got, ok := "", true; !strings.HasPrefix(got, "RST_STREAM"); {
				if got, ok = <-p.frames; !ok {
					t.Fatal("the connection ended")
				}
			}
			close(hold)
			if err := <-failed; err == nil || errors.As(err, new(*h2.NotHandledError)) {
				t.Errorf("%v, want an error that says it was begun", err)
			}
			// The next request is none the worse.
			next := get(t, c, "GET", "")
			p.expect(t, "HEADERS END")
			p.head(3, false, append(ok, "content-length", "4")...)
			p.WriteData(3, true, []byte("taco"))
			if got := <-next; got.body != "taco" || got.err != nil {
				t.Errorf("the next: %+v", got)
			}
		})
	}
}

// large writes a head of more than a megabyte, as cheaply as a table allows.
func (p *peer) large(id uint32) {
	pairs := []string{":status", "200"}
	for range 600 {
		pairs = append(pairs, "x", strings.Repeat("y", 2000))
	}
	block := p.fields(pairs...)
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true})
}

func (p *peer) flood(id uint32, n int) {
	for n > 0 {
		m := min(n, 16<<10)
		if p.WriteData(id, false, make([]byte, m)) != nil {
			return
		}
		n -= m
	}
}

// TestFaultyConnections: where the ends are no longer in step, the connection
// goes, with its reason, and with it all requests.
func TestFaultyConnections(t *testing.T) {
	for name, tt := range map[string]struct {
		write func(p *peer)
		want  http2.ErrCode
	}{
		"frame too large":         {func(p *peer) { p.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 16<<10+1)) }, http2.ErrCodeFrameSize},
		"data of no stream":       {func(p *peer) { p.WriteRawFrame(http2.FrameData, 0, 0, nil) }, http2.ErrCodeProtocol},
		"a stream of its own":     {func(p *peer) { p.head(2, true, ":status", "200") }, http2.ErrCodeProtocol},
		"a stream not opened":     {func(p *peer) { p.head(5, true, ":status", "200") }, http2.ErrCodeProtocol},
		"push":                    {func(p *peer) { p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true}) }, http2.ErrCodeProtocol},
		"continuation of nothing": {func(p *peer) { p.WriteContinuation(1, true, nil) }, http2.ErrCodeProtocol},
		"head interrupted":        {func(p *peer) { p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1}); p.WritePing(false, [8]byte{}) }, http2.ErrCodeProtocol},
		"fields that aren't": {func(p *peer) {
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}, http2.ErrCodeCompression},
		"fields that end early": {func(p *peer) {
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x40, 0x05, 'a'}, EndHeaders: true})
		}, http2.ErrCodeCompression},
		"padding only":   {func(p *peer) { p.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{9}) }, http2.ErrCodeProtocol},
		"padded without": {func(p *peer) { p.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPadded, 1, nil) }, http2.ErrCodeProtocol},
		"priority cut": {func(p *peer) {
			p.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersPriority|http2.FlagHeadersEndHeaders, 1, []byte{0, 0})
		}, http2.ErrCodeFrameSize},
		"short reset":               {func(p *peer) { p.WriteRawFrame(http2.FrameRSTStream, 0, 1, []byte{0}) }, http2.ErrCodeFrameSize},
		"short goaway":              {func(p *peer) { p.WriteRawFrame(http2.FrameGoAway, 0, 0, []byte{0}) }, http2.ErrCodeFrameSize},
		"short window update":       {func(p *peer) { p.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, []byte{0}) }, http2.ErrCodeFrameSize},
		"short ping":                {func(p *peer) { p.WriteRawFrame(http2.FramePing, 0, 0, []byte{0}) }, http2.ErrCodeFrameSize},
		"ping of a stream":          {func(p *peer) { p.WriteRawFrame(http2.FramePing, 0, 1, make([]byte, 8)) }, http2.ErrCodeProtocol},
		"short settings":            {func(p *peer) { p.WriteRawFrame(http2.FrameSettings, 0, 0, []byte{0}) }, http2.ErrCodeFrameSize},
		"settings of a stream":      {func(p *peer) { p.WriteRawFrame(http2.FrameSettings, 0, 1, nil) }, http2.ErrCodeProtocol},
		"settings acknowledged big": {func(p *peer) { p.WriteRawFrame(http2.FrameSettings, http2.FlagSettingsAck, 0, make([]byte, 6)) }, http2.ErrCodeFrameSize},
		"frames too small":          {func(p *peer) { p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}) }, http2.ErrCodeProtocol},
		"a window too large":        {func(p *peer) { p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}) }, http2.ErrCodeFlowControl},
		"the connection's too":      {func(p *peer) { p.WriteWindowUpdate(0, 1<<31-1) }, http2.ErrCodeFlowControl},
		"by nothing":                {func(p *peer) { p.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) }, http2.ErrCodeFlowControl},
		"a head without end": {func(p *peer) {
			p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
			for range 100 {
				if p.WriteContinuation(1, false, make([]byte, 16<<10)) != nil {
					return
				}
			}
		}, http2.ErrCodeEnhanceYourCalm},
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newPeer(t, h2.Config{})
			failed := get(t, c, "GET", "")
			p.expect(t, "HEADERS END")
			tt.write(p)
			p.expect(t, "GOAWAY "+tt.want.String())
			if got := <-failed; got.err == nil || errors.As(got.err, new(*h2.NotHandledError)) {
				t.Errorf("%+v, want an error that says it was begun", got)
			}
			<-p.done
			if c.Reserve() || c.Usable() || c.Available() != 0 {
				t.Error("the connection still takes requests")
			}
		})
	}
}

func TestNoSettingsFirst(t *testing.T) {
	_, p := newPeerOn(t, h2.Config{}, func(nc net.Conn) net.Conn { return nc })
	p.WritePing(false, [8]byte{})
	p.expect(t, "SETTINGS")
	p.expect(t, "GOAWAY PROTOCOL_ERROR")
}

// TestIgnored: frames that may come and mean nothing here.
func TestIgnored(t *testing.T) {
	c, p := newPeer(t, h2.Config{})
	got := get(t, c, "GET", "")
	p.expect(t, "HEADERS END")
	p.WritePriority(1, http2.PriorityParam{Weight: 3})
	p.WriteRawFrame(0xbe, 0xff, 77, []byte("unknown"))
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields(":status", "200", "connection", "close"), EndHeaders: true, PadLength: 9, Priority: http2.PriorityParam{Weight: 1}})
	p.WriteDataPadded(1, false, []byte("ta"), make([]byte, 100))
	p.WriteData(1, false, nil)
	p.WriteDataPadded(1, true, []byte("co"), nil)
	if o := <-got; o.body != "taco" || o.err != nil {
		t.Errorf("%+v", o)
	}
	// Of a stream that has ended.
	p.WriteRSTStream(1, http2.ErrCodeNo)
	p.WriteWindowUpdate(1, 10)
	p.seen(t)
}

// TestNotHandled: what the other end has not begun may be sent elsewhere.
func TestNotHandled(t *testing.T) {
	c, p := newPeer(t, h2.Config{})
	first, second, third := get(t, c, "POST", "a"), (chan outcome)(nil), (chan outcome)(nil)
	p.expect(t, "HEADERS")
	p.expect(t, "DATA a END")
	p.WriteRSTStream(1, http2.ErrCodeRefusedStream)
	if o := <-first; !errors.As(o.err, new(*h2.NotHandledError)) {
		t.Errorf("refused: %+v", o)
	}
	second = get(t, c, "POST", "b")
	p.expect(t, "HEADERS")
	p.expect(t, "DATA b END")
	third = get(t, c, "POST", "c")
	p.expect(t, "HEADERS")
	p.expect(t, "DATA c END")
	if !c.Reserve() {
		t.Fatal("no stream")
	}
	p.WriteGoAway(3, http2.ErrCodeNo, []byte("maintenance"))
	if o := <-third; !errors.As(o.err, new(*h2.NotHandledError)) {
		t.Errorf("after the last of GOAWAY: %+v", o)
	}
	p.seen(t)
	if c.Reserve() || c.Usable() || c.Available() != 0 {
		t.Error("takes requests after GOAWAY")
	}
	if _, err := c.RoundTrip(request(t.Context(), "GET", "/"), nil); !errors.As(err, new(*h2.NotHandledError)) {
		t.Errorf("reserved before GOAWAY: %v", err)
	}
	p.head(3, true, ":status", "204")
	if o := <-second; o.status != 204 || o.err != nil {
		t.Errorf("within GOAWAY: %+v", o)
	}
	p.expect(t, "GOAWAY NO_ERROR") // with the last of them it ends
	<-p.done
}

// TestReset: of an answer that has begun it is an error, of one that is complete
// it says that the rest of the request isn't wanted.
func TestReset(t *testing.T) {
	c, p := newPeer(t, h2.Config{}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	first := make(chan *http.Response, 1)
	if !c.Reserve() {
		t.Fatal("no stream")
	}
	go func() {
		resp, err := c.RoundTrip(request(t.Context(), "POST", "/"), []byte("abc"))
		if err != nil {
			t.Error(err)
		}
		first <- resp
	}()
	p.expect(t, "HEADERS")
	p.expect(t, "DATA a")
	p.head(1, false, ":status", "200")
	p.WriteData(1, true, []byte("enough"))
	p.WriteRSTStream(1, http2.ErrCodeNo)
	p.seen(t)
	if got := read(t, <-first, nil); got != "enough" {
		t.Errorf("complete: %q", got)
	}
	second := get(t, c, "GET", "")
	p.expect(t, "HEADERS END")
	p.head(3, false, ":status", "200")
	p.WriteData(3, false, []byte("half"))
	p.WriteRSTStream(3, http2.ErrCodeInternal)
	if o := <-second; o.body != "half" || o.err == nil || !strings.Contains(o.err.Error(), "INTERNAL_ERROR") {
		t.Errorf("begun: %+v", o)
	}
}

// TestConnectionLost: what has been read of an answer stays, then it is an error.
func TestConnectionLost(t *testing.T) {
	c, p := newPeer(t, h2.Config{})
	first, second := get(t, c, "GET", ""), (chan outcome)(nil)
	p.expect(t, "HEADERS END")
	second = get(t, c, "GET", "")
	p.expect(t, "HEADERS END")
	p.head(1, false, ":status", "200")
	p.WriteData(1, false, []byte("half"))
	p.seen(t)
	p.nc.Close()
	if o := <-first; o.body != "half" || o.err == nil {
		t.Errorf("begun: %+v", o)
	}
	if o := <-second; o.err == nil || errors.As(o.err, new(*h2.NotHandledError)) {
		t.Errorf("without an answer: %+v", o)
	}
}

// TestWindows: no more is sent than the other end takes, and what it opens later
// counts for requests under way, also what SETTINGS change.
func TestWindows(t *testing.T) {
	c, p := newPeer(t, h2.Config{}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3})
	got := get(t, c, "POST", "0123456789")
	p.expect(t, "HEADERS")
	p.expect(t, "DATA 012")
	p.WriteWindowUpdate(1, 2)
	p.expect(t, "DATA 34")
	p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
	p.expect(t, "SETTINGS ACK")
	p.WriteWindowUpdate(1, 2) // makes up for what SETTINGS took
	p.seen(t)
	p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4})
	var frames []string
	for range 2 { // in either order
		frames = append(frames, <-p.frames)
	}
	if s := strings.Join(frames, ", "); s != "SETTINGS ACK, DATA 567" && s != "DATA 567, SETTINGS ACK" {
		t.Errorf("%s", s)
	}
	p.WriteWindowUpdate(1, 100)
	p.expect(t, "DATA 89 END")
	p.head(1, true, ":status", "200")
	if o := <-got; o.status != 200 || o.err != nil {
		t.Errorf("%+v", o)
	}
}

// TestSettings: streams are counted, frames fit, tables shrink, and a header that
// is too much isn't sent.
func TestSettings(t *testing.T) {
	c, p := newPeer(t, h2.Config{}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: 1000}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	if n := c.Available(); n != 2 {
		t.Errorf("%d streams, want 2", n)
	}
	if !c.Reserve() || !c.Reserve() || c.Reserve() {
		t.Error("streams aren't counted")
	}
	req := request(t.Context(), "GET", "/")
	req.Header.Set("X-Big", strings.Repeat("x", 1000))
	if _, err := c.RoundTrip(req, nil); err == nil || errors.As(err, new(*h2.NotHandledError)) {
		t.Errorf("a header that is too large: %v", err)
	}
	if n := c.Available(); n != 1 {
		t.Errorf("%d streams, want 1", n)
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.RoundTrip(request(t.Context(), "GET", "/"), nil)
		done <- err
	}()
	p.expect(t, "HEADERS END")
	p.head(1, true, ":status", "200")
	if err := <-done; err != nil {
		t.Error(err)
	}
	p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
	p.expect(t, "SETTINGS ACK")
	if c.Usable() {
		t.Error("a connection without streams is of no use")
	}
}

// TestSilence, in fake time: a connection is asked whether it lives when nothing
// comes, given up when it doesn't say so, and closed when it isn't used.
func TestSilence(t *testing.T) {
	cfg := h2.Config{PingAfter: 15 * time.Second, PingLimit: 10 * time.Second, IdleAfter: 90 * time.Second}
	t.Run("dead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, cfg)
			begin := time.Now()
			got := get(t, c, "GET", "")
			p.expect(t, "HEADERS END")
			o := <-got
			if took := time.Since(begin); o.err == nil || took != 25*time.Second {
				t.Errorf("%+v after %v, want an error after 25s", o, took)
			}
			p.expect(t, "PING")
		})
	})
	t.Run("slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, cfg)
			got := get(t, c, "GET", "")
			p.expect(t, "HEADERS END")
			for range 20 {
				p.expect(t, "PING")
				time.Sleep(9 * time.Second) // the other end's
				p.WritePing(true, [8]byte{})
			}
			p.head(1, true, ":status", "200")
			if o := <-got; o.status != 200 {
				t.Errorf("%+v", o)
			}
		})
	})
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, cfg)
			begin := time.Now()
			for f := range p.frames {
				if f == "PING" {
					p.WritePing(true, [8]byte{})
				}
			}
			if took := time.Since(begin); took < 90*time.Second || took > 110*time.Second || c.Usable() {
				t.Errorf("ended after %v, usable %v", took, c.Usable())
			}
		})
	})
}

// TestOneWrite: what many have to send while one of them is at the socket leaves
// in one write.
func TestOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writes atomic.Int32
		held := make(chan struct{})
		close(held)
		c, p := newPeerOn(t, h2.Config{}, func(nc net.Conn) net.Conn { return &heldConn{nc, &writes, &held} })
		p.WriteSettings()
		p.expect(t, "SETTINGS")
		p.expect(t, "SETTINGS ACK")
		synctest.Wait()
		writes.Store(0)
		held = make(chan struct{})
		var answers []chan outcome
		for range 50 {
			answers = append(answers, get(t, c, "GET", ""))
		}
		synctest.Wait()
		if n := writes.Load(); n != 1 {
			t.Errorf("%d writes at once, want 1", n)
		}
		close(held)
		for i := range answers { // whose stream is which isn't known
			p.expect(t, "HEADERS END")
			p.head(uint32(2*i+1), true, ":status", "200")
		}
		for _, a := range answers {
			if o := <-a; o.status != http.StatusOK {
				t.Fatalf("%v", o.err)
			}
		}
		if n := writes.Load(); n != 2 {
			t.Errorf("%d writes for 50 requests, want 2", n)
		}
	})
}

// FuzzFrames: whatever comes, a request ends, and nothing panics or grows.
func FuzzFrames(f *testing.F) {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 100})
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndHeaders: true})
	fr.WriteData(1, true, []byte("taco"))
	f.Add(b.Bytes())
	fr.WriteGoAway(0, 0, nil)
	fr.WriteContinuation(1, true, nil)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, frames []byte) {
		here, there := net.Pipe()
		go io.Copy(io.Discard, there)
		c, err := h2.NewConn(here, h2.Config{})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan outcome, 1)
		if c.Reserve() {
			got = get(t, c, "POST", "body")
		} else {
			got <- outcome{}
		}
		there.Write(frames)
		there.Close()
		if o := <-got; len(o.body) > len(frames) {
			t.Errorf("%d bytes out of %d", len(o.body), len(frames))
		}
		c.Close()
	})
}
