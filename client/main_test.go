package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/amammay/otorun/internal/cloudlog"
	"github.com/amammay/otorun/internal/httpservice"
	"github.com/amammay/otorun/internal/tracecontext"
)

func TestTacoBase(t *testing.T) {
	yes := func(context.Context) bool { return true }
	no := func(context.Context) bool { return false }
	never := func(context.Context) bool { t.Error("asked for Google Cloud although TACO_HOST is set"); return true }
	for _, tt := range []struct {
		name     string
		tacoHost string
		onGCE    func(context.Context) bool
		want     string
		wantErr  string
	}{
		{name: "on Google Cloud", onGCE: yes, want: "http://tacoserver/oto/"},
		{name: "elsewhere", onGCE: no, want: "http://localhost:8080/oto/"},
		{name: "a name", tacoHost: "tacoserver", want: "http://tacoserver/oto/"},
		{name: "a name with region", tacoHost: "tacoserver.us-east1", want: "http://tacoserver.us-east1/oto/"},
		{name: "host and port", tacoHost: "localhost:9090", want: "http://localhost:9090/oto/"},
		{name: "IPv4", tacoHost: "127.0.0.1:9090", want: "http://127.0.0.1:9090/oto/"},
		{name: "IPv6", tacoHost: "[::1]:9090", want: "http://[::1]:9090/oto/"},
		{name: "URL without path", tacoHost: "https://tacos.example", want: "https://tacos.example/oto/"},
		{name: "URL with a slash", tacoHost: "http://tacos.example/", want: "http://tacos.example/oto/"},
		{name: "URL with path", tacoHost: "http://tacos.example/oto", want: "http://tacos.example/oto/"},
		{name: "URL with path and slash", tacoHost: "http://tacos.example/oto/", want: "http://tacos.example/oto/"},
		{name: "URL with another path", tacoHost: "http://tacos.example/api/v1//", want: "http://tacos.example/api/v1/"},
		{name: "host with path", tacoHost: "tacos.example/api", want: "http://tacos.example/api/"},
		{name: "another scheme", tacoHost: "ftp://tacos", wantErr: `scheme "ftp" is neither http nor https`},
		{name: "a space", tacoHost: "taco server", wantErr: "invalid character"},
		{name: "only a space", tacoHost: " ", wantErr: "invalid character"},
		{name: "no host", tacoHost: "http://", wantErr: `"" is no host`},
		{name: "a port alone", tacoHost: ":8080", wantErr: `"" is no host`},
		{name: "punctuation", tacoHost: "!!", wantErr: `"!!" is no host`},
		{name: "port not a number", tacoHost: "tacos:http", wantErr: "invalid port"},
		{name: "port too high", tacoHost: "tacos:65536", wantErr: `"65536" is no port`},
		{name: "port missing", tacoHost: "tacos:", wantErr: `"" is no port`},
		{name: "a query", tacoHost: "http://tacos/?a=b", wantErr: "query"},
		{name: "a user", tacoHost: "http://me:secret@tacos/", wantErr: "user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onGCE := tt.onGCE
			if onGCE == nil {
				onGCE = never
			}
			got, err := tacoBase(t.Context(), env("TACO_HOST", tt.tacoHost), onGCE)
			if got != tt.want || (err != nil) != (tt.wantErr != "") {
				t.Fatalf("tacoBase(TACO_HOST=%q) = %q, %v, want %q, %s", tt.tacoHost, got, err, tt.want, tt.wantErr)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.wantErr) || !strings.HasPrefix(err.Error(), fmt.Sprintf("TACO_HOST=%q: ", tt.tacoHost))) {
				t.Errorf("tacoBase(TACO_HOST=%q): %v, want %q in it", tt.tacoHost, err, tt.wantErr)
			}
		})
	}
}

