package dns

import (
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	localTTL    = 10
	metadataTTL = 300
	ednsSize    = 1232 // https://www.dnsflagday.net/2020/
)

// Local answers for the names of services, for run.internal, and for
// google.internal, where Cloud Run's own resolver has been seen to fail on
// unknown names.
type Local struct {
	Zone string                 // run.internal
	Is   func(name string) bool // whether a name, lower case, without final dot, is a service's
	IPv6 bool                   // whether runsd listens on ::1
}

type verdict int

const (
	elsewhere verdict = iota // not ours
	loopback                 // where the proxy listens
	metadata                 // the metadata server
	empty                    // a name without records
	absent                   // no such name
)

const googleZone = "google.internal"

// judge says what the answer to a question for name, lower case, without final
// dot, is, and which zone it belongs to.
func (l *Local) judge(name string, qtype dnsmessage.Type) (v verdict, zone string) {
	switch {
	case name == "metadata" || name == "metadata."+googleZone:
		return metadata, googleZone
	case name == googleZone:
		return empty, googleZone
	case strings.HasSuffix(name, "."+googleZone):
		return absent, googleZone
	case name == l.Zone:
		return empty, l.Zone
	case strings.HasSuffix(name, "."+l.Zone):
		if l.Is(name) {
			return loopback, l.Zone
		}
		return absent, l.Zone
	case name == "localhost":
		return loopback, name // RFC 6761 section 6.3
	case name == "":
		return elsewhere, ""
	case !strings.Contains(name, "."):
		// A bare name may be a top-level domain: what DNSSEC asks of those goes on.
		switch qtype {
		case dnsmessage.TypeNS, dnsmessage.TypeSOA, typeDS, typeDNSKEY:
			return elsewhere, ""
		}
	}
	if l.Is(name) {
		return loopback, name
	}
	return elsewhere, ""
}

const (
	typeDS     dnsmessage.Type = 43
	typeDNSKEY dnsmessage.Type = 48
)

// answer makes the reply to q if it is ours to give.
func (l *Local) answer(h dnsmessage.Header, q dnsmessage.Question, edns bool) ([]byte, bool) {
	if q.Class != dnsmessage.ClassINET && q.Class != dnsmessage.ClassANY {
		return nil, false
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	v, zone := l.judge(name, q.Type)
	if v == elsewhere {
		return nil, false
	}
	reply := dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true, CheckingDisabled: h.CheckingDisabled}
	if v == absent {
		reply.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(make([]byte, 0, 512), reply)
	b.EnableCompression()
	if b.StartQuestions() != nil || b.Question(q) != nil || b.StartAnswers() != nil {
		return nil, false
	}
	rh := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: localTTL}
	wants := func(t dnsmessage.Type) bool { return q.Type == t || q.Type == dnsmessage.TypeALL }
	answers := 0
	switch v {
	case loopback:
		if wants(dnsmessage.TypeA) {
			b.AResource(rh, dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}})
			answers++
		}
		if wants(dnsmessage.TypeAAAA) && l.IPv6 {
			b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: [16]byte{15: 1}})
			answers++
		}
	case metadata:
		if wants(dnsmessage.TypeA) {
			rh.TTL = metadataTTL
			b.AResource(rh, dnsmessage.AResource{A: [4]byte{169, 254, 169, 254}})
			answers++
		}
	}
	// An answer without records carries the zone's SOA, so that it can be cached
	// (RFC 2308 section 3).
	if b.StartAuthorities() != nil {
		return nil, false
	}
	if answers == 0 {
		owner, err := dnsmessage.NewName(zone + ".")
		if err != nil {
			return nil, false
		}
		b.SOAResource(dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: localTTL}, dnsmessage.SOAResource{
			NS: dnsmessage.MustNewName("localhost."), MBox: dnsmessage.MustNewName("nobody.invalid."),
			Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, MinTTL: localTTL,
		})
	}
	if edns {
		var opt dnsmessage.ResourceHeader
		if opt.SetEDNS0(ednsSize, dnsmessage.RCodeSuccess, false) != nil || b.StartAdditionals() != nil {
			return nil, false
		}
		b.OPTResource(opt, dnsmessage.OPTResource{})
	}
	msg, err := b.Finish()
	return msg, err == nil
}
