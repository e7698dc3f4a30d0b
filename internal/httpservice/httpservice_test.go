package httpservice

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amammay/otorun/internal/cloudlog"
	"github.com/amammay/otorun/internal/tracecontext"
)

func TestPortFrom(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  string
		want int
		bad  bool
	}{
		{name: "default", want: 8080},
		{name: "set", env: "9090", want: 9090},
		{name: "any free one", env: "0", want: 0},
		{name: "highest", env: "65535", want: 65535},
		{name: "too high", env: "65536", bad: true},
		{name: "negative", env: "-1", bad: true},
		{name: "signed", env: "+1", bad: true},
		{name: "a word", env: "http", bad: true},
		{name: "an address", env: ":8080", bad: true},
		{name: "blank", env: " ", bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := portFrom(env("PORT", tt.env), 8080)
			if (err != nil) != tt.bad || got != tt.want {
				t.Errorf("portFrom(PORT=%q) = %d, %v, want %d, error %t", tt.env, got, err, tt.want, tt.bad)
			}
		})
	}
}

func TestMainEndsAtOnce(t *testing.T) {
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())

	for _, tt := range []struct {
		name       string
		args       []string
		getenv     func(string) string
		wantStatus int
		want       string
	}{
		{name: "help", args: []string{"-h"}, want: "usage: tester\n"},
		{name: "an argument", args: []string{"8080"}, wantStatus: 2, want: `tester: no arguments expected, got "8080": see tester -h` + "\n"},
		{name: "a flag", args: []string{"-port=1"}, wantStatus: 2, want: "tester: flag provided but not defined: -port: see tester -h\n"},
		{name: "a bad port", getenv: env("PORT", "x"), wantStatus: 1, want: `tester: PORT="x" is no port: set it to a number up to 65535, or unset it for 8080` + "\n"},
		{name: "a port in use", getenv: env("PORT", port), wantStatus: 1, want: "tester: listen on port " + port + ": another program has it: end that one, or set PORT to another port\n"},
		{name: "no handler", getenv: env("PORT", "0"), wantStatus: 1, want: "tester: no tacos\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Program{Name: "tester", Usage: "usage: tester\n", DefaultPort: 8080,
				Handler: func(context.Context, func(string) string, *slog.Logger) (http.Handler, error) {
					return nil, errors.New("no tacos")
				}}
			if tt.getenv == nil {
				tt.getenv = env()
			}
			var stderr bytes.Buffer
			if status := p.Main(t.Context(), tt.args, tt.getenv, &stderr); status != tt.wantStatus || stderr.String() != tt.want {
				t.Errorf("Main(%q) = %d, %q, want %d, %q", tt.args, status, &stderr, tt.wantStatus, tt.want)
			}
		})
	}
}

func TestErrorOnCloudRunIsOneLogLine(t *testing.T) {
	var stderr bytes.Buffer
	status := Program{Name: "tester"}.Main(t.Context(), nil, env("PORT", "x", "K_SERVICE", "tester", "GOOGLE_CLOUD_PROJECT", "p"), &stderr)
	var line map[string]any
	if err := json.Unmarshal(stderr.Bytes(), &line); err != nil {
		t.Fatalf("stderr %q: %v", &stderr, err)
	}
	if status != 1 || line["severity"] != "ERROR" || !strings.Contains(line["message"].(string), `PORT="x"`) {
		t.Errorf("Main = %d, %v", status, line)
	}
}

func TestMainServes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	status := make(chan int)
	go func() {
		p := Program{Name: "tester", Handler: func(context.Context, func(string) string, *slog.Logger) (http.Handler, error) {
			return http.NotFoundHandler(), nil
		}}
		status <- p.Main(ctx, nil, env("PORT", "0"), w)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	if !lines.Scan() {
		t.Fatal("no log line")
	}
	_, url, _ := strings.Cut(lines.Text(), "url=")
	go io.Copy(io.Discard, r)
	if got := get(t, url+"/health"); got != "200 ok\n" {
		t.Errorf("GET /health = %q", got)
	}
	if got := get(t, url+"/"); got != "404 404 page not found\n" {
		t.Errorf("GET / = %q", got)
	}
	cancel()
	if s := <-status; s != 0 {
		t.Errorf("exit status %d, want 0", s)
	}
}

// No peer may hold a connection for ever.
func TestTimeouts(t *testing.T) {
	s := newServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	for name, d := range map[string]time.Duration{
		"header": s.ReadHeaderTimeout, "read": s.ReadTimeout, "write": s.WriteTimeout, "idle": s.IdleTimeout,
	} {
		if d <= 0 {
			t.Errorf("no %s timeout", name)
		}
	}
}

func TestHealth(t *testing.T) {
	h := healthy(http.NotFoundHandler())
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/health", 200},
		{http.MethodHead, "/health", 200},
		{http.MethodPost, "/health", 405},
		{http.MethodGet, "/healthz", 404},
		{http.MethodGet, "/health/", 404},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.want {
			t.Errorf("%s %s = %d, want %d", tt.method, tt.path, w.Code, tt.want)
		}
	}
}