// TestProbeCannotHangTheStart: also not one that forgets its context.
func TestProbeCannotHangTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan bool)
		defer close(release)
		begun := time.Now()
		got, err := tacoBase(t.Context(), env(), func(context.Context) bool { return <-release })
		if want := "http://localhost:8080/oto/"; got != want || err != nil {
			t.Errorf("tacoBase = %q, %v, want %q", got, err, want)
		}
		if d := time.Since(begun); d != probeTimeout {
			t.Errorf("took %s, want %s", d, probeTimeout)
		}
	})
}

func TestTimeoutFrom(t *testing.T) {
	for s, want := range map[string]time.Duration{"": 10 * time.Second, "250ms": 250 * time.Millisecond, "0": -1, "-1s": -1, "ten": -1} {
		got, err := timeoutFrom(env("TACO_TIMEOUT", s))
		if want < 0 {
			if err == nil {
				t.Errorf("timeoutFrom(%q) = %s, want an error", s, got)
			}
		} else if got != want || err != nil {
			t.Errorf("timeoutFrom(%q) = %s, %v, want %s", s, got, err, want)
		}
	}
}

func TestDefaultPort(t *testing.T) {
	if program.DefaultPort != 8081 {
		t.Errorf("default port %d, want 8081", program.DefaultPort)
	}
}

func TestBadSettingsEndTheStart(t *testing.T) {
	for _, setting := range []string{"TACO_HOST", "TACO_TIMEOUT"} {
		var stderr bytes.Buffer
		status := run(t.Context(), nil, env("PORT", "0", setting, "a b"), &stderr)
		if status != 1 || !strings.HasPrefix(stderr.String(), `tacoclient: `+setting+`="a b"`) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("run with a bad %s = %d, %q", setting, status, &stderr)
		}
	}
}

// A taco is tacoclient in front of a tacoserver of the test's making.
type taco struct {
	http.Handler
	log *bytes.Buffer
}

func newTaco(t *testing.T, tacoserver http.HandlerFunc, settings ...string) taco {
	t.Helper()
	srv := httptest.NewServer(tacoserver)
	t.Cleanup(srv.Close)
	log := new(bytes.Buffer)
	h, err := newHandler(t.Context(), env(append(settings, "TACO_HOST", srv.URL)...), cloudlog.New(log, cloudlog.Config{JSON: true}))
	if err != nil {
		t.Fatal(err)
	}
	log.Reset()
	return taco{h, log}
}

