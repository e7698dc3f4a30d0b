package frontdoor_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/amammay/otorun/cloudrun/internal/frontdoor"
	"github.com/amammay/otorun/cloudrun/internal/iam"
)

const limit = 1000 // in place of 32 MiB

func small(_ *world, cfg *frontdoor.Config) { cfg.MaxBody = limit }

func http2(w *world, _ *frontdoor.Config) { w.service().HTTP2 = true }

// unsized hides the length of a body, so that it is sent in chunks.
type unsized struct{ io.Reader }

func TestLimits(t *testing.T) {
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		if r.URL.Query().Has("large") {
			body := strings.Repeat("x", limit+1)
			if r.URL.Query().Has("streamed") {
				w.(http.Flusher).Flush()
			} else {
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			}
			io.WriteString(w, body)
			return
		}
		fmt.Fprint(w, n)
	})
	one, two := newWorld(t, app, small), newWorld(t, app, small, http2)
	for _, tt := range []struct {
		name, path       string
		body             io.Reader
		overOne, overTwo int // status, by what the container speaks
	}{
		{name: "request at the limit", body: strings.NewReader(strings.Repeat("x", limit)), overOne: 200, overTwo: 200},
		{name: "larger request", body: strings.NewReader(strings.Repeat("x", limit+1)), overOne: 413, overTwo: 200},
		{name: "request in chunks at the limit", body: unsized{strings.NewReader(strings.Repeat("x", limit))}, overOne: 200, overTwo: 200},
		{name: "larger request in chunks", body: unsized{strings.NewReader(strings.Repeat("x", limit+1))}, overOne: 413, overTwo: 200},
		{name: "larger answer", path: "?large", overOne: 500, overTwo: 200},
		{name: "larger answer, streamed", path: "?large&streamed", overOne: 200, overTwo: 200},
	} {
		for _, v := range []struct {
			w    *world
			want int
		}{{one, tt.overOne}, {two, tt.overTwo}} {
			var body io.Reader
			if tt.body != nil {
				b, _ := io.ReadAll(tt.body)
				tt.body = bytes.NewReader(b)
				if body = bytes.NewReader(b); strings.Contains(tt.name, "chunks") {
					body = unsized{body}
				}
			}
			resp, _ := v.w.do(t, v.w.client(t, false), http.MethodPost, numberURL+"/"+tt.path, body)
			if resp.StatusCode != v.want {
				t.Errorf("%s, HTTP/2 container %t: %s, want %d, why: %s", tt.name, v.w.service().HTTP2, resp.Status, v.want, resp.Header.Get("X-Cloudrun-Why"))
			}
		}
	}
}

// TestTimeout has an instance in the test's own time, which runs when all wait.
func TestTimeout(t *testing.T) {
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		early   bool // the instance sends something before
		want    time.Duration
	}{
		{name: "default", want: 300 * time.Second},
		{name: "set", timeout: time.Hour, want: time.Hour},
		{name: "after the first byte", early: true, want: 300 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logs bytes.Buffer
				door := frontdoor.New(frontdoor.Config{
					Backend: slow{&frontdoor.Service{Name: "slow", Region: region, InvokerCheckDisabled: true, Timeout: tt.timeout}, tt.early},
					Log:     slog.New(slog.NewTextHandler(&logs, nil)),
				})
				// What a server puts there lets an answer be cut.
				ctx := context.WithValue(t.Context(), http.ServerContextKey, new(http.Server))
				w, start := httptest.NewRecorder(), time.Now()
				cut := any(nil)
				func() {
					defer func() { cut = recover() }()
					door.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "http://slow.localhost/", nil))
				}()
				if got := time.Since(start); got != tt.want {
					t.Errorf("it took %v, want %v", got, tt.want)
				}
				why := w.Header().Get("X-Cloudrun-Why")
				switch {
				case tt.early && (w.Code != 200 || w.Body.String() != "first" || cut != http.ErrAbortHandler):
					t.Errorf("%d %q, cut by %v", w.Code, w.Body, cut)
				case tt.early:
				case w.Code != 504 || w.Body.String() != "upstream request timeout" || !strings.Contains(why, "maximum request timeout of "+tt.want.String()):
					t.Errorf("%d %q, why: %s", w.Code, w.Body, why)
				case !strings.Contains(logs.String(), "level=ERROR") || !strings.Contains(logs.String(), "--timeout=SECONDS"):
					t.Errorf("logged %q", logs.String())
				}
			})
		})
	}
}

// slow is a backend whose one instance answers never, or not to the end.
type slow struct {
	service *frontdoor.Service
	early   bool
}

