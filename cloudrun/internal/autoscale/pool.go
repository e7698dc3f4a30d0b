// Package autoscale keeps as many instances of a revision running as its requests
// need: none without requests, one more when those that run have no slot left,
// up to a maximum, and down again when they are idle.
//
// It knows instances by an interface only: what they are is the caller's.
package autoscale

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Instance is a running container that is ready for requests.
type Instance interface {
	// Done is closed when the instance has ended, for whatever reason.
	Done() <-chan struct{}
	// Stop ends the instance: SIGTERM, and SIGKILL when its time is up. It returns
	// when the instance has ended.
	Stop()
}

// Config says how a Pool scales. Its zero fields take Cloud Run's defaults.
type Config struct {
	// Start starts an instance and returns when it is ready for requests.
	Start func(context.Context) (Instance, error)
	// Concurrency is how many requests an instance has at once: 80.
	Concurrency int
	// Min is how many instances run without requests.
	Min int
	// Max is how many instances run at the most: 100.
	Max int
	// IdleAfter is how long an instance without requests is kept: 15 minutes.
	IdleAfter time.Duration
	// Log is told of starts and ends.
	Log *slog.Logger
}

// ErrAtMax is what Acquire fails with when no slot came free in time and no more
// instances may be started.
var ErrAtMax = errors.New("no available instance: all that may run are busy")

// ErrTooSlow is what Acquire fails with when no instance was ready in time.
var ErrTooSlow = errors.New("no available instance: none was ready in time")

// ErrClosed is what Acquire fails with when the pool has been closed.
var ErrClosed = errors.New("the revision is gone")

// StartError says that an instance could not be started.
type StartError struct{ Cause error }

func (e *StartError) Error() string { return "start an instance: " + e.Cause.Error() }
func (e *StartError) Unwrap() error { return e.Cause }

// Pool is the instances of one revision.
type Pool struct {
	config Config
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // instances starting, running and stopping

	mu       sync.Mutex
	closed   bool
	members  []*member
	starting int
	waiting  []*waiter // the longest first
	// average start time, to tell how long a request may wait
	starts     int
	startTotal time.Duration
}

// member is an instance in a pool.
type member struct {
	Instance
	requests int
	idle     *time.Timer
}

// waiter is a request that waits for a slot.
type waiter struct {
	result chan outcome // has room for one
}

type outcome struct {
	member *member
	err    error
}

// New returns a Pool, which starts its minimum of instances.
func New(config Config) *Pool {
	if config.Concurrency <= 0 {
		config.Concurrency = 80
	}
	if config.Max <= 0 {
		config.Max = 100
	}
	if config.IdleAfter <= 0 {
		config.IdleAfter = 15 * time.Minute
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	config.Max = max(config.Max, config.Min)
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pool{config: config, ctx: ctx, cancel: cancel}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scaleUp()
	return p
}

// Acquire returns an instance with a slot for a request, starting one if need be,
// and a function that gives the slot back. A request waits for 3.5 times what a
// start takes on average, at least 10 s, as on Cloud Run; the error is then
// [ErrAtMax] or [ErrTooSlow]. It is a [StartError] when an instance it waited
// for could not be started.
func (p *Pool) Acquire(ctx context.Context) (Instance, func(), error) { return p.acquire(ctx, true) }

// Ready returns when an instance runs, however long its start takes. It fails as
// Acquire does otherwise.
func (p *Pool) Ready(ctx context.Context) error {
	_, release, err := p.acquire(ctx, false)
	if err == nil {
		release()
	}
	return err
}

func (p *Pool) acquire(ctx context.Context, impatient bool) (Instance, func(), error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, nil, ErrClosed
	}
	if m := p.freest(); m != nil {
		p.take(m)
		p.mu.Unlock()
		return m.Instance, p.releaser(m), nil
	}
	w := &waiter{result: make(chan outcome, 1)}
	p.waiting = append(p.waiting, w)
	p.scaleUp()
	var patience <-chan time.Time
	if impatient {
		timer := time.NewTimer(p.patience())
		defer timer.Stop()
		patience = timer.C
	}
	p.mu.Unlock()

	var cause error
	select {
	case o := <-w.result:
		return p.settle(o)
	case <-ctx.Done():
		cause = context.Cause(ctx)
	case <-patience:
		cause = ErrTooSlow
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case o := <-w.result: // it came at the same moment
		return p.settle(o)
	default:
	}
	p.waiting = slices.DeleteFunc(p.waiting, func(other *waiter) bool { return other == w })
	if cause == ErrTooSlow && len(p.members) >= p.config.Max {
		cause = ErrAtMax
	}
	return nil, nil, cause
}

