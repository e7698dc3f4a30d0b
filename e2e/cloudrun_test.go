package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/amammay/otorun/cloudrun/cloudruntest"
	"github.com/amammay/otorun/internal/firestoreemulator/emulatortest"
)

const (
	developer = "developer@example.com"
	// staticEnv says where the static commands are, to a copy of this test that
	// runs as another user.
	staticEnv = "OTORUN_E2E_STATIC"
)

// static builds the commands as in an image, and returns their folder.
var static = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(staticEnv); dir != "" {
		return dir, nil
	}
	dir := filepath.Join(bin, "static")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	noteSources("../runsd", "../cloudrun")
	build := exec.Command("go", "build", "-trimpath", "-o", dir+string(filepath.Separator), "./server", "./client", "./runsd", "./cloudrun")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	return dir, os.Chmod(bin, 0o755)
})

// taco returns the pair as services: tacoclient may call tacoserver, the developer
// tacoclient.
func taco(t *testing.T) (server, client cloudruntest.Service) {
	t.Helper()
	dir, err := static()
	if err != nil {
		t.Fatal(err)
	}
	server = cloudruntest.Service{Name: "tacoserver", Command: filepath.Join(dir, "server"), Runsd: filepath.Join(dir, "runsd"), Invokers: []string{"tacoclient"}}
	client = cloudruntest.Service{Name: "tacoclient", Command: filepath.Join(dir, "client"), Runsd: filepath.Join(dir, "runsd"), Invokers: []string{"user:" + developer}}
	return server, client
}

func startTaco(t *testing.T) *cloudruntest.Run {
	t.Helper()
	server, client := taco(t)
	return cloudruntest.Start(t, server, client)
}

