//go:build !linux

package firestoreemulator

import "os/exec"

func prepare(*exec.Cmd) {}

// end ends the emulator. It has nothing to save.
func end(cmd *exec.Cmd, _ bool) { cmd.Process.Kill() }
