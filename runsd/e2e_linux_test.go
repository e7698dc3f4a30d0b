package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// roles are what the test binary is when it is an app of runsd's.
var roles = map[string]func() int{
	// get prints what the URLs in its arguments answer, with Go's default client.
	"get": func() int {
		for _, u := range os.Args[1:] {
			resp, err := http.Get(u)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			io.Copy(os.Stdout, resp.Body)
			resp.Body.Close()
		}
		return 0
	},
	// signals prints the numbers of the signals it gets, and ends with status 3 and
	// what tacoserver says at SIGQUIT. A shell won't do: bash loses a signal that
	// comes while its trap for the one before runs.
	"signals": func() int {
		signals := make(chan os.Signal, 10)
		signal.Notify(signals)
		signal.Ignore(syscall.SIGURG, syscall.SIGPIPE) // Go's own
		fmt.Println("ready")
		for s := range signals {
			if s == syscall.SIGQUIT {
				break
			}
			fmt.Println(int(s.(syscall.Signal)))
		}
		resp, err := http.Get("http://tacoserver/drain")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer resp.Body.Close()
		io.Copy(os.Stdout, resp.Body)
		return 3
	},
}

// app is the test binary where every user may run it.
func app() string { return filepath.Join(os.Getenv(insideVar), "app") }

// A process is runsd, started.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A start says how to start runsd.
type start struct {
	args []string
	env  []string
	uid  uint32 // of runsd, if not 0
	pid1 bool
}

// start starts runsd on Cloud Run, or so it seems to it.
func (c *cloud) start(t *testing.T, s start) *process {
	t.Helper()
	cmd := exec.Command(filepath.Join(os.Getenv(insideVar), "runsd"), s.args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/", "K_SERVICE=tacoclient", "SSL_CERT_FILE=" + c.caFile, "PORT=8081"}, s.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if s.pid1 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	}
	if s.uid != 0 && os.Getenv("RUNSD_TEST_UID") == "" {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.uid, Gid: s.uid}
	}
	p := &process{t: t, cmd: cmd, stderr: &buffer{}}
	cmd.Stderr = p.stderr
	stdout, err := cmd.StdoutPipe()
	must(t, "stdout", err)
	p.stdout = bufio.NewReader(stdout)
	must(t, "start runsd", cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	return p
}

// wait reads all of the app's output and returns it with runsd's status.
func (p *process) wait() (string, int) {
	p.t.Helper()
	out, err := io.ReadAll(p.stdout)
	if err != nil {
		p.t.Fatal(err)
	}
	err = p.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return string(out), -int(ws.Signal())
		}
		return string(out), exit.ExitCode()
	}
	must(p.t, "wait", err)
	return string(out), 0
}

func (p *process) line() string {
	p.t.Helper()
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		p.t.Fatalf("the app said nothing more: %v\n%s", err, p.stderr)
	}
	return strings.TrimSuffix(line, "\n")
}

// shell runs a script under runsd and returns its output.
func (c *cloud) shell(t *testing.T, script string, flags ...string) string {
	t.Helper()
	p := c.start(t, start{args: append(flags, "--", "sh", "-c", script), pid1: true})
	out, status := p.wait()
	if status != 0 {
		t.Errorf("%s: status %d\n%s%s", script, status, out, p.stderr)
	}
	return out
}

func lookPath(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err) // CI installs it
		}
		t.Skipf("%v", err)
	}
}

const tacoHost = "tacoserver-123456789012.us-central1.run.app"

