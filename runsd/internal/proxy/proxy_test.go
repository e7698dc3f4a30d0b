package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amammay/otorun/runsd/internal/config"
	"github.com/amammay/otorun/runsd/internal/identity"
	"github.com/amammay/otorun/runsd/internal/metadata"
	"github.com/amammay/otorun/runsd/internal/proxy"
	"github.com/amammay/otorun/runsd/internal/services"
	"github.com/amammay/otorun/runsd/internal/upstream"
)

const (
	helloHost = "hello-123456789012.us-central1.run.app"
	email     = "caller@example.iam.gserviceaccount.com"
)

func mint(aud string, issued time.Time, n int) string {
	claims := fmt.Sprintf(`{"iss":"https://accounts.google.com","aud":%q,"email":%q,"iat":%d,"exp":%d,"n":%d}`, aud, email, issued.Unix(), issued.Add(time.Hour).Unix(), n)
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2VjcmV0LXNpZw"
}

// A bed is a front door for all services, runsd's proxy before it, and an app.
type bed struct {
	t       testing.TB
	door    *httptest.Server
	conns   atomic.Int32 // TLS connections
	fetches atomic.Int32 // of tokens
	fetch   func(ctx context.Context, aud string) (string, error)
	handler *proxy.Handler
	server  *http.Server
	addr    string // of the proxy
	http1   bool
	logs    *logs
	app     *http.Client // dials the proxy whatever the name
}

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type option func(*bed, *upstream.Config)

func http1(b *bed, c *upstream.Config) { b.http1, c.HTTP1Only = true, true }

func newBed(t testing.TB, service http.HandlerFunc, options ...option) *bed {
	t.Helper()
	b := &bed{t: t, logs: &logs{}}
	b.door = httptest.NewUnstartedServer(service)
	b.door.EnableHTTP2 = true
	b.door.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	b.door.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			b.conns.Add(1)
		}
	}
	b.door.StartTLS()
	t.Cleanup(b.door.Close)
	roots := x509.NewCertPool()
	roots.AddCert(b.door.Certificate())
	cfg := upstream.Config{
		TLS: &tls.Config{RootCAs: roots, ServerName: "example.com"},
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", b.door.Listener.Addr().String())
		},
	}
	for _, o := range options {
		o(b, &cfg)
	}
	if b.fetch == nil {
		b.fetch = func(_ context.Context, aud string) (string, error) {
			return mint(aud, time.Now(), int(b.fetches.Load())), nil
		}
	}
	log := slog.New(slog.NewTextHandler(b.logs, &slog.HandlerOptions{Level: slog.Level(-9)}))
	pool := upstream.New(cfg)
	t.Cleanup(pool.Close)
	b.handler = &proxy.Handler{
		Directory: &services.Directory{
			Zone: "run.internal", Log: log,
			Project: func(context.Context) (metadata.Project, error) {
				return metadata.Project{Number: "123456789012", Region: "us-central1"}, nil
			},
		},
		Pool: pool,
		Tokens: &identity.Cache{Fetch: func(ctx context.Context, aud string) (string, error) {
			b.fetches.Add(1)
			return b.fetch(ctx, aud)
		}},
		Agent: "runsd version=test",
		Log:   log,
	}
	b.server = proxy.NewServer(b.handler)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go b.server.Serve(l)
	t.Cleanup(func() { b.server.Close() })
	b.addr = l.Addr().String()
	b.app = b.client(false)
	return b
}

// quiet logs what runsd logs by default.
func (b *bed) quiet() { b.handler.Log = slog.New(slog.NewTextHandler(b.logs, nil)) }

func (b *bed) client(h2c bool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!h2c)
	protocols.SetUnencryptedHTTP2(h2c)
	tr := &http.Transport{
		Protocols: &protocols, DisableCompression: true, MaxIdleConnsPerHost: 1000,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", b.addr)
		},
	}
	b.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (b *bed) do(method, target string, body io.Reader, header ...string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := b.app.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(text)
}

// each runs a test over HTTP/2 and HTTP/1.1 to the service.
func each(t *testing.T, f func(t *testing.T, o option)) {
	t.Run("h2", func(t *testing.T) { f(t, func(*bed, *upstream.Config) {}) })
	t.Run("http1", func(t *testing.T) { f(t, http1) })
}

func bearer(r *http.Request, name string) (*identity.Token, bool) {
	raw, ok := strings.CutPrefix(r.Header.Get(name), "Bearer ")
	if !ok {
		return nil, false
	}
	tok, err := identity.Parse(raw)
	return tok, err == nil
}