// ask returns the status and body of an answer.
func ask(t *testing.T, c *http.Client, url string, header ...string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

const eaten = "200 Sammy Sosa has consumed 2 tacos\n"

// As on Cloud Run: who may call is let in, and all others are refused.
func TestCloudrunCallers(t *testing.T) {
	t.Parallel()
	run := startTaco(t)
	url := run.URL("tacoclient")
	expired := run.Token(developer, url)
	for _, tt := range []struct{ name, token, want string }{
		{name: "without a token", want: "403"},
		{name: "for another audience", token: run.Token(developer, run.URL("tacoserver")), want: "401"},
		{name: "of an account without the role", token: run.Token("tacoserver", url), want: "403"},
		{name: "not a token", token: "token", want: "401"},
		{name: "the right one", token: run.Token(developer, url), want: eaten},
		{name: "as gcloud prints it", token: run.Token(developer, ""), want: eaten},
	} {
		header := []string{"Accept", "*/*"}
		if tt.token != "" {
			header = append(header, "Authorization", "Bearer "+tt.token)
		}
		if got := ask(t, run.Client(""), url, header...); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	run.MoveClock(61 * time.Minute)
	if got := ask(t, run.Client(""), url, "Authorization", "Bearer "+expired); !strings.HasPrefix(got, "401") {
		t.Errorf("an hour later: %s, want 401", got)
	}
}

// One trace goes through the whole chain, and tacoserver sees the call come from
// runsd.
func TestCloudrunTrace(t *testing.T) {
	t.Parallel()
	run := startTaco(t)
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	if got := ask(t, run.Client(developer), "http://tacoclient/", "Traceparent", "00-"+id+"-00f067aa0ba902b7-01"); got != eaten {
		t.Fatal(got)
	}
	for _, service := range []string{"tacoclient", "tacoserver"} {
		l := run.WaitForLog(service, "request from")
		if !strings.HasSuffix(l.Trace, id) {
			t.Errorf("%s logs the trace %q, want %s", service, l.Trace, id)
		}
		if service == "tacoserver" && !strings.HasPrefix(l.Message, "request from runsd version=") {
			t.Errorf("tacoserver logs %q", l.Message)
		}
	}
}

// Without its binding tacoclient is refused, and all say why: its own answer, the
// log, and why.
func TestCloudrunBindingTakenAway(t *testing.T) {
	t.Parallel()
	run := startTaco(t)
	run.Revoke("tacoserver", "tacoclient")
	if got := ask(t, run.Client(developer), "http://tacoclient/"); !strings.HasPrefix(got, "502 ") {
		t.Errorf("tacoclient answers %s, want 502", got)
	}
	const role = "roles/run.invoker"
	if l := run.WaitForLog("cloudrun", role); !strings.Contains(l.Line, "tacoclient@") || !strings.Contains(l.Line, "gcloud run services add-iam-policy-binding tacoserver") {
		t.Errorf("the platform logs %s", l.Line)
	}
	run.WaitForLog("tacoclient", "gcloud run services add-iam-policy-binding tacoserver")
	if allowed, why := run.Why("tacoclient", "tacoserver"); allowed || !strings.Contains(why, role) {
		t.Errorf("why: %t, %s", allowed, why)
	}
	run.Grant("tacoserver", "tacoclient")
	if got := ask(t, run.Client(developer), "http://tacoclient/"); got != eaten {
		t.Errorf("with the binding back: %s", got)
	}
}

func TestCloudrunFromZero(t *testing.T) {
	t.Parallel()
	run := startTaco(t)
	run.ScaleToZero("tacoclient")
	run.ScaleToZero("tacoserver")
	begun := time.Now()
	if got := ask(t, run.Client(developer), "http://tacoclient/"); got != eaten {
		t.Errorf("from zero: %s", got)
	}
	t.Logf("two cold starts in a row took %v", time.Since(begun).Round(time.Millisecond))
}

// Without its metadata server tacoclient has no token to call with; when that is
// back, it has.
func TestCloudrunMetadata(t *testing.T) {
	t.Parallel()
	run := startTaco(t)
	run.BreakMetadata("tacoclient", http.StatusNotFound, 0)
	if got := ask(t, run.Client(developer), "http://tacoclient/"); !strings.HasPrefix(got, "502 ") {
		t.Errorf("without metadata: %s, want 502", got)
	}
	run.HealMetadata("tacoclient")
	if got := ask(t, run.Client(developer), "http://tacoclient/"); got != eaten {
		t.Errorf("with metadata again: %s", got)
	}
}

// A program that doesn't come to listen is told with its last words.
func TestCloudrunFailedStart(t *testing.T) {
	t.Parallel()
	run := startTaco(t)
	server, _ := taco(t)
	server.Env = []string{"unused=1"}
	server.Args = []string{"-nonsense"}
	failed := &recorder{TB: t}
	func() {
		defer func() { recover() }()
		run.As(failed).Deploy(server)
	}()
	if !strings.Contains(failed.message, "failed to start and listen on the port defined by PORT=8080") ||
		!strings.Contains(failed.message, "flag provided but not defined: -nonsense") {
		t.Errorf("Deploy fails with %q", failed.message)
	}
	if got := ask(t, run.Client(developer), "http://tacoclient/"); got != eaten {
		t.Errorf("what ran before answers %s", got)
	}
}

// recorder is a test that keeps what it fails with.
type recorder struct {
	testing.TB
	message string
}

func (r *recorder) Fatal(args ...any) {
	r.message = fmt.Sprint(args...)
	panic(r)
}

// 10,000 requests by 80 callers through the whole chain, while an instance of each
// service is killed and both get new revisions: each has one answer and reaches
// each app once at most, and only those inside a killed instance fail.
func TestCloudrunUnderLoad(t *testing.T) {
	run := startTaco(t)
	const requests, callers, concurrency = 10_000, 80, 80
	var seen chain
	defer run.FollowLogs(seen.note)()
	client := run.Client(developer)
	answers := make([]string, requests)
	whys := make([]string, requests)
	var sent atomic.Int64
	kill, deploy := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for {
				n := int(sent.Add(1)) - 1
				switch {
				case n >= requests:
					return
				case n == requests/4:
					close(kill)
				case n == requests/2:
					close(deploy)
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://tacoclient/", nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Traceparent", "00-"+traceID(n)+"-00f067aa0ba902b7-01")
				resp, err := client.Do(req)
				if err != nil {
					answers[n] = err.Error()
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				answers[n] = fmt.Sprintf("%d %s", resp.StatusCode, body)
				if err != nil {
					answers[n] += err.Error()
				}
				whys[n] = resp.Header.Get("X-Cloudrun-Why")
			}
		})
	}
	begun := time.Now()
	<-kill
	if !run.Kill("tacoclient") {
		t.Error("there was no tacoclient to kill")
	}
	<-deploy
	var deployed sync.WaitGroup
	deployed.Go(func() {
		server, front := taco(t)
		run.Deploy(server, front)
	})
	if !run.Kill("tacoserver") {
		t.Error("there was no tacoserver to kill")
	}
	deployed.Wait()
	wg.Wait()
	took := time.Since(begun)

	var good []int
	const broken = "connection to the instance had an error: instance "
	lost := map[string]int{}
	killed := map[string]bool{}
	for n, answer := range answers {
		why, service := whys[n], "tacoclient"
		switch {
		case answer == eaten:
			good = append(good, n)
			continue
		case answer == "502 tacoserver failed (status 503)\n":
			// The 503 was tacoclient's to see.
			service = "tacoserver"
			why = seen.refused(t, n)
		case answer != "503 Service Unavailable":
			t.Errorf("request %d: %s", n, answer)
			continue
		}
		_, instance, ok := strings.Cut(why, broken)
		if !ok || !strings.Contains(instance, " of "+service+"-") {
			t.Errorf("request %d: %s: refused with %q", n, answer, why)
		}
		lost[service]++
		instance, _, _ = strings.Cut(instance, ":")
		killed[instance] = true
	}
	for service, n := range lost {
		if n > concurrency {
			t.Errorf("%d requests lost with an instance of %s, which has %d at once", n, service, concurrency)
		}
	}
	if len(killed) > 2 {
		t.Errorf("requests lost in other instances than the two that were killed: %v", killed)
	}
	for _, service := range []string{"tacoclient", "tacoserver"} {
		waitFor(t, service+"'s log of every answer", func() bool { return seen.all(service, good) })
		if twice := seen.twice(service); len(twice) > 0 {
			t.Errorf("%d requests reached %s more than once, %s for one", len(twice), service, twice[0])
		}
	}
	t.Logf("%d good, lost with the killed instances: %v, in %v", len(good), lost, took.Round(time.Millisecond))
}

// traceID is the trace of the n-th request.
func traceID(n int) string { return fmt.Sprintf("%032x", n+1) }

// A chain is what the logs say of requests, by their traces.
type chain struct {
	mu      sync.Mutex
	reached map[string]int    // by service and trace
	whys    map[string]string // by trace: the platform's reason for a 503 of tacoserver
}

// note takes a line of the log.
func (c *chain) note(l cloudruntest.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reached == nil {
		c.reached, c.whys = make(map[string]int), make(map[string]string)
	}
	if strings.HasPrefix(l.Message, "request from ") {
		c.reached[l.Service+" "+l.Trace[strings.LastIndexByte(l.Trace, '/')+1:]]++
	}
	if l.Service == "cloudrun" && l.Message == "request refused" {
		var refusal struct {
			Status           int
			Why, Host, Trace string
		}
		if json.Unmarshal([]byte(l.Line), &refusal) == nil && refusal.Status == 503 && strings.HasPrefix(refusal.Host, "tacoserver-") {
			c.whys[refusal.Trace] = refusal.Why
		}
	}
}

// refused is why the front door refused tacoclient the n-th request's call.
func (c *chain) refused(t *testing.T, n int) (why string) {
	waitFor(t, "the reason of a 503", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		why = c.whys[traceID(n)]
		return why != ""
	})
	return why
}