// TestDNSMode: with root every program in the container reaches services by name.
func TestDNSMode(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)

	t.Run("resolv.conf", func(t *testing.T) {
		want := "nameserver 127.0.0.1\nnameserver ::1\nsearch run.internal google.internal\noptions timeout:2\noptions ndots:1\n"
		if got := c.shell(t, "cat /etc/resolv.conf"); got != want {
			t.Errorf("while the app runs: %q, want %q", got, want)
		}
		if after, _ := os.ReadFile("/etc/resolv.conf"); string(after) != resolvConf {
			t.Errorf("after it: %q", after)
		}
	})
	t.Run("says which way", func(t *testing.T) {
		p := c.start(t, start{args: []string{"--", "true"}})
		p.wait()
		if s := p.stderr.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "resolve by resolv.conf") || !strings.HasPrefix(s, `{"severity":"INFO"`) {
			t.Errorf("said: %s", s)
		}
	})
	for _, name := range []string{"tacoserver", "TACOserver", "tacoserver.", "tacoserver.us-central1", "Tacoserver.US-central1.Run.Internal", "tacoserver.us-central1.run.internal."} {
		t.Run("curl "+name, func(t *testing.T) {
			want := "service " + tacoHost + ` /a%2Fb?x agent="runsd version=test; `
			if got := c.shell(t, "curl -sS 'http://"+name+"/a%2Fb?x'"); !strings.HasPrefix(got, want) {
				t.Errorf("%q, want %q...", got, want)
			}
		})
		t.Run("Go "+name, func(t *testing.T) {
			if got := c.shell(t, "RUNSD_TEST_ROLE=get "+app()+" http://"+name+"/"); !strings.HasPrefix(got, "service "+tacoHost) {
				t.Errorf("%q", got)
			}
		})
	}
	t.Run("Python", func(t *testing.T) {
		lookPath(t, "python3")
		got := c.shell(t, `python3 -c 'import urllib.request as u; print(u.urlopen("http://tacoserver/x", b"taco").read().decode())'`)
		if !strings.Contains(got, `body="taco"`) {
			t.Errorf("%q", got)
		}
	})
	addresses := map[string]string{
		"hello": "127.0.0.1", "hello.us-east1": "127.0.0.1", "hello.us-east1.run.internal.": "127.0.0.1", "www.example.com": publicIP, "metadata.google.internal": metadataIP,
	}
	t.Run("musl", func(t *testing.T) {
		lookPath(t, "musl-gcc")
		resolve := filepath.Join(t.TempDir(), "resolve")
		if out, err := exec.Command("musl-gcc", "-static", "-o", resolve, "testdata/resolve.c").CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
		for name, want := range addresses {
			if got := c.shell(t, resolve+" "+name); got != want+"\n" {
				t.Errorf("%s: %q, want %s", name, got, want)
			}
		}
		if got := c.shell(t, resolve+" nothing.example.com || true"); strings.Contains(got, "127.0.0.1") {
			t.Errorf("a name that there isn't: %q", got)
		}
	})
	t.Run("getent", func(t *testing.T) {
		for name, want := range addresses {
			if got := c.shell(t, "getent ahostsv4 "+name); !strings.HasPrefix(got, want+" ") {
				t.Errorf("getent ahostsv4 %s: %q, want %s", name, got, want)
			}
		}
		if got := c.shell(t, "getent hosts hello"); !strings.HasPrefix(got, "::1 ") {
			t.Errorf("getent hosts hello: %q, want ::1", got)
		}
		if got := c.shell(t, "getent ahostsv4 big.example.com | grep -c STREAM"); strings.TrimSpace(got) != "100" {
			t.Errorf("an answer that needs TCP: %s addresses, want 100", got)
		}
	})
	t.Run("public names pay nothing", func(t *testing.T) {
		if n := c.asked(func(k string) bool {
			return strings.Contains(k, "internal") || strings.HasPrefix(k, "hello") || strings.HasPrefix(k, "tacoserver. ")
		}); n != 0 {
			t.Errorf("the resolver was asked for local names: %v", c.dns)
		}
		c.set(func() { clear(c.dns) })
		c.shell(t, "getent ahosts www.example.com >/dev/null; getent ahosts www.example.com >/dev/null")
		if n := c.asked(func(string) bool { return true }); n > 3 {
			t.Errorf("two lookups of a public name by two programs: %d queries: %v", n, c.dns)
		}
	})
	t.Run("one token, one connection", func(t *testing.T) {
		c.set(func() { clear(c.metadata); clear(c.dns); c.conns = 0 })
		c.shell(t, "for i in 1 2 3 4 5 6 7 8; do curl -sS http://tacoserver/ & done; wait")
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := c.metadata["instance/service-accounts/default/identity"]; n != 1 || c.metadata["instance/region"] != 1 || c.conns != 1 {
			t.Errorf("8 requests at once: metadata calls %v, %d TLS connections", c.metadata, c.conns)
		}
		for k := range c.dns {
			if !strings.HasPrefix(k, tacoHost+". ") {
				t.Errorf("runsd looked up %s", k)
			}
		}
	})
	t.Run("mapped", func(t *testing.T) {
		got := c.shell(t, "curl -sS http://east/; curl -sS http://api.example.com/", "-service=east=https://tacos-1.us-east1.run.app", "-service=api.example.com=https://api-1.us-east1.run.app")
		if !strings.Contains(got, "service tacos-1.us-east1.run.app") || !strings.Contains(got, "service api-1.us-east1.run.app") {
			t.Errorf("%q", got)
		}
	})
	t.Run("hash", func(t *testing.T) {
		if got := c.shell(t, "curl -sS http://tacoserver/", "-gcp_project_hash=dpyb4duzqq"); !strings.HasPrefix(got, "service tacoserver-dpyb4duzqq-uc.a.run.app") {
			t.Errorf("%q", got)
		}
	})
	t.Run("h2c and upgrade", func(t *testing.T) {
		if got := c.shell(t, "curl -sS --http2-prior-knowledge http://tacoserver/; curl -sS --http2 -d taco http://tacoserver/"); strings.Count(got, "service ") != 2 {
			t.Errorf("%q", got)
		}
	})
	t.Run("own errors", func(t *testing.T) {
		got := c.shell(t, "curl -sSi -H 'Host: www.example.com' http://127.0.0.1/")
		if !strings.HasPrefix(got, "HTTP/1.1 502 ") || !strings.Contains(got, "Runsd-Error: name") {
			t.Errorf("%q", got)
		}
	})
	t.Run("secrets stay out of the logs", func(t *testing.T) {
		p := c.start(t, start{args: []string{"-v=9", "--", "curl", "-sS", "-H", "Cookie: sekrit", "http://tacoserver/?sekrit"}})
		p.wait()
		if s := p.stderr.String(); strings.Contains(s, "sekrit") || strings.Contains(s, "c2VjcmV0LXNpZw") || !strings.Contains(s, "request") {
			t.Errorf("logs: %s", s)
		}
	})
}

