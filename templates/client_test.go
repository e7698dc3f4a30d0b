// Package templates_test holds what the templates promise of the code they make,
// by way of the committed generated/.
package templates_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/amammay/otorun/generated/client"
	"github.com/amammay/otorun/generated/server"
)

// tacoService is a service as its authors write it against oto.
type tacoService struct {
	server.TacoService // for the methods that aren't called here
	eat                func(ctx context.Context, request server.EatTacoRequest) (*server.EatTacoResponse, error)
}

func (s *tacoService) EatTaco(ctx context.Context, request server.EatTacoRequest) (*server.EatTacoResponse, error) {
	if s.eat != nil {
		return s.eat(ctx, request)
	}
	return &server.EatTacoResponse{TacoConsumptionStatus: fmt.Sprintf("%s has consumed %d tacos", request.Name, len(request.Tacos))}, nil
}

// serve starts a server of the service and returns the URL its services are below.
func serve(t *testing.T, service *tacoService) string {
	t.Helper()
	oto := otohttp.NewServer()
	server.RegisterTacoService(oto, service)
	s := httptest.NewServer(oto)
	t.Cleanup(s.Close)
	return s.URL + "/oto/"
}

// answer starts a server that answers every call in the same way.
func answer(t *testing.T, handler http.HandlerFunc) *client.TacoService {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return client.NewTacoService(client.New(s.URL))
}

var sammy = client.EatTacoRequest{Name: "Sammy Sosa", Tacos: []string{"Chicken", "Chorizo"}}

// The code in this test is written against the original oto, to the letter.
func TestCodeWrittenForTheOriginal(t *testing.T) {
	oto := otohttp.NewServer()
	server.RegisterTacoService(oto, &tacoService{})
	httpServer := httptest.NewServer(oto)
	defer httpServer.Close()

	c := client.New(httpServer.URL + "/oto/")
	var debug []string
	c.Debug = func(s string) { debug = append(debug, s) }
	tacos := client.NewTacoService(c)
	response, err := tacos.EatTaco(context.Background(), client.EatTacoRequest{
		Name:  "Sammy Sosa",
		Tacos: []string{"Chicken", "Chorizo"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "Sammy Sosa has consumed 2 tacos"; response.TacoConsumptionStatus != want {
		t.Errorf("status %q, want %q", response.TacoConsumptionStatus, want)
	}
	want := []string{
		"POST " + httpServer.URL + "/oto/TacoService.EatTaco",
		`>> {"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}`,
	}
	if strings.Join(debug, "\n") != strings.Join(want, "\n") {
		t.Errorf("debug %q, want %q", debug, want)
	}
}

func TestZeroClientAndBaseWithoutSlash(t *testing.T) {
	base := serve(t, &tacoService{})
	c := &client.Client{RemoteHost: strings.TrimSuffix(base, "/")}
	response, err := client.NewTacoService(c).EatTaco(t.Context(), sammy)
	if err != nil || response.TacoConsumptionStatus != "Sammy Sosa has consumed 2 tacos" {
		t.Errorf("EatTaco = %+v, %v", response, err)
	}
}

// wantError calls a service that must fail with an [client.Error].
func wantError(t *testing.T, service *client.TacoService) *client.Error {
	t.Helper()
	response, err := service.EatTaco(t.Context(), sammy)
	e, ok := errors.AsType[*client.Error](fmt.Errorf("wrapped: %w", err))
	if !ok || response != nil {
		t.Fatalf("EatTaco = %+v, %v, want an Error", response, err)
	}
	if e.Service != "TacoService" || e.Method != "EatTaco" {
		t.Errorf("error of %s.%s", e.Service, e.Method)
	}
	return e
}

func TestErrorOfTheService(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		status int
		code   string
		text   string
	}{
		{name: "typed", err: otohttp.Errorf(otohttp.InvalidArgument, "EatTacoRequest.Name is required"),
			status: 400, code: "invalid_argument", text: "EatTacoRequest.Name is required"},
		{name: "untyped", err: errors.New("out of salsa"), status: 500, text: "out of salsa"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := serve(t, &tacoService{eat: func(context.Context, server.EatTacoRequest) (*server.EatTacoResponse, error) {
				return nil, tt.err
			}})
			e := wantError(t, client.NewTacoService(client.New(base)))
			if e.StatusCode != tt.status || e.Code != tt.code || e.Message != tt.text || e.Error() != tt.text {
				t.Errorf("error %#v, want status %d, code %q, text %q", e, tt.status, tt.code, tt.text)
			}
		})
	}
}

func TestErrorInTheAnswer(t *testing.T) {
	base := serve(t, &tacoService{eat: func(context.Context, server.EatTacoRequest) (*server.EatTacoResponse, error) {
		return &server.EatTacoResponse{Error: "not today"}, nil
	}})
	if e := wantError(t, client.NewTacoService(client.New(base))); e.StatusCode != 200 || e.Error() != "not today" {
		t.Errorf("error %#v", e)
	}
}

// A status that is not 2xx is never a success, and an answer that isn't the
// service's says so and is kept.
func TestAnswersThatAreNotTheServices(t *testing.T) {
	page := "<html><title>403 Forbidden</title>" + strings.Repeat("x", 4096)
	for _, tt := range []struct {
		name        string
		status      int
		contentType string
		body        string
		want        string
	}{
		{name: "a proxy's page", status: 403, contentType: "text/html", body: page, want: "TacoService.EatTaco: status 403 Forbidden, but no answer of the service: text/html: "},
		{name: "JSON without error", status: 401, contentType: "application/json", body: `{"message":"who are you"}`, want: "status 401 Unauthorized"},
		{name: "a good answer with a bad status", status: 500, contentType: "application/json", body: `{"tacoConsumptionStatus":"x"}`, want: "status 500"},
		{name: "a good answer with a redirect's status", status: 302, contentType: "application/json", body: `{"tacoConsumptionStatus":"x"}`, want: "status 302"},
		{name: "a page with a good status", status: 200, contentType: "text/html", body: page, want: "status 200 OK, but no answer of the service: text/html"},
		{name: "nothing", status: 200, want: "status 200 OK, but no answer of the service"},
		{name: "half an answer", status: 200, contentType: "application/json", body: `{"tacoConsumptionStatus":"x`, want: "no answer of the service"},
		{name: "a status without a body", status: 304, want: "status 304"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := wantError(t, answer(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tt.contentType)
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			}))
			if e.StatusCode != tt.status || !strings.Contains(e.Error(), tt.want) {
				t.Errorf("status %d: %s\nwant %d: ...%s", e.StatusCode, e, tt.status, tt.want)
			}
			if want := tt.body[:min(len(tt.body), 512)]; e.Body != want {
				t.Errorf("body %q, want %q", e.Body, want)
			}
		})
	}
}

