package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/amammay/otorun/internal/runhost"
)

func isService(name string) bool {
	_, err := runhost.Parse(name)
	return err == nil && name != "localhost" && name != "metadata" || name == "api.example.com"
}

// query makes a question for name, with EDNS if size isn't 0.
func query(t testing.TB, name string, qtype dnsmessage.Type, size int) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 0xbeef, RecursionDesired: true})
	b.StartQuestions()
	if err := b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: qtype, Class: dnsmessage.ClassINET}); err != nil {
		t.Fatal(err)
	}
	if size > 0 {
		b.StartAdditionals()
		var h dnsmessage.ResourceHeader
		h.SetEDNS0(size, dnsmessage.RCodeSuccess, false)
		b.OPTResource(h, dnsmessage.OPTResource{})
	}
	msg, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func parse(t testing.TB, msg []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("unpack %x: %v", msg, err)
	}
	return m
}

func TestLocal(t *testing.T) {
	const (
		A, AAAA, MX, TXT, SRV, ANY, NS = dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeMX, dnsmessage.TypeTXT, dnsmessage.TypeSRV, dnsmessage.TypeALL, dnsmessage.TypeNS
		HTTPS                          = dnsmessage.Type(65)
	)
	tests := []struct {
		name  string
		qtype dnsmessage.Type
		want  string // addresses, "empty", "absent" or "elsewhere"
	}{
		{"hello.us-central1.run.internal.", A, "127.0.0.1"},
		{"hello.us-central1.run.internal.", AAAA, "::1"},
		{"hello.us-central1.run.internal.", ANY, "127.0.0.1 ::1"},
		{"hello.us-central1.run.internal.", MX, "empty"},
		{"hello.us-central1.run.internal.", TXT, "empty"},
		{"hello.us-central1.run.internal.", SRV, "empty"},
		{"hello.us-central1.run.internal.", HTTPS, "empty"},
		{"hello.us-central1.run.internal.", NS, "empty"},
		{"HELLO.US-Central1.Run.INTERNAL.", A, "127.0.0.1"},
		{"hello.mars-north1.run.internal.", A, "127.0.0.1"},
		{"hello.run.internal.", A, "127.0.0.1"},
		{"hello.", A, "127.0.0.1"},
		{"hello.", MX, "empty"},
		{"com.", NS, "elsewhere"},
		{"com.", typeDS, "elsewhere"},
		{"hello.us-east1.", A, "127.0.0.1"},
		{"hello.us-east1.", HTTPS, "empty"},
		{"a.b.us-east1.run.internal.", A, "absent"},
		{"_x.run.internal.", A, "absent"},
		{"www.example.com.run.internal.", A, "absent"},
		{"www.example.com.us-central1.run.internal.", AAAA, "absent"},
		{"run.internal.", A, "empty"},
		{"www.example.com.google.internal.", A, "absent"},
		{"hello.google.internal.", MX, "absent"},
		{"google.internal.", A, "empty"},
		{"metadata.google.internal.", A, "169.254.169.254"},
		{"Metadata.Google.Internal.", A, "169.254.169.254"},
		{"metadata.google.internal.", AAAA, "empty"},
		{"metadata.", A, "169.254.169.254"},
		{"localhost.", A, "127.0.0.1"},
		{"api.example.com.", A, "127.0.0.1"},
		{"www.example.com.", A, "elsewhere"},
		{"example.com.", A, "elsewhere"},
		{".", NS, "elsewhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name+tt.qtype.String(), func(t *testing.T) {
			for _, edns := range []int{0, 4096} {
				s := &Server{Local: &Local{Zone: "run.internal", Is: isService, IPv6: true}, Log: slog.New(slog.DiscardHandler)}
				msg, ok := s.local(query(t, tt.name, tt.qtype, edns))
				if !ok {
					if tt.want != "elsewhere" {
						t.Fatalf("passed on, want %s", tt.want)
					}
					continue
				}
				m := parse(t, msg)
				var addrs []string
				for _, r := range m.Answers {
					switch b := r.Body.(type) {
					case *dnsmessage.AResource:
						addrs = append(addrs, netip.AddrFrom4(b.A).String())
					case *dnsmessage.AAAAResource:
						addrs = append(addrs, netip.AddrFrom16(b.AAAA).String())
					}
				}
				got := strings.Join(addrs, " ")
				if got == "" {
					got = map[dnsmessage.RCode]string{0: "empty", 3: "absent"}[m.RCode]
					if len(m.Authorities) != 1 || m.Authorities[0].Header.Type != dnsmessage.TypeSOA {
						t.Errorf("a negative answer without SOA")
					}
				}
				if got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				if !m.Authoritative || !m.RecursionAvailable || m.ID != 0xbeef || m.Questions[0].Name.String() != tt.name {
					t.Errorf("header %+v, question %v", m.Header, m.Questions)
				}
				if has := len(m.Additionals) == 1; has != (edns > 0) {
					t.Errorf("EDNS in the answer: %t, in the query: %t", has, edns > 0)
				}
			}
		})
	}
}