// TestPair: the real tacoclient under runsd reaches the real tacoserver.
func TestPair(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	server := exec.Command(filepath.Join(os.Getenv(insideVar), "server"))
	server.Env = []string{"PORT=8080", "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}
	server.Dir = t.TempDir()
	must(t, "tacoserver", server.Start())
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	c.serve(reverseProxy("http://127.0.0.1:8080"))
	p := c.start(t, start{args: []string{"--", filepath.Join(os.Getenv(insideVar), "client")}, pid1: true})
	var got string
	eventually(t, "an answer of the pair", func() bool {
		resp, err := http.Get("http://127.0.0.1:8081/?name=Ana&taco=Al+pastor&taco=Carnitas")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		got = string(b)
		return resp.StatusCode == 200
	})
	if !strings.Contains(got, "Ana has consumed 2 tacos") {
		t.Errorf("%q", got)
	}
	if r := c.last(); r.Host != tacoHost {
		t.Errorf("the front door was asked for %q", r.Host)
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	if _, status := p.wait(); status != 0 {
		t.Errorf("after SIGTERM: status %d\n%s", status, p.stderr)
	}
}

// eventually waits for what another process does, which nothing here is told of.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s for %s", what)
		}
	}
}

// TestFirstConnection: a child that dials at once is never refused, on two CPUs
// and on one.
func TestFirstConnection(t *testing.T) {
	if !inside(t) {
		return
	}
	lookPath(t, "bash")
	c := newCloud(t)
	starts := 200
	if testing.Short() {
		starts = 20
	}
	for _, cpus := range []string{"", "0"} {
		refused := 0
		for range starts {
			cmd := exec.Command(filepath.Join(os.Getenv(insideVar), "runsd"), "--", "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/80 4<>/dev/tcp/127.0.0.1/53 5<>/dev/tcp/::1/80")
			if cpus != "" {
				cmd.Args = append([]string{"taskset", "-c", cpus}, cmd.Args...)
				cmd.Path, _ = exec.LookPath("taskset")
			}
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "K_SERVICE=x", "SSL_CERT_FILE=" + c.caFile}
			if out, err := cmd.CombinedOutput(); err != nil {
				refused++
				t.Logf("%v\n%s", err, out)
			}
		}
		if refused > 0 {
			t.Errorf("CPUs %q: refused in %d of %d starts", cpus, refused, starts)
		}
	}
}

