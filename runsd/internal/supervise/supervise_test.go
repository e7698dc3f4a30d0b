package supervise_test

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/amammay/otorun/runsd/internal/supervise"
)

// TestMain lets the test binary be the app.
func TestMain(m *testing.M) {
	switch os.Getenv("SUPERVISE_TEST_APP") {
	case "exit3":
		os.Exit(3)
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	os.Exit(m.Run())
}

func app(role string) supervise.App {
	return supervise.App{Args: []string{os.Args[0]}, Env: append(os.Environ(), "SUPERVISE_TEST_APP="+role)}
}

func TestStatus(t *testing.T) {
	for role, want := range map[string]int{"exit3": 3, "kill": 137} {
		if status, err := supervise.Run(app(role), nil); status != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", role, status, err, want)
		}
	}
}

func TestNotStartable(t *testing.T) {
	status, err := supervise.Run(supervise.App{Args: []string{"/no/such/app"}}, nil)
	if status != 1 || err == nil || !strings.Contains(err.Error(), "/no/such/app") {
		t.Errorf("%d, %v, want 1 and an error that names it", status, err)
	}
}

// TestEarlySignal: one that would end the app keeps it from being started; others
// wait for it.
func TestEarlySignal(t *testing.T) {
	started := false
	a := app("exit3")
	a.Started = func(int) { started = true }
	for sig, want := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGINT: 130, syscall.SIGHUP: 129} {
		signals := make(chan os.Signal, 2)
		signals <- syscall.SIGUSR1
		signals <- sig
		if status, err := supervise.Run(a, signals); status != want || err != nil || started {
			t.Errorf("%v: %d, %v, started %t, want %d", sig, status, err, started, want)
		}
	}
	var forwarded []os.Signal
	a.Forwarded = func(s os.Signal) { forwarded = append(forwarded, s) }
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGWINCH
	signals <- syscall.SIGCONT
	if _, err := supervise.Run(a, signals); err != nil || !slices.Equal(forwarded, []os.Signal{syscall.SIGWINCH, syscall.SIGCONT}) {
		t.Errorf("forwarded %v, %v", forwarded, err)
	}
}

func TestLookupUser(t *testing.T) {
	for spec, want := range map[string]supervise.User{
		"12345":       {UID: 12345, GID: 12345, Groups: []uint32{12345}},
		"12345:54321": {UID: 12345, GID: 54321, Groups: []uint32{54321}},
		"12345:0":     {UID: 12345, GID: 0, Groups: []uint32{0}},
	} {
		u, err := supervise.LookupUser(spec)
		if err != nil || u.UID != want.UID || u.GID != want.GID || !slices.Equal(u.Groups, want.Groups) || u.Name != "" {
			t.Errorf("LookupUser(%q) = %+v, %v, want %+v", spec, u, err, want)
		}
	}
	for _, spec := range []string{"no-such-user", "", "12345:no-such-group", "-1"} {
		if u, err := supervise.LookupUser(spec); err == nil {
			t.Errorf("LookupUser(%q) = %+v, want an error", spec, u)
		}
	}
	root, err := supervise.LookupUser("root")
	if err != nil || root.UID != 0 || !slices.Contains(root.Groups, 0) {
		t.Errorf("LookupUser(root) = %+v, %v", root, err)
	}
	env := root.Environ([]string{"HOME=/x", "PATH=/bin", "HOMER=1"})
	if !slices.Equal(env, []string{"PATH=/bin", "HOMER=1", "HOME=" + root.Home, "USER=root", "LOGNAME=root"}) {
		t.Errorf("Environ: %q", env)
	}
}
