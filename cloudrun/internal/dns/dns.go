// Package dns is the resolver of a container's network, the one at
// 169.254.169.254 that /etc/resolv.conf names. It knows the names of this run and
// says of all others that they don't exist: nothing leaves the machine.
//
//	srv := &dns.Server{FrontDoor: netip.MustParseAddr("169.254.169.254")}
//	go srv.ServeUDP(packetConn)
//	go srv.ServeTCP(listener)
//
// It shares nothing with runsd, whose resolver asks it: if it did, the tests of
// the two would agree on a bug.
package dns

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Metadata is the address of the metadata server, the same in every container.
var Metadata = netip.AddrFrom4([4]byte{169, 254, 169, 254})

const (
	ttl        = 60
	udpSize    = 4096
	idle       = 10 * time.Second // of a TCP connection
	maxTCP     = 64               // TCP connections at once, of one container
	maxTCPSize = 4096             // of a query
)

// A Server answers queries. Its fields must not be changed while it serves.
type Server struct {
	// FrontDoor is where the services' hosts are, as seen by the container.
	FrontDoor netip.Addr
	// Zones are the domains of those hosts, each with all under it; nil means
	// run.app.
	Zones []string
	// FailSearch answers SERVFAIL for unknown names under google.internal, the
	// search list of Cloud Run. What Google's resolver says has changed over the
	// years, see cloudrun/FIDELITY.md; an app has to live with either.
	FailSearch bool

	mu     sync.Mutex
	closed bool
	open   map[io.Closer]struct{}
	wg     sync.WaitGroup
}

// ErrClosed is what ServeUDP and ServeTCP return after Close.
var ErrClosed = errors.New("dns: server closed")

// ServeUDP answers the queries that conn receives, until Close.
func (s *Server) ServeUDP(conn net.PacketConn) error {
	if !s.add(conn) {
		conn.Close()
		return ErrClosed
	}
	defer s.remove(conn)
	buf := make([]byte, udpSize)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			if s.isClosed() {
				return ErrClosed
			}
			if _, ok := errors.AsType[*net.OpError](err); !ok || errors.Is(err, net.ErrClosed) {
				return err
			}
			continue // an ICMP error that an earlier answer met
		}
		if reply := s.Answer(buf[:n]); reply != nil {
			conn.WriteTo(reply, from)
		}
	}
}

