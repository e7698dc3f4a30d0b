package otoclient

import (
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// errDeadline is what a connection says whose deadline has passed.
var errDeadline = os.ErrDeadlineExceeded

// pool has the connections to all hosts.
type pool struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu    sync.Mutex
	hosts map[route]*host // those with connections, or with calls that wait for one
	timer *time.Timer     // closes what has been idle for too long; nil if nothing is idle
}

func newPool(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *pool {
	return &pool{dial: dial, hosts: make(map[route]*host)}
}

// host has the connections of one route.
type host struct {
	route
	// open counts those that are idle, in use, or being dialled: each is one of
	// maxConns slots.
	open    int
	idle    []*conn     // the one used last at the end
	waiting []chan slot // of calls, the one that has waited longest first
}

// slot is what a call waits for: a connection, or if that is nil the right to dial
// one.
type slot struct{ *conn }

// send sends a request over a connection of the pool: w, which goes back to the
// wires, is its head up to the length, and becomes the whole of it if body isn't
// large. A connection that turns out to be closed is replaced as long as nothing has
// been written to it.
func (p *pool) send(ctx context.Context, deadline time.Time, by route, w *buffer, body []byte) (*http.Response, error) {
	if ctx.Err() != nil {
		return nil, ended(ctx, nil)
	}
	w.data = appendLength(w.data, len(body))
	if len(body) <= keepBuffer {
		w.data, body = append(w.data, body...), nil
	}
	for {
		c, err := p.take(ctx, deadline, by)
		if err != nil {
			return nil, ended(ctx, err)
		}
		answer, err := c.exchange(ctx, deadline, w.data, body)
		if err == errNothingWritten {
			continue
		}
		if body != nil {
			w.data = nil // it may not be written yet
		}
		w.empty()
		wires.Put(w)
		return answer, err
	}
}

// take returns a connection that is open and silent. There is at most one for each
// call that is under way, and maxConns in all; calls beyond wait in order.
func (p *pool) take(ctx context.Context, deadline time.Time, by route) (*conn, error) {
	p.mu.Lock()
	h := p.hosts[by]
	if h == nil {
		h = &host{route: by}
		p.hosts[by] = h
	}
	for len(h.idle) > 0 {
		c := h.idle[len(h.idle)-1]
		h.idle = slices.Delete(h.idle, len(h.idle)-1, len(h.idle))
		p.mu.Unlock()
		if c.usable() {
			return c, nil
		}
		// Its slot is ours, to be filled with another idle one or a new one.
		c.Conn.Close()
		p.mu.Lock()
		if len(h.idle) == 0 {
			p.mu.Unlock()
			return p.connect(ctx, deadline, h)
		}
		p.leave(h)
	}
	if h.open < maxConns {
		h.open++
		p.mu.Unlock()
		return p.connect(ctx, deadline, h)
	}
	turn := make(chan slot, 1)
	h.waiting = append(h.waiting, turn)
	p.mu.Unlock()

	var expired <-chan time.Time
	if _, ok := ctx.Deadline(); !ok && !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case s := <-turn:
		if s.conn != nil && s.usable() {
			return s.conn, nil
		}
		if s.conn != nil {
			s.Conn.Close()
		}
		return p.connect(ctx, deadline, h)
	case <-ctx.Done():
	case <-expired:
	}
	p.giveUp(h, turn)
	return nil, errDeadline
}

// giveUp takes a call out of the line. If its turn has come meanwhile, that is the
// next one's.
func (p *pool) giveUp(h *host, turn chan slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(h.waiting, turn); i >= 0 {
		h.waiting = slices.Delete(h.waiting, i, i+1)
	} else if s := <-turn; s.conn != nil {
		p.giveBack(s.conn)
	} else {
		p.leave(h)
	}
}

// connect makes a connection for a slot that the caller has.
func (p *pool) connect(ctx context.Context, deadline time.Time, h *host) (*conn, error) {
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	nc, err := p.dial(ctx, "tcp", h.addr)
	if err == nil {
		var c *conn
		if c, err = newConn(p, h, nc); err == nil {
			return c, nil
		}
		nc.Close()
	}
	p.mu.Lock()
	p.leave(h)
	p.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return nil, errDeadline
	case h.proxy:
		return nil, &net.OpError{Op: "proxyconnect", Net: "tcp", Err: err} // as net/http says it
	}
	return nil, err
}

// put gives back a connection that is open and silent.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	p.giveBack(c)
	p.mu.Unlock()
}

// drop closes a connection and gives its slot to whoever waits.
func (p *pool) drop(c *conn) {
	c.Conn.Close()
	p.mu.Lock()
	p.leave(c.host)
	p.mu.Unlock()
}

// giveBack is put with p locked.
func (p *pool) giveBack(c *conn) {
	h := c.host
	c.since = time.Now()
	if len(h.waiting) > 0 {
		h.next() <- slot{c}
		return
	}
	h.idle = append(h.idle, c)
	if p.timer == nil {
		p.timer = time.AfterFunc(idleTimeout, p.sweep)
	}
}

// leave gives a slot of h back, with p locked.
func (p *pool) leave(h *host) {
	if len(h.waiting) > 0 {
		h.next() <- slot{}
		return
	}
	h.open--
	if h.open == 0 {
		delete(p.hosts, h.route)
	}
}

// next takes the call that has waited longest out of the line.
func (h *host) next() chan<- slot {
	turn := h.waiting[0]
	h.waiting[0], h.waiting = nil, h.waiting[1:]
	return turn
}

// sweep closes what has been idle for too long, and comes again when the next will
// have been.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var next time.Duration
	for _, h := range p.hosts {
		for len(h.idle) > 0 {
			left := idleTimeout - time.Since(h.idle[0].since)
			if left > 0 {
				if next == 0 || left < next {
					next = left
				}
				break
			}
			h.idle[0].Conn.Close()
			h.idle = slices.Delete(h.idle, 0, 1)
			p.leave(h)
		}
	}
	if p.timer = nil; next > 0 {
		p.timer = time.AfterFunc(next, p.sweep)
	}
}

// closeIdle closes what is idle.
func (p *pool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.hosts {
		for _, c := range h.idle {
			c.Conn.Close()
			p.leave(h)
		}
		h.idle = nil
	}
}
