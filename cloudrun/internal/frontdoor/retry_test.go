package frontdoor_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/amammay/otorun/cloudrun/internal/frontdoor"
)

// fleet is a backend of several instances, and gives the first that isn't gone.
type fleet struct {
	service *frontdoor.Service

	mu       sync.Mutex
	members  []*member
	acquired int
}

// member is an instance that notes what it sees.
type member struct {
	id     int
	server *http.Server
	way    frontdoor.Instance
	dials  int

	// die, if set, has the instance end when it has read a request.
	die bool

	mu   sync.Mutex
	gone bool
	seen []string
}

func (f *fleet) add(t *testing.T, die bool) *member {
	m := &member{id: len(f.members), die: die}
	var protocols http.Protocols
	protocols.SetHTTP1(!f.service.HTTP2)
	protocols.SetUnencryptedHTTP2(f.service.HTTP2)
	m.server = &http.Server{Handler: m, Protocols: &protocols}
	l := listen(t)
	go m.server.Serve(l)
	t.Cleanup(func() { m.server.Close() })
	m.way = frontdoor.Instance{
		ID: fmt.Sprint(m.id), Revision: "tacoserver-00001-abc",
		Transport: frontdoor.NewTransport(func(ctx context.Context) (net.Conn, error) {
			m.mu.Lock()
			m.dials++
			m.mu.Unlock()
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		}, f.service.HTTP2),
		Gone: func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.gone = true
		},
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = append(f.members, m)
	return m
}

// known is what the instance saw and whether it is known to be gone.
func (m *member) known() (seen []string, gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.seen), m.gone
}

func (m *member) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	m.mu.Lock()
	m.seen = append(m.seen, fmt.Sprint(r.Method, " ", string(body), err))
	die := m.die
	m.mu.Unlock()
	if die {
		m.server.Close()
		return
	}
	fmt.Fprint(w, m.id)
}

func (f *fleet) Service(frontdoor.Address) (*frontdoor.Service, bool) { return f.service, true }

func (f *fleet) Acquire(context.Context, frontdoor.Call) (frontdoor.Instance, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		if _, gone := m.known(); !gone {
			f.acquired++
			return m.way, sync.OnceFunc(func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.acquired--
			}), nil
		}
	}
	return frontdoor.Instance{}, nil, frontdoor.ErrNoInstance
}

// newFleet returns a fleet of that many instances and what sends a request to it.
func newFleet(t *testing.T, http2 bool, instances int) (f *fleet, send func(method, body string) (status int, answer string)) {
	f = &fleet{service: &frontdoor.Service{Name: "tacoserver", Region: region, HTTP2: http2, InvokerCheckDisabled: true}}
	for range instances {
		f.add(t, false)
	}
	w := newWorld(t, nil, func(_ *world, cfg *frontdoor.Config) { cfg.Backend = f })
	client := w.client(t, false)
	return f, func(method, body string) (int, string) {
		t.Helper()
		var reader io.Reader
		if body != "" {
			reader = strings.NewReader(body)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, numberURL+"/", reader)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", "taco") // doesn't let it be sent twice
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.acquired != 0 && resp.StatusCode >= 500 {
			t.Errorf("%d slots aren't given back", f.acquired)
		}
		return resp.StatusCode, string(answer)
	}
}

var requests = []struct{ method, body string }{{"GET", ""}, {"POST", ""}, {"POST", "two tacos"}, {"PUT", "a taco"}, {"GET", "a taco"}}

// A request for an instance that has ended goes to another, whole, and the
// instance gets no more.
func TestInstanceIsGone(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for _, r := range requests {
			t.Run(fmt.Sprint(r.method, len(r.body), " HTTP/2 ", http2), func(t *testing.T) {
				f, send := newFleet(t, http2, 3)
				f.members[0].server.Close()
				f.members[1].server.Close()
				if status, answer := send(r.method, r.body); status != 200 || answer != "2" {
					t.Errorf("%d %q, want 200 of instance 2", status, answer)
				}
				for i, m := range f.members {
					var want []string
					if i == 2 {
						want = []string{r.method + " " + r.body + "<nil>"}
					}
					if seen, gone := m.known(); !slices.Equal(seen, want) || gone != (i != 2) {
						t.Errorf("instance %d saw %q, gone: %t", i, seen, gone)
					}
				}
			})
		}
	}
}

