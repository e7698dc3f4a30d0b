package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/amammay/otorun/cloudrun/internal/sandbox/warden"
)

// Available reports whether containers can be started here: nil, or an error
// that wraps [ErrUnavailable] and says what is in the way and the way out. It
// tries, all but an app, which takes some milliseconds; the answer is kept.
func Available() error { return available() }

var available = sync.OnceValue(func() error {
	if _, err := start(context.Background(), Spec{}, true); err != nil {
		if err = hint(err); !errors.Is(err, ErrUnavailable) {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
})

// A namespaceError is a refusal to make the namespaces.
type namespaceError struct{ err error }

func (e *namespaceError) Error() string {
	return "start " + executable() + " in new namespaces: " + e.err.Error()
}
func (e *namespaceError) Unwrap() error { return e.err }

// hint adds the way out to an error of start, if the machine's settings explain
// it.
func hint(err error) error {
	m := machine{root: os.Geteuid() == 0, read: readSetting}
	if why := m.wayOut(err); why != "" {
		return fmt.Errorf("%w: %w: %s", ErrUnavailable, err, why)
	}
	return err
}

func readSetting(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// A machine is what wayOut asks about this one.
type machine struct {
	root bool
	read func(name string) string // a file's trimmed text, "" if there is none
}

// wayOut says which setting of the machine is behind an error of start, and the
// command that changes it; "" if none is.
func (m machine) wayOut(err error) string {
	_, noNamespaces := errors.AsType[*namespaceError](err)
	refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	switch {
	case noNamespaces && errors.Is(err, unix.ENOSPC), noNamespaces && refused && m.read("/proc/sys/user/max_user_namespaces") == "0":
		return "the kernel allows no more user namespaces (user.max_user_namespaces is " + m.read("/proc/sys/user/max_user_namespaces") +
			"): allow them with sudo sysctl -w user.max_user_namespaces=15000"
	case noNamespaces && refused && !m.root && m.read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		return "the kernel gives user namespaces to root only: allow them with sudo sysctl -w kernel.unprivileged_userns_clone=1, or run this with sudo"
	case refused && !m.root && m.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" &&
		(noNamespaces || strings.Contains(err.Error(), warden.FirstStep)):
		// Ubuntu's: the namespaces are made, but give no capabilities.
		return "AppArmor gives user namespaces to root and to named programs only: allow them with sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or run this with sudo"
	case noNamespaces && refused:
		if strings.Contains(m.read("/proc/self/status"), "Seccomp:\t2") {
			return "a seccomp filter forbids it, as Docker's own does: give the surrounding container --security-opt seccomp=unconfined --security-opt systempaths=unconfined, or --privileged"
		}
		return "user namespaces are forbidden here, also to root in a chroot: run this outside of it"
	case noNamespaces && errors.Is(err, unix.EINVAL), noNamespaces && errors.Is(err, unix.ENOSYS):
		return "the kernel is built without some of the namespaces: use a distribution's own kernel"
	case errors.Is(err, unix.ENOSYS):
		return "the kernel is too old or emulated (gVisor): Linux 5.12 or newer is needed"
	case refused && strings.Contains(err.Error(), "mount /proc"):
		return "part of this machine's own /proc is masked, as in a container: give the surrounding container --security-opt systempaths=unconfined, or --privileged"
	}
	return ""
}