func TestRequest(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		var got *http.Request
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			got = r
			w.Header().Set("X-Service", "yes")
			io.WriteString(w, "tacos")
		}, o)
		resp, text := b.do("GET", "http://Hello.US-Central1:8080/a%2Fb//c/../d;x?q=%zz&a|b", nil,
			"User-Agent", "app/1", "X-Forwarded-For", "192.0.2.1", "Traceparent", "00-x", "Cookie", "a=b", "Connection", "X-Hop", "X-Hop", "1", "Te", "trailers, gzip")
		if resp.StatusCode != 200 || text != "tacos" || resp.Header.Get("X-Service") != "yes" || resp.Header.Get(proxy.ErrorHeader) != "" {
			t.Errorf("answer: %v %q %v", resp.Status, text, resp.Header)
		}
		if got.RequestURI != "/a%2Fb//c/../d;x?q=%zz&a|b" {
			t.Errorf("path: %s", got.RequestURI)
		}
		if got.Host != helloHost || got.TLS == nil {
			t.Errorf("host: %s", got.Host)
		}
		if tok, ok := bearer(got, "Authorization"); !ok || tok.Audience != "https://"+helloHost {
			t.Errorf("token: %+v", tok)
		}
		for name, want := range map[string]string{
			"User-Agent": "runsd version=test; app/1", "X-Forwarded-For": "192.0.2.1, 127.0.0.1", "Traceparent": "00-x", "Cookie": "a=b",
			"X-Hop": "", "Te": "trailers", "Accept-Encoding": "", "X-Serverless-Authorization": "", "Connection": "",
		} {
			if v := got.Header.Get(name); v != want {
				t.Errorf("%s: %q, want %q", name, v, want)
			}
		}
		b.do("GET", "http://hello", nil, "User-Agent", "")
		if v := got.Header.Get("User-Agent"); v != "runsd version=test" {
			t.Errorf("User-Agent without the app's: %q", v)
		}
		b.handler.Agent = ""
		b.do("GET", "http://hello//x", nil, "User-Agent", "app/1")
		if v := got.Header.Get("User-Agent"); v != "app/1" || got.RequestURI != "//x" {
			t.Errorf("User-Agent left alone: %q; path %q", v, got.RequestURI)
		}
	})
}

func TestAuthorization(t *testing.T) {
	own := mint("https://"+helloHost, time.Now(), 99)
	hash := mint("https://hello-dpyb4duzqq-uc.a.run.app", time.Now(), 98)
	tests := []struct {
		name        string
		header      []string
		put         string // header that gets a token
		fetches     int32
		kept, value string
	}{
		{name: "free", put: "Authorization", fetches: 1},
		{name: "the app's own scheme", header: []string{"Authorization", "Basic eDp5"}, put: "X-Serverless-Authorization", fetches: 1, kept: "Authorization", value: "Basic eDp5"},
		{name: "the app's own JWT", header: []string{"Authorization", "Bearer a.b.c"}, put: "X-Serverless-Authorization", fetches: 1, kept: "Authorization", value: "Bearer a.b.c"},
		{name: "a Google token for the target", header: []string{"Authorization", "Bearer " + own}, kept: "Authorization", value: "Bearer " + own},
		{name: "for its other URL", header: []string{"authorization", "bearer " + hash}, kept: "Authorization", value: "bearer " + hash},
		{name: "a Google token for another", header: []string{"Authorization", "Bearer " + mint("https://other", time.Now(), 1)}, put: "X-Serverless-Authorization", fetches: 1},
		{name: "an expired one", header: []string{"Authorization", "Bearer " + mint("https://"+helloHost, time.Now().Add(-2*time.Hour), 1)}, put: "X-Serverless-Authorization", fetches: 1},
		{name: "X-Serverless-Authorization", header: []string{"X-Serverless-Authorization", "Bearer x"}, kept: "X-Serverless-Authorization", value: "Bearer x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got http.Header
			b := newBed(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header })
			b.do("GET", "http://hello/", nil, tt.header...)
			if n := b.fetches.Load(); n != tt.fetches {
				t.Errorf("%d tokens fetched, want %d", n, tt.fetches)
			}
			for _, name := range []string{"Authorization", "X-Serverless-Authorization"} {
				tok, ok := bearer(&http.Request{Header: got}, name)
				fetched := ok && tok.Email == email && tok.Audience == "https://"+helloHost && !strings.Contains(tok.Raw, own)
				if name == tt.put && !fetched {
					t.Errorf("%s: no token", name)
				}
				if name != tt.put && len(tt.header) == 0 && got.Get(name) != "" {
					t.Errorf("%s: %q", name, got.Get(name))
				}
			}
			if tt.kept != "" && got.Get(tt.kept) != tt.value {
				t.Errorf("%s changed to %q", tt.kept, got.Get(tt.kept))
			}
		})
	}
}

func TestStaticToken(t *testing.T) {
	var got http.Header
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header })
	b.handler.Static = "fixed"
	b.do("GET", "http://hello/", nil)
	if got.Get("Authorization") != "Bearer fixed" || b.fetches.Load() != 0 {
		t.Errorf("Authorization %q, %d fetches", got.Get("Authorization"), b.fetches.Load())
	}
}

