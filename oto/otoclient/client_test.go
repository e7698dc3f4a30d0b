package otoclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pacedotdev/oto/otoclient"
	"github.com/pacedotdev/oto/otojson"
)

// EatRequest and EatResponse are what oto generates from a definition.
type EatRequest struct {
	Name  string   `json:"name"`
	Tacos []string `json:"tacos"`
}

type EatResponse struct {
	Status string `json:"status"`
}

func encodeEatRequest(e *otojson.Encoder, r *EatRequest) {
	e.Object()
	e.Key(`"name":`)
	e.String(r.Name)
	e.Key(`"tacos":`)
	e.Strings(r.Tacos)
	e.EndObject()
}

var eatResponseKeys = []string{"status"}

func decodeEatResponse(d *otojson.Decoder, r *EatResponse) {
	for more := d.Object(); more; more = d.MoreMembers() {
		switch d.Key(eatResponseKeys) {
		case "status":
			d.String(&r.Status)
		default:
			d.Skip()
		}
	}
}

// eat is a generated method.
func eat(ctx context.Context, c *otoclient.Client, request EatRequest) (*EatResponse, error) {
	return otoclient.Call(ctx, c, "TacoService", "Eat", &request, encodeEatRequest, decodeEatResponse)
}

var sammy = EatRequest{Name: "Sammy Sosa", Tacos: []string{"Chicken", "Chorizo"}}

const sammyJSON = `{"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}`

// serve starts a server and returns a client of it.
func serve(t *testing.T, handler http.HandlerFunc) *otoclient.Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return otoclient.New(s.URL)
}

// wantError calls a service that must fail with an [otoclient.Error].
func wantError(t *testing.T, c *otoclient.Client) *otoclient.Error {
	t.Helper()
	response, err := eat(t.Context(), c, sammy)
	e, ok := errors.AsType[*otoclient.Error](fmt.Errorf("wrapped: %w", err))
	if !ok || response != nil {
		t.Fatalf("Eat = %+v, %v, want an Error", response, err)
	}
	if e.Service != "TacoService" || e.Method != "Eat" {
		t.Errorf("error of %s.%s", e.Service, e.Method)
	}
	return e
}

func TestErrorOfTheService(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 400, 500} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, `{"error":"nobody is called Ana","code":"not_found"}`)
		})
		e := wantError(t, c)
		if e.StatusCode != status || e.Code != "not_found" || e.Error() != "nobody is called Ana" || e.Body != "" || e.Unwrap() != nil {
			t.Errorf("status %d: error %#v", status, e)
		}
	}
}

// A status that is not 2xx is never a success, and an answer that isn't the
// service's says so and is kept.
func TestAnswersThatAreNotTheServices(t *testing.T) {
	t.Parallel()
	page := "<html><title>403 Forbidden</title>" + strings.Repeat("x", 4096)
	for _, tt := range []struct {
		name        string
		status      int
		contentType string
		body        string
		want        string
		wantBody    string // if not the first 512 bytes
	}{
		{name: "a proxy's page", status: 403, contentType: "text/html", body: page, want: "TacoService.Eat: status 403 Forbidden, but no answer of the service: text/html: "},
		{name: "JSON without error", status: 401, contentType: "application/json", body: `{"message":"who are you"}`, want: "status 401 Unauthorized"},
		{name: "a good answer with a bad status", status: 500, contentType: "application/json", body: `{"status":"x"}`, want: "status 500"},
		{name: "a good answer with a redirect's status", status: 302, contentType: "application/json", body: `{"status":"x"}`, want: "status 302"},
		{name: "a page with a good status", status: 200, contentType: "text/html", body: page, want: "status 200 OK, but no answer of the service: text/html"},
		{name: "nothing", status: 200, want: "status 200 OK, but no answer of the service"},
		{name: "half an answer", status: 200, contentType: "application/json", body: `{"status":"x`, want: "no answer of the service"},
		{name: "a status without a body", status: 304, want: "status 304"},
		{name: "not UTF-8", status: 502, body: "caf\xe9" + strings.Repeat("x", 507) + "ü", want: "status 502", wantBody: "caf" + strings.Repeat("x", 507)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := wantError(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tt.contentType)
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			}))
			if e.StatusCode != tt.status || !strings.Contains(e.Error(), tt.want) {
				t.Errorf("status %d: %s\nwant %d: ...%s", e.StatusCode, e, tt.status, tt.want)
			}
			want := tt.wantBody
			if want == "" {
				want = tt.body[:min(len(tt.body), 512)]
			}
			if e.Body != want {
				t.Errorf("body %q, want %q", e.Body, want)
			}
		})
	}
}