func TestLocalWithoutIPv6(t *testing.T) {
	s := &Server{Local: &Local{Zone: "run.internal", Is: isService}, Log: slog.New(slog.DiscardHandler)}
	msg, _ := s.local(query(t, "hello.run.internal.", dnsmessage.TypeAAAA, 0))
	if m := parse(t, msg); m.RCode != 0 || len(m.Answers) != 0 || len(m.Authorities) != 1 {
		t.Errorf("AAAA without IPv6: %v", m)
	}
}

// upstream is a resolver made for a test: the same handler by UDP and TCP.
type upstream struct {
	addr     netip.AddrPort
	udp, tcp atomic.Int32
}

func newUpstream(t *testing.T, reply func(query []byte, tcp bool) []byte) *upstream {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); pc.Close() })
	u := &upstream{addr: addr}
	go func() {
		buf := make([]byte, maxMessage)
		for {
			n, from, err := pc.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			u.udp.Add(1)
			if r := reply(bytes.Clone(buf[:n]), false); r != nil {
				pc.WriteToUDPAddrPort(r, from)
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				q, err := readMessage(c)
				if err != nil {
					return
				}
				u.tcp.Add(1)
				if r := reply(q, true); r != nil {
					writeMessage(c, r)
				}
			}()
		}
	}()
	return u
}

// addresses answers with n A records for the question's name, compressed.
func addresses(n int, ttl uint32) func([]byte, bool) []byte {
	return func(q []byte, _ bool) []byte {
		end, _ := questionEnd(q)
		r := append([]byte(nil), q[:end]...)
		r[2], r[3] = 0x81, 0x80
		clear(r[6:headerLen])
		binary.BigEndian.PutUint16(r[6:], uint16(n))
		for i := range n {
			r = append(r, 0xc0, headerLen, 0, 1, 0, 1)
			r = binary.BigEndian.AppendUint32(r, ttl)
			r = append(r, 0, 4, 203, 0, 113, byte(i))
		}
		return r
	}
}

func code(rcode byte) func([]byte, bool) []byte {
	return func(q []byte, _ bool) []byte {
		r := addresses(0, 0)(q, false)
		r[3] |= rcode
		return r
	}
}

func silent([]byte, bool) []byte { return nil }

// serve starts a Server over real sockets and returns its address.
func serve(t *testing.T, f *Forwarder) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		(&Server{Local: &Local{Zone: "run.internal", Is: isService}, Forward: f, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, pc, l)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return addr
}

