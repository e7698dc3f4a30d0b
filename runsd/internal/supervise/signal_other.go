//go:build !linux

package supervise

import "syscall"

const lastSignal = syscall.SIGUSR2
