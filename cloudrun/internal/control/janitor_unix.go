//go:build unix

package control

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// janitor is the first argument of a process that removes a folder when the one
// that started it has ended.
const janitor = "otorun-cloudrun-janitor"

// The process is this program again. It is known by its name alone, before
// anything else of the program runs.
func init() {
	if len(os.Args) == 2 && os.Args[0] == janitor {
		io.Copy(io.Discard, os.Stdin) // to the end of the other process
		removeDir(os.Args[1])
		os.Exit(0)
	}
}

// removeAtEnd removes dir when this process ends or close is called.
func removeAtEnd(dir string) (close func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Args = []string{janitor, dir}
	cmd.Env = []string{}
	// Out of reach of the Ctrl-C that ends the platform.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		stdin.Close()
		cmd.Wait()
	}), nil
}

func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}
