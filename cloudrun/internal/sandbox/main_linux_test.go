package sandbox_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

// Variables that tell a copy of this test binary what it is.
const (
	appEnv    = "SANDBOX_TEST_APP"    // where testdata/app is built already
	parentEnv = "SANDBOX_TEST_PARENT" // a program with containers, to be killed; the user of their apps
	markEnv   = "SANDBOX_TEST_MARK"   // the program's mark
)

// app is testdata/app, built without cgo: in a container there is no libc.
var app string

func TestMain(m *testing.M) {
	if uid, ok := os.LookupEnv(parentEnv); ok {
		parent(uid)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if app = os.Getenv(appEnv); app != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	app = filepath.Join(dir, "app")
	build := exec.Command("go", "build", "-trimpath", "-o", app, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build testdata/app: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// nobody is a user without any privilege.
const nobody = 65534

// TestUnprivileged runs all the other tests again as a user that isn't root.
func TestUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the other tests run without privileges already")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, builtApp := filepath.Join(dir, "sandbox.test"), filepath.Join(dir, "app")
	for to, from := range map[string]string{binary: self, builtApp: app} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.v", "-test.skip=^TestUnprivileged$"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	if deadline, ok := t.Deadline(); ok {
		// Not to outlive this process.
		args = append(args, "-test.timeout="+(time.Until(deadline)*9/10).String())
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), appEnv+"="+builtApp, "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as user %d: %v\n%s", nobody, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "SKIP") {
			t.Logf("as user %d: %s", nobody, line)
		}
	}
}

// parent is a program with containers: it says how many are started, and goes on
// starting more until it is killed.
func parent(uid string) {
	mark = os.Getenv(markEnv)
	id, _ := strconv.Atoi(uid)
	for n := 0; ; n++ {
		args := []string{"/app", "family"}
		if n%2 == 1 {
			args = append(args, "setuid")
		}
		out := newOutput()
		_, err := sandbox.Start(noContext, sandbox.Spec{
			Args: args, UID: id, GID: id, Stdout: out, Stderr: os.Stderr, Hostname: mark, Env: []string{"MARK=" + mark},
			Files:  []sandbox.File{{Path: "/app", Source: os.Getenv(appEnv)}},
			Listen: []sandbox.Address{addr("tcp", "169.254.169.254:80")},
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for line := range out.lines {
			if line == "ready\n" {
				break
			}
		}
		fmt.Println(n + 1)
	}
}

// needs skips the test where there are no containers.
func needs(t testing.TB) {
	t.Helper()
	if err := sandbox.Available(); err != nil {
		t.Skip(err)
	}
}

// start starts a container that has testdata/app as /app, and closes it in the
// end.
func start(t testing.TB, spec sandbox.Spec) *sandbox.Container {
	t.Helper()
	needs(t)
	spec.Files = append(spec.Files, sandbox.File{Path: "/app", Source: app})
	c, err := sandbox.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// An output takes what a container writes, a line a Write.
type output struct{ lines chan string }

func newOutput() *output { return &output{make(chan string, 50_000)} }

func (o *output) Write(p []byte) (int, error) {
	o.lines <- string(p)
	return len(p), nil
}

// await waits until the container writes line.
func (o *output) await(t testing.TB, c *sandbox.Container, line string) {
	t.Helper()
	for {
		select {
		case got := <-o.lines:
			if got == line+"\n" {
				return
			}
			t.Logf("output: %s", got)
		case <-c.Done():
			t.Fatalf("the container ended before it wrote %q: %v; last output: %q", line, c.Wait(), o.rest())
		}
	}
}

// rest is what was written and not awaited.
func (o *output) rest() []string {
	var lines []string
	for {
		select {
		case line := <-o.lines:
			lines = append(lines, line)
		default:
			return lines
		}
	}
}

// runApp runs testdata/app to its end and returns what it wrote.
func runApp(t testing.TB, spec sandbox.Spec) (sandbox.Exit, string) {
	t.Helper()
	var out, errs bytes.Buffer
	spec.Stdout, spec.Stderr = &out, io.MultiWriter(&errs, testWriter{t})
	exit := start(t, spec).Wait()
	return exit, out.String()
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("stderr: %s", p)
	return len(p), nil
}

// A state is what must not grow: this process's descriptors and mounts.
type state struct{ descriptors, mounts int }

func currentState(t *testing.T) state {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return state{descriptors: len(fds), mounts: bytes.Count(mounts, []byte("\n"))}
}

// mark is in every process of the containers that are looked for: a warden has it
// in its command line, as host name, an app in its environment.
var mark = fmt.Sprintf("sandbox-test-%d.", os.Getpid())

// marked are the processes with mark: their ids and command lines.
func marked(t *testing.T, mark string) map[int]string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, dir := range dirs {
		command, _ := os.ReadFile(dir + "/cmdline")
		env, _ := os.ReadFile(dir + "/environ")
		if bytes.Contains(slices.Concat(command, env), []byte(mark)) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			found[pid] = string(command)
		}
	}
	return found
}
