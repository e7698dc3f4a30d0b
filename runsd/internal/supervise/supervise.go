// Package supervise runs a container's app: it starts it, passes signals on to
// it, reaps orphans where it is PID 1, and tells the app's status.
//
//	signals := supervise.Signals()
//	status, err := supervise.Run(supervise.App{Args: []string{"/app"}, Env: os.Environ()}, signals)
package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
)

// An App is what to run.
type App struct {
	Args []string
	Env  []string
	User *User // nil for runsd's own
	// Started, if set, is told the app's process.
	Started func(pid int)
	// Forwarded, if set, is told of each signal passed on.
	Forwarded func(sig os.Signal)
}

// Signals starts to collect signals. What comes before the app is started isn't
// lost.
//
// Some aren't for the app: SIGCHLD tells of the app itself; SIGURG is what Go's
// runtime interrupts its own threads with, so that one sent by another process
// can't be told apart; SIGPIPE is raised by runsd's own writes, when nobody reads
// its logs any more, and must not end it.
func Signals() <-chan os.Signal {
	ch := make(chan os.Signal, 128)
	signal.Notify(ch, forwarded()...)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return ch
}

func forwarded() []os.Signal {
	own := []syscall.Signal{syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE, syscall.SIGKILL, syscall.SIGSTOP,
		// Faults of runsd itself.
		syscall.SIGILL, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV, syscall.SIGSYS}
	var all []os.Signal
	for s := syscall.Signal(1); s <= lastSignal; s++ {
		// 32 to 34 are libc's for its threads.
		if !slices.Contains(own, s) && (s < 32 || s > 34) {
			all = append(all, s)
		}
	}
	return all
}

// ends reports whether a signal that comes before the app is started ends runsd
// instead.
func ends(s os.Signal) bool {
	return s == syscall.SIGTERM || s == syscall.SIGINT || s == syscall.SIGHUP || s == syscall.SIGQUIT
}

// Run starts app and waits for its end, passing on signals. The status is the
// app's, 128+n if signal n ended it or would have before it was started, and 1
// with an error if it could not be started.
func Run(app App, signals <-chan os.Signal) (status int, err error) {
	var early []os.Signal
	for {
		select {
		case s := <-signals:
			if ends(s) {
				return 128 + int(s.(syscall.Signal)), nil
			}
			early = append(early, s)
			continue
		default:
		}
		break
	}

	// Before the app can end.
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)

	p, err := start(app)
	if err != nil {
		return 1, err
	}
	defer p.Release()
	if app.Started != nil {
		app.Started(p.Pid)
	}
	forward := func(s os.Signal) {
		if app.Forwarded != nil {
			app.Forwarded(s)
		}
		p.Signal(s) // an app that has ended needs it no more
	}
	for _, s := range early {
		forward(s)
	}
	for {
		select {
		case s := <-signals:
			forward(s)
		case <-ended:
			if status, done := reap(p.Pid, os.Getpid() == 1); done {
				return status, nil
			}
		}
	}
}

func start(app App) (*os.Process, error) {
	path, err := exec.LookPath(app.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, fmt.Errorf("start the app: %w", err)
	}
	attr := &os.ProcAttr{Env: app.Env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}}
	if u := app.User; u != nil && !u.isCurrent() {
		attr.Sys = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}}
	}
	p, err := os.StartProcess(path, app.Args, attr)
	if err != nil {
		if app.User != nil {
			return nil, fmt.Errorf("start the app as %s: %w", app.User, err)
		}
		return nil, fmt.Errorf("start the app: %w", err)
	}
	return p, nil
}

// reap collects the children that have ended: all as PID 1, whose children the
// orphans are, else the app alone.
func reap(app int, all bool) (status int, done bool) {
	pid := app
	if all {
		pid = -1
	}
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(pid, &ws, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || got <= 0 {
			return status, done
		}
		if got == app {
			status, done = ws.ExitStatus(), true
			if ws.Signaled() {
				status = 128 + int(ws.Signal())
			}
		}
	}
}
