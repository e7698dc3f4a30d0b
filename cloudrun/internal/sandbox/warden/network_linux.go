package warden

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopback's index: it is the first interface of every network namespace.
const loopbackIndex = 1

// loopbackUp brings the loopback interface up and gives it the addresses of the
// doors that it lacks.
func loopbackUp(doors []Door) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer unix.Close(fd)
	up := unix.IfInfomsg{Family: unix.AF_UNSPEC, Index: loopbackIndex, Flags: unix.IFF_UP, Change: unix.IFF_UP}
	if err := netlink(fd, unix.RTM_NEWLINK, 0, structBytes(&up)); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	added := map[string]bool{}
	for _, door := range doors {
		if isLoopback(door.IP) || added[string(door.IP)] {
			continue
		}
		added[string(door.IP)] = true
		msg := unix.IfAddrmsg{Family: unix.AF_INET, Prefixlen: uint8(8 * len(door.IP)), Scope: unix.RT_SCOPE_HOST, Index: loopbackIndex}
		if len(door.IP) == 16 {
			// There is nobody to detect a duplicate among.
			msg.Family, msg.Flags = unix.AF_INET6, unix.IFA_F_NODAD
		}
		request := append(structBytes(&msg), attribute(unix.IFA_LOCAL, door.IP)...)
		request = append(request, attribute(unix.IFA_ADDRESS, door.IP)...)
		if err := netlink(fd, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, request); err != nil {
			return fmt.Errorf("give loopback the address of %s: %w", door.Name, err)
		}
		if len(door.IP) == 4 {
			continue
		}
		// The kernel adds the route to an IPv6 address later, from a queue of
		// work; the app would find the network unreachable until then.
		route := unix.RtMsg{
			Family: unix.AF_INET6, Dst_len: 128, Table: unix.RT_TABLE_LOCAL,
			Protocol: unix.RTPROT_KERNEL, Scope: unix.RT_SCOPE_UNIVERSE, Type: unix.RTN_LOCAL,
		}
		request = append(structBytes(&route), attribute(unix.RTA_DST, door.IP)...)
		request = append(request, attribute(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, loopbackIndex))...)
		if err := netlink(fd, unix.RTM_NEWROUTE, unix.NLM_F_CREATE, request); err != nil {
			return fmt.Errorf("make a route to %s: %w", door.Name, err)
		}
	}
	return nil
}

// attribute is one of a netlink message, of a length that needs no padding.
func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	return append(binary.NativeEndian.AppendUint16(b, kind), value...)
}

// netlink sends one request and waits for its acknowledgement.
func netlink(fd int, kind, flags uint16, payload []byte) error {
	h := unix.NlMsghdr{
		Len:   uint32(unix.SizeofNlMsghdr + len(payload)),
		Type:  kind,
		Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK | flags,
	}
	if err := unix.Sendto(fd, append(structBytes(&h), payload...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, os.Getpagesize())
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("netlink: %d bytes that are no acknowledgement", n)
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// structBytes is a copy of a kernel structure's memory.
func structBytes[T any](v *T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))...)
}

func isLoopback(ip []byte) bool {
	return len(ip) == 4 && ip[0] == 127 || string(ip) == "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
}

// listen makes a listening TCP socket or a bound UDP socket.
func listen(d Door) (fd int, err error) {
	v6 := len(d.IP) == 16
	fd, err = newSocket(d.UDP, v6)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	var at unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte(d.IP), Port: d.Port}
	if v6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return -1, err
		}
		at = &unix.SockaddrInet6{Addr: [16]byte(d.IP), Port: d.Port}
	}
	if d.UDP {
		return fd, unix.Bind(fd, at)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, at); err != nil {
		return -1, err
	}
	// The kernel cuts the backlog to net.core.somaxconn.
	return fd, unix.Listen(fd, 1<<16-1)
}

func newSocket(udp, v6 bool) (int, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if v6 {
		family = unix.AF_INET6
	}
	if udp {
		kind = unix.SOCK_DGRAM
	}
	return unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}

// serveSockets answers each request on dialFD with a socket of this network
// namespace. It ends the process, and so the container, when Start's process is
// gone: that is how kill -9 of it leaves nothing.
func serveSockets() {
	var request [1]byte
	answer := []byte{0}
	for {
		n, err := unix.Read(dialFD, request[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			unix.Exit(1)
		}
		fd, err := newSocket(request[0]&WantUDP != 0, request[0]&WantIPv6 != 0)
		if err != nil {
			_ = unix.Send(dialFD, packError(err)[:4], unix.MSG_NOSIGNAL)
			continue
		}
		_ = unix.Sendmsg(dialFD, answer, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
		_ = unix.Close(fd)
	}
}