func (s slow) Service(frontdoor.Address) (*frontdoor.Service, bool) { return s.service, true }

func (s slow) Acquire(context.Context, frontdoor.Call) (frontdoor.Instance, func(), error) {
	return frontdoor.Instance{Transport: s}, func() {}, nil
}

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	if !s.early {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	body, w := io.Pipe()
	go func() {
		io.WriteString(w, "first")
		<-r.Context().Done()
		w.CloseWithError(r.Context().Err())
	}()
	return &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1, Header: make(http.Header), Body: body, Request: r}, nil
}

func TestInstanceDies(t *testing.T) {
	for _, early := range []bool{false, true} {
		var w *world
		w = newWorld(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if early {
				io.WriteString(rw, "first")
				rw.(http.Flusher).Flush()
			}
			w.backend.app.CloseClientConnections()
		}))
		req, _ := http.NewRequestWithContext(t.Context(), "POST", numberURL+"/", strings.NewReader("taco"))
		req.Header.Set("Authorization", "Bearer "+w.token(t, w.invoker.Principal, numberURL))
		resp, err := w.client(t, false).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if early {
			if resp.StatusCode != 200 || err == nil {
				t.Errorf("after the first byte: %s %q, %v, want it cut", resp.Status, body, err)
			}
		} else if resp.StatusCode != 503 || string(body) != "Service Unavailable" || !strings.Contains(resp.Header.Get("X-Cloudrun-Why"), "connection to the instance had an error") {
			t.Errorf("%s %q, why: %s", resp.Status, body, resp.Header.Get("X-Cloudrun-Why"))
		}
		<-w.backend.freed
	}
}

// TestClientGoes: a container that speaks HTTP/1 isn't told, one that speaks
// HTTP/2 is.
func TestClientGoes(t *testing.T) {
	for _, told := range []bool{false, true} {
		arrived, canGoOn, noticed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		change := func(w *world, _ *frontdoor.Config) { w.service().HTTP2 = told }
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			if told {
				<-r.Context().Done()
				noticed <- r.Context().Err()
				return
			}
			<-canGoOn
			// More than every buffer between here and the client takes.
			_, err := io.Copy(w, io.LimitReader(zeros{}, 16<<20))
			noticed <- errors.Join(err, r.Context().Err())
		}), change)
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "GET", numberURL+"/", nil)
		req.Header.Set("Authorization", "Bearer "+w.token(t, w.invoker.Principal, numberURL))
		done := make(chan error, 1)
		go func() {
			resp, err := w.client(t, told).Do(req)
			if err == nil {
				resp.Body.Close()
			}
			done <- err
		}()
		<-arrived
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		close(canGoOn)
		if err := <-noticed; (err != nil) != told {
			t.Errorf("container told %t: it noticed %v", told, err)
		}
		<-w.backend.freed
		r := <-w.requests
		if told && r.Status != 499 || !told && (r.Status != 200 || !r.ClientGone) {
			t.Errorf("container told %t: request %+v", told, r)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestServerSentEvents(t *testing.T) {
	next := make(chan string)
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for s := range next {
			fmt.Fprintf(w, "data: %s\n\n", s)
			w.(http.Flusher).Flush()
		}
	}))
	for _, h2 := range []bool{false, true} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", numberURL+"/", nil)
		req.Header.Set("Authorization", "Bearer "+w.token(t, w.invoker.Principal, numberURL))
		go func() { next <- "0" }()
		resp, err := w.client(t, h2).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(resp.Body)
		for i := range 3 {
			if i > 0 {
				next <- fmt.Sprint(i)
			}
			// Each event comes through before the next is sent.
			if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) {
				t.Errorf("event %d: %q", i, lines.Text())
			}
			lines.Scan()
		}
		if !h2 {
			close(next)
			if lines.Scan() {
				t.Errorf("after the end: %q", lines.Text())
			}
			next = make(chan string)
		}
		resp.Body.Close()
	}
	close(next)
}

