// Package dns is runsd's DNS server: it answers the names of services itself,
// with loopback addresses, and passes all else on to the resolvers the container
// came with, byte for byte.
//
//	server := &dns.Server{
//		Local:   &dns.Local{Zone: "run.internal", Is: directory.Is, IPv6: true},
//		Forward: &dns.Forwarder{Servers: resolvers},
//	}
//	server.Serve(ctx, udpConn, tcpListener)
package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	maxMessage = 64 << 10
	headerLen  = 12
	// tcpIdle is how long a client may keep a TCP connection without a query.
	tcpIdle = 30 * time.Second
)

// A Server answers queries. Set its fields before the first.
type Server struct {
	Local   *Local
	Forward *Forwarder
	Log     *slog.Logger
}

// Serve answers what comes by udp and tcp until ctx ends, and closes both.
func (s *Server) Serve(ctx context.Context, udp net.PacketConn, tcp net.Listener) {
	stop := context.AfterFunc(ctx, func() { udp.Close(); tcp.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { s.serveUDP(ctx, udp) })
	wg.Go(func() { s.serveTCP(ctx, tcp) })
	wg.Wait()
}

var buffers = sync.Pool{New: func() any { b := make([]byte, maxMessage); return &b }}

func (s *Server) serveUDP(ctx context.Context, conn net.PacketConn) {
	uc, _ := conn.(*net.UDPConn)
	buf := make([]byte, maxMessage)
	for {
		var n int
		var from net.Addr
		var fromAP netip.AddrPort
		var err error
		if uc != nil {
			n, fromAP, err = uc.ReadFromUDPAddrPort(buf)
		} else {
			n, from, err = conn.ReadFrom(buf)
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // such as ECONNREFUSED, of a client that has gone
		}
		query := append([]byte(nil), buf[:n]...)
		// Local names are answered here, without a goroutine.
		if reply, ok := s.local(query); ok {
			send(uc, conn, reply, fromAP, from)
			continue
		}
		go func() { send(uc, conn, s.forward(ctx, query, false), fromAP, from) }()
	}
}

func send(uc *net.UDPConn, conn net.PacketConn, reply []byte, ap netip.AddrPort, to net.Addr) {
	switch {
	case reply == nil:
	case uc != nil:
		uc.WriteToUDPAddrPort(reply, ap)
	default:
		conn.WriteTo(reply, to)
	}
}

func (s *Server) serveTCP(ctx context.Context, l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, most likely: wait for some to come back.
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return
			}
			continue
		}
		go s.serveConn(ctx, conn)
	}
}

func (s *Server) serveConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for {
		conn.SetDeadline(time.Now().Add(tcpIdle))
		query, err := readMessage(conn)
		if err != nil {
			return
		}
		reply, ok := s.local(query)
		if !ok {
			reply = s.forward(ctx, query, true)
		}
		if reply == nil || writeMessage(conn, reply) != nil {
			return
		}
	}
}

// Messages over TCP go with their length before them, RFC 1035 section 4.2.2.

func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

func writeMessage(w io.Writer, msg []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg))), msg...))
	return err
}

// local answers what needs no resolver: the names of services, and queries that
// aren't any. A nil reply, with true, means to stay silent.
func (s *Server) local(query []byte) (reply []byte, ok bool) {
	if len(query) < headerLen || query[2]&0x80 != 0 {
		return nil, true // no header to answer to, or itself an answer
	}
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil, true
	}
	if h.OpCode != 0 {
		return failure(query, dnsmessage.RCodeNotImplemented), true
	}
	qs, err := p.AllQuestions()
	if err != nil || len(qs) != 1 {
		return failure(query, dnsmessage.RCodeFormatError), true
	}
	q := qs[0]
	reply, ok = s.Local.answer(h, q, hasEDNS(query))
	if ok && s.Log.Enabled(context.Background(), slog.Level(-4)) {
		level := slog.Level(-5)
		if rcode(reply) != 0 {
			level = slog.Level(-4)
		}
		s.Log.Log(context.Background(), level, "dns: answered", "name", q.Name.String(), "type", q.Type.String(), "rcode", rcode(reply))
	}
	return reply, ok
}

func (s *Server) forward(ctx context.Context, query []byte, tcp bool) []byte {
	start := time.Now()
	reply, err := s.Forward.Exchange(ctx, query, tcp)
	if s.Log.Enabled(ctx, slog.Level(-5)) {
		name, qtype := question(query)
		s.Log.Log(ctx, slog.Level(-5), "dns: passed on", "name", name, "type", qtype, "tcp", tcp, "rcode", rcode(reply), "took", time.Since(start), "error", err)
	}
	if err != nil {
		return failure(query, dnsmessage.RCodeServerFailure)
	}
	return reply
}

func rcode(msg []byte) int {
	if len(msg) < headerLen {
		return -1
	}
	return int(msg[3] & 0xf)
}

func question(query []byte) (name, qtype string) {
	var p dnsmessage.Parser
	if _, err := p.Start(query); err != nil {
		return "", ""
	}
	q, err := p.Question()
	if err != nil {
		return "", ""
	}
	return q.Name.String(), q.Type.String()
}

// failure is an answer to query that says only why there is none: its header and,
// if it has a readable one, its question.
func failure(query []byte, code dnsmessage.RCode) []byte {
	end, ok := questionEnd(query)
	if !ok {
		end = headerLen
	}
	reply := append([]byte(nil), query[:end]...)
	reply[2] = reply[2]&0x79 | 0x80              // QR, and OPCODE and RD as asked; neither AA nor TC
	reply[3] = reply[3]&0x10 | 0x80 | byte(code) // RA, and CD as asked
	binary.BigEndian.PutUint16(reply[4:], 0)
	if ok {
		binary.BigEndian.PutUint16(reply[4:], 1)
	}
	clear(reply[6:headerLen])
	return reply
}
