package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

// app builds testdata/app.
var app = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "instance")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(dir, "app")
	build := exec.Command("go", "build", "-trimpath", "-o", file, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build testdata/app: %w\n%s", err, out)
	}
	return file, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if file, err := app(); err == nil {
		os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(status)
}

// spec is the app doing one thing.
func spec(t testing.TB, what string) Spec {
	t.Helper()
	if err := sandbox.Available(); err != nil {
		t.Skip(err)
	}
	file, err := app()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{
		Service: "taco", Revision: "taco-00001-abc",
		Args: []string{"/app", what}, Files: []sandbox.File{{Path: "/app", Source: file}},
		UID: 65532, GID: 65532,
	}
}

// doors are a metadata server that says its name and nothing else.
func doors() Doors {
	closed := func(l net.Listener) { l.Close() }
	return Doors{
		Metadata: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "metadata ", r.URL.Path) }),
		DNS: func(packets net.PacketConn, l net.Listener) {
			packets.Close()
			l.Close()
		},
		HTTP:  closed,
		HTTPS: closed,
	}
}

func start(t testing.TB, s Spec) (*Instance, error) {
	t.Helper()
	i, err := Start(t.Context(), NewID(), s, doors(), io.Discard, io.Discard)
	if err == nil {
		t.Cleanup(i.Kill)
	}
	return i, err
}

// get asks the instance's app.
func get(t *testing.T, i *Instance, path string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return i.Dial(ctx) },
	}}
	resp, err := client.Get("http://app" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestContract(t *testing.T) {
	t.Parallel()
	s := spec(t, "serve")
	s.Env = []string{"COLOR=red", "PORT=1", "HOME=/data"}
	i, err := start(t, s)
	if err != nil {
		t.Fatal(err)
	}
	env := get(t, i, "/env")
	for _, want := range []string{"PORT=8080\n", "K_SERVICE=taco\n", "K_REVISION=taco-00001-abc\n", "K_CONFIGURATION=taco\n", "COLOR=red\n", "HOME=/data\n", "PATH="} {
		if strings.Count("\n"+env, "\n"+want) != 1 {
			t.Errorf("the environment has not once %q:\n%s", want, env)
		}
	}
	if got := get(t, i, "/fetch?url=http://169.254.169.254/computeMetadata/v1/project/project-id"); got != "metadata /computeMetadata/v1/project/project-id" {
		t.Errorf("the metadata server answers %q", got)
	}
	select {
	case <-i.Done():
		t.Error("it has ended")
	default:
	}
	i.Stop()
	if i.Exit() == "" {
		t.Error("no exit status")
	}
}

// TestImageFiles runs on an image that has files in the platform's places.
func TestImageFiles(t *testing.T) {
	t.Parallel()
	s := spec(t, "serve")
	s.Root, s.CABundle = t.TempDir(), []byte("platform's")
	const fedora, debian = "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"
	for _, name := range []string{"/etc/resolv.conf", "/etc/hosts", "/data", "/pem"} {
		name = filepath.Join(s.Root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("image's"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(s.Root, filepath.Dir(fedora)), 0o755), os.Symlink("/pem", filepath.Join(s.Root, fedora))); err != nil {
		t.Fatal(err)
	}
	i, err := start(t, s)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		debian: "platform's", fedora: "platform's", "/etc/resolv.conf": "nameserver 169.254.169.254\nsearch google.internal\n",
		"/data": "image's", "/etc/ssl/cert.pem": "open /etc/ssl/cert.pem: no such file or directory",
	} {
		if got := get(t, i, "/read?name="+name); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
}

func TestDoesNotStart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what, wantReason, wantLog string
	}{
		{what: "crash", wantReason: "it ended with exit status 3", wantLog: "no database"},
		{what: "loopback", wantReason: "nothing listens on all addresses at port 8080", wantLog: "listening on 127.0.0.1:8080"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			s := spec(t, tt.what)
			if tt.what == "loopback" {
				s.Startup.Period = time.Second
			}
			_, err := start(t, s)
			e, ok := errors.AsType[*StartupError](err)
			if !ok || !strings.Contains(e.Reason, tt.wantReason) || !strings.Contains(strings.Join(e.Log, "\n"), tt.wantLog) {
				t.Errorf("Start = %v, want a StartupError: ...%s... with the log %q", err, tt.wantReason, tt.wantLog)
			}
		})
	}
}

func TestStartupPath(t *testing.T) {
	t.Parallel()
	s := spec(t, "serve")
	s.Startup = Probe{Path: "/ready", Period: 10 * time.Millisecond, Timeout: 10 * time.Second, Failures: 1000} // has success the third time
	if _, err := start(t, s); err != nil {
		t.Error(err)
	}
	s.Startup.Path, s.Startup.Period, s.Startup.Failures = "/nowhere", 20*time.Second, 1
	if _, err := start(t, s); err == nil || !strings.Contains(err.Error(), "GET /nowhere: 404 Not Found") {
		t.Errorf("Start = %v", err)
	}
}