// TestNoTokenInTheClear: a name mapped to plain http gets a token only if an
// audience asks for it.
func TestNoTokenInTheClear(t *testing.T) {
	var got http.Header
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer plain.Close()
	u, _ := url.Parse(plain.URL)
	b := newBed(t, nil, func(_ *bed, c *upstream.Config) { c.Dial = nil })
	b.handler.Directory.Services = []config.Service{{Name: "local", URL: u}, {Name: "asked", URL: u, Audience: "aud"}}
	b.do("POST", "http://local/", strings.NewReader("x"))
	if got.Get("Authorization") != "" || b.fetches.Load() != 0 {
		t.Errorf("a token went out in the clear: %q", got.Get("Authorization"))
	}
	b.do("GET", "http://asked/", nil)
	if tok, ok := bearer(&http.Request{Header: got}, "Authorization"); !ok || tok.Audience != "aud" {
		t.Errorf("asked for: %+v", tok)
	}
}

// refusal writes what Cloud Run's front end says to a token it doesn't take.
func refusal(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token" error_description="The access token could not be verified"`)
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(http.StatusUnauthorized)
	io.WriteString(w, "<html>Error: Unauthorized</html>")
}

// TestRefusedToken: a 401 of the front end drops the token, and the request goes
// out once more if its body is at hand.
func TestRefusedToken(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		var calls atomic.Int32
		var refuse atomic.Bool
		refuse.Store(true)
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			body, _ := io.ReadAll(r.Body)
			if tok, ok := bearer(r, "Authorization"); refuse.Load() && (!ok || strings.Contains(claims(tok.Raw), `"n":1`)) {
				refusal(w)
				return
			}
			w.Write(body)
		}, o, func(b *bed, _ *upstream.Config) {
			b.fetch = func(_ context.Context, aud string) (string, error) {
				return mint(aud, time.Now(), int(b.fetches.Load())), nil
			}
		})
		// A fresh token isn't worth another try.
		if resp, _ := b.do("GET", "http://hello/", nil); resp.StatusCode != 401 || calls.Load() != 1 {
			t.Errorf("fresh token: %d after %d calls, want 401 after 1", resp.StatusCode, calls.Load())
		}
		identity.Age(b.handler.Tokens, 2*time.Minute)
		calls.Store(0)
		if resp, text := b.do("POST", "http://hello/", strings.NewReader("taco")); resp.StatusCode != 200 || text != "taco" || calls.Load() != 2 || b.fetches.Load() != 2 {
			t.Errorf("POST: %d %q after %d calls and %d fetches, want 200 taco after 2 and 2", resp.StatusCode, text, calls.Load(), b.fetches.Load())
		}
	})
}

func TestRefusedTokenOfAStream(t *testing.T) {
	var calls atomic.Int32
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		io.Copy(io.Discard, r.Body)
		if tok, _ := bearer(r, "Authorization"); strings.Contains(claims(tok.Raw), `"n":1`) {
			refusal(w)
		}
	})
	b.do("GET", "http://hello/", nil)
	identity.Age(b.handler.Tokens, 2*time.Minute)
	calls.Store(0)
	if resp, _ := b.do("POST", "http://hello/", io.MultiReader(strings.NewReader("x"))); resp.StatusCode != 401 || calls.Load() != 1 {
		t.Errorf("%d after %d calls, want 401 after 1", resp.StatusCode, calls.Load())
	}
	if resp, _ := b.do("GET", "http://hello/", nil); resp.StatusCode != 200 || b.fetches.Load() != 2 {
		t.Errorf("the next: %d after %d fetches, want 200 with the second token", resp.StatusCode, b.fetches.Load())
	}
}

func claims(raw string) string {
	parts := strings.Split(raw, ".")
	c, _ := base64.RawURLEncoding.DecodeString(parts[1])
	return string(c)
}

// TestAppsOwn401: an answer of the service is the app's business.
func TestAppsOwn401(t *testing.T) {
	var calls atomic.Int32
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(401)
	})
	b.do("GET", "http://hello/", nil)
	identity.Age(b.handler.Tokens, 2*time.Minute)
	if resp, _ := b.do("GET", "http://hello/", nil); resp.StatusCode != 401 || calls.Load() != 2 || b.fetches.Load() != 1 {
		t.Errorf("%d, %d calls, %d fetches", resp.StatusCode, calls.Load(), b.fetches.Load())
	}
}

