package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

const (
	// answerLimit is less than the 5 s after which libc gives a server up, so that
	// a client learns of the failure from us.
	answerLimit = 4500 * time.Millisecond
	// nextAfter is how long to wait for a resolver before the next is asked as well.
	nextAfter = time.Second
	maxTries  = 6
)

// A Forwarder asks resolvers, by the transport the query came by, and returns
// their replies as they came. Set its fields before the first query.
type Forwarder struct {
	Servers []netip.AddrPort

	good  atomic.Uint32 // index of the server that answered last
	cache cache
}

// Exchange returns a resolver's reply to query. A server that is silent for a
// second, refuses or fails doesn't end it: the next one is asked, each at least
// twice, and the first good reply counts. If none is good, a failing one is returned.
func (f *Forwarder) Exchange(ctx context.Context, query []byte, tcp bool) ([]byte, error) {
	if len(f.Servers) == 0 {
		return nil, errors.New("no resolver: resolv.conf names none and neither does -nameserver")
	}
	if reply, ok := f.cache.get(query, tcp, time.Now()); ok {
		return reply, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()

	type result struct {
		server int
		reply  []byte
		err    error
	}
	tries := min(2*len(f.Servers), maxTries)
	results := make(chan result, tries)
	first := int(f.good.Load())
	started, ended := 0, 0
	start := func() {
		i := (first + started) % len(f.Servers)
		started++
		go func() {
			reply, err := ask(ctx, f.Servers[i], query, tcp)
			results <- result{i, reply, err}
		}()
	}
	start()
	timer := time.NewTimer(nextAfter)
	defer timer.Stop()

	var failing []byte
	var lastErr error
	for {
		select {
		case r := <-results:
			ended++
			switch {
			case r.err != nil:
				lastErr = r.err
			case bad(r.reply):
				failing = r.reply
			default:
				f.good.Store(uint32(r.server))
				f.cache.put(query, r.reply, tcp, time.Now())
				return r.reply, nil
			}
			// Each server once at once; a second round only for silence.
			if started < len(f.Servers) {
				start()
				timer.Reset(nextAfter)
			} else if ended == started && failing != nil {
				return failing, nil
			} else if ended == started && started >= tries {
				return nil, lastErr
			}
		case <-timer.C:
			if started < tries {
				start()
				timer.Reset(nextAfter)
			}
		case <-ctx.Done():
			if failing != nil {
				return failing, nil
			}
			if lastErr == nil {
				lastErr = fmt.Errorf("no answer from %v within %v", f.Servers, answerLimit)
			}
			return nil, lastErr
		}
	}
}

// bad reports whether another server may know better: SERVFAIL, NOTIMP, REFUSED.
func bad(reply []byte) bool {
	switch rcode(reply) {
	case 2, 4, 5:
		return true
	}
	return false
}

func ask(ctx context.Context, server netip.AddrPort, query []byte, tcp bool) ([]byte, error) {
	network := "udp"
	if tcp {
		network = "tcp"
	}
	// A socket a query: the port is random, and replies to other queries don't come here.
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if tcp {
		if err := writeMessage(conn, query); err != nil {
			return nil, err
		}
		reply, err := readMessage(conn)
		if err == nil && !answers(query, reply) {
			err = fmt.Errorf("resolver %v: its answer is to another query", server)
		}
		return reply, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := conn.Read(*buf)
		if err != nil {
			return nil, err
		}
		if answers(query, (*buf)[:n]) {
			return append([]byte(nil), (*buf)[:n]...), nil
		}
	}
}

// Resolver returns a resolver for runsd's own lookups, by way of f and its cache.
// Names of services mean nothing to it.
func (f *Forwarder) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		switch network {
		case "tcp", "tcp4", "tcp6":
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				query, err := readMessage(server)
				if err != nil {
					return
				}
				if reply, err := f.Exchange(ctx, query, true); err == nil {
					writeMessage(server, reply)
				}
			}()
			return client, nil
		}
		ctx, cancel := context.WithCancel(ctx)
		return &queryConn{ctx: ctx, cancel: cancel, f: f}, nil
	}}
}

// queryConn is a datagram socket whose other end is a Forwarder.
type queryConn struct {
	net.PacketConn // nil: never called, but says that messages come without a length
	ctx            context.Context
	cancel         context.CancelFunc
	f              *Forwarder
	query          []byte
	deadline       time.Time
}

func (c *queryConn) Write(query []byte) (int, error) {
	c.query = append([]byte(nil), query...)
	return len(query), nil
}

func (c *queryConn) Read(buf []byte) (int, error) {
	ctx := c.ctx
	if !c.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, c.deadline)
		defer cancel()
	}
	reply, err := c.f.Exchange(ctx, c.query, false)
	if err != nil {
		if ctx.Err() != nil {
			err = os.ErrDeadlineExceeded
		}
		return 0, err
	}
	return copy(buf, reply), nil
}

func (c *queryConn) Close() error                     { c.cancel(); return nil }
func (c *queryConn) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (c *queryConn) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
func (c *queryConn) SetDeadline(t time.Time) error    { c.deadline = t; return nil }
func (c *queryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *queryConn) SetWriteDeadline(time.Time) error { return nil }