func exchange(t *testing.T, addr netip.AddrPort, q []byte, tcp bool) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	reply, err := ask(ctx, addr, q, tcp)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// TestRelay: replies come back byte for byte, by the transport of the query.
func TestRelay(t *testing.T) {
	sixteen := addresses(16, 0)
	u := newUpstream(t, sixteen)
	addr := serve(t, &Forwarder{Servers: []netip.AddrPort{u.addr}})
	q := query(t, "www.example.com.", dnsmessage.TypeA, 0)
	for _, tcp := range []bool{false, true} {
		if got, want := exchange(t, addr, q, tcp), sixteen(q, tcp); !bytes.Equal(got, want) {
			t.Errorf("tcp %t: %d bytes, want the resolver's %d", tcp, len(got), len(want))
		}
	}
	if u.udp.Load() != 1 || u.tcp.Load() != 1 {
		t.Errorf("resolver saw %d queries by UDP and %d by TCP, want 1 and 1", u.udp.Load(), u.tcp.Load())
	}
}

// TestTruncated: a cut reply is passed on as cut and not kept; by TCP it is whole.
func TestTruncated(t *testing.T) {
	u := newUpstream(t, func(q []byte, tcp bool) []byte {
		if tcp {
			return addresses(60, 60)(q, tcp)
		}
		r := addresses(0, 0)(q, tcp)
		r[2] |= 2
		return r
	})
	f := &Forwarder{Servers: []netip.AddrPort{u.addr}}
	addr := serve(t, f)
	q := query(t, "big.example.com.", dnsmessage.TypeA, 0)
	for range 2 {
		if m := parse(t, exchange(t, addr, q, false)); !m.Truncated {
			t.Error("UDP: TC lost")
		}
	}
	if m := parse(t, exchange(t, addr, q, true)); m.Truncated || len(m.Answers) != 60 {
		t.Errorf("TCP: %d answers, want 60", len(m.Answers))
	}
	if n := u.udp.Load(); n != 2 {
		t.Errorf("%d queries by UDP, want 2: a cut reply was kept", n)
	}
	// runsd's own lookups go on by TCP as well.
	ips, err := f.Resolver().LookupNetIP(t.Context(), "ip4", "big.example.com.")
	if err != nil || len(ips) != 60 {
		t.Errorf("Resolver: %d addresses, %v, want 60", len(ips), err)
	}
}

func TestServers(t *testing.T) {
	tests := []struct {
		name    string
		servers []func([]byte, bool) []byte
		want    byte
		answers int
	}{
		{"first is silent", []func([]byte, bool) []byte{silent, addresses(1, 60)}, 0, 1},
		{"first fails", []func([]byte, bool) []byte{code(2), addresses(1, 60)}, 0, 1},
		{"first refuses", []func([]byte, bool) []byte{code(5), addresses(1, 60)}, 0, 1},
		{"all fail", []func([]byte, bool) []byte{code(2), code(5)}, 5, 0},
		{"absent is an answer", []func([]byte, bool) []byte{code(3), addresses(1, 60)}, 3, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &Forwarder{}
			for _, s := range tt.servers {
				f.Servers = append(f.Servers, newUpstream(t, s).addr)
			}
			m := parse(t, exchange(t, serve(t, f), query(t, "www.example.com.", dnsmessage.TypeA, 0), false))
			if byte(m.RCode) != tt.want || len(m.Answers) != tt.answers {
				t.Errorf("rcode %v, %d answers, want %d and %d", m.RCode, len(m.Answers), tt.want, tt.answers)
			}
		})
	}
}

// TestLostDatagram: a resolver that drops the first query is asked again.
func TestLostDatagram(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	u := newUpstream(t, func(q []byte, tcp bool) []byte {
		if n.Add(1) == 1 {
			return nil
		}
		return addresses(1, 60)(q, tcp)
	})
	m := parse(t, exchange(t, serve(t, &Forwarder{Servers: []netip.AddrPort{u.addr}}), query(t, "www.example.com.", dnsmessage.TypeA, 0), false))
	if len(m.Answers) != 1 {
		t.Errorf("rcode %v, want the answer to the second query", m.RCode)
	}
}

