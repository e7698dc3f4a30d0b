package sandbox

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/amammay/otorun/cloudrun/internal/sandbox/warden"
)

// A Container is a running container, or one that has ended. Its methods may be
// called by many goroutines at once. Close must be called in the end.
type Container struct {
	name        string
	warden      *os.Process
	reports     *net.UnixConn
	listeners   map[Address]net.Listener
	packetConns map[Address]net.PacketConn

	mu       sync.Mutex // one dial's exchange with the warden at a time
	requests *net.UnixConn

	app   *os.File // a pidfd
	pid   int
	lines sync.WaitGroup
	done  chan struct{} // closed when exit is set
	exit  Exit

	closeOnce sync.Once
}

// Start starts a container and returns when its app runs. What can't be started
// leaves nothing behind, and the error says why; it wraps [ErrUnavailable] when
// no container can be started on this machine, else the [syscall.Errno] there was.
//
// ctx bounds the start alone: the container runs until its app exits or it is
// killed or closed, or this process ends, in whatever way.
func Start(ctx context.Context, spec Spec) (*Container, error) {
	c, err := start(ctx, spec, false)
	if err != nil {
		return nil, fmt.Errorf("sandbox: start %s: %w", strings.Join(spec.Args, " "), hint(err))
	}
	return c, nil
}

// start starts a container, or with probe all of one but the app.
func start(ctx context.Context, spec Spec, probe bool) (_ *Container, err error) {
	if !probe {
		if err := spec.check(); err != nil {
			return nil, err
		}
	}
	o := spec.order()
	o.Probe = probe
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	c := &Container{
		name:        o.Hostname,
		listeners:   map[Address]net.Listener{},
		packetConns: map[Address]net.PacketConn{},
		done:        make(chan struct{}),
	}
	attr := c.attributes(o)

	// Closed here once the warden has them.
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			if f != nil {
				_ = f.Close()
			}
		}
	}()
	var readers [2]*os.File
	defer func() {
		if err == nil {
			return
		}
		for _, r := range readers {
			if r != nil {
				_ = r.Close()
			}
		}
		c.release()
	}()
	theirs = append(theirs, nil) // stdin: the warden finds it
	for i, w := range []io.Writer{spec.Stdout, spec.Stderr} {
		var write *os.File
		if w != nil {
			if readers[i], write, err = os.Pipe(); err != nil {
				return nil, err
			}
		}
		theirs = append(theirs, write)
	}
	orderFile, err := memfile(o.Pack())
	if err != nil {
		return nil, err
	}
	theirs = append(theirs, orderFile)
	for _, conn := range []**net.UnixConn{&c.reports, &c.requests} {
		f, err := connPair(conn)
		if err != nil {
			return nil, err
		}
		theirs = append(theirs, f)
	}

	// Not os.Executable: the file may be gone, as go run's and go test's are
	// when they end.
	c.warden, err = os.StartProcess("/proc/self/exe", []string{warden.Name, o.Hostname}, &os.ProcAttr{
		Files: theirs,
		// A warden has little to do: without this, Go's runtime reads the
		// cgroup's limits at its start and again every second.
		Env: []string{"GODEBUG=containermaxprocs=0,updatemaxprocs=0", "GOMAXPROCS=2"},
		Sys: attr,
	})
	if err != nil {
		return nil, &namespaceError{err}
	}
	for _, f := range theirs {
		if f != nil {
			_ = f.Close()
		}
	}
	theirs = nil

	// Raising a limit takes a privilege on the machine, which the warden hasn't.
	// It goes on when it is told that this is done, or can't be.
	_ = unix.Prlimit(c.warden.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: warden.MaxFiles, Max: warden.MaxFiles}, nil)
	_, _ = c.reports.Write([]byte{warden.ReportLimits}) // if it is gone, await says so

	stop := context.AfterFunc(ctx, func() { _ = c.warden.Kill() })
	err = c.await(spec.Listen)
	cancelled := !stop()
	if err != nil || cancelled {
		_ = c.warden.Kill()
		state, waitErr := c.warden.Wait()
		if cancelled {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, io.EOF) {
			err = errors.Join(fmt.Errorf("its init ended early: %v", state), waitErr)
		}
		return nil, err
	}
	if probe {
		_, err := c.warden.Wait()
		c.release()
		return nil, err
	}

	mu := new(sync.Mutex)
	for i, w := range []io.Writer{spec.Stdout, spec.Stderr} {
		if r := readers[i]; r != nil {
			c.lines.Go(func() {
				defer r.Close()
				copyLines(mu, w, r)
			})
		}
	}
	go c.wait()
	return c, nil
}