func TestWebSocket(t *testing.T) {
	closed := make(chan error, 1)
	w := newWorld(t, websocket.Handler(func(c *websocket.Conn) {
		var s string
		var err error
		for err == nil {
			if err = websocket.Message.Receive(c, &s); err == nil {
				err = websocket.Message.Send(c, "taco "+s)
			}
		}
		closed <- err
	}))
	cfg, err := websocket.NewConfig("wss://"+numberHost+"/chat", numberURL)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Header.Set("Authorization", "Bearer "+w.token(t, w.invoker.Principal, numberURL))
	conn, err := tls.Dial("tcp", w.secure.Addr().String(), &tls.Config{RootCAs: authority().Pool(), ServerName: numberHost})
	if err != nil {
		t.Fatal(err)
	}
	ws, err := websocket.NewClient(cfg, conn)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		var got string
		if err := websocket.Message.Send(ws, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if err := websocket.Message.Receive(ws, &got); err != nil || got != fmt.Sprint("taco ", i) {
			t.Errorf("message %d: %q, %v", i, got, err)
		}
	}
	ws.Close()
	<-closed // the container learns that the client went
	<-w.backend.freed
	if r := <-w.requests; r.Status != 101 {
		t.Errorf("request %+v", r)
	}
}

func TestWebSocketTimeout(t *testing.T) {
	w := newWorld(t, websocket.Handler(func(c *websocket.Conn) { io.Copy(io.Discard, c) }))
	cfg, err := websocket.NewConfig("ws://tacoserver.localhost/", "http://tacoserver.localhost")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Header.Set("Authorization", "Bearer "+w.token(t, w.invoker.Principal, numberURL))
	for timeout := 50 * time.Millisecond; ; timeout *= 2 {
		w.backend.services["tacoserver"] = &frontdoor.Service{Name: "tacoserver", Region: region, Timeout: timeout}
		conn, err := net.Dial("tcp", w.plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ws, err := websocket.NewClient(cfg, conn)
		if err != nil { // it ended before it began: on a busy machine
			conn.Close()
			<-w.backend.freed
			continue
		}
		defer ws.Close()
		var got string
		if err := websocket.Message.Receive(ws, &got); err == nil {
			t.Errorf("received %q, want an end", got)
		}
		<-w.backend.freed
		return
	}
}

func TestGRPC(t *testing.T) {
	srv := grpc.NewServer()
	checks := health.NewServer()
	checks.SetServingStatus("taco", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(srv, checks)
	w := newWorld(t, srv, http2)
	cc, err := grpc.NewClient("passthrough:///"+numberHost+":443",
		grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(authority().Pool(), "")),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", w.secure.Addr().String())
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	client := healthpb.NewHealthClient(cc)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+w.token(t, w.invoker.Principal, numberURL))

	if resp, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "taco"}); err != nil || resp.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("Check: %v, %v", resp, err)
	}
	// The status of an error travels in the trailers.
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "none"}); status.Code(err) != codes.NotFound {
		t.Errorf("Check of an unknown service: %v", err)
	}
	if _, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("Check without a token: %v", err)
	}
	stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: "taco"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []healthpb.HealthCheckResponse_ServingStatus{healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING} {
		if resp, err := stream.Recv(); err != nil || resp.Status != want {
			t.Errorf("Watch: %v, %v, want %v", resp, err, want)
		}
		checks.SetServingStatus("taco", healthpb.HealthCheckResponse_NOT_SERVING)
	}
}

func TestShutdownWaits(t *testing.T) {
	arrived, goOn := make(chan struct{}), make(chan struct{})
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-goOn
	}))
	status := make(chan int, 1)
	go func() {
		resp, _ := w.get(t, "http://tacoserver.localhost/")
		status <- resp.StatusCode
	}()
	<-arrived
	down := make(chan error, 1)
	go func() { down <- w.door.Shutdown(t.Context()) }()
	close(goOn)
	if got := <-status; got != 200 {
		t.Errorf("status %d", got)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// TestCloseBreaksOff: also what doesn't notice that its client went.
func TestCloseBreaksOff(t *testing.T) {
	arrived := make(chan struct{})
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	go func() {
		req, _ := http.NewRequest("GET", "http://tacoserver.localhost/", nil)
		req.Header.Set("Authorization", "Bearer "+w.token(t, w.invoker.Principal, numberURL))
		if resp, err := w.client(t, false).Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	<-arrived
	w.door.Close()
	<-w.backend.freed
}

func TestAuthorize(t *testing.T) {
	w := newWorld(t, nil)
	h := http.Header{"Authorization": {"Bearer " + w.token(t, w.stranger.Principal, numberURL)}}
	who, refusal := w.door.Authorize(w.service(), h)
	if who != w.stranger.Principal || refusal == nil || refusal.Status != 403 {
		t.Errorf("%v, %+v", who, refusal)
	}
	w.bind(t, iam.AllAuthenticatedUsers)
	if _, refusal := w.door.Authorize(w.service(), h); refusal != nil {
		t.Errorf("with allAuthenticatedUsers: %+v", refusal)
	}
}
