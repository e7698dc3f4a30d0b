package warden

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Descriptors that a warden is started with, behind 0, 1 and 2.
const (
	orderFD  = 3 + iota // a file with the packed [Order]
	reportFD            // a socket that carries reports, a message each
	dialFD              // a socket that carries requests for sockets
)

func init() {
	if len(os.Args) == 0 || os.Args[0] != Name {
		return
	}
	// This goroutine has the main thread, which has the namespaces' and the
	// app's fate: it must not move, nor end.
	runtime.LockOSThread()
	w := warden{}
	if err := w.run(); err != nil {
		if w.report(ReportError, packError(err)) != nil {
			// Nobody ordered this: a person started it by this name.
			fmt.Fprintf(os.Stderr, "%s: %v: this process is started by a program that runs containers, not by hand\n", Name, err)
		}
		unix.Exit(1)
	}
	// Not os.Exit: what a build for coverage or races does at the end would
	// write to the app's stderr.
	unix.Exit(0)
}

// FirstStep is what the first error of a warden starts with: the first thing that takes a capability in the new namespaces.
const FirstStep = "set the host name"

// A warden makes the container's namespaces habitable, starts the app in them,
// serves Start's process with sockets, and waits.
type warden struct {
	order Order
}

func (w *warden) run() error {
	for _, fd := range []int{orderFD, reportFD, dialFD} {
		unix.CloseOnExec(fd)
	}
	if err := w.read(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(w.order.Hostname)); err != nil {
		return fmt.Errorf("%s %s: %w", FirstStep, w.order.Hostname, err)
	}
	if err := w.doors(); err != nil {
		return err
	}
	// A keyring of its own for the app. The error is dropped: there may be no
	// keyrings in this kernel, or a quota of them, and the one it would share
	// holds nothing unless a person put something there.
	_, _ = unix.KeyctlJoinSessionKeyring("")
	r := root{order: &w.order}
	if err := r.build(); err != nil {
		return err
	}
	return w.app(&r)
}