// TestAllDead: within libc's 5 s the client is told.
func TestAllDead(t *testing.T) {
	t.Parallel()
	u := newUpstream(t, silent)
	start := time.Now()
	m := parse(t, exchange(t, serve(t, &Forwarder{Servers: []netip.AddrPort{u.addr}}), query(t, "www.example.com.", dnsmessage.TypeA, 0), false))
	if m.RCode != dnsmessage.RCodeServerFailure || time.Since(start) > 5*time.Second {
		t.Errorf("rcode %v after %v, want SERVFAIL within 5 s", m.RCode, time.Since(start))
	}
}

// TestForgedReply: a datagram with another ID or question isn't taken for the answer.
func TestForgedReply(t *testing.T) {
	q := query(t, "www.example.com.", dnsmessage.TypeA, 0)
	good := addresses(1, 60)(q, false)
	for name, change := range map[string]func([]byte) []byte{
		"other ID":       func(r []byte) []byte { r[0]++; return r },
		"other question": func(r []byte) []byte { r[headerLen+1]++; return r },
		"a query":        func(r []byte) []byte { r[2] &^= 0x80; return r },
		"short":          func(r []byte) []byte { return r[:5] },
	} {
		if answers(q, change(bytes.Clone(good))) {
			t.Errorf("%s: taken for the answer", name)
		}
	}
	if !answers(q, good) {
		t.Error("the answer isn't taken")
	}
}

func TestCache(t *testing.T) {
	now := time.Unix(1e9, 0)
	q := query(t, "www.example.com.", dnsmessage.TypeA, 0)
	shouted := query(t, "WWW.example.COM.", dnsmessage.TypeA, 0)
	shouted[0], shouted[1] = 1, 2
	var c cache
	c.put(q, addresses(2, 100)(q, false), false, now)

	got, ok := c.get(shouted, false, now.Add(30*time.Second))
	if !ok {
		t.Fatal("another spelling of the name: not kept")
	}
	m := parse(t, got)
	if m.ID != 0x0102 || m.Questions[0].Name.String() != "WWW.example.COM." || m.Answers[0].Header.TTL != 70 {
		t.Errorf("ID %x, question %v, TTL %d, want the query's own and 70", m.ID, m.Questions[0].Name, m.Answers[0].Header.TTL)
	}
	for name, miss := range map[string][]byte{
		"type":  query(t, "www.example.com.", dnsmessage.TypeAAAA, 0),
		"EDNS":  query(t, "www.example.com.", dnsmessage.TypeA, 4096),
		"name":  query(t, "www.example.net.", dnsmessage.TypeA, 0),
		"short": {1, 2},
	} {
		if _, ok := c.get(miss, false, now); ok {
			t.Errorf("another %s: answered from the cache", name)
		}
	}
	if _, ok := c.get(q, true, now); ok {
		t.Error("by TCP: answered with what came by UDP")
	}
	if _, ok := c.get(q, false, now.Add(100*time.Second)); ok {
		t.Error("answered after its TTL")
	}
	for i := range 3 * maxKept {
		q := query(t, "n"+strings.Repeat("x", i%50)+"."+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676%26))+".example.", dnsmessage.TypeA, 0)
		c.put(q, addresses(1, 60)(q, false), false, now)
	}
	if n := len(c.kept); n > maxKept {
		t.Errorf("%d replies kept, want at most %d", n, maxKept)
	}
}