func TestDeniedSaysWhatToDo(t *testing.T) {
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "<title>403 Forbidden</title>")
	})
	for range 3 {
		if resp, text := b.do("GET", "http://hello/", nil); resp.StatusCode != 403 || text != "<title>403 Forbidden</title>" {
			t.Errorf("%d %q", resp.StatusCode, text)
		}
	}
	waitFor(t, func() bool { return strings.Contains(b.logs.String(), "may not invoke") })
	var lines []string
	for line := range strings.Lines(b.logs.String()) {
		if strings.Contains(line, "may not invoke") {
			lines = append(lines, line)
		}
	}
	want := "gcloud run services add-iam-policy-binding hello --region=us-central1 --project=123456789012 --member=serviceAccount:" + email + " --role=roles/run.invoker"
	if len(lines) != 1 || !strings.Contains(lines[0], want) || !strings.Contains(lines[0], helloHost) {
		t.Errorf("lines about three 403s, want one with %q:\n%s", want, lines)
	}
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatal("waited 10 s in vain")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestOwnErrors(t *testing.T) {
	tests := []struct {
		name, url string
		option    option
		status    int
		kind      string
	}{
		{name: "not a service", url: "http://www.example.com/", status: 502, kind: "name"},
		{name: "an address", url: "http://10.0.0.1/", status: 502, kind: "name"},
		{name: "too long", url: "http://" + strings.Repeat("a", 60) + "/", status: 502, kind: "name"},
		{name: "no connection", url: "http://hello/", status: 502, kind: "connect", option: func(_ *bed, c *upstream.Config) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("connection refused") }
		}},
		{name: "no connection in time", url: "http://hello/", status: 504, kind: "timeout", option: func(_ *bed, c *upstream.Config) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, context.DeadlineExceeded }
		}},
		{name: "not trusted", url: "http://hello/", status: 502, kind: "connect", option: func(_ *bed, c *upstream.Config) { c.TLS = nil }},
		{name: "no token", url: "http://hello/", status: 503, kind: "token", option: func(b *bed, _ *upstream.Config) {
			b.fetch = func(context.Context, string) (string, error) { return "", &metadata.StatusError{Status: 404} }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.option == nil {
				tt.option = func(*bed, *upstream.Config) {}
			}
			b := newBed(t, func(http.ResponseWriter, *http.Request) { t.Error("the service was called") }, tt.option)
			resp, text := b.do("GET", tt.url, nil)
			if resp.StatusCode != tt.status || resp.Header.Get(proxy.ErrorHeader) != tt.kind || !strings.HasPrefix(text, "runsd: ") {
				t.Errorf("%d %q %q, want %d %q", resp.StatusCode, resp.Header.Get(proxy.ErrorHeader), text, tt.status, tt.kind)
			}
		})
	}
}

// TestMetadataDownWithOwnToken: the app's own token needs no metadata server.
func TestMetadataDownWithOwnToken(t *testing.T) {
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {}, func(b *bed, _ *upstream.Config) {
		b.fetch = func(context.Context, string) (string, error) { return "", errors.New("down") }
	})
	if resp, _ := b.do("GET", "http://hello/", nil, "Authorization", "Bearer "+mint("https://"+helloHost, time.Now(), 1)); resp.StatusCode != 200 {
		t.Errorf("%d, want 200", resp.StatusCode)
	}
}

// TestBodies: all sizes, both ways, known length and not, arrive whole.
func TestBodies(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/known" && r.ContentLength >= 0 {
				w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
			}
			http.NewResponseController(w).EnableFullDuplex()
			io.Copy(w, r.Body)
		}, o)
		for _, h2c := range []bool{false, true} {
			app := b.client(h2c)
			for _, size := range []int{0, 1, 4095, 32 << 10, 32<<10 + 1, 1 << 20, 9 << 20} {
				for _, path := range []string{"/known", "/chunked"} {
					data := bytes.Repeat([]byte("tacos!\n"), size/7+1)[:size]
					var body io.Reader = bytes.NewReader(data)
					if path == "/chunked" {
						body = io.MultiReader(body)
					}
					resp, err := app.Post("http://hello"+path, "text/plain", body)
					if err != nil {
						t.Fatalf("h2c %t, %d bytes, %s: %v", h2c, size, path, err)
					}
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || !bytes.Equal(got, data) {
						t.Fatalf("h2c %t, %d bytes, %s: got %d, %v", h2c, size, path, len(got), err)
					}
				}
			}
		}
		for _, path := range []string{"/known", "/chunked"} {
			if resp, text := b.do("HEAD", "http://hello"+path, nil); resp.StatusCode != 200 || text != "" {
				t.Errorf("HEAD: %v %q", resp.Status, text)
			}
		}
	})
}