// all says whether a service has logged all of the requests.
func (c *chain) all(service string, requests []int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range requests {
		if c.reached[service+" "+traceID(n)] == 0 {
			return false
		}
	}
	return true
}

// twice are the traces of the requests that reached a service more than once.
func (c *chain) twice(service string) (traces []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, times := range c.reached {
		if trace, ok := strings.CutPrefix(key, service+" "); ok && times > 1 {
			traces = append(traces, trace)
		}
	}
	return traces
}

// command is a running cloudrun.
type command struct {
	*exec.Cmd
	out  *lockedBuffer
	addr string
}

// lockedBuffer is written by a process while a test reads it.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

var overview = regexp.MustCompile(`http://tacoclient\.localhost:(\d+)/`)

// startCommand runs cloudrun in a folder and returns when its services are up.
func startCommand(t *testing.T, dir string, args ...string) *command {
	t.Helper()
	commands, err := static()
	if err != nil {
		t.Fatal(err)
	}
	c := &command{Cmd: exec.Command(filepath.Join(commands, "cloudrun"), args...), out: new(lockedBuffer)}
	c.Dir, c.Stdout, c.Stderr = dir, c.out, c.out
	c.Env = append(os.Environ(), "GOPROXY=off")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if t.Failed() {
			t.Logf("cloudrun:\n%s", c.out)
		}
	})
	for deadline := time.Now().Add(60 * time.Second); c.addr == ""; time.Sleep(5 * time.Millisecond) {
		if m := overview.FindStringSubmatch(c.out.String()); m != nil {
			c.addr = "127.0.0.1:" + m[1]
		} else if time.Now().After(deadline) {
			t.Fatal("the services don't come up")
		}
	}
	return c
}

