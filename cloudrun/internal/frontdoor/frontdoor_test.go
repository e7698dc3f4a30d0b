package frontdoor_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/ca"
	"github.com/amammay/otorun/cloudrun/internal/frontdoor"
	"github.com/amammay/otorun/cloudrun/internal/iam"
	"github.com/amammay/otorun/cloudrun/internal/identity"
)

const (
	region     = "us-central1"
	hashURL    = "https://tacoserver-dpyb4duzqq-uc.a.run.app"
	numberURL  = "https://tacoserver-123456789012.us-central1.run.app"
	numberHost = "tacoserver-123456789012.us-central1.run.app"
)

var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

var authority = sync.OnceValue(func() *ca.Authority {
	a, err := ca.New()
	if err != nil {
		panic(err)
	}
	return a
})

// A world is a door with a service behind it and people before it.
type world struct {
	door      *frontdoor.Door
	clock     identity.Clock
	issuer    *identity.Issuer
	directory *iam.Directory
	backend   *backend
	invoker   iam.Account // may invoke tacoserver
	stranger  iam.Account // may not
	dev       iam.Principal
	plain     net.Listener
	secure    net.Listener
	logs      *lockedBuffer
	requests  chan frontdoor.Request
}

// newWorld returns a world whose one service, tacoserver, is app; change is called
// before it opens.
func newWorld(t testing.TB, app http.Handler, change ...func(*world, *frontdoor.Config)) *world {
	t.Helper()
	w := &world{logs: new(lockedBuffer), requests: make(chan frontdoor.Request, 100)}
	var err error
	if w.issuer, err = identity.New(identity.Config{Key: key(), Now: w.clock.Now}); err != nil {
		t.Fatal(err)
	}
	w.directory = iam.New("my-proj", "123456789012")
	for name, a := range map[string]*iam.Account{"tacoclient": &w.invoker, "stranger": &w.stranger} {
		if *a, err = w.directory.CreateServiceAccount(name, ""); err != nil {
			t.Fatal(err)
		}
	}
	if w.dev, err = w.directory.EnsureUser("dev@example.com"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []iam.Principal{w.invoker.Principal, w.dev} {
		w.bind(t, p.Member())
	}
	w.backend = &backend{services: map[string]*frontdoor.Service{"tacoserver": {Name: "tacoserver", Region: region}}}
	cfg := frontdoor.Config{
		ProjectNumber: "123456789012",
		ProjectHash:   "dpyb4duzqq",
		Backend:       w.backend,
		Issuer:        w.issuer,
		Directory:     w.directory,
		TLS:           authority().TLSConfig(),
		Log:           slog.New(slog.NewTextHandler(w.logs, nil)),
		OnRequest: func(r frontdoor.Request) {
			select {
			case w.requests <- r:
			default:
			}
		},
	}
	for _, f := range change {
		f(w, &cfg)
	}
	w.backend.start(t, app)
	w.door = frontdoor.New(cfg)
	w.plain, w.secure = listen(t), listen(t)
	var serving sync.WaitGroup
	serving.Go(func() { w.door.Serve(w.plain) })
	serving.Go(func() { w.door.ServeTLS(w.secure) })
	t.Cleanup(func() {
		w.door.Close()
		serving.Wait()
	})
	return w
}

func (w *world) service() *frontdoor.Service { return w.backend.services["tacoserver"] }

func (w *world) bind(t testing.TB, member string) {
	t.Helper()
	if _, err := w.directory.AddBinding(w.directory.Service(region, "tacoserver"), iam.Invoker, member); err != nil {
		t.Fatal(err)
	}
}

// token returns one of p for an audience; of p as gcloud prints it without one.
func (w *world) token(t testing.TB, p iam.Principal, audience string) string {
	t.Helper()
	s := identity.Subject{ID: p.ID, Email: p.Email}
	token, err := w.issuer.IdentityToken(s, audience)
	if audience == "" {
		token, err = w.issuer.UserToken(s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// client returns one that resolves every host to the door.
func (w *world) client(t testing.TB, http2 bool) *http.Client {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			l := w.plain
			if strings.HasSuffix(addr, ":443") {
				l = w.secure
			}
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		},
		TLSClientConfig:    &tls.Config{RootCAs: authority().Pool()},
		Protocols:          new(http.Protocols),
		DisableCompression: true,
	}
	tr.Protocols.SetHTTP1(!http2)
	tr.Protocols.SetHTTP2(http2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get asks for a URL with the invoker's token, unless headers say otherwise.
func (w *world) get(t testing.TB, target string, headers ...string) (*http.Response, string) {
	t.Helper()
	return w.do(t, w.client(t, false), http.MethodGet, target, nil, headers...)
}

func (w *world) do(t testing.TB, c *http.Client, method, target string, body io.Reader, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	if headers == nil {
		headers = []string{"Authorization", "Bearer " + w.token(t, w.invoker.Principal, numberURL)}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header[headers[i]] = append(req.Header[headers[i]], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// A backend has one instance a service, in process.
type backend struct {
	services map[string]*frontdoor.Service
	err      error // of Acquire
	app      *httptest.Server
	instance frontdoor.Instance

	mu     sync.Mutex
	active int
	calls  []string
	freed  chan struct{}
}

func (b *backend) start(t testing.TB, app http.Handler) {
	if app == nil {
		app = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "tacos for %s", r.Host) })
	}
	b.app = httptest.NewUnstartedServer(app)
	http2 := b.services["tacoserver"].HTTP2
	b.app.Config.Protocols = new(http.Protocols)
	b.app.Config.Protocols.SetHTTP1(!http2)
	b.app.Config.Protocols.SetUnencryptedHTTP2(http2)
	b.app.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	b.app.Start()
	b.freed = make(chan struct{}, 1000)
	addr := b.app.Listener.Addr().String()
	tr := frontdoor.NewTransport(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}, http2)
	b.instance = frontdoor.Instance{ID: "00f46b92851d2c5d", Revision: "tacoserver-00001-abc", Transport: tr}
	t.Cleanup(func() {
		b.app.CloseClientConnections()
		b.app.Close()
	})
}

func (b *backend) Service(a frontdoor.Address) (*frontdoor.Service, bool) {
	s, ok := b.services[a.Service]
	if !ok || a.Region != "" && a.Region != s.Region {
		return nil, false
	}
	return s, a.Tag == "" || a.Tag == "green"
}

func (b *backend) Acquire(ctx context.Context, c frontdoor.Call) (frontdoor.Instance, func(), error) {
	if b.err != nil {
		return frontdoor.Instance{}, nil, b.err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.active++
	b.calls = append(b.calls, c.Service.Name+"/"+c.Tag)
	return b.instance, func() {
		b.mu.Lock()
		b.active--
		b.mu.Unlock()
		select {
		case b.freed <- struct{}{}:
		default: // no one waits for so many
		}
	}, nil
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func header(t testing.TB, resp *http.Response, key, want string) {
	t.Helper()
	if got := resp.Header.Get(key); got != want {
		t.Errorf("%s: %q, want %q", key, got, want)
	}
}

func TestHosts(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		name, url string
		status    int
		tag       string
		why       string
	}{
		{name: "deterministic", url: numberURL + "/", status: 200},
		{name: "hash", url: hashURL + "/", status: 200},
		{name: "upper case and port", url: "https://TACOSERVER-123456789012.us-central1.run.app:443/", status: 200},
		{name: "tag, deterministic", url: "https://green---" + numberHost + "/", status: 200, tag: "green"},
		{name: "tag, hash", url: "https://green---tacoserver-dpyb4duzqq-uc.a.run.app/", status: 200, tag: "green"},
		{name: "localhost", url: "http://tacoserver.localhost/", status: 200},
		{name: "localhost with region", url: "http://tacoserver.us-central1.localhost/", status: 200},
		{name: "localhost with tag", url: "http://green---tacoserver.localhost/", status: 200, tag: "green"},
		{name: "localhost over HTTPS", url: "https://tacoserver.localhost/", status: 200},
		{name: "unknown tag", url: "https://blue---" + numberHost + "/", status: 404, why: "with the tag blue"},
		{name: "unknown service", url: "http://other.localhost/", status: 404, why: "no service is deployed as other"},
		{name: "another region", url: "http://tacoserver.us-east1.localhost/", status: 404, why: "in us-east1"},
		{name: "another project", url: "https://tacoserver-1.us-central1.run.app/", status: 404, why: "project 1"},
		{name: "another hash", url: "https://tacoserver-aaaaaaaaaa-uc.a.run.app/", status: 404, why: "another hash"},
		{name: "unknown region code", url: "https://tacoserver-dpyb4duzqq-zz.a.run.app/", status: 404, why: "region code"},
		{name: "no service", url: "https://www.run.app/", status: 404, why: "isn't that of a service"},
		{name: "localhost itself", url: "http://localhost/", status: 404},
		{name: "elsewhere", url: "http://example.com/", status: 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.backend.calls = nil
			resp, body := w.get(t, tt.url)
			if resp.StatusCode != tt.status {
				t.Fatalf("GET %s: %s %q, why: %s", tt.url, resp.Status, body, resp.Header.Get("X-Cloudrun-Why"))
			}
			header(t, resp, "Server", "Google Frontend")
			if tt.status == 200 {
				if len(w.backend.calls) != 1 || w.backend.calls[0] != "tacoserver/"+tt.tag {
					t.Errorf("acquired %q", w.backend.calls)
				}
				return
			}
			if !strings.Contains(body, "<title>404 Page not found</title>") || !strings.Contains(resp.Header.Get("X-Cloudrun-Why"), tt.why) {
				t.Errorf("%q, why: %s", body, resp.Header.Get("X-Cloudrun-Why"))
			}
		})
	}
}

func TestOtherHosts(t *testing.T) {
	w := newWorld(t, nil, func(w *world, cfg *frontdoor.Config) { cfg.Other = func(string) http.Handler { return w.issuer } })
	resp, body := w.get(t, w.issuer.Name()+identity.CertsPath)
	if resp.StatusCode != 200 || body != string(w.issuer.JWKS()) {
		t.Errorf("%s %q", resp.Status, body)
	}
}

func TestRedirectToHTTPS(t *testing.T) {
	w := newWorld(t, nil)
	resp, _ := w.get(t, "http://"+numberHost+"/a%2Fb?x=1;y&z")
	if resp.StatusCode != 302 {
		t.Errorf("%s, want 302", resp.Status)
	}
	header(t, resp, "Location", numberURL+"/a%2Fb?x=1;y&z")
}

func TestDisabledURLAndIngress(t *testing.T) {
	w := newWorld(t, nil, func(w *world, _ *frontdoor.Config) {
		w.backend.services["nourl"] = &frontdoor.Service{Name: "nourl", Region: region, DefaultURLDisabled: true, InvokerCheckDisabled: true}
		w.backend.services["inside"] = &frontdoor.Service{Name: "inside", Region: region, InternalOnly: true, InvokerCheckDisabled: true}
	})
	for url, want := range map[string]int{
		"https://nourl-123456789012.us-central1.run.app/": 404,
		"https://nourl-dpyb4duzqq-uc.a.run.app/":          404,
		"http://nourl.localhost/":                         200,
		"http://inside.localhost/":                        404,
	} {
		if resp, _ := w.get(t, url); resp.StatusCode != want {
			t.Errorf("GET %s: %s, want %d", url, resp.Status, want)
		}
	}
}

// TestInvokerCheck is section 3 of the facts: who gets in, and with which answer
// who doesn't.
func TestInvokerCheck(t *testing.T) {
	w := newWorld(t, nil)
	w.service().CustomAudiences = []string{"https://tacos.example.com"}
	good := w.token(t, w.invoker.Principal, numberURL)
	gone, err := w.directory.CreateServiceAccount("deleted", "")
	if err != nil {
		t.Fatal(err)
	}
	w.bind(t, gone.Member())
	goneToken := w.token(t, gone.Principal, numberURL)
	if err := w.directory.DeleteServiceAccount(gone.Email); err != nil {
		t.Fatal(err)
	}
	expired, err := w.issuer.Mint(identity.Claims{Issuer: w.issuer.Name(), Audience: numberURL, Subject: w.invoker.ID, IssuedAt: 1, Expires: 3601})
	if err != nil {
		t.Fatal(err)
	}
	access, _ := w.issuer.AccessToken(identity.Subject{ID: w.invoker.ID, Email: w.invoker.Email})
	other, err := identity.New(identity.Config{Key: key()})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.IdentityToken(identity.Subject{ID: w.invoker.ID}, numberURL)
	if err != nil {
		t.Fatal(err)
	}
	const auth, serverless = "Authorization", "X-Serverless-Authorization"
	for _, tt := range []struct {
		name    string
		headers []string
		status  int
		why     string
		fix     string
	}{
		{name: "good", headers: []string{auth, "Bearer " + good}, status: 200},
		{name: "scheme in lower case", headers: []string{auth, "bearer " + good}, status: 200},
		{name: "for the hash URL", headers: []string{auth, "Bearer " + w.token(t, w.invoker.Principal, hashURL)}, status: 200},
		{name: "with a slash", headers: []string{auth, "Bearer " + w.token(t, w.invoker.Principal, numberURL+"/")}, status: 200},
		{name: "for a custom audience", headers: []string{auth, "Bearer " + w.token(t, w.invoker.Principal, "https://tacos.example.com")}, status: 200},
		{name: "user's from gcloud", headers: []string{auth, "Bearer " + w.token(t, w.dev, "")}, status: 200},
		{name: "in the other header", headers: []string{serverless, "Bearer " + good}, status: 200},
		{name: "in the other header, beside the app's own", headers: []string{serverless, "Bearer " + good, auth, "Basic eDp5"}, status: 200},
		{name: "none", headers: []string{"X", "y"}, status: 403, why: "no identity token", fix: "print-identity-token)\" " + numberURL},
		{name: "empty", headers: []string{auth, ""}, status: 403, why: "no identity token"},
		{name: "without the role", headers: []string{auth, "Bearer " + w.token(t, w.stranger.Principal, numberURL)}, status: 403,
			why: "lacks roles/run.invoker", fix: "gcloud run services add-iam-policy-binding tacoserver --project=my-proj --region=us-central1 --member=serviceAccount:stranger@my-proj.iam.gserviceaccount.com --role=roles/run.invoker"},
		{name: "of a deleted account", headers: []string{auth, "Bearer " + goneToken}, status: 403, why: "deleted"},
		{name: "bad one in the other header", headers: []string{serverless, "Bearer x", auth, "Bearer " + good}, status: 401, why: "malformed"},
		{name: "malformed", headers: []string{auth, "Bearer abc"}, status: 401, why: "malformed token"},
		{name: "nothing after Bearer", headers: []string{auth, "Bearer "}, status: 401, why: "nothing after it"},
		{name: "token alone", headers: []string{auth, good}, status: 401, why: "Bearer TOKEN"},
		{name: "basic", headers: []string{auth, "Basic eDp5"}, status: 401, why: "Bearer TOKEN"},
		{name: "access token", headers: []string{auth, "Bearer " + access}, status: 401, why: "access token", fix: "not print-access-token"},
		{name: "for another service", headers: []string{auth, "Bearer " + w.token(t, w.invoker.Principal, "https://other-123456789012.us-central1.run.app")}, status: 401,
			why: "accepted are " + numberURL + ", " + hashURL + ", https://tacos.example.com", fix: "--impersonate-service-account=" + w.invoker.Email + " --audiences=" + numberURL},
		{name: "for a path of the service", headers: []string{auth, "Bearer " + w.token(t, w.invoker.Principal, numberURL+"/eat")}, status: 401, why: "wrong audience"},
		{name: "account's for gcloud", headers: []string{auth, "Bearer " + w.token(t, w.invoker.Principal, "")}, status: 401, why: "wrong audience"},
		{name: "expired", headers: []string{auth, "Bearer " + expired}, status: 401, why: "expired token"},
		{name: "cut", headers: []string{auth, "Bearer " + good[:len(good)-2]}, status: 401, why: "signature"},
		{name: "another's signature", headers: []string{auth, "Bearer " + good[:strings.LastIndexByte(good, '.')] + expired[strings.LastIndexByte(expired, '.'):]}, status: 401, why: "bad signature"},
		{name: "of another run", headers: []string{auth, "Bearer " + foreign}, status: 401, why: "unknown key", fix: "cloudrun token"},
		{name: "two headers", headers: []string{auth, "Bearer " + good, auth, "Bearer " + good}, status: 401, why: "several tokens"},
		{name: "two tokens", headers: []string{auth, "Bearer " + good + ", Bearer " + good}, status: 401, why: "several tokens"},
		{name: "passed on", headers: []string{auth, "Bearer " + good[:strings.LastIndexByte(good, '.')+1] + identity.SignatureRemoved}, status: 401, why: "signature was removed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(w.logs.String())
			resp, body := w.get(t, numberURL+"/p<a>th", tt.headers...)
			why, logged := resp.Header.Get("X-Cloudrun-Why"), w.logs.String()[before:]
			if resp.StatusCode != tt.status {
				t.Fatalf("%s, want %d, why: %s", resp.Status, tt.status, why)
			}
			for _, text := range []string{why, logged, body} {
				if strings.Contains(text, good[:40]) || strings.Contains(text, "eDp5") {
					t.Errorf("%q shows a credential", text)
				}
			}
			if tt.status == 200 {
				if why != "" || logged != "" {
					t.Errorf("why %q, logged %q", why, logged)
				}
				return
			}
			wantPage, wantAuth := "<title>403 Forbidden</title>", ""
			if tt.status == 401 {
				wantPage = "<title>401 Unauthorized</title>"
				wantAuth = `Bearer error="invalid_token" error_description="The access token could not be verified"`
			}
			header(t, resp, "WWW-Authenticate", wantAuth)
			header(t, resp, "Content-Type", "text/html; charset=UTF-8")
			if !strings.Contains(body, wantPage) || !strings.Contains(body, "<code>/p%3Ca%3Eth</code>") {
				t.Errorf("page %q", body)
			}
			if !strings.Contains(why, tt.why) || !strings.Contains(why, tt.fix) || !strings.Contains(why, "to mend it: ") {
				t.Errorf("why: %s, want %q and %q in it", why, tt.why, tt.fix)
			}
			if strings.Count(logged, "\n") != 1 || !strings.Contains(logged, "level=WARN") || !strings.Contains(logged, fmt.Sprint("status=", tt.status)) || !strings.Contains(logged, "fix=") {
				t.Errorf("logged %q", logged)
			}
		})
	}
}

func TestPublicService(t *testing.T) {
	seen := make(chan http.Header, 1)
	w := newWorld(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	w.bind(t, iam.AllUsers)
	for _, value := range []string{"", "Basic eDp5", "Bearer not-a-token"} {
		if resp, _ := w.get(t, numberURL+"/", "Authorization", value); resp.StatusCode != 200 {
			t.Errorf("%q: %s", value, resp.Status)
			continue
		}
		if got := (<-seen).Get("Authorization"); got != value {
			t.Errorf("%q reached the container as %q", value, got)
		}
	}
}

func TestTokenExpiresWhileItIsUsed(t *testing.T) {
	w := newWorld(t, nil)
	auth := "Bearer " + w.token(t, w.invoker.Principal, numberURL)
	for _, step := range []struct {
		move   time.Duration
		status int
	}{{0, 200}, {59 * time.Minute, 200}, {2 * time.Minute, 401}, {-2 * time.Minute, 200}} {
		w.clock.Move(step.move)
		if resp, _ := w.get(t, numberURL+"/", "Authorization", auth); resp.StatusCode != step.status {
			t.Errorf("after %v more: %s, want %d", step.move, resp.Status, step.status)
		}
	}
}

// TestRoleIsTakenAway: a token that was just let in counts for nothing.
func TestRoleIsTakenAway(t *testing.T) {
	w := newWorld(t, nil)
	auth := "Bearer " + w.token(t, w.invoker.Principal, numberURL)
	if resp, _ := w.get(t, numberURL+"/", "Authorization", auth); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	if _, err := w.directory.RemoveBinding(w.directory.Service(region, "tacoserver"), iam.Invoker, w.invoker.Member()); err != nil {
		t.Fatal(err)
	}
	if resp, _ := w.get(t, numberURL+"/", "Authorization", auth); resp.StatusCode != 403 {
		t.Error(resp.Status)
	}
}

func TestWhatTheContainerSees(t *testing.T) {
	seen := make(chan *http.Request, 1)
	w := newWorld(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r }))
	good := w.token(t, w.invoker.Principal, numberURL)
	removed := good[:strings.LastIndexByte(good, '.')+1] + identity.SignatureRemoved
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, tt := range []struct {
		name    string
		headers []string
		want    map[string]string // "~" before a value: a prefix
	}{
		{name: "alone", headers: []string{"Authorization", "Bearer " + good}, want: map[string]string{
			"Authorization":     "Bearer " + removed,
			"X-Forwarded-For":   "127.0.0.1",
			"X-Forwarded-Proto": "https",
			"Forwarded":         `for="127.0.0.1";proto=https`,
			"User-Agent":        "Go-http-client/1.1",
		}},
		{name: "forged forwarding headers", headers: []string{"Authorization", "Bearer " + good,
			"X-Forwarded-For", "203.0.113.7", "X-Forwarded-Proto", "gopher", "Forwarded", "for=evil"}, want: map[string]string{
			"X-Forwarded-For":   "203.0.113.7, 127.0.0.1",
			"X-Forwarded-Proto": "https",
			"Forwarded":         `for="127.0.0.1";proto=https`,
		}},
		{name: "token in the other header", headers: []string{"X-Serverless-Authorization", "bearer " + good, "Authorization", "Basic eDp5"}, want: map[string]string{
			"X-Serverless-Authorization": "bearer " + removed,
			"Authorization":              "Basic eDp5",
		}},
		{name: "traceparent", headers: []string{"Authorization", "Bearer " + good, "Traceparent", "00-" + id + "-00f067aa0ba902b7-00",
			"Tracestate", "a=b", "X-Cloud-Trace-Context", "105445aa7843bc8bf206b12000100000/1;o=1"}, want: map[string]string{
			"Traceparent":           "~00-" + id + "-",
			"X-Cloud-Trace-Context": "~" + id + "/",
			"Tracestate":            "a=b",
		}},
		{name: "Google's trace header", headers: []string{"Authorization", "Bearer " + good, "Traceparent", "00-0-0-0",
			"X-Cloud-Trace-Context", strings.ToUpper(id) + "/1;o=1"}, want: map[string]string{
			"Traceparent":           "~00-" + id + "-",
			"X-Cloud-Trace-Context": "~" + id + "/",
		}},
		{name: "hop by hop", headers: []string{"Authorization", "Bearer " + good, "Connection", "X-Mine, keep-alive", "X-Mine", "1", "Proxy-Authorization", "x", "Upgrade", "h2c"}, want: map[string]string{
			"X-Mine": "", "Proxy-Authorization": "", "Upgrade": "", "Connection": "",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, _ := w.get(t, numberURL+"/a%2Fb%41%7e//c?q=%zz;x&y", tt.headers...)
			if resp.StatusCode != 200 {
				t.Fatal(resp.Status)
			}
			got := <-seen
			for k, want := range tt.want {
				v := strings.Join(got.Header[k], "|")
				if prefix, ok := strings.CutPrefix(want, "~"); ok && strings.HasPrefix(v, prefix) {
					continue
				}
				if v != want {
					t.Errorf("%s: %q, want %q", k, v, want)
				}
			}
			if got.Host != numberHost || got.RequestURI != "/a%2FbA~//c?q=%zz;x&y" || got.ProtoMajor != 1 {
				t.Errorf("%s %s of %s", got.Proto, got.RequestURI, got.Host)
			}
			parent, google := got.Header.Get("Traceparent"), got.Header.Get("X-Cloud-Trace-Context")
			var spanID uint64
			if _, err := fmt.Sscanf(parent[36:52], "%x", &spanID); err != nil || !strings.HasPrefix(google, fmt.Sprintf("%s/%d;o=", parent[3:35], spanID)) {
				t.Errorf("traceparent %q and X-Cloud-Trace-Context %q differ", parent, google)
			}
			if strings.Contains(parent, "00f067aa0ba902b7") {
				t.Errorf("traceparent %q still has the caller's span", parent)
			}
			if got := resp.Header.Get("X-Cloud-Trace-Context"); !strings.HasPrefix(got, parent[3:35]+";o=") {
				t.Errorf("the answer's trace is %q", got)
			}
		})
	}
}

func TestWhatTheClientSees(t *testing.T) {
	var headers http.Header
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), headers)
		w.WriteHeader(http.StatusTeapot)
	}))
	for _, tt := range []struct {
		name          string
		headers, want http.Header
	}{
		{name: "server's name", headers: http.Header{"Server": {"mine"}}, want: http.Header{"Server": {"Google Frontend"}}},
		{name: "cookie", headers: http.Header{"Set-Cookie": {"a=b"}}, want: http.Header{"Cache-Control": {"private"}, "Set-Cookie": {"a=b"}}},
		{name: "cookie and public", headers: http.Header{"Set-Cookie": {"a=b"}, "Cache-Control": {"public, max-age=60, s-maxage=9"}}, want: http.Header{"Cache-Control": {"max-age=60, private"}}},
		{name: "cookie and no-store", headers: http.Header{"Set-Cookie": {"a=b"}, "Cache-Control": {"no-store"}}, want: http.Header{"Cache-Control": {"no-store"}}},
		{name: "public, no cookie", headers: http.Header{"Cache-Control": {"public"}}, want: http.Header{"Cache-Control": {"public"}}},
		{name: "hop by hop", headers: http.Header{"Keep-Alive": {"timeout=5"}}, want: http.Header{"Keep-Alive": nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			headers = tt.headers
			resp, _ := w.get(t, numberURL+"/")
			if resp.StatusCode != http.StatusTeapot {
				t.Fatal(resp.Status)
			}
			for k, want := range tt.want {
				if got := resp.Header[k]; strings.Join(got, "|") != strings.Join(want, "|") {
					t.Errorf("%s: %q, want %q", k, got, want)
				}
			}
		})
	}
}