// TestStatuses: answers without bodies, and all headers, pass as they are.
func TestStatuses(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			w.Header().Add("X-Many", "1")
			w.Header().Add("X-Many", "2")
			w.WriteHeader(map[string]int{"/204": 204, "/304": 304, "/418": 418, "/500": 500}[r.URL.Path])
		}, o)
		for _, code := range []int{204, 304, 418, 500} {
			for range 3 {
				resp, text := b.do("GET", fmt.Sprintf("http://hello/%d", code), nil)
				if resp.StatusCode != code || text != "" || !slices.Equal(resp.Header["X-Many"], []string{"1", "2"}) || resp.Header["Content-Type"] != nil {
					t.Errorf("%d: %v %q %v", code, resp.Status, text, resp.Header)
				}
			}
		}
		if n := b.conns.Load(); n != 1 {
			t.Errorf("12 requests, one after the other: %d connections", n)
		}
	})
}

func TestNothingUnpacked(t *testing.T) {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	io.WriteString(zw, "tacos")
	zw.Close()
	each(t, func(t *testing.T, o option) {
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			if v, ok := r.Header["Accept-Encoding"]; ok {
				t.Errorf("Accept-Encoding added: %q", v)
			}
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed.Bytes())
		}, o)
		if resp, text := b.do("GET", "http://hello/", nil); text != packed.String() || resp.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%d bytes, want the %d packed ones", len(text), packed.Len())
		}
	})
}

func TestLocationAndCookies(t *testing.T) {
	var location, cookie string
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", location)
		w.Header().Add("Set-Cookie", cookie)
		w.WriteHeader(http.StatusFound)
	})
	for from, want := range map[string]string{
		"https://" + helloHost + "/next?x=%2F#f":        "http://hello:80/next?x=%2F#f",
		"https://" + helloHost:                          "http://hello:80",
		"https://HELLO-dpyb4duzqq-uc.a.run.app/x":       "http://hello:80/x",
		"//" + helloHost + "/x":                         "http://hello:80/x",
		"https://hello-1.us-central1.run.app/":          "https://hello-1.us-central1.run.app/",
		"https://other-dpyb4duzqq-uc.a.run.app/x":       "https://other-dpyb4duzqq-uc.a.run.app/x",
		"https://accounts.example.com/?to=" + helloHost: "https://accounts.example.com/?to=" + helloHost,
		"/relative": "/relative",
		"next":      "next",
	} {
		location, cookie = from, "a=b"
		if resp, _ := b.do("GET", "http://hello:80/", nil); resp.Header.Get("Location") != want {
			t.Errorf("Location %q became %q, want %q", from, resp.Header.Get("Location"), want)
		}
	}
	for from, want := range map[string]string{
		"a=b; Path=/; Domain=" + helloHost + "; HttpOnly": "a=b; Path=/; HttpOnly",
		"a=b; domain=." + strings.ToUpper(helloHost):      "a=b",
		"a=b; Domain=example.com":                         "a=b; Domain=example.com",
		"domain=" + helloHost + "; Path=/":                "domain=" + helloHost + "; Path=/",
	} {
		cookie = from
		if resp, _ := b.do("GET", "http://hello/", nil); resp.Header.Get("Set-Cookie") != want {
			t.Errorf("Set-Cookie %q became %q, want %q", from, resp.Header.Get("Set-Cookie"), want)
		}
	}
}

// TestEvents: each event arrives when it is sent, not when the next one is.
func TestEvents(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		next := make(chan bool)
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			for range 5 {
				<-next
				io.WriteString(w, "data: taco\n\n")
				w.(http.Flusher).Flush()
			}
		}, o)
		for _, h2c := range []bool{false, true} {
			resp, err := b.client(h2c).Get("http://hello/")
			if err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(resp.Body)
			for range 5 {
				next <- true
				for range 2 {
					if _, err := r.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
			}
			resp.Body.Close()
		}
	})
}

// TestSlowKnownLength: parts of an answer of known length don't wait for the rest.
func TestSlowKnownLength(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		next := make(chan bool)
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "01234")
			w.(http.Flusher).Flush()
			<-next
			io.WriteString(w, "56789")
		}, o)
		resp, err := b.app.Get("http://hello/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		half := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, half); err != nil {
			t.Fatal(err)
		}
		close(next)
		if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "56789" {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

// TestBothWays: request and answer stream at once, by HTTP/1.1 and HTTP/2.
func TestBothWays(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			rc.EnableFullDuplex()
			rc.Flush()
			br := bufio.NewReader(r.Body)
			for {
				line, err := br.ReadString('\n')
				if err != nil {
					return
				}
				io.WriteString(w, "re: "+line)
				rc.Flush()
			}
		}, o)
		for _, h2c := range []bool{false, true} {
			pr, pw := io.Pipe()
			resp, err := b.client(h2c).Post("http://hello/", "text/plain", pr)
			if err != nil {
				t.Fatal(err)
			}
			br := bufio.NewReader(resp.Body)
			for i := range 10 {
				fmt.Fprintf(pw, "%d\n", i)
				if line, err := br.ReadString('\n'); err != nil || line != fmt.Sprintf("re: %d\n", i) {
					t.Fatalf("h2c %t: %q, %v", h2c, line, err)
				}
			}
			pw.Close()
			if rest, err := io.ReadAll(br); err != nil || len(rest) != 0 {
				t.Errorf("h2c %t: rest %q, %v", h2c, rest, err)
			}
			resp.Body.Close()
		}
	})
}