// A redirect that keeps the POST is followed. One that makes a GET of it is a
// failure, wherever it leads.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for status, followed := range map[int]bool{301: false, 302: false, 303: false, 307: true, 308: true} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var got atomic.Value
			got.Store("nothing")
			var hooked atomic.Int64
			base := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/elsewhere" {
					http.Redirect(w, r, "/elsewhere", status)
					return
				}
				body, _ := io.ReadAll(r.Body)
				got.Store(r.Method + " " + string(body))
				io.WriteString(w, "{}")
			}).RemoteHost
			for _, c := range []*otoclient.Client{
				otoclient.New(base),
				{RemoteHost: base},
				{RemoteHost: base, BeforeRequest: func(*http.Request) error { hooked.Add(1); return nil }},
			} {
				if followed {
					if _, err := eat(t.Context(), c, sammy); err != nil {
						t.Errorf("Eat: %v", err)
					}
				} else if e := wantError(t, c); e.StatusCode != status {
					t.Errorf("error %#v, want status %d", e, status)
				}
			}
			want := "nothing"
			if followed {
				want = "POST " + sammyJSON
			}
			if got.Load() != want || hooked.Load() != 1 {
				t.Errorf("elsewhere got %s, want %s; the hook saw %d requests, want 1", got.Load(), want, hooked.Load())
			}
		})
	}
}

// Also a request whose body a hook took away, or replaced, is sent on.
func TestRedirectOfAHookedBody(t *testing.T) {
	t.Parallel()
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/elsewhere" {
			w.Header().Set("Location", "/elsewhere") // which has no body
			w.WriteHeader(http.StatusPermanentRedirect)
			return
		}
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, `{"status":"%s %s %v"}`, r.Method, body, err)
	}).RemoteHost
	for name, hook := range map[string]func(*http.Request) error{
		"POST  <nil>": func(r *http.Request) error { r.Body, r.GetBody, r.ContentLength = nil, nil, 0; return nil },
		"POST tacos <nil>": func(r *http.Request) error {
			r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("tacos")), nil }
			r.Body, _ = r.GetBody()
			r.ContentLength = 5
			return nil
		},
	} {
		for _, c := range []*http.Client{nil, {}} {
			answer, err := eat(t.Context(), &otoclient.Client{RemoteHost: base, HTTPClient: c, BeforeRequest: hook}, sammy)
			if err != nil || answer.Status != name {
				t.Errorf("Eat = %+v, %v, want %s", answer, err, name)
			}
		}
	}
}

// A request that says it may be repeated is, when its connection turns out to be
// closed: by net/http.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 2 {
			panic(http.ErrAbortHandler) // closes the connection without an answer
		}
		io.WriteString(w, "{}")
	})
	c.BeforeRequest = func(r *http.Request) error { r.Header.Set("Idempotency-Key", "1"); return nil }
	for range 2 {
		if _, err := eat(t.Context(), c, sammy); err != nil {
			t.Errorf("Eat: %v", err)
		}
	}
	if requests.Load() != 3 {
		t.Errorf("%d requests, want 3", requests.Load())
	}
}

func TestRedirectsWithoutEnd(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	e := wantError(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	}))
	if e.StatusCode != http.StatusTemporaryRedirect || calls.Load() != 10 {
		t.Errorf("error %#v after %d calls, want status 307 after 10", e, calls.Load())
	}
}