func (p *Pool) settle(o outcome) (Instance, func(), error) {
	if o.err != nil {
		return nil, nil, o.err
	}
	return o.member.Instance, p.releaser(o.member), nil
}

// freest returns the instance with the most free slots, if there is one.
func (p *Pool) freest() *member {
	var best *member
	for _, m := range p.members {
		if m.requests < p.config.Concurrency && (best == nil || m.requests < best.requests) {
			best = m
		}
	}
	return best
}

func (p *Pool) take(m *member) {
	m.requests++
	m.idle.Stop()
}

// releaser returns the function that gives the slot of m back, once.
func (p *Pool) releaser(m *member) func() {
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		m.requests--
		p.serveWaiting()
		if m.requests == 0 {
			m.idle.Reset(p.idleAfter())
		}
	})
}

// idleAfter is how long an instance may be idle: not at all once the pool closes.
func (p *Pool) idleAfter() time.Duration {
	if p.closed {
		return 0
	}
	return p.config.IdleAfter
}

// serveWaiting gives free slots to those who wait longest.
func (p *Pool) serveWaiting() {
	for len(p.waiting) > 0 {
		m := p.freest()
		if m == nil || !slices.Contains(p.members, m) {
			return
		}
		p.take(m)
		p.waiting[0].result <- outcome{member: m}
		p.waiting = p.waiting[1:]
	}
}

// patience is how long a request waits for an instance.
func (p *Pool) patience() time.Duration {
	if p.starts == 0 {
		return 10 * time.Second
	}
	average := p.startTotal / time.Duration(p.starts)
	return max(10*time.Second, average*7/2)
}

// scaleUp starts as many instances as the waiting requests and the minimum need.
func (p *Pool) scaleUp() {
	for !p.closed {
		running := len(p.members) + p.starting
		needed := p.starting*p.config.Concurrency < len(p.waiting)
		if running >= p.config.Max || !needed && running >= p.config.Min {
			return
		}
		p.starting++
		p.work.Go(p.start)
	}
}

// start starts an instance and looks after it to its end.
func (p *Pool) start() {
	begun := time.Now()
	instance, err := p.config.Start(p.ctx)
	p.mu.Lock()
	p.starting--
	if err != nil {
		p.failWaiting(&StartError{err})
		p.mu.Unlock()
		if p.ctx.Err() == nil {
			p.config.Log.Error("instance did not start", "error", err)
		}
		return
	}
	p.starts++
	p.startTotal += time.Since(begun)
	m := &member{Instance: instance}
	m.idle = time.AfterFunc(p.idleAfter(), func() { p.retire(m) })
	p.members = append(p.members, m)
	p.serveWaiting()
	p.mu.Unlock()

	<-instance.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	m.idle.Stop()
	p.members = slices.DeleteFunc(p.members, func(other *member) bool { return other == m })
	p.scaleUp()
}

// failWaiting fails as many of the waiting requests as an instance would have
// served.
func (p *Pool) failWaiting(err error) {
	n := min(len(p.waiting), p.config.Concurrency)
	for _, w := range p.waiting[:n] {
		w.result <- outcome{err: err}
	}
	p.waiting = p.waiting[n:]
	// The minimum isn't tried again: what can't start would be started without end.
	if len(p.waiting) > 0 {
		p.scaleUp()
	}
}

// retire stops an instance that is idle, unless it is one of the minimum.
func (p *Pool) retire(m *member) {
	p.mu.Lock()
	if m.requests > 0 || !slices.Contains(p.members, m) ||
		!p.closed && len(p.members) <= p.config.Min {
		p.mu.Unlock()
		return
	}
	p.members = slices.DeleteFunc(p.members, func(other *member) bool { return other == m })
	p.mu.Unlock()
	m.Stop()
}

// Instances returns the instances that run.
func (p *Pool) Instances() []Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	instances := make([]Instance, len(p.members))
	for i, m := range p.members {
		instances[i] = m.Instance
	}
	return instances
}

// Drain takes no more requests, lets those that run end, stops each instance when
// its last one has, and returns when all have ended. When ctx is done, what still
// runs is stopped.
func (p *Pool) Drain(ctx context.Context) {
	p.mu.Lock()
	p.closed = true
	for _, w := range p.waiting {
		w.result <- outcome{err: ErrClosed}
	}
	p.waiting = nil
	for _, m := range p.members {
		if m.requests == 0 {
			m.idle.Reset(0)
		}
	}
	p.mu.Unlock()
	p.cancel() // of starts
	ended := make(chan struct{})
	go func() {
		p.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	p.mu.Lock()
	members := slices.Clone(p.members)
	p.mu.Unlock()
	var stops sync.WaitGroup
	for _, m := range members {
		stops.Go(m.Stop)
	}
	stops.Wait()
	<-ended
}