// TestTrailers: what gRPC needs: te, trailers both ways, an answer of trailers only.
func TestTrailers(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/only" {
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Set("Grpc-Status", "7")
				return
			}
			w.Header().Set("Trailer", "Grpc-Status")
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, "message")
			w.Header().Set("Grpc-Status", "0")
			w.Header().Set(http.TrailerPrefix+"X-Late", r.Trailer.Get("X-Sum"))
		}, o)
		for _, h2c := range []bool{false, true} {
			req, _ := http.NewRequest("POST", "http://hello/", io.MultiReader(strings.NewReader("x")))
			req.Header.Set("Te", "trailers")
			req.Trailer = http.Header{"X-Sum": {"sum"}}
			resp, err := b.client(h2c).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(text) != "message" || resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("X-Late") != "sum" {
				t.Errorf("h2c %t: %q, trailers %v, %v", h2c, text, resp.Trailer, err)
			}
			resp, err = b.client(h2c).Get("http://hello/only")
			if err != nil || resp.Header.Get("Grpc-Status") != "7" {
				t.Errorf("h2c %t, trailers only: %v, %v", h2c, resp, err)
			}
			resp.Body.Close()
		}
	})
}

func TestInformational(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(103)
			io.Copy(w, r.Body)
		}, o)
		var hints atomic.Int32
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 103 && h.Get("Link") == "</a.css>" {
				hints.Add(1)
			}
			return nil
		}})
		req, _ := http.NewRequestWithContext(ctx, "POST", "http://hello/", strings.NewReader("taco"))
		req.Header.Set("Expect", "100-continue")
		resp, err := b.app.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); string(text) != "taco" || hints.Load() != 1 {
			t.Errorf("%q, %d early hints, want taco and 1", text, hints.Load())
		}
	})
}

// TestWebSocket: an upgrade goes through, with a token, to a service whose front
// door speaks HTTP/2 as well; also by CONNECT, as proxies' clients do it.
func TestWebSocket(t *testing.T) {
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		if _, ok := bearer(r, "Authorization"); !ok || r.Header.Get("Upgrade") != "websocket" || r.ProtoMajor != 1 {
			t.Errorf("%s, header %v", r.Proto, r.Header)
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(conn, rw)
	})
	for _, connect := range []bool{false, true} {
		conn, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		br := bufio.NewReader(conn)
		if connect {
			io.WriteString(conn, "CONNECT hello:80 HTTP/1.1\r\nHost: hello:80\r\n\r\n")
			if resp, err := http.ReadResponse(br, &http.Request{Method: "CONNECT"}); err != nil || resp.StatusCode != 200 {
				t.Fatalf("CONNECT: %v, %v", resp, err)
			}
		}
		io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: hello\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
			t.Fatalf("connect %t: %v, %v", connect, resp, err)
		}
		for range 3 {
			io.WriteString(conn, "ping\n")
			if line, err := br.ReadString('\n'); line != "ping\n" {
				t.Fatalf("connect %t: %q, %v", connect, line, err)
			}
		}
	}
}

// TestUpgradeToHTTP2: curl --http2 -d asks for it with a body; it is answered by HTTP/1.1.
func TestUpgradeToHTTP2(t *testing.T) {
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: hello\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Length: 4\r\n\r\ntaco")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	if text, _ := io.ReadAll(resp.Body); string(text) != "taco" {
		t.Errorf("%q, want taco", text)
	}
}

// TestAppGoesAway: the service learns of it.
func TestAppGoesAway(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		arrived, gone := make(chan bool), make(chan bool)
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-r.Context().Done()
			close(gone)
		}, o)
		ctx, cancel := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://hello/", nil)
		go func() { <-arrived; cancel() }()
		if _, err := b.app.Do(req); err == nil {
			t.Error("no error")
		}
		<-gone
	})
}

// TestServiceDies: an answer that ends early doesn't look whole.
func TestServiceDies(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/known" {
				w.Header().Set("Content-Length", "1000")
			}
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, o)
		for _, path := range []string{"/known", "/stream"} {
			resp, err := b.app.Get("http://hello" + path)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%s: %q looks whole", path, text)
			}
			resp.Body.Close()
		}
		// Before the answer began: 502, marked.
		b2 := newBed(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, o)
		if resp, _ := b2.do("POST", "http://hello/", strings.NewReader("x")); resp.StatusCode != 502 || resp.Header.Get(proxy.ErrorHeader) != "answer" {
			t.Errorf("%d %q, want 502 answer", resp.StatusCode, resp.Header.Get(proxy.ErrorHeader))
		}
	})
}