// A client of the user's own follows a redirect as net/http does, with a GET: its
// answer is no success either, and the body is kept.
func TestRedirectWithTheUsersClient(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		}
		io.WriteString(w, `{"status":"of a page"}`)
	})
	for _, changed := range []*http.Client{{}, {Transport: c.HTTPClient.Transport}} {
		c.HTTPClient = changed
		if e := wantError(t, c); e.StatusCode != 200 || !strings.Contains(e.Body, "of a page") {
			t.Errorf("error %#v", e)
		}
	}
}

func TestAnswerLargerThanTheLimit(t *testing.T) {
	t.Parallel()
	answer := `{"status":"` + strings.Repeat("x", 113) + `"}`
	for name, flush := range map[string]bool{"of known length": false, "chunked": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, answer[:60])
				if flush {
					http.NewResponseController(w).Flush()
				}
				io.WriteString(w, answer[60:])
			})
			for _, tt := range []struct {
				limit  int64
				larger bool
			}{{0, false}, {125, true}, {126, false}, {127, false}, {math.MaxInt64, false}} {
				c.MaxResponseBytes = tt.limit
				response, err := eat(t.Context(), c, sammy)
				if larger := err != nil && strings.Contains(err.Error(), "answer of status 200 OK is larger than 125 bytes"); larger != tt.larger {
					t.Errorf("limit %d: %v", tt.limit, err)
				}
				if !tt.larger && (err != nil || len(response.Status) != 113) {
					t.Errorf("limit %d: %v, %v", tt.limit, response, err)
				}
			}
		})
	}
}

func TestBeforeRequestStopsTheCall(t *testing.T) {
	t.Parallel()
	var got atomic.Int64
	c := serve(t, func(http.ResponseWriter, *http.Request) { got.Add(1) })
	refused := errors.New("refused")
	c.BeforeRequest = func(*http.Request) error { return refused }
	if _, err := eat(t.Context(), c, sammy); err != refused || got.Load() != 0 {
		t.Errorf("Eat = %v after %d requests, want the hook's own error and no request", err, got.Load())
	}
}

// The context that BeforeRequest sees ends with the call: after 10 seconds, if the
// caller doesn't say and the HTTPClient is ours.
func TestBeforeRequestSeesTheDeadline(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	var deadline time.Time
	var set bool
	var ctx context.Context
	c.BeforeRequest = func(r *http.Request) error {
		ctx = r.Context()
		deadline, set = ctx.Deadline()
		return nil
	}
	before := time.Now()
	if _, err := eat(t.Context(), c, sammy); err != nil {
		t.Fatal(err)
	}
	if !set || deadline.Before(before.Add(10*time.Second)) || deadline.After(time.Now().Add(10*time.Second)) || ctx.Err() == nil {
		t.Errorf("deadline %v, %v after the call; context ended with %v", deadline.Sub(before), set, ctx.Err())
	}
	mine, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := eat(mine, c, sammy); err != nil {
		t.Fatal(err)
	}
	if want, _ := mine.Deadline(); !deadline.Equal(want) {
		t.Errorf("deadline %v, want the caller's %v", deadline, want)
	}
	c.HTTPClient = &http.Client{}
	if _, err := eat(t.Context(), c, sammy); err != nil || set {
		t.Errorf("with a client of the user's there is a deadline: %t, %v", set, err)
	}
}

// echo answers with all that it sees of a request.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	r.Header.Del("Accept-Encoding") // what net/http asks for
	var header []string
	for name, values := range r.Header {
		header = append(header, fmt.Sprintf("%s: %q", name, values))
	}
	slices.Sort(header)
	fmt.Fprintf(w, "%s %s %s %q %v %d %v %t %q %v", r.Method, r.RequestURI, r.Host, header, r.TransferEncoding, r.ContentLength, r.Trailer, r.Close, body, err)
}

