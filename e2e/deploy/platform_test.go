// Package deploy tests the platform with the real gcloud, as processes.
package deploy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/amammay/otorun/cloudrun/cloudruntest"
)

const (
	project   = "local-project"
	region    = "us-central1"
	number    = "123456789012"
	developer = "developer@example.com"
	// repository is where the tests' images are pushed to.
	repository = region + "-docker.pkg.dev/" + project + "/images"
)

// bin is where built commands are.
var bin string

func TestMain(m *testing.M) {
	var err error
	if bin, err = os.MkdirTemp("", "deploy"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(bin)
	os.Exit(status)
}

// commands are built once: cloudrun, and the app in two versions.
var commands = sync.OnceValue(func() error {
	// go test keeps a result until a file changes that the test has looked at.
	for _, dir := range []string{"cloudrun", "internal", "runsd", "server", "client", "generated", "oto/otohttp", "go.mod"} {
		filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				os.Stat(path)
			}
			return nil
		})
	}
	if err := os.Chmod(bin, 0o755); err != nil {
		return err
	}
	build := func(args ...string) error {
		cmd := exec.Command("go", append([]string{"build", "-trimpath"}, args...)...)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
		return nil
	}
	errs := []error{build("-o", filepath.Join(bin, "cloudrun"), "./cloudrun")}
	for _, version := range []string{"1", "2"} {
		errs = append(errs, build("-ldflags=-s -w -X main.version="+version, "-o", filepath.Join(bin, "app"+version), "./e2e/deploy/testdata/app"))
	}
	return errors.Join(errs...)
})

// need skips a test where something is missing that CI has.
func need(t *testing.T) {
	t.Helper()
	why := cloudruntest.Available()
	if _, err := exec.LookPath("gcloud"); err != nil && why == nil {
		why = fmt.Errorf("the real gcloud isn't installed: %w", err)
	}
	switch {
	case why == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
	if err := commands(); err != nil {
		t.Fatal(err)
	}
}

// A platform is a running cloudrun, and a shell that env has pointed at it, but for
// a recorder between the two.
type platform struct {
	t    *testing.T
	dir  string // of this test
	addr string
	env  map[string]string
	cmd  *exec.Cmd
	out  *output

	mu    sync.Mutex
	hosts map[string]int // that were asked for through the proxy
}

// output is written by a process while a test reads it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var listening = regexp.MustCompile(`(?m)^cloudrun: \d+ services in .* at http://(\S+)$`)

// start starts cloudrun, without the pair unless args say otherwise.
func start(t *testing.T, args ...string) *platform {
	t.Helper()
	need(t)
	if raceEnabled {
		t.Skip("all that this tests is in other processes, which the detector doesn't see: it runs without it")
	}
	p := &platform{t: t, dir: t.TempDir(), hosts: make(map[string]int), out: new(output)}
	p.run(args...)
	return p
}

// run starts the process, again if it was stopped.
func (p *platform) run(args ...string) {
	t := p.t
	t.Helper()
	p.cmd = exec.Command(filepath.Join(bin, "cloudrun"), append([]string{"up", "-addr", "127.0.0.1:0"}, args...)...)
	p.cmd.Dir = filepath.Join("..", "..")
	p.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(), "XDG_RUNTIME_DIR=" + p.dir,
		"GOPROXY=off", "GOFLAGS=" + os.Getenv("GOFLAGS"), "GOCACHE=" + os.Getenv("GOCACHE"),
	}
	p.out = new(output)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("cloudrun:\n%s", p.out)
		}
	})
	p.addr = ""
	waitFor(t, "the platform", func() bool {
		if m := listening.FindStringSubmatch(p.out.String()); m != nil {
			p.addr = m[1]
		}
		return p.addr != ""
	})
	p.eval()
}

// stop ends the process as Ctrl-C does.
func (p *platform) stop() {
	if p.cmd.ProcessState == nil {
		p.cmd.Process.Signal(os.Interrupt)
		p.cmd.Wait()
	}
}

// eval sets the environment as a person's eval "$(go run ./cloudrun env)" does, from
// next to nothing.
func (p *platform) eval() {
	t := p.t
	t.Helper()
	cmd := exec.Command("bash", "-c", `eval "$("$1" env -addr "$2")" && env -0`, "-", filepath.Join(bin, "cloudrun"), p.addr)
	// What would lead gcloud elsewhere is taken away by env.
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "XDG_RUNTIME_DIR=" + p.dir, "LC_ALL=C.UTF-8",
		"CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN=http://127.0.0.1:1/", "CLOUDSDK_AUTH_TOKEN_HOST=http://127.0.0.1:1/", "REQUESTS_CA_BUNDLE=/nonexistent",
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("env: %v\n%s", err, p.out)
	}
	p.env = make(map[string]string)
	for pair := range strings.SplitSeq(string(out), "\x00") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			p.env[key] = value
		}
	}
	for _, key := range []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN", "CLOUDSDK_AUTH_TOKEN_HOST"} {
		if v, ok := p.env[key]; ok {
			t.Errorf("env leaves %s=%s", key, v)
		}
	}
	proxy := "http://" + p.record()
	for _, key := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		if p.env[key] != "http://"+p.addr {
			t.Errorf("env says %s=%s", key, p.env[key])
		}
		p.env[key] = proxy
	}
}