func TestLifetime(t *testing.T) {
	q := query(t, "www.example.com.", dnsmessage.TypeA, 0)
	negative := func(rcode byte, soa bool) []byte {
		r := code(rcode)(q, false)
		if !soa {
			return r
		}
		binary.BigEndian.PutUint16(r[8:], 1)
		r = append(r, 0xc0, headerLen, 0, typeSOA, 0, 1, 0, 0, 0, 200, 0, 22, 0, 0)
		return append(r, slices.Concat(make([]byte, 16), []byte{0, 0, 0, 30})...)
	}
	cut := addresses(1, 60)(q, false)
	cut[2] |= 2
	for _, tt := range []struct {
		name  string
		reply []byte
		want  time.Duration
	}{
		{"positive", addresses(1, 60)(q, false), time.Minute},
		{"long TTL", addresses(1, 1e6)(q, false), maxKeptTTLForTest},
		{"TTL 0", addresses(1, 0)(q, false), 0},
		{"absent", negative(3, true), 30 * time.Second},
		{"absent without SOA", negative(3, false), 0},
		{"empty", negative(0, true), 30 * time.Second},
		{"failure", negative(2, true), 0},
		{"truncated", cut, 0},
		{"broken", addresses(1, 60)(q, false)[:40], 0},
	} {
		if got := lifetime(tt.reply); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

const maxKeptTTLForTest = 5 * time.Minute

// TestResolver: runsd's own lookups are for the name as it is, two queries, and
// cached.
func TestResolver(t *testing.T) {
	u := newUpstream(t, func(q []byte, tcp bool) []byte {
		if name, qtype := question(q); name != "hello-1.us-central1.run.app." {
			t.Errorf("asked for %s %s", name, qtype)
		} else if qtype == "TypeAAAA" {
			return code(3)(q, tcp)
		}
		return addresses(1, 60)(q, tcp)
	})
	r := (&Forwarder{Servers: []netip.AddrPort{u.addr}}).Resolver()
	for range 5 {
		ips, err := r.LookupNetIP(t.Context(), "ip4", "hello-1.us-central1.run.app.")
		if err != nil || len(ips) != 1 || ips[0].String() != "203.0.113.0" {
			t.Fatalf("LookupNetIP: %v, %v", ips, err)
		}
	}
	if n := u.udp.Load(); n != 1 {
		t.Errorf("5 lookups: %d queries, want 1", n)
	}
}

func TestNotAQuery(t *testing.T) {
	s := &Server{Local: &Local{Zone: "run.internal", Is: isService}, Log: slog.New(slog.DiscardHandler)}
	q := query(t, "hello.", dnsmessage.TypeA, 0)
	notify := bytes.Clone(q)
	notify[2] |= 4 << 3
	two := bytes.Clone(q)
	two[5] = 2
	for _, tt := range []struct {
		name string
		msg  []byte
		want int // rcode, or -1 for silence
	}{
		{"nothing", nil, -1},
		{"short", q[:5], -1},
		{"an answer", append([]byte{1, 2, 0x80}, q[3:]...), -1},
		{"another opcode", notify, 4},
		{"two questions", two, 1},
		{"no question", append(bytes.Clone(q[:4]), make([]byte, 8)...), 1},
	} {
		msg, ok := s.local(tt.msg)
		if !ok || rcode(msg) != tt.want {
			t.Errorf("%s: rcode %d, %t, want %d", tt.name, rcode(msg), ok, tt.want)
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(query(f, "hello.us-east1.run.internal.", dnsmessage.TypeA, 1232), uint32(3))
	f.Add(addresses(3, 60)(query(f, "www.example.com.", dnsmessage.TypeA, 0), false), uint32(100))
	s := &Server{Local: &Local{Zone: "run.internal", Is: isService, IPv6: true}, Log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, msg []byte, seconds uint32) {
		if reply, ok := s.local(msg); ok && reply != nil {
			if reply[0] != msg[0] || reply[1] != msg[1] || reply[2]&0x80 == 0 {
				t.Fatalf("local(%x) = %x: not an answer", msg, reply)
			}
		}
		if len(msg) < headerLen {
			return
		}
		if r := failure(msg, dnsmessage.RCodeServerFailure); rcode(r) != 2 || !answers(msg, r) && r[0] != msg[0] {
			t.Fatalf("failure(%x) = %x", msg, r)
		}
		answers(msg, msg)
		var c cache
		now := time.Unix(1e9, 0)
		c.put(msg, msg, false, now)
		if got, ok := c.get(msg, false, now.Add(time.Duration(seconds)*time.Second)); ok && len(got) != len(msg) {
			t.Fatalf("kept %x, got %x", msg, got)
		}
	})
}
