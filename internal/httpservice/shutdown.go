package httpservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// limits says what happens when, counted from the order to end.
type limits struct {
	// Idle connections are kept this long, so that a caller about to use one
	// does not find it closed under its request.
	idleGrace time.Duration
	// Requests still running then are told so by their context ...
	giveUp time.Duration
	// ... and are cut off then.
	cutOff time.Duration
}

// cloudRun kills 10 s after SIGTERM.
var cloudRun = limits{idleGrace: 500 * time.Millisecond, giveUp: 8 * time.Second, cutOff: 9 * time.Second}

// ErrShuttingDown is the cause (see [context.Cause]) with which the context of
// a request ends that is still running when the program has to exit.
var ErrShuttingDown = errors.New("the service is shutting down")

// serve answers the connections of ln by h until ctx is done, and then lets
// every request that has begun have its answer. It closes ln.
//
// http.Server.Shutdown would lose some: it closes connections that are idle
// without regard to the request that may be on its way, drops what it reads from
// a connection after it was called, and resets those that the kernel has
// accepted and the server has not. So serve uses the connections up instead: no
// new ones are let in, each answer closes its own, and one that stays quiet for
// a while is closed.
func serve(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger, lim limits) error {
	var draining atomic.Bool
	var requests atomic.Int64
	working, giveUp := context.WithCancelCause(context.Background())
	defer giveUp(nil)
	open := conns{draining: &draining, states: make(map[net.Conn]connState)}

	srv := newServer(observe(healthy(h), log, &draining, &requests), log)
	srv.BaseContext = func(net.Listener) context.Context { return working }
	srv.ConnState = open.note
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}

	log.Info("shutting down", "cause", context.Cause(ctx), "requests", requests.Load())
	begun := time.Now()
	draining.Store(true)
	refuseNew(ln)
	time.Sleep(settle)
	ln.Close()
	<-served // all that was accepted is known to open now

	defer time.AfterFunc(time.Until(begun.Add(lim.giveUp)), func() { giveUp(ErrShuttingDown) }).Stop()
	for open.closeQuiet(begun, lim.idleGrace) > 0 {
		if time.Since(begun) > lim.cutOff {
			n := requests.Load()
			srv.Close()
			return fmt.Errorf("shut down: %d requests had no answer after %s and were cut off", n, lim.cutOff)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// settle is how long connections that were being made when no new ones were
// let in have to become ours. It takes one round trip.
const settle = 50 * time.Millisecond

// conns are the open connections of a server, and what they are doing.
type conns struct {
	draining *atomic.Bool

	mu     sync.Mutex
	states map[net.Conn]connState
}

type connState struct {
	http.ConnState
	since time.Time // noted while draining only; before that it is of no use
}

// note is for http.Server.ConnState.
func (c *conns) note(nc net.Conn, state http.ConnState) {
	s := connState{ConnState: state}
	if c.draining.Load() {
		s.since = time.Now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateClosed, http.StateHijacked:
		delete(c.states, nc)
	default:
		c.states[nc] = s
	}
}

// closeQuiet closes the connections on which no request has come for the time
// of grace, since begun at the earliest. It returns how many are still open.
func (c *conns) closeQuiet(begun time.Time, grace time.Duration) int {
	limit := time.Now().Add(-grace)
	c.mu.Lock()
	defer c.mu.Unlock()
	for nc, s := range c.states {
		quiet := s.ConnState == http.StateIdle || s.ConnState == http.StateNew
		if quiet && s.since.Before(limit) && begun.Before(limit) {
			nc.Close() // the server's goroutine notices and calls note
		}
	}
	return len(c.states)
}