// shell runs a line as a person would paste it, in the repository.
func (c *command) shell(t *testing.T, line string) string {
	t.Helper()
	commands, err := static()
	if err != nil {
		t.Fatal(err)
	}
	// go run would build what is built already.
	line = strings.ReplaceAll(line, "go run ./cloudrun", filepath.Join(commands, "cloudrun"))
	cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CLOUDRUN_ADDR="+c.addr)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

// What the README says: the line to paste works, and so do the real URLs in both
// forms once env is set; Ctrl-C ends all.
func TestCloudrunCommand(t *testing.T) {
	onlyProcesses(t)
	needSandbox(t)
	c := startCommand(t, "..", "up", "-addr", "127.0.0.1:0")
	up := regexp.MustCompile(`cloudrun: up (\S+) after the builds`).FindStringSubmatch(c.out.String())
	if up == nil {
		t.Fatal("it doesn't say how long it took")
	}
	if took, err := time.ParseDuration(up[1]); err != nil || took > 3*time.Second {
		t.Errorf("up %s after the builds, want within 3 s", up[1])
	}
	_, line, _ := strings.Cut(c.out.String(), "try:\n")
	line = strings.TrimSpace(strings.SplitAfter(line, "\n")[0])
	if got := c.shell(t, strings.Replace(line, "curl ", "curl -sS ", 1)); got != eaten[4:] {
		t.Errorf("%s prints %q", line, got)
	}
	const env = `eval "$(go run ./cloudrun env)"; token=$(go run ./cloudrun token); `
	for _, url := range []string{"https://tacoclient-123456789012.us-central1.run.app", "https://tacoclient-localhash0-uc.a.run.app"} {
		if got := c.shell(t, env+`curl -sS -H "Authorization: Bearer $token" `+url); got != eaten[4:] {
			t.Errorf("%s answers %q", url, got)
		}
	}
	if got := c.shell(t, env+`curl -sS -o /dev/null -w '%{http_code}' https://tacoclient-123456789012.us-central1.run.app`); got != "403" {
		t.Errorf("without a token: %s", got)
	}
	if got := c.shell(t, env+`curl -sS -o /dev/null -w '%{http_code}' https://storage.googleapis.com/`); got != "400" {
		t.Errorf("a host of Google that isn't here: %s", got)
	}
	if got := c.shell(t, env+`curl -sS -o /dev/null -w '%{http_code}' https://dl.google.com/`); !strings.Contains(got, "403") {
		t.Errorf("a host of Google that has no certificate here: %s", got)
	}
	if got := c.shell(t, "go run ./cloudrun why tacoclient"); !strings.HasPrefix(got, "yes: ") {
		t.Errorf("why tacoclient: %s", got)
	}
	if got := c.shell(t, "go run ./cloudrun why tacoserver; echo $?"); !strings.HasPrefix(got, "no: ") || !strings.HasSuffix(got, "1\n") {
		t.Errorf("why tacoserver: %s", got)
	}
	if got := c.shell(t, "go run ./cloudrun token -as nobody@example.com; echo $?"); !strings.Contains(got, "there is no user or service account") {
		t.Errorf("a token of nobody: %s", got)
	}
	containers := containersOf(t, c.Process.Pid)
	if len(containers) < 4 {
		t.Errorf("%d processes in containers, want at least runsd and app of two", len(containers))
	}
	c.Process.Signal(os.Interrupt)
	if err := c.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	wantGone(t, containers)
}

// A second Ctrl-C doesn't wait for a container that doesn't end, and leaves as
// little as the first.
func TestCloudrunSecondInterrupt(t *testing.T) {
	onlyProcesses(t)
	needSandbox(t)
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	c := startCommand(t, "..", "-addr", "127.0.0.1:0")
	containers := containersOf(t, c.Process.Pid)
	mounts := mountsOf(t)
	// A process that is stopped takes no SIGTERM.
	stopped := 0
	for _, pid := range containers {
		if command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.HasPrefix(string(command), "/app") {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			stopped++
		}
	}
	if stopped < 2 {
		t.Fatalf("%d apps stopped, want those of two services", stopped)
	}
	c.Process.Signal(os.Interrupt)
	waitFor(t, "the end to begin", func() bool { return strings.Contains(c.out.String(), "cloudrun: ending") })
	begun := time.Now()
	c.Process.Signal(os.Interrupt)
	if err := c.Wait(); err != nil {
		t.Errorf("after the second Ctrl-C: %v", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it ended %v after the second Ctrl-C", took)
	}
	wantGone(t, containers)
	wantNoRun(t, runtime)
	if left := mountsOf(t); left != mounts {
		t.Errorf("mounts before: %s\nmounts after: %s", mounts, left)
	}
}

// mountsOf are the mounts of this process's namespace.
func mountsOf(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wantNoRun waits until no cloudrun has left anything in the runtime folder.
func wantNoRun(t *testing.T, runtime string) {
	t.Helper()
	waitFor(t, "the run's folder to go", func() bool {
		left, err := os.ReadDir(runtime)
		return err == nil && len(left) == 0
	})
}

// kill -9 leaves nothing: no process, and no file.
func TestCloudrunKilled(t *testing.T) {
	onlyProcesses(t)
	needSandbox(t)
	runtime := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	c := startCommand(t, "..", "-addr", "127.0.0.1:0")
	containers := containersOf(t, c.Process.Pid)
	c.Process.Kill()
	c.Wait()
	wantGone(t, containers)
	wantNoRun(t, runtime)
}

// -watch deploys a change as a new revision, without losing a request.
func TestCloudrunWatch(t *testing.T) {
	onlyProcesses(t)
	needSandbox(t)
	dir := copyRepository(t)
	c := startCommand(t, dir, "up", "-addr", "127.0.0.1:0", "-watch")
	token := strings.TrimSpace(c.shell(t, "go run ./cloudrun token"))
	asked := func() string {
		req, err := http.NewRequest(http.MethodGet, "http://"+c.addr+"/", nil)
		if err != nil {
			return err.Error()
		}
		req.Host = "tacoclient.localhost"
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, " ", string(body), err)
	}
	before, after := eaten+"<nil>", strings.Replace(eaten, "consumed", "devoured", 1)+"<nil>"
	if got := asked(); got != before {
		t.Fatal(got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	callers.Go(func() {
		for ctx.Err() == nil {
			if got := asked(); got != before && got != after {
				t.Errorf("during the change: %s", got)
			}
			time.Sleep(time.Millisecond) // leaves the compiler some of the machine
		}
	})
	source := filepath.Join(dir, "server", "tacoservice.go")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `" has consumed `, `" has devoured `, 1)
	if changed == string(text) {
		t.Fatalf("%s has not the words that are to change", source)
	}
	if err := os.WriteFile(source, []byte(changed), 0o666); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the new revision", func() bool { return asked() == after })
	// What doesn't compile is told, and what runs goes on.
	if err := os.WriteFile(source, []byte("package main\n\nnonsense\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the compiler's error", func() bool { return strings.Contains(c.out.String(), "tacoservice.go:3:1") })
	cancel()
	callers.Wait()
	if got := asked(); got != after {
		t.Errorf("after the error: %s", got)
	}
}

// All of it again as a user that isn't root.
func TestCloudrunUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this isn't root: the other tests are just that")
	}
	dir, err := static()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The test binary lies where only root may look.
	own := filepath.Join(dir, "e2e.test")
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, text, 0o755); err != nil {
		t.Fatal(err)
	}
	const tests = "Callers|Trace|BindingTakenAway|FromZero|FailedStart|Metadata|UnderLoad|NothingIsLeft|KilledTest"
	cmd := exec.CommandContext(t.Context(), own, "-test.v", "-test.run", "^TestCloudrun("+tests+")$")
	cmd.Dir = os.TempDir()
	cmd.Env = []string{staticEnv + "=" + dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n, want := strings.Count(string(out), "\n--- PASS: TestCloudrun"), strings.Count(tests, "|")+1; n != want {
		t.Errorf("%d tests passed, want %d:\n%s", n, want, out)
	}
}

// With -firestore there is an emulator, which tacoserver finds. It ends with
// cloudrun, also when that is killed.
func TestCloudrunFirestore(t *testing.T) {
	onlyProcesses(t)
	needSandbox(t)
	emulatortest.Need(t)
	for _, killed := range []string{"nothing", "cloudrun", "the emulator"} {
		t.Run(killed+" is killed", func(t *testing.T) {
			c := startCommand(t, "..", "up", "-addr", "127.0.0.1:0", "-firestore")
			// The first call of an emulator on a busy machine may take longer than it may.
			waitFor(t, "tacos to be eaten", func() bool {
				return c.shell(t, `curl -sS -H "Authorization: Bearer $(go run ./cloudrun token)" -H 'Host: tacoclient.localhost' http://$CLOUDRUN_ADDR/`) == eaten[4:]
			})
			addr := regexp.MustCompile(`FIRESTORE_EMULATOR_HOST=(\S+)`).FindStringSubmatch(c.out.String())
			if addr == nil {
				t.Fatal("it doesn't say where the emulator is")
			}
			documents := "http://" + addr[1] + "/v1/projects/local-project/databases/(default)/documents/eaters"
			if got := get(t, documents, "Authorization", "Bearer owner"); !strings.Contains(got, `"Sammy Sosa"`) {
				t.Errorf("the emulator has %s", got)
			}
			var emulators []int
			for _, pid := range descendants(t, c.Process.Pid) {
				if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(args), "CloudFirestore") {
					emulators = append(emulators, pid)
				}
			}
			if len(emulators) != 1 {
				t.Fatalf("%d emulators", len(emulators))
			}
			const told = "the Firestore emulator has ended"
			if killed == "the emulator" {
				syscall.Kill(emulators[0], syscall.SIGKILL)
				waitFor(t, "the end of the emulator to be told", func() bool { return strings.Contains(c.out.String(), told) })
			}
			if killed == "cloudrun" {
				c.Process.Kill()
			} else {
				c.Process.Signal(os.Interrupt)
			}
			if err := c.Wait(); killed != "cloudrun" && err != nil {
				t.Errorf("after Ctrl-C: %v", err)
			}
			wantGone(t, emulators)
			if killed != "the emulator" && strings.Contains(c.out.String(), told) {
				t.Error("an end that was meant is told of")
			}
		})
	}
}