// TestSignals: every signal reaches the app, the first and the second of a kind,
// and while it drains runsd goes on serving.
func TestSignals(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	for _, pid1 := range []bool{false, true} {
		t.Run(fmt.Sprintf("PID 1 %t", pid1), func(t *testing.T) {
			p := c.start(t, start{args: []string{"--", app()}, env: []string{"RUNSD_TEST_ROLE=signals"}, pid1: pid1})
			if got := p.line(); got != "ready" {
				t.Fatal(got)
			}
			for _, s := range []syscall.Signal{
				syscall.SIGHUP, syscall.SIGINT, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
				syscall.SIGCONT, syscall.SIGALRM, syscall.SIGTERM, syscall.SIGTERM, 34 + 1, 64,
			} {
				must(t, "signal", p.cmd.Process.Signal(s))
				if got := p.line(); got != strconv.Itoa(int(s)) {
					t.Errorf("signal %v: the app said %q", s, got)
				}
			}
			p.cmd.Process.Signal(syscall.SIGQUIT)
			if out, status := p.wait(); status != 3 || !strings.Contains(out, "service "+tacoHost+" /drain") {
				t.Errorf("draining: status %d, %q", status, out)
			}
		})
	}
}

// TestStatus: runsd's status is the app's.
func TestStatus(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{"--", "sh", "-c", "exit 0"}, 0},
		{[]string{"--", "sh", "-c", "exit 42"}, 42},
		{[]string{"--", "sh", "-c", "kill -KILL $$"}, 137},
		{[]string{"--", "sh", "-c", "kill -TERM $$"}, 143},
		{[]string{"--", "/no/such/app"}, 1},
		{[]string{"--", "/etc/passwd"}, 1},
		{[]string{}, 1},
		{[]string{"-nosuchflag", "--", "true"}, 2},
		{[]string{"-h"}, 0},
		{[]string{"-version"}, 0},
		{[]string{"-user=no-such-user", "--", "true"}, 1},
	} {
		p := c.start(t, start{args: tt.args, pid1: true})
		if _, status := p.wait(); status != tt.want {
			t.Errorf("runsd %q: status %d, want %d\n%s", tt.args, status, tt.want, p.stderr)
		}
		if now, _ := os.ReadFile("/etc/resolv.conf"); string(now) != resolvConf {
			t.Errorf("runsd %q: resolv.conf left as %q", tt.args, now)
		}
	}
}

// TestOrphans: as PID 1 runsd leaves no zombies.
func TestOrphans(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	p := c.start(t, start{args: []string{"--", "bash", "-c", `for i in 1 2 3 4 5; do (exec 1>&-; sh -c 'true' & ) & done; wait; echo orphaned; read`}, pid1: true})
	if got := p.line(); got != "orphaned" {
		t.Fatal(got)
	}
	eventually(t, "no zombies", func() bool { return zombies(t, p.cmd.Process.Pid) == 0 })
}

// zombies counts the dead children of pid.
func zombies(t *testing.T, pid int) int {
	t.Helper()
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	n := 0
	for _, path := range dirs {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if fields[0] == "Z" && fields[1] == strconv.Itoa(pid) {
			n++
		}
	}
	return n
}

// TestPortTaken: one line, status 1, no child, resolv.conf as it was.
func TestPortTaken(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	for _, addr := range []string{"127.0.0.1:80", "127.0.0.1:53"} {
		l, err := net.Listen("tcp", addr)
		must(t, "listen", err)
		p := c.start(t, start{args: []string{"--", "echo", "child"}})
		out, status := p.wait()
		l.Close()
		if s := p.stderr.String(); status != 1 || out != "" || strings.Count(s, "\n") != 1 || !strings.Contains(s, addr+": address already in use") {
			t.Errorf("%s taken: status %d, app's output %q, said %q", addr, status, out, s)
		}
		if now, _ := os.ReadFile("/etc/resolv.conf"); string(now) != resolvConf {
			t.Errorf("resolv.conf left as %q", now)
		}
	}
}