// An instance whose liveness probe fails is killed, and says why.
func TestLiveness(t *testing.T) {
	t.Parallel()
	s := spec(t, "serve")
	s.Liveness = &Probe{Path: "/well", Header: http.Header{"X-Probe": {"1"}}, Period: 10 * time.Millisecond, Timeout: 10 * time.Second, Failures: 2}
	i, err := start(t, s) // is well three times
	if err != nil {
		t.Fatal(err)
	}
	<-i.Done()
	if got := i.Unhealthy(); !strings.Contains(got, "LIVENESS HTTP probe failed 2 times consecutively on port 8080: GET /well: 500") {
		t.Errorf("Unhealthy = %q", got)
	}
}

func TestGRPCProbe(t *testing.T) {
	t.Parallel()
	s := spec(t, "grpc")
	// Well the third time, and no more from the sixth on.
	s.Startup = Probe{GRPC: true, Service: "taco", Period: 10 * time.Millisecond, Timeout: 10 * time.Second, Failures: 1000}
	s.Liveness = &Probe{GRPC: true, Service: "taco", Period: 10 * time.Millisecond, Timeout: 10 * time.Second, Failures: 1}
	i, err := start(t, s)
	if err != nil {
		t.Fatal(err)
	}
	<-i.Done()
	if got := i.Unhealthy(); !strings.Contains(got, "LIVENESS GRPC probe failed") || !strings.Contains(got, "NOT_SERVING") {
		t.Errorf("Unhealthy = %q", got)
	}
	s.Startup = Probe{GRPC: true, Service: "burrito", Period: 20 * time.Second, Timeout: 10 * time.Second, Failures: 1}
	s.Liveness = nil
	if _, err := start(t, s); err == nil || !strings.Contains(err.Error(), "NOT_SERVING") {
		t.Errorf("another service: Start = %v", err)
	}
}

// What answers is asked again after a period, and as often as it may fail.
func TestProbeCounts(t *testing.T) {
	t.Parallel()
	s := spec(t, "serve")
	s.Startup = Probe{Path: "/ready", Period: 20 * time.Second, Timeout: 10 * time.Second, Failures: 1}
	if _, err := start(t, s); err == nil || !strings.Contains(err.Error(), "GET /ready: 503") {
		t.Errorf("one failure allowed: Start = %v", err)
	}
	s.Startup.Period, s.Startup.Timeout, s.Startup.Failures = 2*time.Second, 2*time.Second, 3
	if _, err := start(t, s); err != nil {
		t.Errorf("three: Start = %v", err)
	}
}

func TestStopGivesTenSeconds(t *testing.T) {
	t.Parallel()
	i, err := start(t, spec(t, "stubborn"))
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	i.Stop()
	if took := time.Since(begun); took < stopTimeout || took > stopTimeout+5*time.Second {
		t.Errorf("stopped after %v, want %v", took, stopTimeout)
	}
}

func TestWaysOut(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				got, _ := io.ReadAll(conn)
				conn.Write(bytes.ToUpper(got))
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s := spec(t, "serve")
	if got := func() string {
		i, err := start(t, s)
		if err != nil {
			t.Fatal(err)
		}
		return get(t, i, "/dial?addr="+l.Addr().String())
	}(); !strings.Contains(got, "refused") {
		t.Errorf("without a door: %q, want it refused", got)
	}
	s.Outside = []string{l.Addr().String(), "localhost.localdomain:" + port}
	i, err := start(t, s)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, i, "/dial?addr="+l.Addr().String()); got != "HELLO" {
		t.Errorf("by address: %q", got)
	}
	for _, bad := range []string{"nohost", "host:0", "host:x"} {
		if _, err := waysOut([]string{bad}); err == nil {
			t.Errorf("door %q passed", bad)
		}
	}
	ways, err := waysOut([]string{"db.example:5432", "db.example:5433", "cache.example:6379"})
	if err != nil || ways[0].inside.AddrPort.Addr() != ways[1].inside.AddrPort.Addr() || ways[1].inside.AddrPort.Addr() == ways[2].inside.AddrPort.Addr() {
		t.Errorf("waysOut = %+v, %v", ways, err)
	}
}

// BenchmarkStart is an instance's start, from nothing to the app listening.
// BenchmarkAppAlone is the app's own: an instance is to cost at most 40 ms more.
func BenchmarkStart(b *testing.B) {
	s := spec(b, "serve")
	for b.Loop() {
		i, err := Start(b.Context(), NewID(), s, doors(), io.Discard, io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		i.Kill()
		b.StartTimer()
	}
}

func BenchmarkAppAlone(b *testing.B) {
	file, err := app()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		_, port, _ := net.SplitHostPort(addr)
		b.StartTimer()
		cmd := exec.Command(file, "serve")
		cmd.Env = []string{"PORT=" + port}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		for {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
				break
			}
			time.Sleep(100 * time.Microsecond)
		}
		b.StopTimer()
		cmd.Process.Kill()
		cmd.Wait()
		b.StartTimer()
	}
}
