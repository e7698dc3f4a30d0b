package dns_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/amammay/otorun/cloudrun/internal/dns"
)

var frontDoor = netip.MustParseAddr("169.254.169.253")

func query(t testing.TB, name string, qtype dnsmessage.Type, change ...func(*dnsmessage.Message)) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: qtype, Class: dnsmessage.ClassINET}},
	}
	for _, f := range change {
		f(&m)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ask(t testing.TB, s *dns.Server, q []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	reply := s.Answer(q)
	if reply == nil {
		t.Fatal("no reply")
	}
	if err := m.Unpack(reply); err != nil {
		t.Fatal(err)
	}
	return m
}

// addrs are the addresses of an answer, as text.
func addrs(m dnsmessage.Message) string {
	var all []string
	for _, r := range m.Answers {
		switch b := r.Body.(type) {
		case *dnsmessage.AResource:
			all = append(all, netip.AddrFrom4(b.A).String())
		case *dnsmessage.AAAAResource:
			all = append(all, netip.AddrFrom16(b.AAAA).String())
		}
	}
	return strings.Join(all, " ")
}

func TestAnswer(t *testing.T) {
	four := &dns.Server{FrontDoor: frontDoor, Zones: []string{"run.app", "googleapis.com"}}
	six := &dns.Server{FrontDoor: netip.MustParseAddr("fd00::1")}
	failing := &dns.Server{FrontDoor: frontDoor, FailSearch: true}
	for _, tt := range []struct {
		name string
		s    *dns.Server
		ask  string
		typ  dnsmessage.Type
		want string
		code dnsmessage.RCode
		soa  bool
	}{
		{name: "deterministic host", s: four, ask: "tacoserver-123456789012.us-central1.run.app.", typ: dnsmessage.TypeA, want: frontDoor.String()},
		{name: "hash host in any case", s: four, ask: "TacoServer-dpyb4duzqq-uc.a.RUN.app.", typ: dnsmessage.TypeA, want: frontDoor.String()},
		{name: "AAAA of an IPv4 door", s: four, ask: "a.run.app.", typ: dnsmessage.TypeAAAA},
		{name: "AAAA of an IPv6 door", s: six, ask: "a.run.app.", typ: dnsmessage.TypeAAAA, want: "fd00::1"},
		{name: "A of an IPv6 door", s: six, ask: "a.run.app.", typ: dnsmessage.TypeA},
		{name: "TXT", s: four, ask: "a.run.app.", typ: dnsmessage.TypeTXT},
		{name: "another zone", s: four, ask: "www.googleapis.com.", typ: dnsmessage.TypeA, want: frontDoor.String()},
		{name: "not a zone of this server", s: six, ask: "www.googleapis.com.", typ: dnsmessage.TypeA, code: dnsmessage.RCodeNameError},
		{name: "metadata server", s: four, ask: "metadata.google.internal.", typ: dnsmessage.TypeA, want: "169.254.169.254"},
		{name: "metadata server without the search list", s: four, ask: "metadata.", typ: dnsmessage.TypeA, code: dnsmessage.RCodeNameError},
		{name: "metadata server, AAAA", s: four, ask: "metadata.google.internal.", typ: dnsmessage.TypeAAAA},
		{name: "search list", s: four, ask: "tacoserver.google.internal.", typ: dnsmessage.TypeA, soa: true},
		{name: "runsd's zone", s: four, ask: "tacoserver.us-central1.run.internal.", typ: dnsmessage.TypeA, soa: true},
		{name: "search list that fails", s: failing, ask: "tacoserver.google.internal.", typ: dnsmessage.TypeA, code: dnsmessage.RCodeServerFailure},
		{name: "metadata server, search list fails", s: failing, ask: "metadata.google.internal.", typ: dnsmessage.TypeA, want: "169.254.169.254"},
		{name: "short name", s: four, ask: "tacoserver.", typ: dnsmessage.TypeA, code: dnsmessage.RCodeNameError},
		{name: "outside", s: four, ask: "example.com.", typ: dnsmessage.TypeA, code: dnsmessage.RCodeNameError},
		{name: "ends like a zone", s: four, ask: "notrun.app.", typ: dnsmessage.TypeA, code: dnsmessage.RCodeNameError},
		{name: "root", s: four, ask: ".", typ: dnsmessage.TypeNS, code: dnsmessage.RCodeNameError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := ask(t, tt.s, query(t, tt.ask, tt.typ))
			if m.RCode != tt.code || addrs(m) != tt.want || (len(m.Authorities) > 0) != tt.soa {
				t.Errorf("%s %s: %v", tt.ask, tt.typ, m)
			}
			if m.ID != 4711 || !m.Response || !m.RecursionDesired || !m.RecursionAvailable || len(m.Questions) != 1 || m.Questions[0].Name.String() != tt.ask {
				t.Errorf("header and question: %v", m)
			}
		})
	}
}