// observed serves one request through observe and returns the answer and the
// log's lines.
func observed(t *testing.T, r *http.Request, h http.HandlerFunc) (*httptest.ResponseRecorder, []map[string]any) {
	t.Helper()
	var log bytes.Buffer
	w := httptest.NewRecorder()
	logger := cloudlog.New(&log, cloudlog.Config{JSON: true, ProjectID: func() string { return "p" }})
	func() {
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				t.Errorf("panic %v got through", p)
			}
		}()
		observe(h, logger, new(atomic.Bool), new(atomic.Int64)).ServeHTTP(w, r)
	}()
	var lines []map[string]any
	for d := json.NewDecoder(&log); d.More(); {
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, m)
	}
	return w, lines
}

func TestRequestIsLogged(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	r := httptest.NewRequest(http.MethodPost, "/oto/TacoService.EatTaco?x=1", strings.NewReader("{}"))
	r.Header.Set("User-Agent", "runsd version=1.0; Go-http-client/1.1")
	r.Header.Set("X-Forwarded-For", "203.0.113.7, 198.51.100.1")
	r.Header.Set("traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	_, lines := observed(t, r, func(w http.ResponseWriter, r *http.Request) {
		if tr, _ := tracecontext.FromContext(r.Context()); tr.ID != trace {
			t.Errorf("trace in the handler's context = %q", tr.ID)
		}
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "hello")
	})
	if len(lines) != 1 {
		t.Fatalf("log: %v, want one line", lines)
	}
	got := lines[0]
	if want := "request from runsd version=1.0; Go-http-client/1.1"; got["message"] != want {
		t.Errorf("message %q, want %q", got["message"], want)
	}
	if want := "projects/p/traces/" + trace; got["logging.googleapis.com/trace"] != want {
		t.Errorf("trace %q, want %q", got["logging.googleapis.com/trace"], want)
	}
	req := got["httpRequest"].(map[string]any)
	latency := req["latency"]
	delete(req, "latency")
	want := map[string]any{
		"requestMethod": "POST", "requestUrl": "/oto/TacoService.EatTaco?x=1", "status": 418.0, "requestSize": "2", "responseSize": "5",
		"userAgent": "runsd version=1.0; Go-http-client/1.1", "remoteIp": "198.51.100.1", "protocol": "HTTP/1.1",
	}
	if fmt.Sprint(req) != fmt.Sprint(want) || !strings.HasSuffix(fmt.Sprint(latency), "s") {
		t.Errorf("httpRequest %v and latency %v, want %v", req, latency, want)
	}
}

func TestRequestLogCannotBeFilled(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/"+strings.Repeat("a", 10_000), nil)
	r.Header.Set("User-Agent", strings.Repeat("b", 10_000)+"\n")
	r.Header.Set("X-Forwarded-For", strings.Repeat("c", 10_000))
	_, lines := observed(t, r, func(http.ResponseWriter, *http.Request) {})
	if b, _ := json.Marshal(lines); len(b) > 4000 {
		t.Errorf("%d bytes logged", len(b))
	}
	if got := lines[0]["httpRequest"].(map[string]any)["status"]; got != 200.0 {
		t.Errorf("status of a handler that sends nothing = %v, want 200", got)
	}
}

func TestPanicIsAnswered(t *testing.T) {
	w, lines := observed(t, httptest.NewRequest(http.MethodGet, "/", nil), func(http.ResponseWriter, *http.Request) { panic("secret") })
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("answer %d %q, want 500 without the panic's text", w.Code, w.Body)
	}
	if len(lines) != 2 || lines[0]["panic"] != "secret" || !strings.Contains(lines[0]["stack"].(string), "TestPanicIsAnswered") {
		t.Errorf("log: %v", lines)
	}
}

func TestPanicAfterTheAnswerBeganCutsTheConnection(t *testing.T) {
	srv := httptest.NewServer(observe(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush() // no length: only a cut shows that more was to come
		panic("late")
	}), cloudlog.New(io.Discard, cloudlog.Config{}), new(atomic.Bool), new(atomic.Int64)))
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the caller took half an answer for the whole")
	}
}

// serving runs serve on a free port until stop is called, which returns serve's
// error.
func serving(t *testing.T, h http.Handler, lim limits) (url string, stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	ln, err := listen(0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- serve(ctx, ln, h, slog.New(slog.DiscardHandler), lim) }()
	return fmt.Sprintf("http://localhost:%d", ln.Addr().(*net.TCPAddr).Port), cancel, done
}

