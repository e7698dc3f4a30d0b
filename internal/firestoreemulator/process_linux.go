package firestoreemulator

import (
	"os/exec"
	"syscall"
)

// prepare puts the emulator out of reach of a Ctrl-C that is meant for us, and has
// the kernel end it with us.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// end tells the emulator, and what it may have started, to end, or makes it.
func end(cmd *exec.Cmd, kill bool) {
	sig := syscall.SIGTERM
	if kill {
		sig = syscall.SIGKILL
	}
	syscall.Kill(-cmd.Process.Pid, sig)
}
