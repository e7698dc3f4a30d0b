package metadata_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authtoken "cloud.google.com/go/auth/credentials/idtoken"
	gcemetadata "cloud.google.com/go/compute/metadata"
	"google.golang.org/api/idtoken"

	"github.com/amammay/otorun/cloudrun/internal/identity"
	"github.com/amammay/otorun/cloudrun/internal/metadata"
)

const audience = "https://tacoserver-123456789012.us-central1.run.app"

var account = identity.Subject{ID: "104857600000000000001", Email: "tacoclient@my-proj.iam.gserviceaccount.com"}

var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newServer(t *testing.T) (*metadata.Server, *identity.Issuer, *identity.Clock) {
	t.Helper()
	clock := new(identity.Clock)
	i, err := identity.New(identity.Config{Key: key(), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	return metadata.New(metadata.Instance{
		ProjectID: "my-proj", ProjectNumber: "123456789012", Region: "us-central1", ID: "00f46b92851d2c5d", Account: account,
	}, i), i, clock
}

// get asks as a program in the container does; headers replace its own.
func get(t *testing.T, s http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if headers == nil {
		headers = []string{"Metadata-Flavor", "Google"}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if got := w.Header().Get("Metadata-Flavor"); got != "Google" {
		t.Errorf("GET %s: Metadata-Flavor %q", path, got)
	}
	return w
}

const v1 = "/computeMetadata/v1/"

func TestValues(t *testing.T) {
	s, _, _ := newServer(t)
	const sa = "instance/service-accounts/"
	for path, want := range map[string]string{
		"":                                 "instance/\nproject/\nuniverse/\n",
		"project/":                         "numeric-project-id\nproject-id\n",
		"project/project-id":               "my-proj",
		"project/numeric-project-id":       "123456789012",
		"instance/":                        "id\nregion\nservice-accounts/\nzone\n",
		"instance/id":                      "00f46b92851d2c5d",
		"instance/region":                  "projects/123456789012/regions/us-central1",
		"instance/zone":                    "projects/123456789012/zones/us-central1-1",
		sa:                                 "default/\n" + account.Email + "/\n",
		sa + "default/":                    "aliases\nemail\nidentity\nscopes\ntoken\n",
		sa + "default/email":               account.Email,
		sa + account.Email + "/email":      account.Email,
		sa + "default/aliases":             "default\n",
		sa + "default/scopes":              "https://www.googleapis.com/auth/cloud-platform\n",
		sa + "default/scopes?alt=json":     `["https://www.googleapis.com/auth/cloud-platform"]`,
		"universe/universe-domain":         "googleapis.com",
		"project/project-id?alt=json":      `"my-proj"`,
		"project/?recursive=true":          `{"numericProjectId":123456789012,"projectId":"my-proj"}`,
		"project/?recursive=true&alt=text": "numeric-project-id 123456789012\nproject-id my-proj\n",
		sa + "default/?recursive=TRUE":     `{"aliases":["default"],"email":"` + account.Email + `","scopes":["https://www.googleapis.com/auth/cloud-platform"]}`,
		"instance/zone?alt=text":           "projects/123456789012/zones/us-central1-1",
	} {
		w := get(t, s, v1+path)
		if w.Code != 200 || w.Body.String() != want {
			t.Errorf("GET %s: %d %q, want %q", path, w.Code, w.Body, want)
		}
		wantKind := "application/text"
		if strings.HasPrefix(want, "{") || strings.HasPrefix(want, `"`) || strings.HasPrefix(want, "[") {
			wantKind = "application/json"
		}
		if got := w.Header().Get("Content-Type"); got != wantKind {
			t.Errorf("GET %s: %s, want %s", path, got, wantKind)
		}
		if w.Header().Get("ETag") == "" {
			t.Errorf("GET %s: no ETag", path)
		}
	}
}

func TestRefusals(t *testing.T) {
	s, _, _ := newServer(t)
	for _, tt := range []struct {
		name, path string
		headers    []string
		status     int
		inBody     string
	}{
		{name: "root without header", path: "/", headers: []string{"X", "y"}, status: 200},
		{name: "no header", path: v1 + "project/project-id", headers: []string{"X", "y"}, status: 403, inBody: "Missing Metadata-Flavor:Google header."},
		{name: "another flavor", path: v1 + "project/project-id", headers: []string{"Metadata-Flavor", "Amazon"}, status: 403},
		{name: "the older header", path: v1 + "project/project-id", headers: []string{"X-Google-Metadata-Request", "True"}, status: 200},
		{name: "through a proxy", path: v1 + "project/project-id", headers: []string{"Metadata-Flavor", "Google", "X-Forwarded-For", "10.0.0.1"}, status: 403, inBody: "X-Forwarded-For"},
		{name: "name", path: v1 + "instance/name", status: 404, inBody: "The requested URL <code>/computeMetadata/v1/instance/name</code> was not found on this server."},
		{name: "network", path: v1 + "instance/network-interfaces/0/ip", status: 404},
		{name: "attributes", path: v1 + "project/attributes/x", status: 404},
		{name: "another's account", path: v1 + "instance/service-accounts/other@my-proj.iam.gserviceaccount.com/token", status: 404},
		{name: "below a value", path: v1 + "project/project-id/x", status: 404},
		{name: "value with a slash", path: v1 + "project/project-id/", status: 404},
		{name: "another version", path: "/computeMetadata/v1beta1/instance/id", status: 404},
		{name: "elsewhere", path: "/latest/meta-data/", status: 404},
		{name: "versions", path: "/computeMetadata/", status: 200, inBody: "v1/"},
		{name: "directory without slash", path: v1 + "instance?recursive=true", status: 301},
		{name: "unknown alt", path: v1 + "instance/id?alt=xml", status: 400},
		{name: "directory as JSON", path: v1 + "instance/?alt=json", status: 400},
		{name: "identity without audience", path: v1 + "instance/service-accounts/default/identity", status: 400, inBody: "non-empty audience parameter required"},
		{name: "identity in another format", path: v1 + "instance/service-accounts/default/identity?audience=a&format=x", status: 400},
		{name: "markup", path: v1 + "%3Cscript%3E", status: 404, inBody: "v1/%3Cscript%3E</code>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := get(t, s, tt.path, tt.headers...)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.inBody) {
				t.Errorf("GET %s: %d %q, want %d", tt.path, w.Code, w.Body, tt.status)
			}
			if tt.status == 301 && w.Header().Get("Location") != "/computeMetadata/v1/instance/?recursive=true" {
				t.Errorf("Location %q", w.Header().Get("Location"))
			}
		})
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", v1+"project/project-id", nil)
	r.Header.Set("Metadata-Flavor", "Google")
	if s.ServeHTTP(w, r); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
}

// TestTokensAreKept: as Google's server does, until near their end.
func TestTokensAreKept(t *testing.T) {
	s, issuer, clock := newServer(t)
	const path = v1 + "instance/service-accounts/default/"
	id := func(query string) string {
		t.Helper()
		w := get(t, s, path+"identity?"+query)
		c, err := issuer.Authenticate(w.Body.String())
		if err != nil || c.Subject != account.ID || c.Email != account.Email {
			t.Fatalf("%d %q: %+v, %v", w.Code, query, c, err)
		}
		return w.Body.String()
	}
	access := func() (token string, seconds int) {
		t.Helper()
		var a struct {
			AccessToken string `json:"access_token"`
			ExpiresIn   int    `json:"expires_in"`
			TokenType   string `json:"token_type"`
		}
		if err := json.Unmarshal(get(t, s, path+"token").Body.Bytes(), &a); err != nil || a.TokenType != "Bearer" {
			t.Fatalf("%+v, %v", a, err)
		}
		if who, err := issuer.Access(a.AccessToken); who != account || err != nil {
			t.Fatalf("%v, %v", who, err)
		}
		return a.AccessToken, a.ExpiresIn
	}
	first := id("audience=a")
	firstAccess, _ := access()
	if id("audience=b") == first {
		t.Error("the same token for two audiences")
	}
	if id("audience=a&format=full&licenses=TRUE") != first {
		t.Error("another token the second time")
	}
	clock.Move(54 * time.Minute)
	if id("audience=a") != first {
		t.Error("another token 6 minutes before the end")
	}
	if token, seconds := access(); token != firstAccess || seconds < 355 || seconds > 365 {
		t.Errorf("access token for %d s, the same %t", seconds, token == firstAccess)
	}
	clock.Move(90 * time.Second)
	second := id("audience=a")
	if second == first {
		t.Error("the same token 4.5 minutes before the end")
	}
	if token, seconds := access(); token == firstAccess || seconds < 3590 {
		t.Errorf("access token for %d s, the same %t", seconds, token == firstAccess)
	}
	s.Forget()
	clock.Move(time.Second)
	if id("audience=a") == second {
		t.Error("the same token after Forget")
	}
}

func TestFaults(t *testing.T) {
	s, _, _ := newServer(t)
	s.SetFaults(metadata.Fault{Path: "/identity", Status: 429, Times: 2}, metadata.Fault{Path: "/region", Status: 503})
	for i, want := range []int{429, 429, 200} {
		if w := get(t, s, v1+"instance/service-accounts/default/identity?audience=a"); w.Code != want {
			t.Errorf("try %d: %d, want %d", i, w.Code, want)
		}
	}
	for range 3 {
		if w := get(t, s, v1+"instance/region"); w.Code != 503 {
			t.Errorf("region: %d", w.Code)
		}
	}
	if w := get(t, s, v1+"instance/id"); w.Code != 200 {
		t.Errorf("id: %d", w.Code)
	}
	s.SetFaults()
	if w := get(t, s, v1+"instance/region"); w.Code != 200 {
		t.Errorf("healed: %d", w.Code)
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newServer(t)
		s.SetFaults(metadata.Fault{Delay: time.Minute})
		start := time.Now()
		if w := get(t, s, v1+"instance/id"); w.Code != 200 || time.Since(start) != time.Minute {
			t.Errorf("%d after %v", w.Code, time.Since(start))
		}
	})
}

func TestWaitForChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newServer(t)
		const path = v1 + "instance/region?wait_for_change=true"
		etag := get(t, s, v1+"instance/region").Header().Get("ETag")
		for query, want := range map[string]time.Duration{
			"&last_etag=0":                           0,
			"&timeout_sec=7":                         7 * time.Second,
			"&timeout_sec=7&last_etag=" + etag:       7 * time.Second,
			"&timeout_sec=0&last_etag=" + etag:       0,
			"&timeout_sec=7&last_etag=" + etag + "x": 0,
		} {
			start := time.Now()
			if w := get(t, s, path+query); w.Code != 200 || time.Since(start) != want {
				t.Errorf("%s: %d after %v, want %v", query, w.Code, time.Since(start), want)
			}
		}
		if w := get(t, s, path+"&timeout_sec=x"); w.Code != 400 {
			t.Errorf("timeout_sec=x: %d", w.Code)
		}
		// Without a limit it ends with the asker.
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
		r.Header.Set("Metadata-Flavor", "Google")
		s.ServeHTTP(httptest.NewRecorder(), r)
		if ctx.Err() == nil {
			t.Error("it answered")
		}
	})
}

