package warden

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A program is a list of system calls, made by a process that was forked and has
// nothing of Go's runtime but its memory: no other thread, no stack that grows,
// no garbage collector.
type program struct {
	calls []call
	keep  []any // what the calls' addresses point at
}

type call struct {
	nr, a1, a2, a3, a4, a5 uintptr

	// what is done, for an error
	what string
}

func (p *program) add(what string, nr uintptr, args ...uintptr) {
	c := call{nr: nr, what: what}
	for i, dst := range []*uintptr{&c.a1, &c.a2, &c.a3, &c.a4, &c.a5} {
		if i < len(args) {
			*dst = args[i]
		}
	}
	p.calls = append(p.calls, c)
}

// string returns the address of s with a NUL behind it.
func (p *program) string(s string) uintptr {
	return p.pointer(unsafe.Pointer(unsafe.SliceData(append([]byte(s), 0))))
}

// strings returns the address of an array of such addresses with a nil behind it.
func (p *program) strings(ss []string) uintptr {
	addrs := make([]uintptr, len(ss)+1)
	for i, s := range ss {
		addrs[i] = p.string(s)
	}
	return p.pointer(unsafe.Pointer(unsafe.SliceData(addrs)))
}

func (p *program) pointer(at unsafe.Pointer) uintptr {
	p.keep = append(p.keep, at)
	return uintptr(at)
}

// fork starts a process that makes the program's calls and exits when one fails,
// after writing its number and the errno to the descriptor failures. The last
// call is an execve, so that no other end is reached.
//
// The calling goroutine must be locked to its thread.
func (p *program) fork(failures int) (pid int, err error) {
	// A signal that the child got before its execve would run Go's handler
	// in a process that has no Go.
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return 0, err
	}
	child, errno := rawFork(p.calls, uintptr(failures))
	runtime.KeepAlive(p)
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); err != nil {
		return 0, err
	}
	if errno != 0 {
		return 0, errno
	}
	return int(child), nil
}

// rawFork is fork without its preparations. In the child it must call nothing but
// RawSyscall: any function that may grow the stack may also find that the
// scheduler wants the thread.
//
//go:noinline
//go:norace
//go:nocheckptr
func rawFork(calls []call, failures uintptr) (pid uintptr, errno syscall.Errno) {
	var failed [8]byte
	if runtime.GOARCH == "s390x" {
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, 0, uintptr(unix.SIGCHLD), 0, 0, 0, 0)
	} else {
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	}
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	for i := range calls {
		c := &calls[i]
		_, _, errno = syscall.RawSyscall6(c.nr, c.a1, c.a2, c.a3, c.a4, c.a5, 0)
		if errno != 0 {
			*(*uint32)(unsafe.Pointer(&failed[0])) = uint32(i)
			*(*uint32)(unsafe.Pointer(&failed[4])) = uint32(errno)
			syscall.RawSyscall(unix.SYS_WRITE, failures, uintptr(unsafe.Pointer(&failed)), uintptr(len(failed)))
			break
		}
	}
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}

// failure is the error behind what a forked program wrote.
func (p *program) failure(b []byte) error {
	i, errno := binary.NativeEndian.Uint32(b), syscall.Errno(binary.NativeEndian.Uint32(b[4:]))
	return fmt.Errorf("%s: %w", p.calls[i].what, errno)
}
