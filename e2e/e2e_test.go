// Package e2e holds tests only: it builds the commands of this module and runs
// them as processes, the way a person or Cloud Run does.
//
//	go test ./e2e
//
// No test needs the network, root or a fixed port: a service started with PORT=0
// says in its log where it listens.
package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bin is where TestMain puts the commands.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Getenv(staticEnv) != "" {
		return m.Run() // as another user, with what is built
	}
	dir, err := os.MkdirTemp("", "otorun-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	noteSources("../go.mod", "../server", "../client", "../internal", "../generated", "../oto/otohttp")
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "./server", "./client")...)
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %s: %v\n%s", build, err, out)
		return 1
	}
	return m.Run()
}

// onlyProcesses skips a test with the race detector that runs nothing but other
// programs, which are built without it: what it tests is tested without it.
func onlyProcesses(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("it runs only programs that are built without the race detector: it runs without it")
	}
}

// noteSources looks at the files the commands are built from. go test keeps the
// result of a test until a file changes that the test looked at, and it doesn't
// know what the go command looked at for us.
func noteSources(paths ...string) {
	for _, p := range paths {
		filepath.WalkDir(p, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				os.Stat(path)
			}
			return nil
		})
	}
}

// A process is one of the commands, running.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	// URL is where it listens.
	URL string

	mu    sync.Mutex
	lines []string // what it wrote to stderr
	read  chan struct{}
}

var listening = regexp.MustCompile(`url"?[=:]"?(http://localhost:\d+)`)

// start runs the command name with the settings (KEY=VALUE) as its whole
// environment, but for a port and a file of its own if they name none, and returns
// when it listens. It is killed at the end of the test if it still runs then.
func start(t *testing.T, name string, settings ...string) *process {
	t.Helper()
	return startFile(t, filepath.Join(bin, name), settings...)
}

// startFile is start for a command that was built elsewhere.
func startFile(t *testing.T, file string, settings ...string) *process {
	t.Helper()
	cmd := exec.Command(file)
	cmd.Env = append([]string{"PORT=0", "TACO_DB=" + filepath.Join(t.TempDir(), "tacos.db")}, settings...)
	return startCmd(t, filepath.Base(file), cmd)
}

// startCmd is start for a command with its environment.
func startCmd(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: cmd, read: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.read
		p.cmd.Wait()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, strings.Join(p.log(), "\n"))
		}
	})
	url := make(chan string, 1)
	go func() {
		defer close(p.read)
		defer close(url)
		found := false
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			p.mu.Unlock()
			if m := listening.FindStringSubmatch(s.Text()); !found && m != nil && strings.Contains(s.Text(), "listening") {
				found = true
				url <- m[1]
			}
		}
	}()
	select {
	case p.URL = <-url:
	case <-time.After(30 * time.Second):
	}
	if p.URL == "" {
		t.Fatalf("%s does not listen; its log:\n%s", name, strings.Join(p.log(), "\n"))
	}
	return p
}

// startPair runs tacoserver and a tacoclient that calls it.
func startPair(t *testing.T, settings ...string) (client, server *process) {
	t.Helper()
	server = start(t, "server", settings...)
	client = start(t, "client", append([]string{"TACO_HOST=" + server.URL}, settings...)...)
	return client, server
}

// log returns the lines that the process has written so far.
func (p *process) log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// waitForLog returns the first line with text in it, once there is one.
func (p *process) waitForLog(text string) string {
	p.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, l := range p.log() {
			if strings.Contains(l, text) {
				return l
			}
		}
	}
	p.t.Fatalf("%s does not log %q; its log:\n%s", p.name, text, strings.Join(p.log(), "\n"))
	return ""
}

// end sends the signal and returns the exit status and how long that took.
func (p *process) end(sig os.Signal) (status int, took time.Duration) {
	p.t.Helper()
	begun := time.Now()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("signal %s: %v", p.name, err)
	}
	select {
	case <-p.read:
	case <-time.After(20 * time.Second):
		p.t.Errorf("%s still runs 20 s after %v", p.name, sig)
		p.cmd.Process.Kill()
		<-p.read
	}
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode(), time.Since(begun)
}

// runToEnd runs a command that is to end by itself.
func runToEnd(t *testing.T, name string, settings ...string) (status int, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name))
	cmd.Env = settings
	if len(settings) == 0 {
		cmd.Env = []string{"PORT=0"}
	}
	cmd.WaitDelay = time.Second
	var b bytes.Buffer
	cmd.Stderr = &b
	timer := time.AfterFunc(20*time.Second, func() { cmd.Process.Signal(syscall.SIGKILL) })
	defer timer.Stop()
	cmd.Run()
	return cmd.ProcessState.ExitCode(), b.String()
}

// get answers like curl: the status and the body.
func get(t *testing.T, url string, header ...string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	return do(t, req, header...)
}

func do(t *testing.T, req *http.Request, header ...string) string {
	t.Helper()
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
		return ""
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}
