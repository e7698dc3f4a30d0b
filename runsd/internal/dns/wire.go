package dns

import "encoding/binary"

// What has to be read of messages that are passed on as they are. The parser of
// dnsmessage doesn't tell where in the message a record is.

const (
	typeSOA = 6
	typeOPT = 41
)

// skipName returns the offset after the name at off.
func skipName(msg []byte, off int) (int, bool) {
	for off < len(msg) {
		switch n := int(msg[off]); {
		case n == 0:
			return off + 1, true
		case n&0xc0 == 0xc0: // a pointer ends a name
			return off + 2, off+2 <= len(msg)
		case n&0xc0 != 0:
			return 0, false
		default:
			off += 1 + n
		}
	}
	return 0, false
}

// questionEnd returns the offset after the only question of msg.
func questionEnd(msg []byte) (int, bool) {
	if len(msg) < headerLen || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return 0, false
	}
	off, ok := skipName(msg, headerLen)
	if !ok || off+4 > len(msg) {
		return 0, false
	}
	return off + 4, true
}

type record struct {
	section int // 0 answer, 1 authority, 2 additional
	rtype   uint16
	ttlAt   int
	ttl     uint32
	data    []byte
}

// records calls f for each record of msg and reports whether msg is whole.
func records(msg []byte, f func(record)) bool {
	off, ok := questionEnd(msg)
	if !ok {
		return false
	}
	for section := range 3 {
		for range binary.BigEndian.Uint16(msg[6+2*section:]) {
			if off, ok = skipName(msg, off); !ok || off+10 > len(msg) {
				return false
			}
			end := off + 10 + int(binary.BigEndian.Uint16(msg[off+8:]))
			if end > len(msg) {
				return false
			}
			f(record{section: section, rtype: binary.BigEndian.Uint16(msg[off:]), ttlAt: off + 4, ttl: binary.BigEndian.Uint32(msg[off+4:]), data: msg[off+10 : end]})
			off = end
		}
	}
	return true
}

func hasEDNS(msg []byte) bool {
	found := false
	records(msg, func(r record) { found = found || r.section == 2 && r.rtype == typeOPT })
	return found
}

// lowered returns msg without its ID and with its question's name in lower case:
// what two queries for the same thing have in common.
func lowered(msg []byte) (string, bool) {
	end, ok := questionEnd(msg)
	if !ok {
		return "", false
	}
	key := append([]byte(nil), msg[2:]...)
	for i := headerLen - 2; i < end-2-4; i++ {
		if c := key[i]; 'A' <= c && c <= 'Z' {
			key[i] = c + 'a' - 'A'
		}
	}
	return string(key), true
}

// answers reports whether reply is an answer to query: same ID, same question.
func answers(query, reply []byte) bool {
	if len(reply) < headerLen || reply[2]&0x80 == 0 || query[0] != reply[0] || query[1] != reply[1] {
		return false
	}
	qend, ok := questionEnd(query)
	if !ok {
		return true // nothing to compare
	}
	rend, ok := questionEnd(reply)
	if !ok {
		// Some servers leave the question out of an error.
		return binary.BigEndian.Uint16(reply[4:]) == 0 && rcode(reply) != 0
	}
	return equalFold(query[headerLen:qend], reply[headerLen:rend])
}

func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