// TestReadOnlyResolvConf: then runsd is the app's HTTP proxy, and says why.
func TestReadOnlyResolvConf(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	must(t, "make resolv.conf read-only", syscall.Mount("", "/etc/resolv.conf", "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	p := c.start(t, start{args: []string{"--", "curl", "-sS", "http://tacoserver/"}})
	out, status := p.wait()
	if s := p.stderr.String(); status != 0 || !strings.HasPrefix(out, "service "+tacoHost) || !strings.Contains(s, "HTTP_PROXY") || !strings.Contains(s, "read-only") {
		t.Errorf("status %d, %q, said %q", status, out, s)
	}
	p = c.start(t, start{args: []string{"-mode=dns", "--", "echo", "child"}})
	if out, status := p.wait(); status != 1 || out != "" {
		t.Errorf("-mode=dns: status %d, %q", status, out)
	}
}

// TestWithoutIPv6: names have one family, and nothing is said about the other.
func TestWithoutIPv6(t *testing.T) {
	if !inside(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6", []byte("1"), 0o644); err != nil {
		t.Skipf("turn IPv6 off: %v", err)
	}
	c := newCloud(t)
	if got := c.shell(t, "getent ahosts tacoserver; curl -sS http://tacoserver/; grep -c nameserver /etc/resolv.conf"); strings.Contains(got, "::1") || !strings.Contains(got, "service "+tacoHost) || !strings.HasSuffix(got, "\n1\n") {
		t.Errorf("%q", got)
	}
}

// TestResolverDead: services go on being reached by the connection there is, and
// public names fail within libc's patience.
func TestResolverDead(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	p := c.start(t, start{args: []string{"--", "sh", "-c", "curl -sS http://tacoserver/1; read go; curl -sS http://tacoserver/2; getent ahosts www.gstatic.com || echo none"}})
	stdin, w, err := os.Pipe()
	must(t, "pipe", err)
	stdin.Close()
	w.Close()
	if got := p.line(); !strings.Contains(got, "/1") {
		t.Fatal(got)
	}
	out, _ := p.wait() // read fails at once: stdin is /dev/null
	if !strings.Contains(out, "/2") {
		t.Errorf("%q", out)
	}

	c.set(func() { c.silent = true })
	begin := time.Now()
	if got := c.shell(t, "getent ahostsv4 hello; getent ahosts www.gstatic.com || echo none; curl -sS -o /dev/null -w '%{http_code}' http://tacoserver/"); !strings.HasPrefix(got, "127.0.0.1") || !strings.Contains(got, "none\n") || !strings.HasSuffix(got, "502") && !strings.HasSuffix(got, "504") {
		t.Errorf("with a dead resolver: %q", got)
	}
	if d := time.Since(begin); d > 60*time.Second {
		t.Errorf("took %v", d)
	}
}

// TestMetadataTrouble: no wait without a limit, and an answer that says what failed.
func TestMetadataTrouble(t *testing.T) {
	if !inside(t) {
		return
	}
	for _, tt := range []struct {
		name    string
		trouble func(*cloud)
	}{
		{"404", func(c *cloud) { c.status = 404 }},
		{"429", func(c *cloud) { c.status = 429 }},
		{"500", func(c *cloud) { c.status = 500 }},
		{"blackholed", func(c *cloud) { c.delay = time.Hour }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCloud(t)
			c.set(func() { tt.trouble(c) })
			begin := time.Now()
			got := c.shell(t, "curl -sSi http://tacoserver/")
			if !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "Runsd-Error: project") || !strings.Contains(got, "metadata server") {
				t.Errorf("%q", got)
			}
			if d := time.Since(begin); d > 12*time.Second {
				t.Errorf("the app waited %v", d)
			}
			// With region and hash given, only the token is missing.
			c.set(func() { c.delay = 0; c.status = 404 })
			if got := c.shell(t, "curl -sSi http://tacoserver/", "-gcp_region=us-central1", "-gcp_project_hash=dpyb4duzqq"); !strings.Contains(got, "Runsd-Error: token") {
				t.Errorf("%q", got)
			}
		})
	}
	t.Run("slow", func(t *testing.T) {
		c := newCloud(t)
		c.set(func() { c.delay = 300 * time.Millisecond })
		if got := c.shell(t, "curl -sS http://tacoserver/ & curl -sS http://tacoserver/ & wait"); strings.Count(got, "service ") != 2 {
			t.Errorf("%q", got)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := c.metadata["instance/service-accounts/default/identity"]; n != 1 {
			t.Errorf("%d calls for a token, want 1", n)
		}
	})
}

// TestUser: -user sets user, group and groups, and HOME.
func TestUser(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	if os.Getuid() != 0 {
		t.Skip("not root")
	}
	if uids, _ := os.ReadFile("/proc/self/uid_map"); len(strings.Fields(string(uids))) == 3 && strings.Fields(string(uids))[2] == "1" {
		t.Skip("only one user in this user namespace")
	}
	for spec, want := range map[string]string{
		"nobody":        "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup) HOME=/nonexistent",
		"65534":         "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup) HOME=/nonexistent",
		"12345":         "uid=12345 gid=12345 groups=12345 HOME=/",
		"12345:54321":   "uid=12345 gid=54321 groups=54321 HOME=/",
		"nobody:daemon": "uid=65534(nobody) gid=1(daemon) groups=1(daemon) HOME=/nonexistent",
	} {
		if got := c.shell(t, "echo $(id) HOME=$HOME; curl -sS -o /dev/null http://tacoserver/", "-user="+spec); strings.TrimSpace(got) != want {
			t.Errorf("-user=%s: %q, want %q", spec, strings.TrimSpace(got), want)
		}
	}
}

// TestProxyMode: without root runsd is the app's HTTP proxy: curl, Python and Go
// reach services by name, other hosts untouched, and the metadata server directly.
func TestProxyMode(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	s := start{uid: 65534}
	if uids, _ := os.ReadFile("/proc/self/uid_map"); strings.Fields(string(uids))[2] == "1" {
		// Only one user here: root of the namespace, for whom the mode has to be asked for.
		s = start{args: []string{"-mode=proxy"}}
	}
	run := func(t *testing.T, script string, env ...string) string {
		t.Helper()
		s := s
		s.args = append(slices.Clone(s.args), "--", "sh", "-c", script)
		s.env = env
		p := c.start(t, s)
		out, status := p.wait()
		if status != 0 || !strings.Contains(p.stderr.String(), "HTTP_PROXY") {
			t.Errorf("%s: status %d, %q, said %s", script, status, out, p.stderr)
		}
		return out
	}
	clients := map[string]string{
		"curl":   "curl -sS %s",
		"Go":     "RUNSD_TEST_ROLE=get " + app() + " %s",
		"Python": `python3 -c 'import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())' %s`,
	}
	for client, command := range clients {
		t.Run(client, func(t *testing.T) {
			lookPath(t, strings.Fields(strings.ReplaceAll(command, "RUNSD_TEST_ROLE=get ", ""))[0])
			for _, name := range []string{"tacoserver", "tacoserver.us-central1", "TACOSERVER.us-central1.run.internal.:8080"} {
				if got := run(t, fmt.Sprintf(command, "'http://"+name+"/x%2Fy?z'")); !strings.HasPrefix(got, "service "+tacoHost+" /x%2Fy?z") {
					t.Errorf("%s: %q", name, got)
				}
			}
			got := run(t, fmt.Sprintf(command, "'http://www.example.com/x%2Fy?z'"))
			if !strings.HasPrefix(got, "public www.example.com /x%2Fy?z") || strings.Contains(got, "runsd") || !strings.Contains(got, `authorization=""`) {
				t.Errorf("another host: %q", got)
			}
			// The metadata server refuses what comes by a proxy; here it says what it is anyway.
			if got := run(t, fmt.Sprintf(command, "http://"+metadataIP+"/")); got != "" {
				t.Errorf("metadata server: %q", got)
			}
		})
	}
	t.Run("own NO_PROXY stays", func(t *testing.T) {
		got := run(t, "echo $NO_PROXY $no_proxy", "NO_PROXY=internal.example,localhost", "no_proxy=*")
		for _, want := range []string{"internal.example", "localhost", "127.0.0.0/8", "::1", "169.254.0.0/16", "metadata.google.internal", ".google.internal"} {
			if strings.Count(got, want) < 2 {
				t.Errorf("%q lacks %s", got, want)
			}
		}
		if strings.Contains(got, "*") {
			t.Errorf("%q has a *", got)
		}
	})
	t.Run("own HTTP_PROXY is chained to", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, "listen", err)
		former := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "former proxy %s\n", r.RequestURI) })}
		go former.Serve(l)
		defer former.Close()
		got := run(t, "curl -sS http://www.example.com/x; curl -sS http://tacoserver/", "http_proxy=http://"+l.Addr().String(), "HTTP_PROXY=http://"+l.Addr().String())
		if !strings.HasPrefix(got, "former proxy http://www.example.com/x\nservice "+tacoHost) {
			t.Errorf("%q", got)
		}
	})
	t.Run("PORT=80 as root", func(t *testing.T) {
		p := c.start(t, start{args: []string{"--", "curl", "-sS", "http://tacoserver/"}, env: []string{"PORT=80"}})
		if out, status := p.wait(); status != 0 || !strings.HasPrefix(out, "service ") || !strings.Contains(p.stderr.String(), "PORT=80") {
			t.Errorf("status %d, %q, said %s", status, out, p.stderr)
		}
	})
}