// What a hook makes of a request arrives, or fails, as it does over net/http.
func TestBeforeRequestAsOverNetHTTP(t *testing.T) {
	t.Parallel()
	c := serve(t, echo)
	other := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(other.Close)
	nobody := httptest.NewServer(nil)
	nobody.Close()
	closed := strings.TrimPrefix(nobody.URL, "http://")
	base, elsewhere := c.RemoteHost, strings.TrimPrefix(other.URL, "http://")
	if os.Getenv("OTO_TEST_PROXIED") != "" {
		base, elsewhere = "http://tacoserver/oto/", "elsewhere.example:8080"
	}
	for _, tt := range []struct {
		name string
		hook func(*http.Request)
	}{
		{"nothing", func(r *http.Request) {}},
		{"header", func(r *http.Request) { r.Header.Set("Traceparent", "00-abc") }},
		{"header of several values", func(r *http.Request) { r.Header.Add("Accept", "text/html"); r.Header.Add("X-A", "") }},
		{"blanks around a value", func(r *http.Request) { r.Header.Set("X-A", " a\tb ") }},
		{"line break in a value", func(r *http.Request) { r.Header.Set("X-A", "a\r\nX-B: b") }},
		{"line break in a name", func(r *http.Request) { r.Header["X-A: a\r\nX-B"] = []string{"b"} }},
		{"name not canonical", func(r *http.Request) { r.Header["x-goog"] = []string{"b"} }},
		{"length in another spelling", func(r *http.Request) { r.Header["content-length"] = []string{"1"} }},
		{"length in the header", func(r *http.Request) { r.Header.Set("Content-Length", "1") }},
		{"host in the header", func(r *http.Request) { r.Header.Set("Host", "elsewhere") }},
		{"connection in the header", func(r *http.Request) { r.Header.Set("Connection", "close") }},
		{"expect", func(r *http.Request) { r.Header.Set("Expect", "100-continue") }},
		{"encoding in the header", func(r *http.Request) { r.Header.Set("Transfer-Encoding", "chunked") }},
		{"no header", func(r *http.Request) { r.Header = nil }},
		{"agent", func(r *http.Request) { r.Header.Set("User-Agent", "tacos/1") }},
		{"no agent", func(r *http.Request) { r.Header.Set("User-Agent", "") }},
		{"agent of no value", func(r *http.Request) { r.Header["User-Agent"] = nil }},
		{"host", func(r *http.Request) { r.Host = "tacoserver:80" }},
		{"host of another script", func(r *http.Request) { r.Host = "tacö.example" }},
		{"host with a line break", func(r *http.Request) { r.Host = "a\r\nX-B: b" }},
		{"another server", func(r *http.Request) { r.URL.Host, r.Host = elsewhere, "" }},
		{"no server", func(r *http.Request) { r.URL.Host = "" }},
		{"https", func(r *http.Request) { r.URL.Scheme = "https" }},
		{"request URI", func(r *http.Request) { r.RequestURI = "/elsewhere" }},
		{"nobody listens", func(r *http.Request) { r.URL.Host = closed }},
		{"password and nobody listens", func(r *http.Request) { r.URL.Host, r.URL.User = closed, url.UserPassword("a", "b") }},
		{"context with a trace", func(r *http.Request) {
			*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), new(httptrace.ClientTrace)))
		}},
		{"context that has ended", func(r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			*r = *r.WithContext(ctx)
		}},
		{"another scheme", func(r *http.Request) { r.URL.Scheme = "gopher" }},
		{"no URL", func(r *http.Request) { r.URL = nil }},
		{"path and query", func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/a b/ü%2F", "x=1&y=;" }},
		{"opaque", func(r *http.Request) { r.URL.Opaque = "//" + r.URL.Host + "/a%2Fb" }},
		{"line break in a query", func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nX-B: b" }},
		{"IPv6 without brackets", func(r *http.Request) { r.URL.Host = "0:0:0:0:0:0:0:1:" + r.URL.Port() }},
		{"user", func(r *http.Request) { r.URL.User = url.UserPassword("a", "b") }},
		{"method", func(r *http.Request) { r.Method = http.MethodPut }},
		{"no body", func(r *http.Request) { r.Body, r.GetBody, r.ContentLength = nil, nil, 0 }},
		{"another body", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("tacos")), 5 }},
		{"a body of unknown length", func(r *http.Request) { r.ContentLength = -1 }},
		{"a body that is too short", func(r *http.Request) { r.ContentLength++ }},
		{"close", func(r *http.Request) { r.Close = true }},
		{"trailer", func(r *http.Request) { r.Trailer, r.ContentLength = http.Header{"X-A": {"a"}}, -1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got [2]string
			for i, std := range []bool{false, true} {
				c := &otoclient.Client{RemoteHost: base, BeforeRequest: func(r *http.Request) error { tt.hook(r); return nil }}
				if std {
					c.HTTPClient = &http.Client{}
				}
				e := wantError(t, c)
				got[i] = fmt.Sprintf("%d %s %s", e.StatusCode, e.Message, e.Body)
			}
			if got[0] != got[1] {
				t.Errorf("got  %s\nwant %s", got[0], got[1])
			}
		})
	}
}