// ServeTCP answers the queries of l's connections, until Close.
func (s *Server) ServeTCP(l net.Listener) error {
	if !s.add(l) {
		l.Close()
		return ErrClosed
	}
	defer s.remove(l)
	places := make(chan struct{}, maxTCP)
	for {
		conn, err := l.Accept()
		if err != nil {
			if s.isClosed() {
				return ErrClosed
			}
			return err
		}
		select {
		case places <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		ok := s.start(conn, func() {
			s.serveConn(conn)
			<-places
		})
		if !ok {
			conn.Close()
			return ErrClosed
		}
	}
}

func (s *Server) serveConn(conn net.Conn) {
	for {
		conn.SetDeadline(time.Now().Add(idle))
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint16(size[:])
		if n > maxTCPSize {
			return
		}
		query := make([]byte, n)
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply := s.Answer(query)
		if reply == nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// Close closes what the server listens on, and waits for the end of its TCP
// connections.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var errs []error
	for c := range s.open {
		errs = append(errs, c.Close())
	}
	s.mu.Unlock()
	s.wg.Wait()
	return errors.Join(errs...)
}

func (s *Server) add(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addLocked(c)
}

func (s *Server) addLocked(c io.Closer) bool {
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = make(map[io.Closer]struct{})
	}
	s.open[c] = struct{}{}
	return true
}

// start runs f for a connection, unless the server is closed: under the lock, so
// that Close waits for it.
func (s *Server) start(c io.Closer, f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.addLocked(c) {
		return false
	}
	s.wg.Go(func() {
		defer s.remove(c)
		f()
	})
	return true
}

// remove closes c, unless Close has.
func (s *Server) remove(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	if !s.closed {
		c.Close()
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Answer returns the reply to a query, or nil if it is none.
func (s *Server) Answer(query []byte) []byte {
	var p dnsmessage.Parser
	in, err := p.Start(query)
	if err != nil || in.Response {
		return nil
	}
	header := dnsmessage.Header{
		ID:                 in.ID,
		Response:           true,
		OpCode:             in.OpCode,
		RecursionDesired:   in.RecursionDesired,
		RecursionAvailable: true,
	}
	questions, err := p.AllQuestions()
	switch {
	case in.OpCode != 0:
		header.RCode = dnsmessage.RCodeNotImplemented
		questions = nil
	case err != nil || len(questions) != 1:
		header.RCode = dnsmessage.RCodeFormatError
		questions = nil
	}
	var found lookup
	if len(questions) == 1 {
		found = s.look(questions[0])
		header.RCode = found.code
		header.Authoritative = found.soa
	}
	reply := dnsmessage.Message{Header: header, Questions: questions}
	if found.addr.IsValid() {
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: questions[0].Name, Class: dnsmessage.ClassINET, TTL: ttl}}
		if found.addr.Is4() {
			r.Body = &dnsmessage.AResource{A: found.addr.As4()}
		} else {
			r.Body = &dnsmessage.AAAAResource{AAAA: found.addr.As16()}
		}
		reply.Answers = append(reply.Answers, r)
	}
	if found.soa {
		reply.Authorities = append(reply.Authorities, internalSOA)
	}
	if hasEDNS(&p) {
		var h dnsmessage.ResourceHeader
		if h.SetEDNS0(udpSize, dnsmessage.RCodeSuccess, false) == nil {
			reply.Additionals = append(reply.Additionals, dnsmessage.Resource{Header: h, Body: &dnsmessage.OPTResource{}})
		}
	}
	b, err := reply.Pack()
	if err != nil {
		return nil
	}
	return b
}

// A lookup is what the server knows of a name: no address and no error code means
// that the name exists without a record of that type.
type lookup struct {
	code dnsmessage.RCode
	addr netip.Addr
	soa  bool // the zone's, in an answer without records
}

// internalSOA is what Cloud Run's resolver was seen to answer for unknown names:
// https://github.com/ahmetb/runsd/issues/14.
var internalSOA = dnsmessage.Resource{
	Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("internal."), Class: dnsmessage.ClassINET, TTL: 30},
	Body: &dnsmessage.SOAResource{
		NS:      dnsmessage.MustNewName("ns.global.gcedns-prod.internal."),
		MBox:    dnsmessage.MustNewName("cloud-dns-hostmaster.google.com."),
		Serial:  2015030600,
		Refresh: 7200,
		Retry:   3600,
		Expire:  24796800,
		MinTTL:  5,
	},
}

func (s *Server) look(q dnsmessage.Question) lookup {
	if q.Class != dnsmessage.ClassINET {
		return lookup{code: dnsmessage.RCodeNotImplemented}
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	if name == "metadata.google.internal" {
		return ofType(q.Type, Metadata)
	}
	zones := s.Zones
	if zones == nil {
		zones = []string{"run.app"}
	}
	for _, z := range zones {
		if name == z || strings.HasSuffix(name, "."+z) {
			return ofType(q.Type, s.FrontDoor)
		}
	}
	if s.FailSearch && strings.HasSuffix(name, ".google.internal") {
		return lookup{code: dnsmessage.RCodeServerFailure}
	}
	if name == "internal" || strings.HasSuffix(name, ".internal") {
		return lookup{soa: true}
	}
	return lookup{code: dnsmessage.RCodeNameError}
}

func ofType(t dnsmessage.Type, addr netip.Addr) lookup {
	addr = addr.Unmap()
	if t == dnsmessage.TypeA && addr.Is4() || t == dnsmessage.TypeAAAA && addr.Is6() {
		return lookup{addr: addr}
	}
	return lookup{}
}

// hasEDNS reports whether the query, read up to its questions, has an OPT record.
func hasEDNS(p *dnsmessage.Parser) bool {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return false
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return false
		}
		if h.Type == dnsmessage.TypeOPT {
			return true
		}
		if p.SkipAdditional() != nil {
			return false
		}
	}
}