func TestReservedPathsAndMethods(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/healthz", 404},
		{"GET", "/healthz?x", 404},
		{"GET", "/%68ealthz", 404},
		{"GET", "/eventlog", 404},
		{"GET", "/_ah/warmup", 404},
		{"GET", "/healthz/x", 200},
		{"GET", "/_ahx", 200},
		{"TRACE", "/", 405},
		{"OPTIONS", "/", 200},
		{"PROPFIND", "/", 200},
		{"HEAD", "/", 200},
		{"HEAD", "/healthz", 404},
	} {
		resp, _ := w.do(t, w.client(t, false), tt.method, numberURL+tt.path, nil)
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s: %s, want %d", tt.method, tt.path, resp.Status, tt.status)
		}
	}
	conn, err := tls.Dial("tcp", w.secure.Addr().String(), &tls.Config{RootCAs: authority().Pool(), ServerName: numberHost})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n", numberHost, numberHost)
	status := make([]byte, len("HTTP/1.1 405"))
	if _, err := io.ReadFull(conn, status); err != nil || string(status) != "HTTP/1.1 405" {
		t.Errorf("CONNECT over TLS: %q, %v", status, err)
	}
}

func TestNoInstance(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		body   string
		fix    string
	}{
		{fmt.Errorf("tacoserver: %w (2)", frontdoor.ErrMaxInstances), 429, "Rate exceeded.", "--max-instances"},
		{fmt.Errorf("tacoserver: %w", frontdoor.ErrNoInstance), 500, "Error: Server Error", ""},
		{errors.New("disk full"), 500, "Error: Server Error", ""},
		{fmt.Errorf("%w: exit status 1:\nno\xff database", frontdoor.ErrStartup), 503, "Service Unavailable", "logs read"},
	} {
		w := newWorld(t, nil, func(w *world, _ *frontdoor.Config) { w.backend.err = tt.err })
		resp, body := w.get(t, numberURL+"/")
		if resp.StatusCode != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%v: %s %q", tt.err, resp.Status, body)
		}
		if why := resp.Header.Get("X-Cloudrun-Why"); !strings.Contains(why, "the request was aborted") || !strings.Contains(why, tt.fix) {
			t.Errorf("%v: why: %s", tt.err, why)
		}
		if r := <-w.requests; r.Status != tt.status || r.Why == "" {
			t.Errorf("%v: request %+v", tt.err, r)
		}
	}
}

func TestOnRequest(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, "eaten")
	}))
	w.do(t, w.client(t, true), http.MethodPost, numberURL+"/eat?x=1", strings.NewReader("taco"))
	got := <-w.requests
	if got.Status != 201 || got.Sent != 5 || got.Received != 4 || got.Method != "POST" || got.URL != numberURL+"/eat?x=1" ||
		got.Proto != "HTTP/2.0" || got.Caller != w.invoker.Principal || got.Revision != "tacoserver-00001-abc" ||
		got.RemoteIP != "127.0.0.1" || got.Latency <= 0 || len(got.TraceID) != 32 || len(got.SpanID) != 16 {
		t.Errorf("%+v", got)
	}
}
