package sandbox

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/amammay/otorun/cloudrun/internal/sandbox/warden"
)

func TestWayOut(t *testing.T) {
	refused := &namespaceError{fmt.Errorf("fork/exec /proc/self/exe: %w", syscall.EPERM)}
	for _, tt := range []struct {
		name     string
		err      error
		root     bool
		settings map[string]string
		want     string
	}{
		{
			name:     "no user namespaces",
			err:      &namespaceError{syscall.ENOSPC},
			root:     true,
			settings: map[string]string{"/proc/sys/user/max_user_namespaces": "0"},
			want:     "sudo sysctl -w user.max_user_namespaces=15000",
		}, {
			name:     "Debian's switch",
			err:      refused,
			settings: map[string]string{"/proc/sys/kernel/unprivileged_userns_clone": "0"},
			want:     "sudo sysctl -w kernel.unprivileged_userns_clone=1",
		}, {
			name:     "Ubuntu's AppArmor",
			err:      fmt.Errorf("%s localhost: %w", warden.FirstStep, syscall.EPERM),
			settings: map[string]string{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"},
			want:     "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
		}, {
			name:     "Docker",
			err:      refused,
			root:     true,
			settings: map[string]string{"/proc/self/status": "NoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1"},
			want:     "--security-opt seccomp=unconfined",
		}, {
			name: "Docker without seccomp",
			err:  fmt.Errorf("mount /proc: %w", syscall.EPERM),
			root: true,
			want: "--security-opt systempaths=unconfined",
		}, {
			name: "old kernel",
			err:  fmt.Errorf("open /dev/null: %w", syscall.ENOSYS),
			want: "Linux 5.12",
		}, {
			name:     "an app that isn't executable, with AppArmor's restriction on",
			err:      fmt.Errorf("start /app: %w", syscall.EACCES),
			settings: map[string]string{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := machine{root: tt.root, read: func(name string) string { return tt.settings[name] }}
			got := m.wayOut(tt.err)
			if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("wayOut(%v) = %q, want %q in it", tt.err, got, tt.want)
			}
		})
	}
}
