package httpservice

import (
	"net"
	"syscall"
)

// refuseNew makes the kernel ignore new connections to ln, while those it has
// accepted, or is about to, can still be had from ln. Closing ln would reset
// them, request and all. A filter drops the packets that open a connection; the
// caller sends them again, and is refused once ln is closed.
//
// Where the kernel doesn't take the filter, connections are accepted until ln
// is closed.
func refuseNew(ln net.Listener) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return
	}
	const (
		flags = 13 // offset in the TCP header
		syn   = 0x02
		ack   = 0x10
	)
	drop := []syscall.SockFilter{
		{Code: syscall.BPF_LD | syscall.BPF_B | syscall.BPF_ABS, K: flags},
		{Code: syscall.BPF_ALU | syscall.BPF_AND | syscall.BPF_K, K: syn | ack},
		{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, K: syn, Jf: 1},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 0},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 0xffffffff},
	}
	rc.Control(func(fd uintptr) {
		//lint:ignore SA1019 x/net/bpf, named instead, can't attach to a listener
		syscall.AttachLsf(int(fd), drop)
	})
}