// An instance that ends has closed its idle connections: a request that would take
// one of them goes to another instance too, whether the end has been noticed or
// not.
func TestInstanceEndsIdle(t *testing.T) {
	const ends = 50
	for _, r := range requests {
		t.Run(fmt.Sprint(r.method, len(r.body)), func(t *testing.T) {
			f, send := newFleet(t, false, 1)
			for i := range ends {
				if status, answer := send("GET", ""); status != 200 || answer != fmt.Sprint(i) {
					t.Fatalf("%d %q, want 200 of instance %d", status, answer, i)
				}
				f.add(t, false)
				f.members[i].server.Close()
				if status, answer := send(r.method, r.body); status != 200 || answer != fmt.Sprint(i+1) {
					t.Fatalf("%d %q, want 200 of instance %d", status, answer, i+1)
				}
			}
			for i, m := range f.members {
				want := 2
				if i == 0 || i == ends {
					want = 1
				}
				if seen, gone := m.known(); len(seen) != want || gone != (i < ends) {
					t.Errorf("instance %d saw %q, want %d, gone: %t", i, seen, want, gone)
				}
			}
		})
	}
}

// A request that an instance may have seen goes to no other, whatever its method
// and whether the connection was used before.
func TestSeenRequestIsNotSentAgain(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for _, reused := range []bool{false, true} {
			for _, r := range requests {
				t.Run(fmt.Sprint(r.method, len(r.body), " reused ", reused, " HTTP/2 ", http2), func(t *testing.T) {
					f, send := newFleet(t, http2, 2)
					if reused {
						send("GET", "")
					}
					f.members[0].mu.Lock()
					f.members[0].die, f.members[0].seen = true, nil
					f.members[0].mu.Unlock()
					if status, answer := send(r.method, r.body); status != 503 {
						t.Errorf("%d %q, want 503", status, answer)
					}
					first, _ := f.members[0].known()
					second, _ := f.members[1].known()
					if len(first) != 1 || len(second) != 0 {
						t.Errorf("the instances saw %q and %q", first, second)
					}
					// It is gone for the next one.
					if status, answer := send(r.method, r.body); status != 200 || answer != "1" {
						t.Errorf("the next: %d %q, want 200 of instance 1", status, answer)
					}
				})
			}
		}
	}
}

// An app may close idle connections as it likes: the instance isn't gone.
func TestAppClosesIdleConnections(t *testing.T) {
	const times = 20
	f, send := newFleet(t, false, 2)
	first := f.members[0]
	for _, r := range requests {
		for range times {
			if status, answer := send(r.method, r.body); status != 200 || answer != "0" {
				t.Fatalf("%s: %d %q, want 200 of instance 0", r.method, status, answer)
			}
			first.server.SetKeepAlivesEnabled(false) // closes those that are idle
			first.server.SetKeepAlivesEnabled(true)
		}
	}
	if seen, gone := first.known(); gone || len(seen) != times*len(requests) {
		t.Errorf("gone: %t, saw %d requests, want %d", gone, len(seen), times*len(requests))
	}
}

// A connection is used again, and isn't kept for longer than apps keep theirs.
func TestConnectionsAreReused(t *testing.T) {
	f, send := newFleet(t, false, 1)
	for _, r := range requests {
		send(r.method, r.body)
	}
	if dials := f.members[0].dials; dials != 1 {
		t.Errorf("%d connections for requests one after the other, want 1", dials)
	}
}

// Where every instance ends at once there is an answer at last.
func TestEveryInstanceIsGone(t *testing.T) {
	f, send := newFleet(t, false, 30)
	for _, m := range f.members {
		m.server.Close()
	}
	if status, _ := send("POST", "taco"); status != 503 {
		t.Errorf("status %d, want 503", status)
	}
	// Nor is there an end to an app that closes whatever is opened.
	f, send = newFleet(t, false, 0)
	l := listen(t)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				bufio.NewReader(conn).Peek(1)
				conn.Close()
			}()
		}
	}()
	f.add(t, false).way.Transport = frontdoor.NewTransport(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}, false)
	if status, _ := send("POST", "taco"); status != 503 {
		t.Errorf("status %d, want 503", status)
	}
}