func TestAnswerToOddQueries(t *testing.T) {
	s := &dns.Server{FrontDoor: frontDoor}
	edns := ask(t, s, query(t, "a.run.app.", dnsmessage.TypeA, func(m *dnsmessage.Message) {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(1232, dnsmessage.RCodeSuccess, false); err != nil {
			t.Fatal(err)
		}
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}))
	if len(edns.Additionals) != 1 || edns.Additionals[0].Header.Type != dnsmessage.TypeOPT || addrs(edns) == "" {
		t.Errorf("with EDNS: %v", edns)
	}
	for _, tt := range []struct {
		name   string
		change func(*dnsmessage.Message)
		want   dnsmessage.RCode
	}{
		{"no question", func(m *dnsmessage.Message) { m.Questions = nil }, dnsmessage.RCodeFormatError},
		{"two questions", func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }, dnsmessage.RCodeFormatError},
		{"status query", func(m *dnsmessage.Message) { m.OpCode = 2 }, dnsmessage.RCodeNotImplemented},
		{"class CHAOS", func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }, dnsmessage.RCodeNotImplemented},
	} {
		if m := ask(t, s, query(t, "a.run.app.", dnsmessage.TypeA, tt.change)); m.RCode != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, m.RCode, tt.want)
		}
	}
	for _, q := range [][]byte{nil, []byte("short"), query(t, "a.run.app.", dnsmessage.TypeA, func(m *dnsmessage.Message) { m.Response = true })} {
		if reply := s.Answer(q); reply != nil {
			t.Errorf("Answer(%q) = %q", q, reply)
		}
	}
}

// TestGoResolver asks over both transports, as the programs in a container do.
func TestGoResolver(t *testing.T) {
	s := &dns.Server{FrontDoor: frontDoor}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	for _, f := range []func() error{func() error { return s.ServeUDP(udp) }, func() error { return s.ServeTCP(tcp) }} {
		serving.Go(func() {
			if err := f(); !errors.Is(err, dns.ErrClosed) {
				t.Errorf("served until %v", err)
			}
		})
	}
	for _, network := range []string{"udp", "tcp"} {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if network == "udp" {
				return new(net.Dialer).DialContext(ctx, network, udp.LocalAddr().String())
			}
			return new(net.Dialer).DialContext(ctx, network, tcp.Addr().String())
		}}
		if got, err := r.LookupNetIP(t.Context(), "ip", "tacoserver-1.us-central1.run.app."); err != nil || fmt.Sprint(got) != "["+frontDoor.String()+"]" {
			t.Errorf("%s: %v, %v", network, got, err)
		}
		_, err := r.LookupHost(t.Context(), "example.com.")
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsNotFound {
			t.Errorf("%s, a name outside: %v", network, err)
		}
	}
	// A connection stays open for further queries, until the server closes.
	conn, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	q := query(t, "a.run.app.", dnsmessage.TypeA)
	for range 3 {
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)); err != nil {
			t.Fatal(err)
		}
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			t.Fatal(err)
		}
		reply := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, reply); err != nil || !bytes.Equal(reply, s.Answer(q)) {
			t.Errorf("%q, %v", reply, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	serving.Wait()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
	if err := s.ServeTCP(listen(t)); !errors.Is(err, dns.ErrClosed) {
		t.Errorf("served again: %v", err)
	}
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func FuzzAnswer(f *testing.F) {
	f.Add(query(f, "a.run.app.", dnsmessage.TypeA))
	f.Add(query(f, "example.com.", dnsmessage.TypeAAAA))
	f.Add([]byte{})
	s := &dns.Server{FrontDoor: frontDoor}
	f.Fuzz(func(t *testing.T, q []byte) {
		reply := s.Answer(q)
		if reply == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(reply); err != nil || !m.Response || len(reply) > 1024 {
			t.Errorf("Answer(%q) = %q: %v", q, reply, err)
		}
	})
}