// record listens as a proxy that notes which hosts are asked for, and passes all on
// to the platform.
func (p *platform) record() string {
	next := &url.URL{Scheme: "http", Host: p.addr}
	plain := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host },
		Transport: &http.Transport{Proxy: http.ProxyURL(next), DisableCompression: true},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked(r.Host)
		if r.Method != http.MethodConnect {
			plain.ServeHTTP(w, r)
			return
		}
		there, err := net.Dial("tcp", next.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		fmt.Fprintf(there, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", r.Host, r.Host)
		go func() {
			defer here.Close()
			io.Copy(here, there)
		}()
		io.Copy(there, buffered)
	}))
	p.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func (p *platform) asked(target string) {
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		host = target
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts[host]++
}

// known are the hosts that the platform has, or is known to refuse.
var known = regexp.MustCompile(`^((us-central1-)?run|oauth2|iam|iamcredentials|cloudresourcemanager|serviceusage|secretmanager|artifactregistry|logging)\.googleapis\.com$` +
	`|^us-central1-docker\.pkg\.dev$|\.run\.app$`)

// wantOnlyKnown fails the test if anything was asked of a host that the platform
// hasn't got.
func (p *platform) wantOnlyKnown(also ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.hosts) == 0 {
		p.t.Error("no host was asked: the recorder isn't between")
	}
	for host := range p.hosts {
		if !known.MatchString(host) && !slices.Contains(also, host) {
			p.t.Errorf("%s was asked", host)
		}
	}
}

// A result is what a command did.
type result struct {
	stdout, stderr string
	status         int
}

func (p *platform) environ(extra ...string) []string {
	var env []string
	for key, value := range p.env {
		env = append(env, key+"="+value)
	}
	return append(env, extra...)
}

// do runs a command in the shell that env made.
func (p *platform) do(env []string, name string, args ...string) result {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.dir
	cmd.Env = p.environ(env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		p.t.Fatalf("%s: %v", cmd, err)
	} else if ok && exit.ExitCode() < 0 {
		p.t.Fatalf("%s: %v\n%s%s", cmd, err, &stdout, &stderr)
	}
	return result{strings.TrimSpace(stdout.String()), strings.TrimSpace(stderr.String()), cmd.ProcessState.ExitCode()}
}

// gcloud runs gcloud, which has to succeed, and returns what it prints.
func (p *platform) gcloud(args ...string) string {
	p.t.Helper()
	r := p.do(nil, "gcloud", args...)
	if r.status != 0 {
		p.t.Fatalf("gcloud %s: exit status %d\n%s\n%s", strings.Join(args, " "), r.status, r.stdout, r.stderr)
	}
	return r.stdout
}

// gcloudFails runs gcloud, which must fail in no time, and returns what it says.
func (p *platform) gcloudFails(args ...string) string {
	p.t.Helper()
	r := p.do(nil, "gcloud", args...)
	if r.status == 0 || strings.Contains(r.stderr, "gcloud crashed") {
		p.t.Fatalf("gcloud %s: exit status %d\n%s\n%s", strings.Join(args, " "), r.status, r.stdout, r.stderr)
	}
	return r.stderr
}

// shell runs a line in the shell that env made, in the repository.
func (p *platform) shell(line string) string {
	p.t.Helper()
	r := p.do(nil, "bash", "-c", line)
	if r.status != 0 {
		p.t.Fatalf("%s: exit status %d\n%s\n%s", line, r.status, r.stdout, r.stderr)
	}
	return r.stdout
}

// ask is curl with a token, or none, and returns the status and the body.
func (p *platform) ask(url, token string, args ...string) string {
	p.t.Helper()
	args = append([]string{"-sS", "-w", "%{stderr}%{http_code}"}, args...)
	if token != "" {
		args = append(args, "-H", "Authorization: Bearer "+token)
	}
	r := p.do(nil, "curl", append(args, url)...)
	return r.stderr + " " + r.stdout
}

// waitFor asks until it is so.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// push makes an image of a version of the app and pushes it to the platform's own
// address, as docker's daemon does. It returns the reference.
func (p *platform) push(version string) string {
	t := p.t
	t.Helper()
	const path = "/" + project + "/images/app:v"
	ref, err := name.ParseReference(p.addr+path+version, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	// Not by the proxy of this test's own environment.
	if err := remote.Write(ref, appImage(t, version), remote.WithTransport(&http.Transport{}), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return region + "-docker.pkg.dev" + path + version
}

// appImage is the app in an image of its own.
func appImage(t *testing.T, version string) v1.Image {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(bin, "app"+version))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	w.Write(program)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(b.Bytes(), types.DockerUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.Entrypoint, file.Config.User = []string{"/app"}, "65532"
	file.Config.Env = []string{"COLOR=of the image"}
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// prepared is a platform with the app's two images.
func prepared(t *testing.T, args ...string) (p *platform, images [2]string) {
	t.Helper()
	p = start(t, append([]string{"-empty"}, args...)...)
	p.gcloud("artifacts", "repositories", "create", "images", "--repository-format=docker", "--location="+region)
	return p, [2]string{p.push("1"), p.push("2")}
}
