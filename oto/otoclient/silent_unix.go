//go:build unix && !aix

package otoclient

import "syscall"

// available says that there are connections of our own: without isSilent one that
// was closed couldn't be told from one that is open, and a call be lost on it.
const available = true

// isSilent reports whether the other end of a socket has the connection open and
// has sent nothing.
func isSilent(socket syscall.RawConn) bool {
	silent := false
	err := socket.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		silent = err == syscall.EAGAIN
	})
	return err == nil && silent
}