// TestStampede: however many callers come at once, tokens are fetched once, and
// connections number at most one per 100 streams over HTTP/2, one per caller over
// HTTP/1.1.
func TestStampede(t *testing.T) {
	for _, tt := range []struct {
		name    string
		o       option
		callers int
		conns   int32
	}{
		{"h2 80", func(*bed, *upstream.Config) {}, 80, 1},
		{"h2 400", func(*bed, *upstream.Config) {}, 400, 4},
		{"http1 80", http1, 80, 80},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var inside atomic.Int32
			all := make(chan bool)
			b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/first" {
					if inside.Add(1) == int32(tt.callers) {
						close(all)
					}
					<-all
				}
				io.WriteString(w, "ok")
			}, tt.o, func(b *bed, _ *upstream.Config) {
				b.door.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 100}
			})
			var wg sync.WaitGroup
			for range tt.callers {
				wg.Go(func() {
					for i := range 13 {
						path := "http://hello/"
						if i == 0 {
							path += "first"
						}
						resp, err := b.app.Get(path)
						if err != nil {
							t.Error(err)
							return
						}
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
						if resp.StatusCode != 200 {
							t.Errorf("status %d", resp.StatusCode)
						}
					}
				})
			}
			wg.Wait()
			if n := b.conns.Load(); n > tt.conns {
				t.Errorf("%d callers: %d TLS connections, want at most %d", tt.callers, n, tt.conns)
			}
			if n := b.fetches.Load(); n != 1 {
				t.Errorf("%d tokens fetched, want 1", n)
			}
		})
	}
}

// TestConnectionLost: after the front door has closed its connections, requests
// of all kinds go through on new ones.
func TestConnectionLost(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }, o)
		methods := []string{"GET", "PUT"}
		if b.http1 {
			methods = append(methods, "POST") // over HTTP/2 it may be on its way before the end is noticed
		}
		for _, method := range methods {
			for range 20 {
				if resp, _ := b.do(method, "http://hello/", strings.NewReader("x")); resp.StatusCode != 200 {
					t.Fatalf("%s: %d", method, resp.StatusCode)
				}
				b.door.CloseClientConnections()
			}
		}
	})
}

// TestNoSecretsInLogs: at the highest verbosity no token, cookie or header value
// is logged.
func TestNoSecretsInLogs(t *testing.T) {
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=sekrit-cookie")
		switch r.URL.Path {
		case "/401":
			refusal(w)
		case "/403":
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(403)
		case "/die":
			panic(http.ErrAbortHandler)
		}
	})
	for _, path := range []string{"/", "/401", "/403", "/die", "/?token=sekrit-query"} {
		b.do("GET", "http://hello"+path, nil, "Authorization", "Bearer sekrit-bearer", "Cookie", "sekrit-jar", "X-Api-Key", "sekrit-key")
		b.do("GET", "http://hello"+path, nil, "X-Serverless-Authorization", "Bearer sekrit-serverless")
		b.do("GET", "http://hello"+path, nil)
	}
	b.do("GET", "http://www.example.com/", nil, "Authorization", "Bearer sekrit-bearer")
	waitFor(t, func() bool { return strings.Contains(b.logs.String(), "may not invoke") })
	text := b.logs.String()
	for _, secret := range []string{"sekrit", "c2VjcmV0LXNpZw", "Bearer "} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%q is logged: %.200s", secret, text[max(0, i-100):])
		}
	}
	if !strings.Contains(text, "msg=request") || !strings.Contains(text, "X-Api-Key") {
		t.Errorf("requests and header names aren't logged at this level:\n%s", text)
	}
}

// TestPassThrough: as the app's HTTP proxy, runsd leaves other hosts' requests as
// they are.
func TestPassThrough(t *testing.T) {
	var got *http.Request
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		w.Header().Set("Location", "https://"+helloHost+"/x")
		io.WriteString(w, "public")
	}))
	defer other.Close()
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "service "+r.Host) })
	none := func(*url.URL) (*url.URL, error) { return nil, nil }
	b.handler.Other = proxy.NewPassThrough(none, b.handler.Log)
	proxyURL, _ := url.Parse("http://" + b.addr)
	b.app.Transport = &http.Transport{Proxy: http.ProxyURL(proxyURL), DisableCompression: true}

	resp, text := b.do("GET", other.URL+"/a%2Fb//c?x=%zz;y|", nil, "User-Agent", "app/1", "X-Forwarded-For", "192.0.2.1")
	if text != "public" || resp.Header.Get("Location") != "https://"+helloHost+"/x" {
		t.Errorf("%q %v", text, resp.Header)
	}
	if got.RequestURI != "/a%2Fb//c?x=%zz;y|" || got.Header.Get("User-Agent") != "app/1" || got.Header.Get("X-Forwarded-For") != "192.0.2.1" ||
		got.Header.Get("Authorization") != "" || got.Header.Get("Accept-Encoding") != "" || b.fetches.Load() != 0 {
		t.Errorf("changed on its way: %s %v", got.RequestURI, got.Header)
	}
	for _, name := range []string{"hello", "hello.us-central1", "hello.us-central1.run.internal", "HELLO.:8080"} {
		if _, text := b.do("GET", "http://"+name+"/", nil); text != "service "+helloHost {
			t.Errorf("%s: %q", name, text)
		}
	}
	// A CONNECT to another host is a tunnel.
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\nGET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", other.Listener.Addr())
	if all, err := io.ReadAll(conn); err != nil || !strings.Contains(string(all), "public") || got.RequestURI != "/tunnel" {
		t.Errorf("CONNECT: %q, %v", all, err)
	}
	// Not as a proxy, but sent to its port: not a way to reach anything.
	if resp, err := http.Get("http://" + b.addr + "/"); err != nil || resp.StatusCode != 502 {
		t.Errorf("its own address: %v, %v", resp, err)
	}
}