func (w *warden) read() error {
	// First, so that none of the reports is lost: a socket that is closed with
	// something unread in it resets the other.
	var told [1]byte
	if n, err := readFull(reportFD, told[:]); err != nil || n == 0 {
		return errors.Join(errors.New("the program that started it is gone"), err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(orderFD, &st); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	// Mapped, not read: the files in it are written from where they are.
	b, err := unix.Mmap(orderFD, 0, int(st.Size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	_ = unix.Close(orderFD)
	w.order, err = unpack(b)
	return err
}

// report sends a message to Start's process.
func (w *warden) report(kind byte, payload []byte, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(reportFD, append([]byte{kind}, payload...), rights, nil, unix.MSG_NOSIGNAL)
}

// doors makes the listeners and hands them out.
func (w *warden) doors() error {
	if err := loopbackUp(w.order.Doors); err != nil {
		return err
	}
	var fds []int
	for i, a := range w.order.Doors {
		fd, err := listen(a)
		if err != nil {
			return fmt.Errorf("listen on %s in the container: %w", a.Name, err)
		}
		fds = append(fds, fd)
		if len(fds) < DoorsPerReport && i < len(w.order.Doors)-1 {
			continue
		}
		if err := w.report(ReportDoors, nil, fds...); err != nil {
			return fmt.Errorf("hand out the listeners: %w", err)
		}
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		fds = fds[:0]
	}
	return nil
}

// app starts the app as process 1 of a PID namespace of its own, waits for it and
// serves sockets meanwhile.
func (w *warden) app(r *root) error {
	if err := unix.Unshare(unix.CLONE_NEWPID); err != nil {
		return fmt.Errorf("make a PID namespace: %w", err)
	}
	// One pair carries all between the app's process and this one: 'p' when
	// /proc is mounted, 'g' to go on, and how the exec failed, or its end
	// when it didn't.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket pair: %w", err)
	}
	prog, err := w.program(pair[1])
	if err != nil {
		return err
	}
	pid, err := prog.fork(pair[1])
	if err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	_ = unix.Close(pair[1])

	var answer [8]byte
	n, err := readFull(pair[0], answer[:])
	if err != nil {
		return fmt.Errorf("wait for /proc: %w", err)
	}
	if n == 0 {
		return errors.New("the app's process ended before it mounted /proc")
	}
	if n == len(answer) {
		return prog.failure(answer[:])
	}
	if err := r.finish(); err != nil {
		return err
	}
	if w.order.Probe {
		return w.report(ReportStarted, nil)
	}
	// The handle must exist before the app does: it may be gone as soon.
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open the app's pidfd: %w", err)
	}
	if _, err := unix.Write(pair[0], []byte{'g'}); err != nil {
		return fmt.Errorf("start %s: %w", w.order.Args[0], err)
	}
	if n, err = readFull(pair[0], answer[:]); err != nil {
		return fmt.Errorf("start %s: %w", w.order.Args[0], err)
	}
	if n == len(answer) {
		return w.explain(prog.failure(answer[:]))
	}
	_ = unix.Close(pair[0])
	if err := w.report(ReportStarted, nil, pidfd); err != nil {
		return err
	}
	_ = unix.Close(pidfd)

	go serveSockets()
	var status unix.WaitStatus
	for {
		if _, err = unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("wait for the app: %w", err)
	}
	return w.report(ReportExit, binary.NativeEndian.AppendUint32(nil, uint32(status)))
}

func readFull(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// dockerCapabilities are what user 0 of a container has by convention: it may own
// files, take ports below 1024 and become other users, but change nothing of the
// namespaces. As bits; a capability counts inside the container only.
const dockerCapabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FSETID | 1<<unix.CAP_FOWNER |
	1<<unix.CAP_MKNOD | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETFCAP |
	1<<unix.CAP_SETPCAP | 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_KILL | 1<<unix.CAP_AUDIT_WRITE

// program is what the app's process does between fork and exec. pair is its end
// of the socket pair.
func (w *warden) program(pair int) (*program, error) {
	o := &w.order
	p := new(program)
	sync := uintptr(pair)

	// Only a process in the PID namespace can mount its /proc.
	p.add("mount /proc", unix.SYS_MOUNT, p.string("proc"), p.string("/proc"), p.string("proc"), unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)
	p.add("report /proc", unix.SYS_WRITE, sync, p.string("p"), 1)
	p.add("wait for the file system", unix.SYS_READ, sync, p.string(" "), 1)
	if o.Probe {
		p.add("end the probe", unix.SYS_EXIT_GROUP, 0)
		return p, nil
	}

	p.add("start a session", unix.SYS_SETSID)
	p.add("set umask 022", unix.SYS_UMASK, 0o022)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/null in the container: %w", err)
	}
	for fd, given := range []bool{false, o.HasStdout, o.HasStderr} {
		if !given {
			p.add("open /dev/null", unix.SYS_DUP3, uintptr(null), uintptr(fd), 0)
		} else if o.AllIDs {
			// So that the app can open /dev/stdout anew, whoever it is.
			if err := unix.Fchown(fd, o.UID, o.GID); err != nil {
				return nil, fmt.Errorf("give descriptor %d to user %d: %w", fd, o.UID, err)
			}
		}
	}
	p.add("close other descriptors", unix.SYS_CLOSE_RANGE, 3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC)

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("read the limit of open files: %w", err)
	}
	limit.Max = min(limit.Max, MaxFiles)
	limit.Cur = limit.Max
	p.add("limit open files", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, p.pointer(unsafe.Pointer(&limit)), 0)
	p.add("limit core dumps", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, p.pointer(unsafe.Pointer(new(unix.Rlimit))), 0)

	kept := uint64(0)
	if o.UID == 0 {
		kept = dockerCapabilities
	}
	for c := uintptr(0); ; c++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil {
			break // past the kernel's last
		}
		if has == 1 && dockerCapabilities&(1<<c) == 0 {
			p.add(fmt.Sprintf("drop capability %d", c), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		}
	}
	if o.AllIDs {
		p.add("drop supplementary groups", unix.SYS_SETGROUPS, 0, 0)
	}
	p.add(fmt.Sprintf("become group %d", o.GID), unix.SYS_SETRESGID, uintptr(o.GID), uintptr(o.GID), uintptr(o.GID))
	p.add(fmt.Sprintf("become user %d", o.UID), unix.SYS_SETRESUID, uintptr(o.UID), uintptr(o.UID), uintptr(o.UID))
	p.add("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	data := &[2]unix.CapUserData{
		{Effective: uint32(kept), Permitted: uint32(kept)},
		{Effective: uint32(kept >> 32), Permitted: uint32(kept >> 32)},
	}
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	p.add("set capabilities", unix.SYS_CAPSET, p.pointer(unsafe.Pointer(header)), p.pointer(unsafe.Pointer(data)))
	p.add("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	p.add("change to "+o.Dir, unix.SYS_CHDIR, p.string(o.Dir))

	// exec resets the signals that are handled, not those that are ignored,
	// as SIGHUP is under nohup.
	const numSignals, sigsetSize = 64, 8
	ignored, err := ignoredSignals()
	if err != nil {
		return nil, err
	}
	byDefault := p.pointer(unsafe.Pointer(new([32]byte))) // struct sigaction
	for s := uintptr(1); s <= numSignals; s++ {
		if ignored&(1<<(s-1)) != 0 {
			p.add(fmt.Sprintf("reset signal %d", s), unix.SYS_RT_SIGACTION, s, byDefault, 0, sigsetSize)
		}
	}
	p.add("unblock signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, p.pointer(unsafe.Pointer(new([sigsetSize]byte))), 0, sigsetSize)

	command, err := lookPath(o)
	if err != nil {
		return nil, err
	}
	p.add("start "+command, unix.SYS_EXECVE, p.string(command), p.strings(o.Args), p.strings(o.Env))
	return p, nil
}

// ignoredSignals are the signals that this process ignores, signal 1 as bit 0.
func ignoredSignals() (set uint64, err error) {
	for s := range uintptr(64) {
		var act [64]byte // struct sigaction: it starts with the handler, but on mips
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, s+1, 0, uintptr(unsafe.Pointer(&act)), 8, 0, 0)
		if errno != 0 {
			return 0, fmt.Errorf("read how signal %d is handled: %w", s+1, errno)
		}
		const ignore = 1
		if *(*uintptr)(unsafe.Pointer(&act)) == ignore {
			set |= 1 << s
		}
	}
	return set, nil
}

// explain says what is behind a failed exec where the errno doesn't.
func (w *warden) explain(err error) error {
	why := ""
	switch {
	case errors.Is(err, unix.ENOENT):
		if _, statErr := os.Stat(w.order.Args[0]); statErr == nil {
			why = ": it is there, but not the interpreter or dynamic loader that it names: build it with CGO_ENABLED=0, or give a Root that has them"
		}
	case errors.Is(err, unix.EACCES):
		why = fmt.Sprintf(": is it executable for user %d, and its Source on a file system without noexec?", w.order.UID)
	case errors.Is(err, unix.ENOEXEC):
		why = ": not a program for linux/" + runtime.GOARCH
	}
	if why == "" {
		return err
	}
	return &toldError{text: err.Error() + why, err: err}
}

// A toldError is an error that its text has already.
type toldError struct {
	text string
	err  error
}

func (e *toldError) Error() string { return e.text }
func (e *toldError) Unwrap() error { return e.err }

// packError is an error for Start's process: its errno and its text.
func packError(err error) []byte {
	errno, _ := errors.AsType[syscall.Errno](err)
	return append(binary.NativeEndian.AppendUint32(nil, uint32(errno)), err.Error()...)
}

func UnpackError(b []byte) error {
	if len(b) < 4 {
		return errors.New("the sandbox's init failed without saying why")
	}
	e := &toldError{text: string(b[4:])}
	if errno := syscall.Errno(binary.NativeEndian.Uint32(b)); errno != 0 {
		e.err = errno
	}
	return e
}