// TestOffCloudRun: nothing is touched, nothing is said.
func TestOffCloudRun(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	p := c.start(t, start{args: []string{"--", "sh", "-c", "cat /etc/resolv.conf; echo $HTTP_PROXY"}, env: []string{"K_SERVICE="}})
	if out, status := p.wait(); status != 0 || out != resolvConf+"\n" || p.stderr.String() != "" {
		t.Errorf("status %d, %q, said %q", status, out, p.stderr)
	}
}

// TestUpstreamCut: an answer cut in the middle is an error for the app.
func TestUpstreamCut(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	c.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		w.Write(make([]byte, 1000))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	p := c.start(t, start{args: []string{"--", "curl", "-sS", "-o", "/dev/null", "http://tacoserver/"}})
	if _, status := p.wait(); status != 18 && status != 56 {
		t.Errorf("curl's status %d, want 18: partial file", status)
	}
}

// TestStartCost: what runsd adds before the app runs.
func TestStartCost(t *testing.T) {
	if !inside(t) {
		return
	}
	c := newCloud(t)
	c.set(func() { c.delay = 2 * time.Second }) // a slow metadata server costs nothing
	// On a busy machine most starts wait for a processor: the best of many is the
	// cost. As soon as it is low enough, it is known to be.
	const limit = 15 * time.Millisecond
	best, direct := time.Hour, time.Hour
	for tries := 0; tries < 20 || best-direct > limit && tries < 400; tries++ {
		begin := time.Now()
		p := c.start(t, start{args: []string{"--", "/bin/true"}})
		p.wait()
		best = min(best, time.Since(begin))
		begin = time.Now()
		must(t, "true", exec.Command("/bin/true").Run())
		direct = min(direct, time.Since(begin))
	}
	t.Logf("runsd -- true: %v, true: %v, added %v", best, direct, best-direct)
	if best-direct > limit {
		t.Errorf("added %v, want at most %v", best-direct, limit)
	}
}