func TestRequestInFlightIsAnswered(t *testing.T) {
	begun, finish := make(chan bool), make(chan bool)
	url, stop, ended := serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		begun <- true
		<-finish
		io.WriteString(w, "done")
	}), cloudRun)
	got := make(chan string)
	go func() { got <- get(t, url) }()
	<-begun
	stop()
	select {
	case err := <-ended:
		t.Errorf("serve ended with a request in flight: %v", err)
	case <-time.After(cloudRun.idleGrace + 100*time.Millisecond):
	}
	close(finish)
	if g := <-got; g != "200 done" {
		t.Errorf("answer %q, want 200 done", g)
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestIdleConnectionMayBeUsedOnceMore(t *testing.T) {
	url, stop, ended := serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), limits{
		idleGrace: time.Minute, giveUp: time.Minute, cutOff: time.Minute,
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	ask := func() *http.Response {
		t.Helper()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if ask().Close {
		t.Error("connection closed before the shutdown")
	}
	stop()
	// The answer tells when the shutdown has begun: serve may need a moment.
	for !ask().Close {
	}
	if err := <-ended; err != nil { // long before idleGrace: no connection is left
		t.Errorf("serve: %v", err)
	}
}

// TestIdleConnectionIsKeptForAWhile: a connection that was idle already when the
// order to end came is not closed under the request that may be on its way.
func TestIdleConnectionIsKeptForAWhile(t *testing.T) {
	url, stop, ended := serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), limits{
		idleGrace: time.Minute, giveUp: time.Minute, cutOff: time.Minute,
	})
	addr := strings.TrimPrefix(url, "http://")
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	ask := func() *http.Response {
		t.Helper()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	ask()
	stop()
	for { // until nobody listens
		other, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		other.Close()
	}
	if !ask().Close {
		t.Error("the connection stays open after its last answer")
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// TestSilentConnection: one on which no request ever came keeps nobody waiting.
func TestSilentConnection(t *testing.T) {
	url, stop, ended := serving(t, http.NotFoundHandler(), limits{
		idleGrace: time.Millisecond, giveUp: time.Minute, cutOff: 5 * time.Second,
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestRequestThatDoesNotEnd(t *testing.T) {
	lim := limits{idleGrace: time.Millisecond, giveUp: 20 * time.Millisecond, cutOff: time.Minute}
	begun := make(chan bool, 1)
	url, stop, ended := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- true
		<-r.Context().Done()
		http.Error(w, context.Cause(r.Context()).Error(), http.StatusServiceUnavailable)
	}), lim)
	got := make(chan string)
	go func() { got <- get(t, url) }()
	<-begun
	stop()
	if g := <-got; g != "503 "+ErrShuttingDown.Error()+"\n" {
		t.Errorf("answer %q, want 503", g)
	}
	if err := <-ended; err != nil {
		t.Errorf("serve: %v", err)
	}

	lim.cutOff = 50 * time.Millisecond
	release := make(chan bool)
	defer close(release)
	url, stop, ended = serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- true
		<-release
	}), lim)
	go http.Get(url)
	<-begun
	stop()
	if err, want := <-ended, "shut down: 1 requests had no answer after 50ms and were cut off"; err == nil || err.Error() != want {
		t.Errorf("serve: %v, want %q", err, want)
	}
}

// TestNothingIsLost ends a server under load on new and on kept connections. A
// request may be refused a connection; one that got a connection gets its
// answer.
func TestNothingIsLost(t *testing.T) {
	for _, keepAlive := range []bool{true, false} {
		t.Run(fmt.Sprintf("keep-alive %t", keepAlive), func(t *testing.T) {
			t.Parallel()
			for range 2 {
				url, stop, ended := serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					io.WriteString(w, "done")
				}), cloudRun)
				var dials, answers atomic.Int64
				tr := &http.Transport{
					DisableKeepAlives:   !keepAlive,
					MaxIdleConnsPerHost: 16,
					DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
						c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
						if err == nil {
							dials.Add(1)
						}
						return c, err
					},
				}
				client := &http.Client{Transport: tr, Timeout: 20 * time.Second}
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						for {
							// A POST with a body: net/http won't repeat it by itself.
							resp, err := client.Post(url, "text/plain", io.MultiReader(strings.NewReader("x")))
							if op, _ := errors.AsType[*net.OpError](err); op != nil && op.Op == "dial" {
								return
							}
							if err != nil {
								t.Errorf("after %d answers: %v", answers.Load(), err)
								return
							}
							body, err := io.ReadAll(resp.Body)
							resp.Body.Close()
							if err != nil || string(body) != "done" {
								t.Errorf("answer cut: %q, %v", body, err)
								return
							}
							if answers.Add(1) == 500 {
								stop()
							}
						}
					})
				}
				wg.Wait()
				if err := <-ended; err != nil {
					t.Errorf("serve: %v", err)
				}
				tr.CloseIdleConnections()
			}
		})
	}
}

func get(t *testing.T, url string) string {
	resp, err := http.Get(url)
	if err != nil {
		t.Errorf("get %s: %v", url, err)
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("get %s: %v", url, err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

func env(pairs ...string) func(string) string {
	return func(key string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}
}