// attributes are the warden's, and decide on the ids that the container has.
func (c *Container) attributes(o *warden.Order) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS |
			unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
		// Ctrl-C at the terminal is the caller's to handle.
		Setsid: true,
	}
	if mayMapIDs() {
		uids, uidErr := idMap("/proc/self/uid_map")
		gids, gidErr := idMap("/proc/self/gid_map")
		if uidErr == nil && gidErr == nil {
			o.AllIDs = true
			attr.UidMappings, attr.GidMappings = uids, gids
			attr.GidMappingsEnableSetgroups = true
			attr.Credential = &syscall.Credential{}
			return attr
		}
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: o.UID, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: o.GID, HostID: os.Getegid(), Size: 1}}
	if o.UID != 0 {
		// Who isn't user 0 loses the new namespaces' capabilities at exec.
		attr.AmbientCaps = []uintptr{
			unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_MKNOD,
			unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_SETUID, unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT,
		}
	}
	return attr
}

// mayMapIDs reports whether this process may map other ids than its own.
func mayMapIDs() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if os.Geteuid() != 0 || unix.Capget(&header, &data[0]) != nil {
		return false
	}
	const needed = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	return data[0].Effective&needed == needed
}

// idMap maps every id that this process knows to itself.
func idMap(name string) ([]syscall.SysProcIDMap, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var m []syscall.SysProcIDMap
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var inside, outside, size int
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &size); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		m = append(m, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	return m, lines.Err()
}

// memfile returns a file in memory with the contents b.
func memfile(b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(warden.Name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "order")
	if _, err := f.Write(b); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// connPair sets ours to one end of a pair of connected sockets and returns the
// other.
func connPair(ours **net.UnixConn) (theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(pair[1]), "warden")
	f := os.NewFile(uintptr(pair[0]), "warden")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, errors.Join(err, theirs.Close())
	}
	*ours = conn.(*net.UnixConn)
	return theirs, nil
}

// await reads the warden's reports until the app runs.
func (c *Container) await(doors []Address) error {
	buf := make([]byte, 64<<10)
	oob := make([]byte, unix.CmsgSpace(4*warden.DoorsPerReport))
	for {
		kind, payload, fds, err := readReport(c.reports, buf, oob)
		if err != nil {
			return err
		}
		switch kind {
		case warden.ReportError:
			return warden.UnpackError(payload)
		case warden.ReportDoors:
			for i, fd := range fds {
				if i < len(doors) && err == nil {
					err = c.door(doors[i], fd)
				} else {
					_ = unix.Close(fd)
				}
			}
			if err != nil {
				return err
			}
			doors = doors[min(len(fds), len(doors)):]
		case warden.ReportStarted:
			if len(fds) == 0 {
				return nil // a probe
			}
			c.app = os.NewFile(uintptr(fds[0]), "app")
			c.pid = pidOf(fds[0])
			return nil
		default:
			return fmt.Errorf("its init reports %q, which means nothing", kind)
		}
	}
}

// readReport reads one message. Its end is io.EOF.
func readReport(conn *net.UnixConn, buf, oob []byte) (kind byte, payload []byte, fds []int, err error) {
	n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return 0, nil, nil, err
	}
	if n == 0 {
		return 0, nil, nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return 0, nil, nil, err
	}
	for _, m := range messages {
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			return 0, nil, nil, err
		}
		fds = append(fds, got...)
	}
	return buf[0], buf[1:n], fds, nil
}

// door makes a listener of a descriptor.
func (c *Container) door(a Address, fd int) error {
	f := os.NewFile(uintptr(fd), a.String())
	defer f.Close()
	var err error
	if a.Network == "udp" {
		c.packetConns[a], err = net.FilePacketConn(f)
	} else {
		c.listeners[a], err = net.FileListener(f)
	}
	return err
}

// pidOf is the process that a pidfd means, as this process sees it.
func pidOf(pidfd int) int {
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(value))
			return max(pid, 0)
		}
	}
	return 0
}

// wait follows the container to its end.
func (c *Container) wait() {
	buf := make([]byte, 64)
	kind, payload, _, err := readReport(c.reports, buf, nil)
	_, _ = c.warden.Wait()
	// Every process of the container is dead now, so the pipes end too.
	c.lines.Wait()
	// A warden that was killed takes the app along.
	c.exit = Exit{Code: 128 + int(syscall.SIGKILL), Signal: syscall.SIGKILL}
	if err == nil && kind == warden.ReportExit && len(payload) == 4 {
		status := syscall.WaitStatus(binary.NativeEndian.Uint32(payload))
		if status.Signaled() {
			c.exit = Exit{Code: 128 + int(status.Signal()), Signal: status.Signal()}
		} else {
			c.exit = Exit{Code: status.ExitStatus()}
		}
	}
	close(c.done)
}

// Listener returns the listener of a TCP address in [Spec.Listen], nil for any
// other. What it accepts comes from inside the container. Close closes it.
func (c *Container) Listener(a Address) net.Listener { return c.listeners[a] }

// PacketConn returns the connection of a UDP address in [Spec.Listen], nil for
// any other. Close closes it.
func (c *Container) PacketConn(a Address) net.PacketConn { return c.packetConns[a] }