// A hook may keep the request, whose body is then not used again.
func TestBeforeRequestKeepsTheBody(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	var kept []*http.Request
	c.BeforeRequest = func(r *http.Request) error { kept = append(kept, r); return nil }
	for i := range 50 {
		if _, err := eat(t.Context(), c, EatRequest{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range kept {
		again, err := r.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(again); err != nil || string(text) != fmt.Sprintf(`{"name":"%d","tacos":null}`, i) {
			t.Errorf("request %d became %s, %v", i, text, err)
		}
	}
}

func TestDebug(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	var said []string
	c.Debug = func(s string) { said = append(said, s) }
	if _, err := eat(t.Context(), c, sammy); err != nil {
		t.Fatal(err)
	}
	if want := []string{"POST " + c.RemoteHost + "/TacoService.Eat", ">> " + sammyJSON}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
}

func TestUnsendable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ host, want string }{
		{"http://[::1", `TacoService.Eat: make request: parse "http://[::1/TacoService.Eat": missing ']' in host`},
		{"", `TacoService.Eat: no answer: Post "/TacoService.Eat": unsupported protocol scheme ""`},
		{"gopher://x", `TacoService.Eat: no answer: Post "gopher://x/TacoService.Eat": unsupported protocol scheme "gopher"`},
	} {
		if _, err := eat(t.Context(), otoclient.New(tt.host), sammy); err == nil || err.Error() != tt.want {
			t.Errorf("%q: %v\nwant %s", tt.host, err, tt.want)
		}
	}
	_, err := otoclient.Call(t.Context(), otoclient.New("http://x"), "S", "M", new(func()), nil, (*otojson.Decoder).String)
	if err == nil || err.Error() != "S.M: encode request: json: unsupported type: func()" {
		t.Errorf("a request that is no JSON: %v", err)
	}
}

func TestEndOfTheContext(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 2)
	hold := func(r *http.Request) {
		io.Copy(io.Discard, r.Body) // or net/http doesn't see that the client goes
		<-r.Context().Done()
	}
	late := serve(t, func(w http.ResponseWriter, r *http.Request) { hold(r) })
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		hold(r)
	})
	for _, c.BeforeRequest = range []func(*http.Request) error{nil, func(*http.Request) error { return nil }} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		late.BeforeRequest = c.BeforeRequest
		_, err := eat(ctx, late, sammy)
		if want := `TacoService.Eat: no answer: Post "` + late.RemoteHost + `/TacoService.Eat": context deadline exceeded`; !errors.Is(err, context.DeadlineExceeded) || err.Error() != want {
			t.Errorf("past its deadline: %v\nwant %s", err, want)
		}
		cancel()
		ctx, cancel = context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		_, err = eat(ctx, c, sammy)
		if want := `TacoService.Eat: no answer: Post "` + c.RemoteHost + `/TacoService.Eat": context canceled`; !errors.Is(err, context.Canceled) || err.Error() != want {
			t.Errorf("cancelled: %v\nwant %s", err, want)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c := otoclient.New("http://" + l.Addr().String())
	want := fmt.Sprintf(`TacoService.Eat: no answer: Post "%s/TacoService.Eat": dial tcp %s: connect: connection refused`, c.RemoteHost, l.Addr())
	if e := wantError(t, c); e.StatusCode != 0 || e.Error() != want {
		t.Errorf("error %v\nwant %s", e, want)
	}
}

