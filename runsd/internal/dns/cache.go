package dns

import (
	"encoding/binary"
	"math"
	"sync"
	"time"
)

const (
	maxKept        = 1000
	maxKeptTTL     = 5 * time.Minute
	maxNegativeTTL = time.Minute
)

// A cache keeps whole replies under the whole query, all but its ID: another
// EDNS size, flag or transport is another query.
type cache struct {
	mu   sync.Mutex
	kept map[cacheKey]cached
}

type cacheKey struct {
	query string
	tcp   bool
}

type cached struct {
	reply  []byte
	at     time.Time
	expiry time.Time
}

// get returns a reply to query, with its ID, its spelling of the name, and TTLs
// that count down.
func (c *cache) get(query []byte, tcp bool, now time.Time) ([]byte, bool) {
	key, ok := lowered(query)
	if !ok {
		return nil, false
	}
	k := cacheKey{key, tcp}
	c.mu.Lock()
	e, ok := c.kept[k]
	if ok && !now.Before(e.expiry) {
		delete(c.kept, k)
		ok = false
	}
	c.mu.Unlock()
	if !ok {
		return nil, false
	}
	reply := append([]byte(nil), e.reply...)
	copy(reply, query[:2])
	qend, _ := questionEnd(query)
	copy(reply[headerLen:], query[headerLen:qend])
	age := uint32(now.Sub(e.at) / time.Second)
	records(reply, func(r record) {
		if r.rtype != typeOPT {
			binary.BigEndian.PutUint32(reply[r.ttlAt:], r.ttl-min(r.ttl, age))
		}
	})
	return reply, true
}

func (c *cache) put(query, reply []byte, tcp bool, now time.Time) {
	ttl := lifetime(reply)
	key, ok := lowered(query)
	if ttl <= 0 || !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = make(map[cacheKey]cached)
	}
	for k, e := range c.kept {
		if len(c.kept) < maxKept {
			break
		}
		if !now.Before(e.expiry) || len(c.kept) >= maxKept {
			delete(c.kept, k)
		}
	}
	c.kept[cacheKey{key, tcp}] = cached{reply: append([]byte(nil), reply...), at: now, expiry: now.Add(ttl)}
}

// lifetime is how long reply may be kept: the least TTL of its records; for one
// without an answer what its SOA allows (RFC 2308 section 5). Errors and cut
// replies aren't kept.
func lifetime(reply []byte) time.Duration {
	const truncated = 0x02
	if len(reply) < headerLen || reply[2]&truncated != 0 {
		return 0
	}
	if code := rcode(reply); code != 0 && code != 3 {
		return 0
	}
	least, answers, negative := uint32(math.MaxUint32), 0, uint32(0)
	whole := records(reply, func(r record) {
		if r.rtype == typeOPT {
			return
		}
		least = min(least, r.ttl)
		if r.section == 0 {
			answers++
		}
		if r.section == 1 && r.rtype == typeSOA && len(r.data) >= 4 {
			negative = min(r.ttl, binary.BigEndian.Uint32(r.data[len(r.data)-4:]))
		}
	})
	switch {
	case !whole:
		return 0
	case answers == 0 || rcode(reply) == 3:
		return min(time.Duration(negative)*time.Second, maxNegativeTTL)
	case negative > 0: // a CNAME to a name without records
		return min(time.Duration(min(least, negative))*time.Second, maxNegativeTTL)
	default:
		return min(time.Duration(least)*time.Second, maxKeptTTL)
	}
}