func (c taco) do(r *http.Request) (status int, body string) {
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// failure returns the severity and the cause that the log gives.
func (c taco) failure(t *testing.T) (severity, cause string) {
	t.Helper()
	if c.log.Len() == 0 {
		return "", ""
	}
	var line struct{ Severity, Error string }
	if err := json.Unmarshal(c.log.Bytes(), &line); err != nil {
		t.Fatalf("log %q: %v", c.log, err)
	}
	return line.Severity, line.Error
}

func TestQuery(t *testing.T) {
	for _, tt := range []struct {
		name, method, url string
		want              string // the request that tacoserver gets
		wantStatus        int    // instead
	}{
		{name: "none", url: "/", want: `{"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}`},
		{name: "another's", url: "/?utm=1", want: `{"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}`},
		{name: "name and tacos", url: "/?name=Ana&taco=Al+pastor&taco=Carnitas", want: `{"name":"Ana","tacos":["Al pastor","Carnitas"]}`},
		{name: "name alone", url: "/?name=Ana", want: `{"name":"Ana","tacos":null}`},
		{name: "taco alone", url: "/?taco=Carnitas", want: `{"name":"","tacos":["Carnitas"]}`},
		{name: "empty name", url: "/?name=", want: `{"name":"","tacos":null}`},
		{name: "malformed", url: "/?name=%zz", wantStatus: 400},
		{name: "unknown path", url: "/tacos", wantStatus: 404},
		{name: "favicon", url: "/favicon.ico", wantStatus: 404},
		{name: "wrong verb", method: http.MethodPut, url: "/", wantStatus: 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked string
			c := newTaco(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				asked = string(b)
				if r.URL.Path != "/oto/TacoService.EatTaco" {
					t.Errorf("called %s", r.URL.Path)
				}
				io.WriteString(w, `{"tacoConsumptionStatus":"eaten"}`)
			})
			method := http.MethodGet
			if tt.method != "" {
				method = tt.method
			}
			status, body := c.do(httptest.NewRequest(method, tt.url, nil))
			if asked != tt.want {
				t.Errorf("GET %s asked tacoserver %s, want %s", tt.url, asked, tt.want)
			}
			if tt.wantStatus == 0 {
				if status != 200 || body != "eaten\n" {
					t.Errorf("GET %s = %d %q, want 200 eaten", tt.url, status, body)
				}
			} else if status != tt.wantStatus {
				t.Errorf("%s %s = %d %q, want %d", method, tt.url, status, body, tt.wantStatus)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	const proxyPage = "<html><title>403 Forbidden</title>secret"
	for _, tt := range []struct {
		name       string
		tacoserver http.HandlerFunc
		wantStatus int
		want       string
		severity   string
		cause      string
	}{
		{
			name: "refused as invalid", tacoserver: says(400, `{"error":"EatTacoRequest.Name is required","code":"invalid_argument"}`),
			wantStatus: 400, want: "EatTacoRequest.Name is required", severity: "INFO", cause: "EatTacoRequest.Name is required",
		},
		{
			name: "can't answer now", tacoserver: says(503, `{"error":"no store","code":"unavailable"}`),
			wantStatus: 503, want: "tacoserver can't answer now: try again later", severity: "ERROR", cause: "no store",
		},
		{
			name: "full", tacoserver: says(507, `{"error":"no room","code":"resource_exhausted"}`),
			wantStatus: 507, want: "tacoserver has no room left", severity: "ERROR", cause: "no room",
		},
		{
			name: "failed", tacoserver: says(500, `{"error":"disk on fire","code":"internal"}`),
			wantStatus: 502, want: "tacoserver failed (status 500)", severity: "ERROR", cause: "disk on fire",
		},
		{
			name: "failed, untyped", tacoserver: says(500, `{"error":"disk on fire"}`),
			wantStatus: 502, want: "tacoserver failed (status 500)", severity: "ERROR", cause: "disk on fire",
		},
		{
			name: "no instance", tacoserver: says(429, "Rate exceeded."),
			wantStatus: 502, want: "tacoserver failed (status 429)", severity: "ERROR", cause: "Rate exceeded.",
		},
		{
			name: "not let in", tacoserver: says(403, proxyPage),
			wantStatus: 502, want: "tacoserver does not let tacoclient in (status 403)", severity: "ERROR", cause: "403 Forbidden",
		},
		{
			name: "something else answers", tacoserver: says(200, proxyPage),
			wantStatus: 502, want: "tacoserver failed: its answer is not one of tacoserver's", severity: "ERROR", cause: "403 Forbidden",
		},
		{
			name: "too slow by its own account", tacoserver: says(504, `{"error":"too slow","code":"deadline_exceeded"}`),
			wantStatus: 504, want: "tacoserver took too long to answer", severity: "ERROR", cause: "too slow",
		},
		{
			name:       "hangs",
			tacoserver: func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() },
			wantStatus: 504, want: "tacoserver took too long to answer", severity: "ERROR", cause: "context deadline exceeded",
		},
		{
			name: "hangs in its answer",
			tacoserver: func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				io.WriteString(w, `{"tacoC`)
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			},
			wantStatus: 504, want: "tacoserver took too long to answer", severity: "ERROR", cause: "context deadline exceeded",
		},
		{
			name:       "dies",
			tacoserver: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			wantStatus: 502, want: "tacoserver failed: the connection broke before its answer", severity: "ERROR", cause: "EOF",
		},
		{
			name: "dies in its answer",
			tacoserver: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				io.WriteString(w, `{"tacoC`)
			},
			wantStatus: 502, want: "tacoserver failed", severity: "ERROR", cause: "unexpected EOF",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			timeout := "1m"
			if tt.cause == "context deadline exceeded" {
				timeout = "300ms"
			}
			c := newTaco(t, tt.tacoserver, "TACO_TIMEOUT", timeout)
			status, body := c.do(httptest.NewRequest(http.MethodGet, "/", nil))
			if status != tt.wantStatus || !strings.HasPrefix(body, tt.want) || strings.Contains(body, "secret") || strings.Contains(body, "127.0.0.1") {
				t.Errorf("answer %d %q, want %d %q", status, body, tt.wantStatus, tt.want)
			}
			if severity, cause := c.failure(t); severity != tt.severity || !strings.Contains(cause, tt.cause) {
				t.Errorf("logged %s %q, want %s %q", severity, cause, tt.severity, tt.cause)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // nobody is there now
	c := newTaco(t, nil, "TACO_HOST", ln.Addr().String())
	status, body := c.do(httptest.NewRequest(http.MethodGet, "/", nil))
	if status != 502 || body != "tacoserver is unreachable\n" {
		t.Errorf("answer %d %q, want 502 tacoserver is unreachable", status, body)
	}
	if severity, cause := c.failure(t); severity != "ERROR" || !strings.Contains(cause, "connection refused") {
		t.Errorf("logged %s %q", severity, cause)
	}
}

// hanging is a tacoserver that tells when it is called and that it was given up.
func hanging() (h http.HandlerFunc, called, givenUp chan bool) {
	called, givenUp = make(chan bool, 1), make(chan bool, 1)
	return func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then does net/http notice that the caller goes
		called <- true
		<-r.Context().Done()
		givenUp <- true
	}, called, givenUp
}

func TestCallerGoesAway(t *testing.T) {
	h, called, givenUp := hanging()
	c := newTaco(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-called; cancel() }()
	if status, _ := c.do(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)); status != statusClientClosedRequest {
		t.Errorf("status %d, want %d", status, statusClientClosedRequest)
	}
	<-givenUp // the call of tacoserver ended too
	if severity, _ := c.failure(t); severity != "INFO" {
		t.Errorf("logged as %s, want INFO", severity)
	}
}

func TestCallersDeadlineTravelsOn(t *testing.T) {
	h, _, givenUp := hanging()
	c := newTaco(t, h, "TACO_TIMEOUT", "1h")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if status, body := c.do(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)); status != 504 {
		t.Errorf("answer %d %q, want 504", status, body)
	}
	<-givenUp
}

func TestShutdownEndsTheCall(t *testing.T) {
	h, called, _ := hanging()
	c := newTaco(t, h)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-called; cancel(httpservice.ErrShuttingDown) }()
	if status, body := c.do(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)); status != 503 {
		t.Errorf("answer %d %q, want 503", status, body)
	}
}

func TestTraceTravelsOn(t *testing.T) {
	in := http.Header{
		"Traceparent":           {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		"Tracestate":            {"a=1"},
		"X-Cloud-Trace-Context": {"4bf92f3577b34da6a3ce929d0e0e4736/74;o=1"},
	}
	var got http.Header
	c := newTaco(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header; io.WriteString(w, "{}") })
	trace, _ := tracecontext.FromHeader(in)
	c.do(httptest.NewRequestWithContext(tracecontext.NewContext(t.Context(), trace), http.MethodGet, "/", nil))
	for key := range in {
		if got.Get(key) != in.Get(key) {
			t.Errorf("%s sent on as %q, want %q", key, got.Get(key), in.Get(key))
		}
	}
}

func TestExplainAnUnknownError(t *testing.T) {
	if status, _ := explain(t.Context(), t.Context(), errors.New("no idea")); status != 502 {
		t.Errorf("status %d, want 502", status)
	}
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
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
