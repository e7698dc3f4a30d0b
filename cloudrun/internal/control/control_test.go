package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type fakePlatform struct{}

func (fakePlatform) Token(as, audience string) (string, error) {
	if as == "" {
		return "", errors.New("there is no user or service account \"\"")
	}
	return "token of " + as + " for " + audience, nil
}

func (fakePlatform) Why(as, service string) (Decision, error) {
	return Decision{Why: as + " may not call " + service, Fix: "gcloud ..."}, nil
}

func (fakePlatform) Overview() string { return "two services\n" }

// publish starts a platform's control in this process.
func publish(t *testing.T) Run {
	t.Helper()
	dir, remove, err := NewDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	s := httptest.NewUnstartedServer(nil)
	run, err := Publish(Run{Dir: dir, Addr: s.Listener.Addr().String(), Project: "p"})
	if err != nil {
		t.Fatal(err)
	}
	s.Config.Handler = Handler(run, fakePlatform{})
	s.Start()
	t.Cleanup(s.Close)
	return run
}

func inOwnRuntimeDir(t *testing.T) string {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return dir
}

func TestFindAndAsk(t *testing.T) {
	runtime := inOwnRuntimeDir(t)
	if _, err := Find(""); err == nil || !strings.Contains(err.Error(), "go run ./cloudrun") {
		t.Errorf("Find without a platform: %v", err)
	}
	first := publish(t)
	run, err := Find("")
	if err != nil || run != first {
		t.Fatalf("Find = %+v, %v, want %+v", run, err, first)
	}
	if token, err := run.Token(t.Context(), "me@example.com", "https://a"); err != nil || token != "token of me@example.com for https://a" {
		t.Errorf("Token = %q, %v", token, err)
	}
	if _, err := run.Token(t.Context(), "", ""); err == nil || err.Error() != `there is no user or service account ""` {
		t.Errorf("Token of nobody: %v", err)
	}
	if d, err := run.Why(t.Context(), "me", "taco"); err != nil || d.Allowed || d.Why != "me may not call taco" || d.Fix == "" {
		t.Errorf("Why = %+v, %v", d, err)
	}
	second := publish(t)
	if _, err := Find(""); err == nil || !strings.Contains(err.Error(), second.Addr) {
		t.Errorf("Find among two: %v, want their addresses", err)
	}
	if run, err := Find(second.Addr); err != nil || run != second {
		t.Errorf("Find(%s) = %+v, %v", second.Addr, run, err)
	}
	if _, err := Find("127.0.0.1:1"); err == nil {
		t.Error("found a platform that isn't there")
	}
	info, err := os.Stat(filepath.Join(first.Dir, stateFile))
	if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(first.Dir, runtime) {
		t.Errorf("file of %s: %v, %v", first.Dir, info, err)
	}
}

func TestOnlyThePlatformsOwn(t *testing.T) {
	inOwnRuntimeDir(t)
	run := publish(t)
	for _, tt := range []struct {
		path, host, secret string
		want               int
	}{
		{path: "/", want: 200},
		{path: "/", host: "localhost:1", want: 200},
		{path: "/", host: "evil.example", want: 404},
		{path: "/token?as=me", want: 403},
		{path: "/token?as=me", secret: "guess", want: 403},
		{path: "/token?as=me", secret: run.Secret, want: 200},
		{path: "/token?as=me", secret: run.Secret, host: "evil.example", want: 404},
	} {
		r, err := http.NewRequest(http.MethodGet, "http://"+run.Addr+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = tt.host
		r.Header.Set(secretHeader, tt.secret)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s of %q with secret %q: %d, want %d", tt.path, tt.host, tt.secret, resp.StatusCode, tt.want)
		}
	}
}

func TestFolderOfOthersIsRefused(t *testing.T) {
	runtime := inOwnRuntimeDir(t)
	if err := os.Mkdir(filepath.Join(runtime, fmt.Sprintf("otorun-cloudrun-%d", os.Getuid())), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(runtime, fmt.Sprintf("otorun-cloudrun-%d", os.Getuid())), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, _, err := NewDir(); err == nil || !strings.Contains(err.Error(), "only you can read") {
		t.Errorf("NewDir = %v", err)
	}
}

// The folder goes when its process is closed, and when it is killed.
func TestFolderGoesWithTheProcess(t *testing.T) {
	if os.Getenv("CONTROL_TEST_CHILD") != "" {
		dir, _, err := NewDir()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("dir " + dir)
		select {}
	}
	inOwnRuntimeDir(t)
	dir, remove, err := NewDir()
	if err != nil {
		t.Fatal(err)
	}
	remove()
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder above %s after close: %v", dir, err)
	}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestFolderGoesWithTheProcess$")
	cmd.Env = append(os.Environ(), "CONTROL_TEST_CHILD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(out); s.Scan(); {
		if line, ok := strings.CutPrefix(s.Text(), "dir "); ok {
			dir = line
			break
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	go io.Copy(io.Discard, out)
	cmd.Wait()
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, err := os.Stat(filepath.Dir(dir))
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s, or the folder above it, is still there", dir)
		}
		time.Sleep(time.Millisecond)
	}
}
