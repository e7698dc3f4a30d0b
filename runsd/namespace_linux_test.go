package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// The tests of this package that need loopback addresses, ports 53 and 80 and a
// resolv.conf of their own run in namespaces: the test binary starts itself anew
// in them, with -test.run set to the one test. That works for root and, where the
// kernel lets them have user namespaces, for others.

const insideVar = "RUNSD_TEST_INSIDE"

const (
	metadataIP = "169.254.169.254"
	doorIP     = "203.0.113.10" // TEST-NET-3, RFC 5737
	publicIP   = "203.0.113.20"
)

// inside reports whether this is the process in the namespaces. Outside, it
// starts that one, reports what it says, and returns false.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVar) != "" {
		setUp(t)
		return true
	}
	flags := uintptr(syscall.CLONE_NEWNET | syscall.CLONE_NEWNS)
	attr := &syscall.SysProcAttr{Cloneflags: flags}
	if os.Getuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	probe := exec.Command("true")
	probe.SysProcAttr = attr
	if err := probe.Run(); err != nil {
		t.Skipf("no namespaces for uid %d: %v (in containers they need CAP_SYS_ADMIN; Ubuntu keeps them from users by kernel.apparmor_restrict_unprivileged_userns)", os.Getuid(), err)
	}
	bin := binaries(t)
	t.Parallel() // each has its own network
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=20m")
	if testing.Verbose() {
		cmd.Args = append(cmd.Args, "-test.v")
	}
	cmd.Env = append(os.Environ(), insideVar+"="+bin)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("in namespaces: %v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("in namespaces:\n%s", out)
	case testing.Verbose():
		t.Logf("in namespaces:\n%s", out)
	}
	return false
}

var build struct {
	sync.Once
	dir string
	err error
}

// binaries builds runsd and the pair, once, and returns their directory. For a
// user who can't build, RUNSD_TEST_BIN is where they are.
func binaries(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("RUNSD_TEST_BIN"); dir != "" {
		return dir
	}
	build.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "runsd-test-"); build.err != nil {
			return
		}
		os.Chmod(build.dir, 0o755) // the app may be another user's
		cmd := exec.Command("go", "build", "-trimpath", "-o", build.dir+"/", "-ldflags", "-X main.version=test", "./runsd", "./client", "./server")
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("%s: %w\n%s", cmd, err, out)
			return
		}
		self, err := os.ReadFile(os.Args[0])
		if err == nil {
			err = os.WriteFile(filepath.Join(build.dir, "app"), self, 0o755)
		}
		build.err = err
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.dir
}

func TestMain(m *testing.M) {
	if role := os.Getenv("RUNSD_TEST_ROLE"); role != "" {
		os.Exit(roles[role]())
	}
	code := m.Run()
	if build.dir != "" {
		os.RemoveAll(build.dir)
	}
	os.Exit(code)
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// setUp gives this process's namespaces loopback with the addresses of Cloud
// Run's metadata server, a front door and a public host, and a resolv.conf.
func setUp(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	must(t, "make mounts private", syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	must(t, "lo up", setAddr("lo", "127.0.0.1", "255.0.0.0"))
	for i, ip := range []string{metadataIP, doorIP, publicIP} {
		must(t, "add "+ip, setAddr(fmt.Sprintf("lo:%d", i+1), ip, "255.255.255.255"))
	}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	must(t, "resolv.conf", os.WriteFile(path, []byte(resolvConf), 0o644))
	must(t, "bind resolv.conf", syscall.Mount(path, "/etc/resolv.conf", "", syscall.MS_BIND, ""))
	t.Cleanup(func() { syscall.Unmount("/etc/resolv.conf", syscall.MNT_DETACH) })
}

const resolvConf = "nameserver 169.254.169.254\nsearch google.internal\noptions timeout:2\n"

// setAddr gives an interface, or an alias of it, an IPv4 address and puts it up:
// netdevice(7).
func setAddr(name, ip, mask string) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	for _, set := range []struct {
		req  uintptr
		addr string
	}{{syscall.SIOCSIFADDR, ip}, {syscall.SIOCSIFNETMASK, mask}} {
		var ifr struct {
			name   [16]byte
			family uint16
			port   uint16
			addr   [4]byte
			_      [16]byte
		}
		copy(ifr.name[:15], name)
		ifr.family = syscall.AF_INET
		copy(ifr.addr[:], net.ParseIP(set.addr).To4())
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), set.req, uintptr(unsafe.Pointer(&ifr))); errno != 0 {
			return errno
		}
	}
	var ifr struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(ifr.name[:15], strings.SplitN(name, ":", 2)[0])
	ifr.flags = syscall.IFF_UP | syscall.IFF_RUNNING | syscall.IFF_LOOPBACK
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&ifr))); errno != 0 {
		return errno
	}
	return nil
}