// TestPassThroughChain: the proxy the app had before still gets what it got, but
// never the metadata server's.
func TestPassThroughChain(t *testing.T) {
	var seen []string
	former := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.RequestURI)
		if r.Method == "CONNECT" {
			conn, _, _ := http.NewResponseController(w).Hijack()
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nfrom the far end")
			conn.Close()
			return
		}
		io.WriteString(w, "by the former proxy")
	}))
	defer former.Close()
	formerURL, _ := url.Parse(former.URL)
	b := newBed(t, nil)
	b.handler.Other = proxy.NewPassThrough(func(u *url.URL) (*url.URL, error) {
		if strings.Contains(u.Host, "metadata") || strings.HasPrefix(u.Host, "169.254.") {
			t.Errorf("asked whether to send %s by the proxy", u)
		}
		return formerURL, nil
	}, b.handler.Log)
	proxyURL, _ := url.Parse("http://" + b.addr)
	b.app.Transport = &http.Transport{Proxy: http.ProxyURL(proxyURL)}
	if _, text := b.do("GET", "http://www.example.com/x?y=1", nil); text != "by the former proxy" {
		t.Errorf("%q", text)
	}
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com:443\r\n\r\n")
	if all, _ := io.ReadAll(conn); !strings.HasSuffix(string(all), "from the far end") {
		t.Errorf("CONNECT: %q", all)
	}
	if want := []string{"GET http://www.example.com/x?y=1", "CONNECT www.example.com:443"}; !slices.Equal(seen, want) {
		t.Errorf("the former proxy saw %q, want %q", seen, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://169.254.169.254/", nil)
	defer func() { recover() }() // the request is cancelled: only whom it asks for a proxy counts
	b.handler.Other.ServeHTTP(httptest.NewRecorder(), req)
}

// TestCancelledRequests: apps that give up at any moment leave no stream of the
// shared connection taken.
func TestCancelledRequests(t *testing.T) {
	var held atomic.Bool
	held.Store(true)
	release := make(chan bool)
	arrived := make(chan bool, 1000)
	b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
		if held.Load() {
			arrived <- true
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
	}, func(b *bed, _ *upstream.Config) { b.door.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 100} })
	for round := range 10 {
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 60 {
			wg.Go(func() {
				req, _ := http.NewRequestWithContext(ctx, "GET", "http://hello/", nil)
				if resp, err := b.app.Do(req); err == nil {
					resp.Body.Close()
				}
			})
		}
		for range round * 6 { // some are under way, some not
			<-arrived
		}
		cancel()
		wg.Wait()
	}
	held.Store(false)
	close(release)
	var wg sync.WaitGroup
	for range 90 {
		wg.Go(func() {
			if resp, _ := b.do("GET", "http://hello/", nil); resp.StatusCode != 200 {
				t.Errorf("%d", resp.StatusCode)
			}
		})
	}
	wg.Wait()
	if n := b.conns.Load(); n > 2 {
		t.Errorf("%d connections, want 2 at most: streams are left taken", n)
	}
}

// TestEarlyAnswer: a service that answers before it has had all of the request is
// heard by an app that waits for that before it sends the rest.
func TestEarlyAnswer(t *testing.T) {
	each(t, func(t *testing.T, o option) {
		b := newBed(t, func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex() // of HTTP/1.1
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		}, o)
		for name, framing := range map[string]string{"chunked": "Transfer-Encoding: chunked\r\n\r\n4\r\ntaco\r\n", "length": "Content-Length: 100000\r\n\r\ntaco"} {
			c, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: hello\r\n%s", framing)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusRequestEntityTooLarge || string(body) != "too large\n" || err != nil {
				t.Errorf("%s: %s, %q, %v", name, resp.Status, body, err)
			}
		}
	})
}