// Of an answer that breaks off, what came is kept.
func TestBodyOfABrokenAnswer(t *testing.T) {
	t.Parallel()
	e := wantError(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
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

// A call whose steps somebody wants to see goes over net/http, which tells them.
func TestTracedCall(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	for _, c.BeforeRequest = range []func(*http.Request) error{nil, func(*http.Request) error { return nil }} {
		var wrote, got bool
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			WroteRequest:         func(httptrace.WroteRequestInfo) { wrote = true },
			GotFirstResponseByte: func() { got = true },
		})
		if _, err := eat(ctx, c, sammy); err != nil || !wrote || !got {
			t.Errorf("Eat: %v; wrote %t, got %t", err, wrote, got)
		}
	}
}

// Calls that overlap have memory of their own.
func TestAnswersAreNotMixed(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, `{"status":%q}`, body)
	})
	var wg sync.WaitGroup
	for caller := range 20 {
		wg.Go(func() {
			for i := range 50 {
				name := strings.Repeat(fmt.Sprint(caller, " "), 1+i*i)
				answer, err := eat(t.Context(), c, EatRequest{Name: name})
				if want := fmt.Sprintf(`{"name":"%s","tacos":null}`, name); err != nil || answer.Status != want {
					t.Errorf("got %.40v, %v\nwant %.40s", answer, err, want)
				}
			}
		})
	}
	wg.Wait()
}

// proxied runs a test of this package in a process of its own, with a proxy: the
// variables are read once a process.
func proxied(t *testing.T, test, proxy, direct string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+test+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), "OTO_TEST_PROXIED="+direct, "HTTP_PROXY="+proxy, "NO_PROXY=", "no_proxy=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// By way of a proxy all is as over net/http too, and so it is if there is none.
func TestProxyAsOverNetHTTP(t *testing.T) {
	t.Parallel()
	var asked sync.Map
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Host, true)
		echo(w, r)
	}))
	t.Cleanup(proxy.Close)
	proxied(t, "TestBeforeRequestAsOverNetHTTP", proxy.URL, "none")
	for _, host := range []string{"tacoserver", "elsewhere.example:8080", "tacoserver:80"} {
		if _, ok := asked.Load(host); !ok {
			t.Errorf("the proxy wasn't asked for %s", host)
		}
	}
	proxy.Close()
	proxied(t, "TestBeforeRequestAsOverNetHTTP", proxy.URL, "none")
}

func TestProxyVariables(t *testing.T) {
	if os.Getenv("OTO_TEST_PROXIED") != "" {
		for _, host := range []string{"http://tacoserver/oto/", os.Getenv("OTO_TEST_PROXIED")} {
			for _, hook := range []func(*http.Request) error{nil, func(*http.Request) error { return nil }} {
				answer, err := eat(t.Context(), &otoclient.Client{RemoteHost: host, BeforeRequest: hook}, sammy)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Println("answer:", answer.Status)
			}
		}
		return
	}
	var asked atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.String())
		io.WriteString(w, `{"status":"by proxy"}`)
	}))
	t.Cleanup(proxy.Close)
	direct := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"status":"itself"}`)
	}))
	t.Cleanup(direct.Close)
	out := proxied(t, "TestProxyVariables", proxy.URL, direct.URL)
	if want := "http://tacoserver/oto/TacoService.Eat"; asked.Load() != want {
		t.Errorf("the proxy was asked for %v, want %s", asked.Load(), want)
	}
	if want := "answer: by proxy\nanswer: by proxy\nanswer: itself\nanswer: itself\n"; !strings.HasPrefix(out, want) {
		t.Errorf("got %s\nwant %s", out, want)
	}
}