// TestSoak: no growth of memory, descriptors or connections over a while of
// requests from apps that come and go. RUNSD_SOAK says how long, 3s if unset.
func TestSoak(t *testing.T) {
	if !inside(t) {
		return
	}
	long := 3 * time.Second
	if s := os.Getenv("RUNSD_SOAK"); s != "" {
		var err error
		long, err = time.ParseDuration(s)
		must(t, "RUNSD_SOAK", err)
	}
	c := newCloud(t)
	c.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	// As PID 1, so that the app ends with it.
	p := c.start(t, start{args: []string{"--", "sh", "-c", "echo ready; read forever || sleep 10000"}, pid1: true})
	p.line()
	type figures struct{ rss, fds, threads int }
	measure := func() figures {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		return figures{field(string(status), "VmRSS:"), len(fds), field(string(status), "Threads:")}
	}
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	done, failed := 0, 0
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:80")
				}}
				client := &http.Client{Transport: tr}
				for j := range 50 { // then a new connection
					resp, err := client.Post(fmt.Sprintf("http://svc%d/", (i+j)%20), "text/plain", strings.NewReader(strings.Repeat("x", j*j*10)))
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
					mu.Lock()
					done++
					if err != nil || resp.StatusCode != 200 {
						failed++
					}
					mu.Unlock()
				}
				tr.CloseIdleConnections()
			}
		})
	}
	time.Sleep(long / 3) // warm
	third := measure()
	wg.Wait()
	end := measure()
	t.Logf("%d requests in %v, %d failed; after a third: %d kB, %d descriptors, %d threads; at the end: %d kB, %d descriptors, %d threads",
		done, long, failed, third.rss, third.fds, third.threads, end.rss, end.fds, end.threads)
	if failed > 0 {
		t.Errorf("%d of %d requests failed\n%.2000s", failed, done, p.stderr)
	}
	if end.rss > 48<<10 || end.rss > third.rss*3/2+2<<10 || end.fds > third.fds+20 {
		t.Errorf("growth: %+v, then %+v", third, end)
	}
}

func field(text, name string) int {
	_, rest, _ := strings.Cut(text, name)
	n, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return n
}
