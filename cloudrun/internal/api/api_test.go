package api

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/amammay/otorun/cloudrun/internal/iam"
	"github.com/amammay/otorun/cloudrun/internal/identity"
	"github.com/amammay/otorun/cloudrun/internal/platform"
	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

const (
	dev          = "developer@example.com"
	refreshToken = "refresh-token"
	runRegion    = "us-central1-run.googleapis.com"
	servicesPath = "/apis/serving.knative.dev/v1/namespaces/local-project/services"
)

// key signs the tokens of all tests: to make one takes a while.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// app builds the program of the instances' tests.
var app = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "app")
	build := exec.Command("go", "build", "-trimpath", "-o", file, "../instance/testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the app: %w\n%s", err, out)
	}
	return file, os.Chmod(dir, 0o755)
})

func TestMain(m *testing.M) {
	status := m.Run()
	if file, err := app(); err == nil {
		os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(status)
}

// A world is a server with its platform, and the developer's token.
type world struct {
	t      testing.TB
	p      *platform.Platform
	s      *Server
	clock  *identity.Clock
	images *Programs
	token  string
}

// newWorld makes one, whose state is kept in a folder if that has a name.
func newWorld(t testing.TB, stateDir string) *world {
	t.Helper()
	w := &world{t: t, clock: new(identity.Clock)}
	var err error
	if w.p, err = platform.New(platform.Config{Key: key(), Clock: w.clock}); err != nil {
		t.Fatal(err)
	}
	dir := stateDir
	if dir == "" {
		dir = t.TempDir()
	}
	if w.images, err = NewPrograms(filepath.Join(dir, "programs")); err != nil {
		t.Fatal(err)
	}
	if w.s, err = New(Config{Platform: w.p, Images: w.images, Developer: dev, RefreshToken: refreshToken, StateDir: stateDir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	w.token = w.form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}, 200)["access_token"].(string)
	return w
}

func (w *world) close() {
	w.s.Close()
	w.p.Close()
}

// serving makes the image whose container serves, or does what the argument says.
func (w *world) serving(what string) string {
	w.t.Helper()
	if err := sandbox.Available(); err != nil {
		if os.Getenv("CI") != "" {
			w.t.Fatal(err) // CI's machine has namespaces
		}
		w.t.Skip(err)
	}
	file, err := app()
	if err != nil {
		w.t.Fatal(err)
	}
	ref, err := w.images.Add("localhost/"+what, Image{
		Entrypoint: []string{"/app"}, Cmd: []string{what}, Env: []string{"COLOR=of the image"},
		UID: 65532, GID: 65532, Files: []sandbox.File{{Path: "/app", Source: file}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return ref
}

// send sends a request, as who has the token, and returns the answer.
func (w *world) send(token, method, host, path, body string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, "https://"+host+path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	h := w.s.Host(host)
	if h == nil {
		w.t.Fatalf("nothing answers for %s", host)
	}
	h.ServeHTTP(rec, r)
	if rec.Code >= 500 {
		w.t.Errorf("%s %s%s: %d, which gcloud tries again", method, host, path, rec.Code)
	}
	return rec
}

// do sends a request as the developer and returns the answer, of the status wanted.
func (w *world) do(want int, method, host, path, body string) object {
	w.t.Helper()
	return w.read(w.send(w.token, method, host, path, body), want, method+" "+host+path)
}

func (w *world) read(rec *httptest.ResponseRecorder, want int, what string) object {
	w.t.Helper()
	if rec.Code != want {
		w.t.Fatalf("%s: %d, want %d: %s", what, rec.Code, want, rec.Body)
	}
	var o object
	if err := json.Unmarshal(rec.Body.Bytes(), &o); err != nil {
		w.t.Fatalf("%s: %v: %s", what, err, rec.Body)
	}
	return o
}

// refused sends a request as the developer and returns why it is refused.
func (w *world) refused(want int, method, host, path, body string) string {
	w.t.Helper()
	message, _ := lookup(w.do(want, method, host, path, body), []string{"error", "message"})
	s, _ := message.(string)
	if s == "" {
		w.t.Errorf("%s %s%s: refused without a message", method, host, path)
	}
	return s
}

// form posts a form to the token endpoint.
func (w *world) form(form url.Values, want int) object {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, tokenURL, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	w.s.Host("oauth2.googleapis.com").ServeHTTP(rec, r)
	return w.read(rec, want, "token")
}

// account makes a service account and returns an access token of it.
func (w *world) account(name string) (email, token string) {
	w.t.Helper()
	a, err := w.p.Directory.CreateServiceAccount(name, "")
	if err != nil {
		w.t.Fatal(err)
	}
	token, _ = w.p.Issuer.AccessToken(subject(a.Principal))
	return a.Email, token
}

// Nothing is answered without a token of this run.
func TestCallersNeedATokenOfThisRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	expired := w.token
	for _, tt := range []struct{ name, token string }{
		{"none", ""},
		{"another's", "ya29.something"},
		{"nonsense", "local-access-token.e30.e30"},
	} {
		if rec := w.send(tt.token, http.MethodGet, runRegion, servicesPath, ""); rec.Code != http.StatusUnauthorized || !strings.Contains(rec.Body.String(), "cloudrun env") {
			t.Errorf("%s: %d %s", tt.name, rec.Code, rec.Body)
		}
	}
	w.do(200, http.MethodGet, runRegion, servicesPath, "")
	w.clock.Move(identity.Lifetime)
	if rec := w.send(expired, http.MethodGet, runRegion, servicesPath, ""); rec.Code != http.StatusUnauthorized {
		t.Errorf("an hour later: %d %s", rec.Code, rec.Body)
	}
}

// What a service account may is what policies say.
func TestServiceAccountNeedsRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	email, token := w.account("operator")
	list := func() int { return w.send(token, http.MethodGet, runRegion, servicesPath, "").Code }
	if code := list(); code != http.StatusForbidden {
		t.Errorf("without a role: %d", code)
	}
	for _, role := range []string{"roles/run.viewer", "roles/viewer", iam.Owner} {
		if _, err := w.p.Directory.AddBinding(w.p.Directory.Project(), role, "serviceAccount:"+email); err != nil {
			t.Fatal(err)
		}
		if code := list(); code != 200 {
			t.Errorf("with %s: %d", role, code)
		}
		if _, err := w.p.Directory.RemoveBinding(w.p.Directory.Project(), role, "serviceAccount:"+email); err != nil {
			t.Fatal(err)
		}
	}
	// A role on one secret is for that secret.
	for _, id := range []string{"mine", "other"} {
		w.do(200, http.MethodPost, "secretmanager.googleapis.com", "/v1/projects/local-project/secrets?secretId="+id, "{}")
		w.do(200, http.MethodPost, "secretmanager.googleapis.com", "/v1/projects/local-project/secrets/"+id+":addVersion", `{"payload":{"data":"YQ=="}}`)
	}
	w.do(200, http.MethodPost, "secretmanager.googleapis.com", "/v1/projects/local-project/secrets/mine:setIamPolicy",
		`{"policy":{"bindings":[{"role":"roles/secretmanager.secretAccessor","members":["serviceAccount:`+email+`"]}]}}`)
	for id, want := range map[string]int{"mine": 200, "other": 403} {
		if rec := w.send(token, http.MethodGet, "secretmanager.googleapis.com", "/v1/projects/local-project/secrets/"+id+"/versions/latest:access", ""); rec.Code != want {
			t.Errorf("secret %s: %d %s, want %d", id, rec.Code, rec.Body, want)
		}
	}
}

// What isn't emulated is refused with 400 and a message: hosts, paths, methods,
// regions, gRPC.
func TestWhatIsNotEmulated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	for _, tt := range []struct{ method, host, path, want string }{
		{"GET", "compute.googleapis.com", "/", "compute.googleapis.com"},
		{"GET", "storage.googleapis.com", "/bucket/o", "storage.googleapis.com"},
		{"GET", runRegion, "/v2/projects/local-project/locations/us-central1/services", "isn't emulated"},
		{"GET", runRegion, "/apis/run.googleapis.com/v1/namespaces/local-project/jobs", "isn't emulated"},
		{"PATCH", runRegion, servicesPath, "GET, POST"},
		{"GET", "europe-west1-run.googleapis.com", servicesPath, "-region europe-west1"},
		{"GET", "run.googleapis.com", "/v1/projects/local-project/locations/europe-west1/services", "-region europe-west1"},
		{"POST", "firestore.googleapis.com", "/v1/projects/local-project/databases?databaseId=(default)", "Firestore"},
		{"POST", "iam.googleapis.com", "/v1/projects/local-project/roles", "isn't emulated"},
		{"POST", "artifactregistry.googleapis.com", "/v1/projects/local-project/locations/us/repositories?repositoryId=go", "format"},
	} {
		if got := w.refused(400, tt.method, tt.host, tt.path, "{}"); !strings.Contains(got, tt.want) {
			t.Errorf("%s %s%s: %q has no %q", tt.method, tt.host, tt.path, got, tt.want)
		}
	}
	if got := w.refused(403, "GET", runRegion, "/apis/serving.knative.dev/v1/namespaces/real-project/services", ""); !strings.Contains(got, "local-project") {
		t.Errorf("another project: %s", got)
	}
	for _, host := range []string{"example.com", "tacoserver-123456789012.us-central1.run.app", "tacoclient.localhost", "127.0.0.1"} {
		if w.s.Host(host) != nil {
			t.Errorf("the APIs answer for %s", host)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "https://firestore.googleapis.com/google.firestore.v1.Firestore/Commit", nil)
	r.Header.Set("Content-Type", "application/grpc")
	rec := httptest.NewRecorder()
	w.s.Host("firestore.googleapis.com").ServeHTTP(rec, r)
	if rec.Code != 200 || rec.Header().Get("Grpc-Status") != "12" || rec.Header().Get("Grpc-Message") == "" {
		t.Errorf("a gRPC client is told %d %v", rec.Code, rec.Header())
	}
}

// An API that is turned off says how to turn it on.
func TestDisabledAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	const apis = "/v1/projects/local-project/services"
	state := func() any { return w.do(200, "GET", serviceUsage, apis+"/run.googleapis.com", "")["state"] }
	if s := state(); s != "ENABLED" {
		t.Errorf("at first: %v", s)
	}
	w.do(200, "POST", serviceUsage, apis+"/run.googleapis.com:disable", "")
	if s := state(); s != "DISABLED" {
		t.Errorf("then: %v", s)
	}
	if got := w.refused(403, "GET", runRegion, servicesPath, ""); !strings.Contains(got, "gcloud services enable run.googleapis.com") {
		t.Errorf("called: %s", got)
	}
	w.do(200, "POST", serviceUsage, apis+":batchEnable", `{"serviceIds":["run.googleapis.com","cloudbuild.googleapis.com"]}`)
	w.do(200, "GET", runRegion, servicesPath, "")
	w.refused(400, "POST", serviceUsage, apis+":batchEnable", `{"serviceIds":["nonsense"]}`)
}
