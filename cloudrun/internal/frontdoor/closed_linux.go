package frontdoor

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// isClosed says whether the other end has closed an idle connection. Another
// goroutine may wait for that too: it isn't disturbed.
func isClosed(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false // in this process: writing to it says so
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		closed = err != unix.EAGAIN
	})
	return closed || err != nil
}