// A redirect that keeps the POST is followed. One that makes a GET of it is a
// failure, wherever it leads.
func TestRedirects(t *testing.T) {
	for status, followed := range map[int]bool{301: false, 302: false, 303: false, 307: true, 308: true} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var got atomic.Value
			got.Store("nothing")
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/elsewhere" {
					http.Redirect(w, r, "/elsewhere", status)
					return
				}
				body, _ := io.ReadAll(r.Body)
				got.Store(r.Method + " " + string(body))
				io.WriteString(w, "{}")
			}))
			t.Cleanup(s.Close)
			for _, c := range []*client.Client{client.New(s.URL), {RemoteHost: s.URL}} {
				if followed {
					if _, err := client.NewTacoService(c).EatTaco(t.Context(), sammy); err != nil {
						t.Errorf("EatTaco: %v", err)
					}
				} else if e := wantError(t, client.NewTacoService(c)); e.StatusCode != status {
					t.Errorf("error %#v, want status %d", e, status)
				}
			}
			want := "nothing"
			if followed {
				want = `POST {"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}`
			}
			if got.Load() != want {
				t.Errorf("elsewhere got %s, want %s", got.Load(), want)
			}
		})
	}
}

func TestRedirectsWithoutEnd(t *testing.T) {
	e := wantError(t, answer(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}))
	if e.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("error %#v, want status 307", e)
	}
}

func TestAnswerLargerThanTheLimit(t *testing.T) {
	service := answer(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"tacoConsumptionStatus":"`+strings.Repeat("x", 100)+`"}`)
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"tacoConsumptionStatus":"`+strings.Repeat("x", 100)+`"}`)
	}))
	t.Cleanup(s.Close)
	if response, err := service.EatTaco(t.Context(), sammy); err != nil || len(response.TacoConsumptionStatus) != 100 {
		t.Fatalf("EatTaco = %v, %v", response, err)
	}
	c := client.New(s.URL)
	c.MaxResponseBytes = 127
	if e := wantError(t, client.NewTacoService(c)); !strings.Contains(e.Error(), "larger than 127 bytes") {
		t.Errorf("error %v", e)
	}
	c.MaxResponseBytes = 128
	if _, err := client.NewTacoService(c).EatTaco(t.Context(), sammy); err != nil {
		t.Errorf("an answer of just the limit: %v", err)
	}
	c.MaxResponseBytes = math.MaxInt64
	if _, err := client.NewTacoService(c).EatTaco(t.Context(), sammy); err != nil {
		t.Errorf("an answer without a limit: %v", err)
	}
}