// DialContext connects to an address inside the container, as a process in there
// would: "127.0.0.1:8080" is the container's loopback. Network is tcp, tcp4, tcp6,
// udp, udp4 or udp6, and the host an IP address.
func (c *Container) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) == nil {
		return nil, fmt.Errorf("sandbox: dial %s in the container: want an IP address and a port", address)
	}
	switch network {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6":
	default:
		return nil, fmt.Errorf("sandbox: dial %s in the container: network %q: want tcp or udp", address, network)
	}
	d := net.Dialer{Control: func(network, _ string, conn syscall.RawConn) error {
		inside, err := c.socket(network)
		if err != nil {
			return err
		}
		defer unix.Close(inside)
		// The Dialer connects the socket that it made out here. It has done
		// nothing with it yet, so one made in there can take its place.
		var dupErr error
		if err := conn.Control(func(fd uintptr) { dupErr = unix.Dup3(inside, int(fd), unix.O_CLOEXEC) }); err != nil {
			return err
		}
		return os.NewSyscallError("dup3", dupErr)
	}}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("sandbox: in the container: %w", err)
	}
	return conn, nil
}

// socket has the warden make a socket for tcp4, tcp6, udp4 or udp6. The warden
// does nothing else meanwhile, so this doesn't take long enough for a context.
func (c *Container) socket(network string) (fd int, err error) {
	var request byte
	if strings.HasPrefix(network, "udp") {
		request |= warden.WantUDP
	}
	if strings.HasSuffix(network, "6") {
		request |= warden.WantIPv6
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.requests.Write([]byte{request}); err != nil {
		return -1, c.ended(err)
	}
	var buf [4]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.requests.ReadMsgUnix(buf[:], oob)
	if err != nil || n == 0 {
		return -1, c.ended(err)
	}
	if n == len(buf) {
		return -1, os.NewSyscallError("socket", syscall.Errno(binary.NativeEndian.Uint32(buf[:])))
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return -1, err
	}
	if len(messages) != 1 {
		return -1, errors.New("receive a socket of the container: too many open files here")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// ended is the error of a request that the warden didn't answer.
func (c *Container) ended(err error) error {
	if err == nil || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return &endedError{c.name}
	}
	return err
}

// An endedError is os.ErrProcessDone with the container's name.
type endedError struct{ name string }

func (e *endedError) Error() string        { return "the container " + e.name + " has ended" }
func (e *endedError) Is(target error) bool { return target == os.ErrProcessDone }

// Signal sends a signal to the app, and to none of the other processes of the
// container. As process 1 the app gets, but for SIGKILL and SIGSTOP, only signals
// that it handles. The error is [os.ErrProcessDone] when the app has ended.
func (c *Container) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("sandbox: signal %v: not a signal of this system", sig)
	}
	raw, err := c.app.SyscallConn()
	if err != nil {
		return os.ErrProcessDone // closed
	}
	var sendErr error
	if err := raw.Control(func(fd uintptr) { sendErr = unix.PidfdSendSignal(int(fd), s, nil, 0) }); err != nil || sendErr == unix.ESRCH {
		return os.ErrProcessDone
	}
	if sendErr != nil {
		return fmt.Errorf("sandbox: send %v to the container's app: %w", s, sendErr)
	}
	return nil
}

// Kill ends every process of the container at once. The error is
// [os.ErrProcessDone] when the container has ended.
//
// It is the warden that is killed: the kernel then kills all that is in its PID
// namespace, before any of it has ended. An app that was killed instead would
// have its connections closed first and its children killed later, and a child
// with one of those connections would see it break, and answer its own callers.
func (c *Container) Kill() error { return c.warden.Kill() }

// PID is the app's process id as this process sees it, for a person with ps; 0 if
// it ended at once.
func (c *Container) PID() int { return c.pid }

// Done is closed when the container has ended and all that it wrote is with
// [Spec.Stdout] and [Spec.Stderr].
func (c *Container) Done() <-chan struct{} { return c.done }

// Wait waits until Done and returns how the app ended.
func (c *Container) Wait() Exit {
	<-c.done
	return c.exit
}

// Close kills what runs of the container, waits for its end, and closes its
// listeners. Connections that were accepted or dialed are the caller's to close:
// the last of them keeps the container's network alive. The error is nil.
func (c *Container) Close() error {
	c.closeOnce.Do(func() {
		_ = c.Kill()
		<-c.done
		c.release()
	})
	return nil
}

// release closes what this process holds of the container.
func (c *Container) release() {
	for _, l := range c.listeners {
		_ = l.Close()
	}
	for _, p := range c.packetConns {
		_ = p.Close()
	}
	for _, conn := range []*net.UnixConn{c.reports, c.requests} {
		if conn != nil {
			_ = conn.Close()
		}
	}
	if c.app != nil {
		_ = c.app.Close()
	}
}

// executable is this program's file, for messages.
func executable() string {
	name, err := os.Executable()
	if err != nil {
		return "this program"
	}
	return filepath.Base(name)
}
