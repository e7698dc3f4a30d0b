package sandbox_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

var noContext = context.Background()

func addr(network, addrPort string) sandbox.Address {
	return sandbox.Address{Network: network, AddrPort: netip.MustParseAddrPort(addrPort)}
}

// report is testdata/app's.
type report struct {
	PID, PPID, UID, GID int
	Groups              []int
	Hostname, Dir       string
	Args, Env           []string
	Files               []string
	Mounts              []string
	Processes           []string
	Descriptors         map[string]string
	MaxFiles            uint64
	Status              map[string]string
	Interfaces          map[string][]string
	Try                 map[string]string
	SessionID           int
}

func runReport(t *testing.T, spec sandbox.Spec, dials ...string) report {
	t.Helper()
	spec.Args = append([]string{"/app", "report"}, dials...)
	exit, out := runApp(t, spec)
	if exit.Code != 0 {
		t.Fatal(exit)
	}
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

func TestContainerSeesNothingOfTheMachine(t *testing.T) {
	t.Parallel()
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	const outside = "203.0.113.1:443"
	for _, uid := range []int{0, 1234} {
		t.Run(fmt.Sprintf("user %d", uid), func(t *testing.T) {
			t.Parallel()
			r := runReport(t, sandbox.Spec{
				UID: uid, GID: uid, Dir: "/home/app", Hostname: "taco",
				Env: []string{"PORT=8080", "BYTES=\xff\xfe", "EMPTY=", "PORT=8081"},
				Files: []sandbox.File{
					{Path: "/etc/resolv.conf", Data: []byte("nameserver 169.254.169.254\n")},
					{Path: "/sys/class/dmi/id/product_name", Data: []byte("Google Compute Engine\n"), Mode: 0o444},
				},
				Listen: []sandbox.Address{addr("tcp", "169.254.169.254:80")},
			}, host.Addr().String(), outside)

			// What is there is a list, so that nothing more can be.
			wantFiles := strings.Fields(`/ /app /dev /dev/fd /dev/full /dev/null /dev/ptmx /dev/pts /dev/pts/ptmx /dev/random /dev/shm
				/dev/stderr /dev/stdin /dev/stdout /dev/tty /dev/urandom /dev/zero /etc /etc/group /etc/hosts /etc/nsswitch.conf
				/etc/passwd /etc/resolv.conf /home /home/app /sys /sys/class /sys/class/dmi /sys/class/dmi/id /sys/class/dmi/id/product_name /tmp`)
			if !slices.Equal(r.Files, wantFiles) {
				t.Errorf("files = %q, want %q", r.Files, wantFiles)
			}
			for _, at := range r.Mounts {
				if at != "/" && at != "/app" && at != "/dev/pts" && at != "/proc" && !strings.HasPrefix(at, "/proc/") && !slices.Contains(wantFiles, at) {
					t.Errorf("a mount on %s", at)
				}
			}
			if want := []string{"1"}; r.PID != 1 || r.PPID != 0 || r.SessionID != 1 || !slices.Equal(r.Processes, want) {
				t.Errorf("process %d of %v, parent %d, session %d; want 1 of %v, 0, 1", r.PID, r.Processes, r.PPID, r.SessionID, want)
			}
			if want := []string{"127.0.0.1/8", "::1/128", "169.254.169.254/32"}; len(r.Interfaces) != 1 || !sameSet(r.Interfaces["lo"], want) && !sameSet(r.Interfaces["lo"], []string{want[0], want[2]}) {
				t.Errorf("interfaces = %v, want lo with %v", r.Interfaces, want)
			}
			if want := []string{`"PORT=8080"`, `"BYTES=\xff\xfe"`, `"EMPTY="`, `"PORT=8081"`}; !slices.Equal(r.Env, want) {
				t.Errorf("env = %q, want %q", r.Env, want)
			}
			if r.UID != uid || r.GID != uid || r.Hostname != "taco" || r.Dir != "/home/app" {
				t.Errorf("user %d, group %d, host %q, dir %q", r.UID, r.GID, r.Hostname, r.Dir)
			}
			if os.Getuid() == 0 && len(r.Groups) > 0 {
				t.Errorf("groups = %v, want none", r.Groups)
			}
			for fd, to := range r.Descriptors {
				if fd > "2" && !strings.HasPrefix(to, "anon_inode:[event") {
					t.Errorf("descriptor %s is %s", fd, to)
				}
			}
			var limit unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Fatal(err)
			}
			if r.MaxFiles != 25_000 && r.MaxFiles != limit.Max {
				t.Errorf("%d open files, want 25000, or %d as here", r.MaxFiles, limit.Max)
			}
			wantCaps := "0000000000000000"
			if uid == 0 {
				wantCaps = "00000000a80425fb"
			}
			for key, want := range map[string]string{
				"CapPrm": wantCaps, "CapEff": wantCaps, "CapInh": "0000000000000000", "CapAmb": "0000000000000000", "CapBnd": "00000000a80425fb",
				"NoNewPrivs": "1", "SigBlk": "0000000000000000", "SigIgn": "0000000000000000", "Umask": "0022",
			} {
				if r.Status[key] != want {
					t.Errorf("%s = %s, want %s", key, r.Status[key], want)
				}
			}

			const denied, readOnly, notPermitted, missing = "permission denied", "read-only file system", "operation not permitted", "no such file or directory"
			want := map[string]string{
				"dial " + host.Addr().String(): "connection refused",
				"dial " + outside:              "network is unreachable",
				"create /tmp/new":              "", "create /dev/shm/new": "", "create /proc/sys/kernel/new": missing,
				"write /dev/null": "", "write /dev/full": "", "write /dev/stdout": "", "open /dev/ptmx": "",
				"write /proc/sysrq-trigger": readOnly, "write /proc/sys/kernel/panic": readOnly,
				"mount": notPermitted, "unshare": notPermitted, "sethostname": notPermitted,
			}
			forRoot := "" // what user 0 alone may do
			if uid != 0 {
				forRoot = denied
			}
			for _, what := range []string{"create /etc/new", "create /new", "write /etc/resolv.conf", "listen tcp 127.0.0.1:53", "listen tcp 127.0.0.1:80", "listen udp 127.0.0.1:53"} {
				want[what] = forRoot
			}
			switch {
			case uid != 0:
				want["setuid 1"] = notPermitted
			case os.Getuid() != 0:
				want["setuid 1"] = r.Try["setuid 1"] // there is no such user, or no right to drop groups
				if r.Try["setuid 1"] == "" {
					t.Error("setuid 1 works, with one id in the map")
				}
			default:
				want["setuid 1"] = ""
			}
			if r.Try["write /app"] == "" {
				t.Error("the machine's file is writable")
			}
			if _, err := os.Stat("/proc/sysrq-trigger"); err != nil {
				want["write /proc/sysrq-trigger"] = missing
			}
			if uid != 0 || os.Getuid() != 0 {
				// Both refuse; the owner's bits are asked before the mount's.
				for _, name := range []string{"write /proc/sysrq-trigger", "write /proc/sys/kernel/panic"} {
					if r.Try[name] == denied {
						want[name] = denied
					}
				}
			}
			for what, err := range want {
				if got, ok := r.Try[what]; !ok || got != err {
					t.Errorf("%s: %q, want %q", what, got, err)
				}
			}
		})
	}
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func TestFiles(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	for name, text := range map[string]string{"copied": "copied", "shown/inner": "shown"} {
		name = filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := runReport(t, sandbox.Spec{Files: []sandbox.File{
		{Path: "/a/copied", Source: filepath.Join(source, "copied"), Copy: true},
		{Path: "/a/shown", Source: filepath.Join(source, "shown")},
		{Path: "/a/empty", Mode: os.ModeDir | 0o700},
		{Path: "/etc/resolv.conf", Source: filepath.Join(source, "copied"), Copy: true},
	}})
	for _, want := range []string{"/a/copied", "/a/empty", "/a/shown", "/a/shown/inner"} {
		if !slices.Contains(r.Files, want) {
			t.Errorf("no %s among %q", want, r.Files)
		}
	}
	if got := r.Try["write /etc/resolv.conf"]; got != "" {
		t.Errorf("write a copy: %s", got)
	}
}

// TestRoot gives a container an unpacked image whose links lead out of it.
func TestRoot(t *testing.T) {
	t.Parallel()
	t.Run("overlay", func(t *testing.T) {
		t.Parallel()
		testRoot(t, func(*sandbox.Spec) {})
	})
	t.Run("copy", func(t *testing.T) {
		t.Parallel()
		testRoot(t, sandbox.CopyRoot)
	})
}

func testRoot(t *testing.T, how func(*sandbox.Spec)) {
	image := filepath.Join(t.TempDir(), "with,a:colon")
	if err := os.MkdirAll(filepath.Join(image, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("machine"), 0o666); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"etc/resolv.conf": secret, "home": "../../../../../../../../.."} {
		if err := os.Symlink(to, filepath.Join(image, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(image, "etc/passwd"), []byte("image"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second sees nothing of the first's changes
		spec := sandbox.Spec{Root: image, Dir: "/work", Files: []sandbox.File{
			{Path: "/etc/resolv.conf", Data: []byte("nameserver 169.254.169.254\n")},
			{Path: "/home/taco", Data: []byte("taco")},
			{Path: "/etc/passwd", Data: []byte("root"), Replace: true},
			{Path: "/etc/shadow", Data: []byte("root"), Replace: true},
		}}
		how(&spec)
		r := runReport(t, spec)
		for _, want := range []string{"/etc/passwd", "/etc/hosts", "/etc/resolv.conf", "/taco", "/work", "/dev/null"} {
			if !slices.Contains(r.Files, want) {
				t.Errorf("no %s among %q", want, r.Files)
			}
		}
		if slices.Contains(r.Files, "/etc/shadow") {
			t.Error("/etc/shadow is there, in place of nothing")
		}
		if slices.Contains(r.Files, "/new") {
			t.Error("an earlier container's /new is there")
		}
		if got := r.Try["create /new"]; got != "" {
			t.Errorf("create /new: %s", got)
		}
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "machine" {
		t.Errorf("a file of the machine is %q now, %v", b, err)
	}
	entries, err := os.ReadDir(image)
	if err != nil || len(entries) != 2 {
		t.Errorf("the image has %v now, %v", entries, err)
	}
}

// TestRootIsKept holds that a container sees an image's modes, owners and links, and
// may change all of it for itself.
func TestRootIsKept(t *testing.T) {
	t.Parallel()
	image := t.TempDir()
	data := filepath.Join(image, "data")
	if err := os.MkdirAll(filepath.Join(data, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"one": 0o640, "full/one": 0o644, "setuid": 0o755 | os.ModeSetuid} {
		name = filepath.Join(data, name)
		if err := errors.Join(os.WriteFile(name, []byte("image"), 0o600), os.Chmod(name, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Link(filepath.Join(data, "one"), filepath.Join(data, "two")),
		os.Symlink("/data/one", filepath.Join(data, "link")),
		os.Chmod(image, 0o755),
		os.Chmod(data, 0o777|os.ModeSticky),
	); err != nil {
		t.Fatal(err)
	}
	owner := "0:0"
	if os.Getuid() == 0 {
		owner = "5:6"
		if err := os.Lchown(filepath.Join(data, "one"), 5, 6); err != nil {
			t.Fatal(err)
		}
	}
	before := []string{
		"/data dtrwxrwxrwx 0:0",
		"/data/full drwxr-xr-x 0:0",
		`/data/full/one -rw-r--r-- 0:0 1 names "image" <nil>`,
		"/data/link Lrwxrwxrwx 0:0 -> /data/one",
		"/data/one -rw-r----- " + owner + ` 2 names "image" <nil>`,
		`/data/setuid urwxr-xr-x 0:0 1 names "image" <nil>`,
		"/data/two -rw-r----- " + owner + ` 2 names "image" <nil>`,
	}
	for name, tt := range map[string]struct {
		how func(*sandbox.Spec)
		two string
	}{
		// An overlay parts the names of a file when it is written to, as with Docker.
		"overlay": {how: func(*sandbox.Spec) {}, two: ` 2 names "image" <nil>`},
		"copy":    {how: sandbox.CopyRoot, two: ` 2 names "changed" <nil>`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after := []string{
				"changes: <nil>",
				"/data dtrwxrwxrwx 0:0",
				"/data/full drwxr-xr-x 0:0",
				`/data/full/new -rw-r--r-- 0:0 1 names "new" <nil>`,
				`/data/moved urwxr-xr-x 0:0 1 names "image" <nil>`,
				"/data/one -rw-r----- " + owner,
				"/data/two -rw-r----- " + owner + tt.two,
			}
			spec := sandbox.Spec{Root: image, Args: []string{"/app", "tree", "/data"}}
			tt.how(&spec)
			exit, out := runApp(t, spec)
			got := strings.Split(strings.TrimSpace(out), "\n")
			want := append(slices.Clone(before), after...)
			same := slices.EqualFunc(got, want, func(got, want string) bool {
				return got == want || strings.HasSuffix(want, "/data/one -rw-r----- "+owner) && strings.HasPrefix(got, want) && strings.HasSuffix(got, `"changed" <nil>`)
			})
			if exit.Code != 0 || !same {
				t.Errorf("%v, it saw\n%s\nwant\n%s", exit, out, strings.Join(want, "\n"))
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(data, "one")); err != nil || string(b) != "image" {
		t.Errorf("the image's file is %q now, %v", b, err)
	}
}

func TestResolvConfIsPrivate(t *testing.T) {
	t.Parallel()
	spec := sandbox.Spec{Args: []string{"/app", "resolv"}, Files: []sandbox.File{{Path: "/etc/resolv.conf", Data: []byte("nameserver 169.254.169.254\n")}}}
	before, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for range 2 {
		out := newOutput()
		spec.Stdout = out
		c := start(t, spec)
		out.await(t, c, "nameserver 127.0.0.1")
		out.await(t, c, "ready")
	}
	after, _ := os.ReadFile("/etc/resolv.conf")
	if string(before) != string(after) {
		t.Errorf("the machine's resolv.conf was %q and is %q", before, after)
	}
}

func TestExit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		want sandbox.Exit
	}{
		{name: "zero", args: []string{"exit", "0"}},
		{name: "status", args: []string{"exit", "3"}, want: sandbox.Exit{Code: 3}},
		{name: "panic", args: []string{"panic"}, want: sandbox.Exit{Code: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, _ := runApp(t, sandbox.Spec{Args: append([]string{"/app"}, tt.args...)})
			if got != tt.want {
				t.Errorf("%v = %v, want %v", tt.args, got, tt.want)
			}
		})
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	out := newOutput()
	c := start(t, sandbox.Spec{Args: []string{"/app", "term"}, Stdout: out})
	out.await(t, c, "ready")
	if err := c.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Wait(), (sandbox.Exit{Code: 7}); got != want {
		t.Errorf("after SIGTERM: %v, want %v", got, want)
	}
	out.lines <- "end"
	if got := <-out.lines; got != "terminated\n" {
		t.Errorf("the app wrote %q", got)
	}
	if err := c.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the end: %v, want %v", err, os.ErrProcessDone)
	}

	out = newOutput()
	c = start(t, sandbox.Spec{Args: []string{"/app", "hold"}, Stdout: out})
	out.await(t, c, "ready")
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Wait(), (sandbox.Exit{Code: 137, Signal: syscall.SIGKILL}); got != want {
		t.Errorf("after Kill: %v, want %v", got, want)
	}
}

// TestOrphans lets a grandchild become process 1's, as it does in a container: the
// app reaps it, and there is no other process for it to wait for.
func TestOrphans(t *testing.T) {
	t.Parallel()
	_, out := runApp(t, sandbox.Spec{Args: []string{"/app", "orphan"}})
	if want := "map[0:true 5:true] no child processes\n"; out != want {
		t.Errorf("wrote %q, want %q", out, want)
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	out, errs := newOutput(), newOutput()
	exit := start(t, sandbox.Spec{Args: []string{"/app", "lines"}, Stdout: out, Stderr: errs}).Wait()
	if exit.Code != 0 {
		t.Error(exit)
	}
	gotOut, gotErrs := out.rest(), errs.rest()
	for i := range 10_000 {
		if i >= len(gotOut) || i >= len(gotErrs) || gotOut[i] != fmt.Sprintf("out %d\n", i) || gotErrs[i] != fmt.Sprintf("err %d\n", i) {
			t.Fatalf("line %d is wrong, of %d and %d", i, len(gotOut), len(gotErrs))
		}
	}
	var sizes []int
	for _, line := range gotOut[10_000:] {
		sizes = append(sizes, len(line))
	}
	if want := []int{1 << 20, 1 << 20, 1 << 20, 1, len("no newline")}; !slices.Equal(sizes, want) {
		t.Errorf("after the short lines came %d bytes, want %d", sizes, want)
	}
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	needs(t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("taco"), 0o755); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		spec sandbox.Spec
		want string
		is   error
	}{
		{name: "no command", want: "no command to run"},
		{name: "not there", spec: sandbox.Spec{Args: []string{"/nothing"}}, want: "start /nothing: no such file or directory", is: syscall.ENOENT},
		{name: "not in PATH", spec: sandbox.Spec{Args: []string{"nothing"}, Env: []string{"PATH=/bin"}}, want: "find nothing in the container's PATH /bin", is: syscall.ENOENT},
		{name: "not a program", spec: sandbox.Spec{Args: []string{"/text"}, Files: []sandbox.File{{Path: "/text", Source: text}}}, want: "not a program for linux/", is: syscall.ENOEXEC},
		{name: "no interpreter", spec: sandbox.Spec{Args: []string{"/x"}, Files: []sandbox.File{{Path: "/x", Data: []byte("#!/bin/sh\n"), Mode: 0o755}}}, want: "CGO_ENABLED=0", is: syscall.ENOENT},
		{name: "not executable", spec: sandbox.Spec{Args: []string{"/x"}, Files: []sandbox.File{{Path: "/x", Data: []byte("taco")}}}, want: "is it executable for user 0", is: syscall.EACCES},
		{name: "source missing", spec: sandbox.Spec{Args: []string{"/app"}, Files: []sandbox.File{{Path: "/x", Source: "/no/such/file"}}}, want: "open /no/such/file: no such file", is: syscall.ENOENT},
		{name: "relative path", spec: sandbox.Spec{Args: []string{"/app"}, Files: []sandbox.File{{Path: "x"}}}, want: `file "x": want an absolute path`},
		{name: "door on all addresses", spec: sandbox.Spec{Args: []string{"/app"}, Listen: []sandbox.Address{addr("tcp", "0.0.0.0:80")}}, want: "listen on tcp 0.0.0.0:80"},
		{name: "door twice", spec: sandbox.Spec{Args: []string{"/app"}, Listen: []sandbox.Address{addr("tcp", "1.2.3.4:80"), addr("tcp", "1.2.3.4:80")}}, want: "listen on tcp 1.2.3.4:80 in the container", is: syscall.EADDRINUSE},
		{name: "context done", ctx: cancelled, spec: sandbox.Spec{Args: []string{"/app"}}, want: "context canceled", is: context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.ctx == nil {
				tt.ctx = t.Context()
			}
			c, err := sandbox.Start(tt.ctx, tt.spec)
			if err == nil {
				_ = c.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) || errors.Is(err, sandbox.ErrUnavailable) {
				t.Errorf("error %q, want one with %q that is %v", err, tt.want, tt.is)
			}
		})
	}
}

func TestDoors(t *testing.T) {
	t.Parallel()
	tcp, udp, tcp6 := addr("tcp", "169.254.169.254:80"), addr("udp", "169.254.169.254:53"), addr("tcp", "[fd00::1]:443")
	listen := []sandbox.Address{tcp, udp, addr("tcp", "169.254.169.254:53"), addr("tcp", "203.0.113.7:443")}
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		listen = append(listen, tcp6)
	}
	for _, door := range listen {
		t.Run(door.String(), func(t *testing.T) {
			t.Parallel()
			out := newOutput()
			c := start(t, sandbox.Spec{Args: []string{"/app", "dial", door.Network, door.AddrPort.String()}, Stdout: out, Listen: listen})
			answered := make(chan error, 1)
			go func() { answered <- answer(c, door) }()
			out.await(t, c, "got taco")
			if err := <-answered; err != nil {
				t.Fatal(err)
			}
			if c.Listener(addr("tcp", "127.0.0.1:1")) != nil || c.PacketConn(tcp) != nil {
				t.Error("a listener that nobody asked for")
			}
			// Close closes the listeners, so that servers on them end.
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Listener(tcp).Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept after Close: %v, want %v", err, net.ErrClosed)
			}
		})
	}
}

// answer answers one line that comes through a door.
func answer(c *sandbox.Container, door sandbox.Address) error {
	if door.Network == "udp" {
		p := c.PacketConn(door)
		buf := make([]byte, 100)
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			return err
		}
		_, err = p.WriteTo(append([]byte("got "), buf[:n]...), from)
		return err
	}
	conn, err := c.Listener(door).Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	_, err = io.WriteString(conn, "got "+line)
	return err
}

// TestManyDoors has more than one message can carry.
func TestManyDoors(t *testing.T) {
	t.Parallel()
	var listen []sandbox.Address
	for i := range 450 {
		listen = append(listen, addr("tcp", "127.0.0.1:"+strconv.Itoa(10_000+i)))
	}
	out := newOutput()
	last := listen[len(listen)-1]
	c := start(t, sandbox.Spec{Args: []string{"/app", "dial", "tcp", last.AddrPort.String()}, Stdout: out, Listen: listen})
	go func() { _ = answer(c, last) }()
	out.await(t, c, "got taco")
}

func TestDial(t *testing.T) {
	t.Parallel()
	out := newOutput()
	addrs := []string{"127.0.0.1:8080", "udp:127.0.0.1:8080"}
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		addrs = append(addrs, "[::1]:8081")
	}
	c := start(t, sandbox.Spec{Args: append([]string{"/app", "echo"}, addrs...), Stdout: out})
	out.await(t, c, "ready")
	for _, a := range addrs {
		network, address := "tcp", a
		if u, ok := strings.CutPrefix(a, "udp:"); ok {
			network, address = "udp", u
		}
		conn, err := c.DialContext(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		if err := echo(conn); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	for _, tt := range []struct{ network, address, want string }{
		{"tcp", "127.0.0.1:1", "connection refused"},
		{"tcp", "192.0.2.1:80", "network is unreachable"},
		{"tcp", "localhost:8080", "want an IP address"},
		{"unix", "127.0.0.1:80", "want tcp or udp"},
	} {
		if _, err := c.DialContext(t.Context(), tt.network, tt.address); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("DialContext(%q, %q): %v, want %q", tt.network, tt.address, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.DialContext(ctx, "tcp", "127.0.0.1:8080"); !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "canceled") {
		t.Errorf("DialContext, cancelled: %v", err)
	}
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	if _, err := c.DialContext(t.Context(), "tcp", "127.0.0.1:8080"); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("DialContext after the end: %v, want %v", err, os.ErrProcessDone)
	}
}

func echo(conn net.Conn) error {
	defer conn.Close()
	if _, err := io.WriteString(conn, "taco\n"); err != nil {
		return err
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "taco\n" {
		return fmt.Errorf("read %q, %v", buf, err)
	}
	return nil
}

// The tests below count this process's descriptors, so none runs beside them.

func TestManyDials(t *testing.T) {
	out := newOutput()
	c := start(t, sandbox.Spec{Args: []string{"/app", "echo", "127.0.0.1:8080"}, Stdout: out})
	out.await(t, c, "ready")
	before := currentState(t)
	const workers, each = 8, 1250
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range each {
				conn, err := c.DialContext(t.Context(), "tcp", "127.0.0.1:8080")
				if err != nil {
					t.Error(err)
					return
				}
				if err := echo(conn); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if after := currentState(t); after != before {
		t.Errorf("after %d dials %+v, before %+v", workers*each, after, before)
	}
}

func TestManyContainers(t *testing.T) {
	needs(t)
	spec := sandbox.Spec{
		Args: []string{"/app", "family"}, Hostname: mark, Env: []string{"MARK=" + mark},
		Files:  []sandbox.File{{Path: "/app", Source: app}},
		Listen: []sandbox.Address{addr("tcp", "169.254.169.254:80"), addr("udp", "169.254.169.254:53")},
	}
	one := func() {
		spec, out := spec, newOutput()
		spec.Stdout = out
		c, err := sandbox.Start(t.Context(), spec)
		if err != nil {
			t.Error(err)
			return
		}
		out.await(t, c, "ready")
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	one() // so that what is made once is there
	before, temp := currentState(t), tempFiles(t)
	n := 200
	if testing.Short() {
		n = 20
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range n / 4 {
				one()
			}
		})
	}
	all.Wait()
	if left := marked(t, mark); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if after := currentState(t); after != before {
		t.Errorf("after %d containers %+v, before %+v", n, after, before)
	}
	if after := tempFiles(t); !slices.Equal(after, temp) {
		t.Errorf("files %q, before %q", after, temp)
	}
	// A failed start leaves nothing either.
	spec.Args = []string{"/nothing"}
	for range 20 {
		if _, err := sandbox.Start(t.Context(), spec); err == nil {
			t.Error("no error")
		}
	}
	spec.Args = []string{"/app", "hold"}
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		c, err := sandbox.Start(ctx, spec)
		if err == nil {
			_ = c.Close()
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
	}
	if left := marked(t, mark); len(left) > 0 {
		t.Errorf("failed starts left behind: %v", left)
	}
	if after := currentState(t); after != before {
		t.Errorf("after failed starts %+v, before %+v", after, before)
	}
}

func tempFiles(t *testing.T) []string {
	entries, err := os.ReadDir(filepath.Dir(app))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestKilledParent kills a program with containers, and with another in the
// making; it can do nothing about it.
func TestKilledParent(t *testing.T) {
	t.Parallel()
	needs(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, uid := range []string{"0", "1234"} {
		for started := range 6 {
			t.Run(fmt.Sprintf("user %s, %d containers", uid, started), func(t *testing.T) {
				t.Parallel()
				mark := fmt.Sprintf("%s-%s-%d", mark, uid, started)
				cmd := exec.Command(self)
				cmd.Env = append(os.Environ(), parentEnv+"="+uid, appEnv+"="+app, markEnv+"="+mark)
				cmd.Stderr = os.Stderr
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				defer cmd.Process.Kill()
				lines := bufio.NewScanner(out)
				for range started {
					lines.Scan()
				}
				if started > 0 && lines.Text() != strconv.Itoa(started) {
					t.Fatalf("read %q, want %d containers", lines.Text(), started)
				}
				// The program; and a warden, an app and its three children
				// each. Another container may be on its way.
				if got := marked(t, mark); len(got) < 1+5*started {
					t.Errorf("processes: %v, want %d", got, 1+5*started)
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait()
				gone(t, mark)
			})
		}
	}
}

// TestKilledWarden kills the warden of an app that has changed its user, and with
// that lost the signal at its parent's death, had it asked for one.
func TestKilledWarden(t *testing.T) {
	t.Parallel()
	mark := mark + "-warden"
	out := newOutput()
	c := start(t, sandbox.Spec{Args: []string{"/app", "family", "setuid"}, Stdout: out, Hostname: mark, Env: []string{"MARK=" + mark}})
	out.await(t, c, "ready")
	for pid, command := range marked(t, mark) {
		if strings.HasPrefix(command, "otorun-sandbox") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := c.Wait(), (sandbox.Exit{Code: 137, Signal: syscall.SIGKILL}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if left := marked(t, mark); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// gone waits until no process with mark is left: not for long, as nothing but the
// kernel has to do something about it.
func gone(t *testing.T, mark string) {
	t.Helper()
	for left := marked(t, mark); len(left) > 0; left = marked(t, mark) {
		for pid, command := range left {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue
			}
			ends := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(ends, 20_000)
			_ = unix.Close(fd)
			if err == nil && n == 0 {
				t.Fatalf("left behind: process %d, %q", pid, command)
			}
		}
	}
}

// TestNamespaces looks at a container from outside: it shares no namespace.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	out := newOutput()
	c := start(t, sandbox.Spec{Args: []string{"/app", "hold"}, Stdout: out})
	out.await(t, c, "ready")
	for _, kind := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", c.PID(), kind))
		if err != nil {
			t.Fatal(err)
		}
		if ours, _ := os.Readlink("/proc/self/ns/" + kind); theirs == ours {
			t.Errorf("the container shares %s", ours)
		}
	}
}