func TestBeforeRequest(t *testing.T) {
	var got atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.Header.Get("Traceparent") + " " + r.Header.Get("Content-Type"))
		io.WriteString(w, "{}")
	}))
	t.Cleanup(s.Close)
	c := client.New(s.URL)
	c.BeforeRequest = func(r *http.Request) error {
		r.Header.Set("Traceparent", "00-abc")
		return nil
	}
	if _, err := client.NewTacoService(c).EatTaco(t.Context(), sammy); err != nil {
		t.Fatal(err)
	}
	if want := "00-abc application/json; charset=utf-8"; got.Load() != want {
		t.Errorf("server got %q, want %q", got.Load(), want)
	}
	refused := errors.New("refused")
	c.BeforeRequest = func(*http.Request) error { return refused }
	got.Store("nothing")
	if _, err := client.NewTacoService(c).EatTaco(t.Context(), sammy); err != refused || got.Load() != "nothing" {
		t.Errorf("EatTaco = %v after %v was sent, want the hook's own error and no request", err, got.Load())
	}
}

func TestContextEndsTheCall(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	arrived := make(chan struct{}, 2)
	service := answer(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := service.EatTaco(ctx, sammy); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("past its deadline: %v", err)
	}
	<-arrived
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := service.EatTaco(ctx, sammy)
	if !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "TacoService.EatTaco: ") {
		t.Errorf("cancelled: %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + l.Addr().String()
	l.Close()
	e := wantError(t, client.NewTacoService(client.New(base)))
	if e.StatusCode != 0 || !strings.Contains(e.Error(), "TacoService.EatTaco: no answer: ") {
		t.Errorf("error %#v", e)
	}
}

// countingListener counts the connections it accepts.
type countingListener struct {
	net.Listener
	accepted *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return conn, err
}

// serveCounted is serve, and counts the connections.
func serveCounted(t *testing.T) (url string, accepted *atomic.Int64) {
	t.Helper()
	oto := otohttp.NewServer()
	server.RegisterTacoService(oto, &tacoService{})
	s := httptest.NewUnstartedServer(oto)
	accepted = new(atomic.Int64)
	s.Listener = countingListener{s.Listener, accepted}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL + "/oto/", accepted
}

// mostConnections is the client's 80 and some: on a machine that is busy with
// other things net/http doesn't keep one whose writer had no turn for 50 ms.
const mostConnections = 88

// 80 callers at once make 10,000 calls over at most 80 connections.
func TestConnectionsAreReused(t *testing.T) {
	const calls, callers = 10_000, 80
	base, accepted := serveCounted(t)
	service := client.NewTacoService(client.New(base))
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for next.Add(1) <= calls {
				if _, err := service.EatTaco(t.Context(), sammy); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if failed.Load() > 0 || accepted.Load() > mostConnections {
		t.Errorf("%d calls failed, %d connections opened, want none and at most %d", failed.Load(), accepted.Load(), mostConnections)
	}
}

// More calls than connections take turns; none is lost.
func TestMoreCallsThanConnections(t *testing.T) {
	base, accepted := serveCounted(t)
	service := client.NewTacoService(client.New(base))
	var failed atomic.Int64
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			if _, err := service.EatTaco(t.Context(), sammy); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if failed.Load() > 0 || accepted.Load() > mostConnections {
		t.Errorf("%d of 300 calls failed, %d connections opened, want none and at most %d", failed.Load(), accepted.Load(), mostConnections)
	}
}

// Proxy variables are read once a process, so a process of its own reads them.
func TestProxyVariables(t *testing.T) {
	if os.Getenv("OTORUN_TEST_PROXIED") != "" {
		_, err := client.NewTacoService(client.New("http://tacoserver/oto/")).EatTaco(t.Context(), sammy)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	var asked atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.String())
		io.WriteString(w, `{"tacoConsumptionStatus":"by proxy"}`)
	}))
	defer proxy.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestProxyVariables$", "-test.count=1")
	cmd.Env = append(os.Environ(), "OTORUN_TEST_PROXIED=1", "HTTP_PROXY="+proxy.URL, "NO_PROXY=", "no_proxy=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := "http://tacoserver/oto/TacoService.EatTaco"; asked.Load() != want {
		t.Errorf("the proxy was asked for %v, want %s", asked.Load(), want)
	}
}

// A client of the user's own follows a redirect as net/http does, with a GET: its
// answer is no success either, and the body is kept.
func TestRedirectWithTheUsersClient(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		}
		io.WriteString(w, `{"tacoConsumptionStatus":"of a page"}`)
	}))
	t.Cleanup(s.Close)
	c := client.New(s.URL)
	c.HTTPClient = &http.Client{}
	if e := wantError(t, client.NewTacoService(c)); e.StatusCode != 200 || !strings.Contains(e.Body, "of a page") {
		t.Errorf("error %#v", e)
	}
}

// Of an answer that breaks off, what came is kept.
func TestBodyOfABrokenAnswer(t *testing.T) {
	e := wantError(t, answer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, "<html>bad gateway")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	if e.StatusCode != 502 || e.Body != "<html>bad gateway" || !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Errorf("error %#v", e)
	}
}
