package autoscale

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake is an instance that runs until it is stopped or killed.
type fake struct {
	done chan struct{}
	once sync.Once
}

func newFake() *fake { return &fake{done: make(chan struct{})} }

func (f *fake) Done() <-chan struct{} { return f.done }
func (f *fake) Stop()                 { f.once.Do(func() { close(f.done) }) }

// starter starts fakes, each taking a while, and counts them.
type starter struct {
	takes time.Duration
	fail  error

	mu      sync.Mutex
	started []*fake
}

func (s *starter) start(ctx context.Context) (Instance, error) {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.fail != nil {
		return nil, s.fail
	}
	f := newFake()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = append(s.started, f)
	return f, nil
}

func (s *starter) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.started)
}

func newPool(t *testing.T, s *starter, config Config) *Pool {
	t.Helper()
	config.Start = s.start
	p := New(config)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.Drain(ctx)
	})
	return p
}

// acquire takes n slots at once and returns what gives them back.
func acquire(t *testing.T, p *Pool, n int) []func() {
	t.Helper()
	var mu sync.Mutex
	var releases []func()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			_, release, err := p.Acquire(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			releases = append(releases, release)
		})
	}
	wg.Wait()
	return releases
}

func TestFromZeroAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{takes: time.Second}
		p := newPool(t, s, Config{IdleAfter: time.Minute})
		synctest.Wait()
		if s.count() != 0 {
			t.Fatal("an instance runs before the first request")
		}
		begun := time.Now()
		release := acquire(t, p, 1)[0]
		if took := time.Since(begun); took != time.Second {
			t.Errorf("the cold start took %v, want 1s", took)
		}
		time.Sleep(time.Hour)
		if len(p.Instances()) != 1 {
			t.Error("an instance with a request was stopped")
		}
		release()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if len(p.Instances()) != 1 {
			t.Error("stopped before it was idle long enough")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(p.Instances()) != 0 {
			t.Error("not stopped when idle")
		}
		acquire(t, p, 1)[0]()
		if s.count() != 2 {
			t.Errorf("%d instances started, want a second", s.count())
		}
	})
}

func TestInstancesByConcurrency(t *testing.T) {
	for _, tt := range []struct {
		name                             string
		requests, concurrency, max, want int
	}{
		{name: "one takes them all", requests: 80, concurrency: 80, max: 10, want: 1},
		{name: "one more is needed", requests: 81, concurrency: 80, max: 10, want: 2},
		{name: "one request each", requests: 7, concurrency: 1, max: 10, want: 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &starter{takes: time.Second}
				p := newPool(t, s, Config{Concurrency: tt.concurrency, Max: tt.max})
				releases := acquire(t, p, tt.requests)
				if s.count() != tt.want || len(releases) != tt.requests {
					t.Errorf("%d instances for %d requests, want %d", s.count(), len(releases), tt.want)
				}
			})
		})
	}
}

func TestWaitingForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{takes: time.Millisecond}
		p := newPool(t, s, Config{Concurrency: 2, Max: 1})
		releases := acquire(t, p, 2)
		time.AfterFunc(3*time.Second, releases[0])
		begun := time.Now()
		release := acquire(t, p, 1)[0]
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("waited %v, want until a slot came free", took)
		}
		begun = time.Now()
		if _, _, err := p.Acquire(t.Context()); !errors.Is(err, ErrAtMax) || time.Since(begun) != 10*time.Second {
			t.Errorf("Acquire = %v after %v, want ErrAtMax after 10s", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := p.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Acquire = %v, want the caller's deadline", err)
		}
		release()
		release() // giving back twice frees one slot
		acquire(t, p, 1)
		if _, _, err := p.Acquire(t.Context()); !errors.Is(err, ErrAtMax) {
			t.Errorf("Acquire = %v, want ErrAtMax", err)
		}
	})
}

func TestSlowStartsWaitLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{takes: 8 * time.Second}
		p := newPool(t, s, Config{Concurrency: 1})
		acquire(t, p, 1)
		s.takes = time.Hour
		begun := time.Now()
		if _, _, err := p.Acquire(t.Context()); !errors.Is(err, ErrTooSlow) || time.Since(begun) != 28*time.Second {
			t.Errorf("Acquire = %v after %v, want ErrTooSlow after 3.5 times 8s", err, time.Since(begun))
		}
	})
}

func TestInstanceThatDoesNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("it exited with status 1")
		s := &starter{fail: cause}
		p := newPool(t, s, Config{Min: 1})
		_, _, err := p.Acquire(t.Context())
		if _, ok := errors.AsType[*StartError](err); !ok || !errors.Is(err, cause) {
			t.Errorf("Acquire = %v, want a StartError of the cause", err)
		}
		s.fail = nil
		acquire(t, p, 1)
	})
}

func TestInstanceThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		p := newPool(t, s, Config{Min: 1})
		synctest.Wait()
		if s.count() != 1 {
			t.Fatalf("%d instances, want the minimum", s.count())
		}
		release := acquire(t, p, 1)[0]
		s.started[0].Stop()
		synctest.Wait()
		if s.count() != 2 || len(p.Instances()) != 1 {
			t.Errorf("%d started, %d running, want the minimum back", s.count(), len(p.Instances()))
		}
		release() // of a dead instance
		instance, _, err := p.Acquire(t.Context())
		if err != nil || instance != Instance(s.started[1]) {
			t.Errorf("Acquire = %v, %v, want the living instance", instance, err)
		}
	})
}

// An instance that is taken out gets no more requests, and those that it has end.
func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		p := newPool(t, s, Config{Concurrency: 1, Max: 1})
		release := acquire(t, p, 1)[0]
		var waiting sync.WaitGroup
		waiting.Go(func() { acquire(t, p, 1) })
		synctest.Wait()
		first := s.started[0]
		if !p.Remove(first) || p.Remove(first) {
			t.Error("Remove doesn't say whether the instance was there")
		}
		waiting.Wait() // for the one in its place
		if n := len(p.Instances()); n != 1 || p.Instances()[0] == Instance(first) {
			t.Errorf("%d instances run, or the one that was taken out", n)
		}
		release()
		synctest.Wait()
		select {
		case <-first.Done():
			t.Error("it was stopped")
		default:
		}
		first.Stop()
		synctest.Wait()
		if len(p.Instances()) != 1 {
			t.Error("its end took another one out")
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		p := newPool(t, s, Config{Concurrency: 1, Min: 2})
		busy := acquire(t, p, 1)[0]
		time.AfterFunc(time.Second, busy)
		begun := time.Now()
		p.Drain(t.Context())
		if took := time.Since(begun); took != time.Second || len(p.Instances()) != 0 {
			t.Errorf("drained after %v with %d instances left, want when the request ended", took, len(p.Instances()))
		}
		if _, _, err := p.Acquire(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Acquire = %v, want ErrClosed", err)
		}
	})
}

func TestDrainGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{}
		p := newPool(t, s, Config{})
		acquire(t, p, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		p.Drain(ctx)
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("drained after %v, want 10s", took)
		}
	})
}

func TestDrainDuringStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{takes: time.Hour}
		p := newPool(t, s, Config{Min: 1})
		failed := make(chan error)
		go func() {
			_, _, err := p.Acquire(t.Context())
			failed <- err
		}()
		synctest.Wait()
		go p.Drain(t.Context())
		if err := <-failed; !errors.Is(err, ErrClosed) {
			t.Errorf("Acquire = %v, want ErrClosed", err)
		}
	})
}

// Many requests at once, with instances that die: none is lost, and no instance
// has more than its share.
func TestUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &starter{takes: 10 * time.Millisecond}
		p := newPool(t, s, Config{Concurrency: 5, Max: 8, IdleAfter: 50 * time.Millisecond})
		var mu sync.Mutex
		in := make(map[Instance]int)
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				time.Sleep(time.Duration(i%97) * time.Millisecond)
				instance, release, err := p.Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if in[instance]++; in[instance] > 5 {
					t.Errorf("%d requests in one instance", in[instance])
				}
				mu.Unlock()
				time.Sleep(time.Duration(i%13) * time.Millisecond)
				if i%100 == 0 {
					instance.Stop()
				}
				mu.Lock()
				in[instance]--
				mu.Unlock()
				release()
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(p.Instances()) != 0 {
			t.Errorf("%d instances left", len(p.Instances()))
		}
	})
}