// TestGooglesLibraries: what programs use, told where the server is as their
// documents say. The libraries keep answers for the process, so it is one test.
func TestGooglesLibraries(t *testing.T) {
	s, issuer, _ := newServer(t)
	srv := httptest.NewServer(s)
	defer srv.Close()
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(srv.URL, "http://"))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir()) // no credentials of a person
	ctx := t.Context()

	c := gcemetadata.NewWithOptions(nil)
	if !c.OnGCEWithContext(ctx) {
		t.Error("OnGCE is false")
	}
	for name, f := range map[string]func(context.Context) (string, error){
		"my-proj":          c.ProjectIDWithContext,
		"123456789012":     c.NumericProjectIDWithContext,
		"us-central1-1":    c.ZoneWithContext,
		"00f46b92851d2c5d": c.InstanceIDWithContext,
		account.Email:      func(ctx context.Context) (string, error) { return c.EmailWithContext(ctx, "") },
		"projects/123456789012/regions/us-central1": func(ctx context.Context) (string, error) { return c.GetWithContext(ctx, "instance/region") },
	} {
		if got, err := f(ctx); got != name || err != nil {
			t.Errorf("%q, %v, want %q", got, err, name)
		}
	}
	if scopes, err := c.ScopesWithContext(ctx, ""); len(scopes) != 1 || err != nil {
		t.Errorf("scopes %q, %v", scopes, err)
	}
	if _, err := c.InstanceNameWithContext(ctx); !errors.As(err, new(gcemetadata.NotDefinedError)) {
		t.Errorf("instance/name: %v", err)
	}

	source, err := idtoken.NewTokenSource(ctx, audience)
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	if claims, err := issuer.Verify(token.AccessToken, audience); err != nil || claims.Email != account.Email {
		t.Errorf("api/idtoken: %+v, %v", claims, err)
	}
	creds, err := authtoken.NewCredentials(&authtoken.Options{Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	again, err := creds.Token(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if again.Value != token.AccessToken {
		t.Error("auth/idtoken got another token than api/idtoken")
	}
	if universe, err := creds.UniverseDomain(ctx); universe != "googleapis.com" || err != nil {
		t.Errorf("universe %q, %v", universe, err)
	}

	// A 429 is tried again by Google's client.
	s.SetFaults(metadata.Fault{Status: 429, Times: 1})
	if got, err := c.GetWithContext(ctx, "instance/region"); err != nil || got == "" {
		t.Errorf("after a 429: %q, %v", got, err)
	}
}
