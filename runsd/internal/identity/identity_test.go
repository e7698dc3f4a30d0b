package identity_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/amammay/otorun/runsd/internal/identity"
)

const audience = "https://hello-1.us-central1.run.app"

func mint(serial int, lifetime time.Duration) string {
	now := time.Now()
	claims := fmt.Sprintf(`{"iss":"https://accounts.google.com","aud":%q,"email":"me@example.com","iat":%d,"exp":%d,"n":%d}`,
		audience, now.Unix(), now.Add(lifetime).Unix(), serial)
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// server is a metadata server that counts, waits and fails as told.
type server struct {
	mu       sync.Mutex
	calls    int
	lifetime time.Duration
	delay    time.Duration
	err      error
}

func (s *server) fetch(ctx context.Context, aud string) (string, error) {
	s.mu.Lock()
	s.calls++
	n, delay, err, lifetime := s.calls, s.delay, s.err, s.lifetime
	s.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	if err != nil {
		return "", err
	}
	return mint(n, lifetime), nil
}

func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func TestOneCallForAStampede(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{lifetime: time.Hour, delay: 30 * time.Millisecond}
		c := &identity.Cache{Fetch: s.fetch}
		var failed atomic.Int32
		for range 1000 {
			go func() {
				if tok, err := c.Token(t.Context(), audience); err != nil || tok.Email != "me@example.com" {
					failed.Add(1)
				}
			}()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if s.count() != 1 || failed.Load() != 0 {
			t.Errorf("1,000 callers at once: %d calls, %d failures, want 1 and 0", s.count(), failed.Load())
		}
	})
}

// TestADay: a caller every second of a day never waits but for the first token,
// never gets one about to expire, and costs a call every 54 minutes.
func TestADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{lifetime: time.Hour, delay: 30 * time.Millisecond}
		c := &identity.Cache{Fetch: s.fetch}
		for i := range 24 * 3600 {
			start := time.Now()
			tok, err := c.Token(t.Context(), audience)
			if err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(start); i > 0 && waited > 0 {
				t.Fatalf("after %v a call waited %v", time.Duration(i)*time.Second, waited)
			}
			if left := time.Until(tok.Expires); left < 5*time.Minute {
				t.Fatalf("a token with %v left was handed out while the metadata server works", left)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := s.count(); n < 24 || n > 27 {
			t.Errorf("%d calls in a day, want one every 54 minutes: 27", n)
		}
	})
}

// TestMetadataDown: while a token is valid calls go on; after it they fail, at
// once or within the limit, and the first success ends it. Failures aren't kept.
func TestMetadataDown(t *testing.T) {
	for _, tt := range []struct {
		name string
		down func(*server)
	}{
		{"refuses", func(s *server) { s.err = errors.New("metadata server: 503 Service Unavailable") }},
		{"429", func(s *server) { s.err = errors.New("metadata server: 429 Too Many Requests") }},
		{"blackholed", func(s *server) { s.delay = 24 * time.Hour }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{lifetime: time.Hour}
				var warned atomic.Int32
				c := &identity.Cache{Fetch: s.fetch, Failed: func(string, time.Duration, error) { warned.Add(1) }}
				first, err := c.Token(t.Context(), audience)
				if err != nil {
					t.Fatal(err)
				}
				s.set(func() { tt.down(s) })
				for time.Until(first.Expires) > 31*time.Second {
					start := time.Now()
					tok, err := c.Token(t.Context(), audience)
					if err != nil || tok != first {
						t.Fatalf("with %v left: %v", time.Until(first.Expires), err)
					}
					if waited := time.Since(start); waited > 0 {
						t.Fatalf("a call waited %v for a refresh", waited)
					}
					time.Sleep(time.Second)
				}
				if n := s.count(); n > 1+6*4 {
					t.Errorf("%d calls while down, want at most one every 15 s in 6 minutes", n)
				}
				if warned.Load() == 0 {
					t.Error("nobody was told that refreshing fails")
				}
				time.Sleep(time.Minute)
				start := time.Now()
				if _, err := c.Token(t.Context(), audience); err == nil {
					t.Error("an expired token was handed out")
				}
				if waited := time.Since(start); waited > 10*time.Second {
					t.Errorf("a call waited %v, want at most 10s", waited)
				}
				time.Sleep(time.Hour)
				s.set(func() { s.err, s.delay = nil, 0 })
				if _, err := c.Token(t.Context(), audience); err != nil {
					t.Errorf("after the metadata server came back: %v", err)
				}
			})
		})
	}
}

// TestStaleFromServer: a server that hands out one token until it expires isn't
// asked more than every 15 s, and the answer isn't trusted beyond its exp.
func TestStaleFromServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := mint(1, time.Hour)
		calls := 0
		c := &identity.Cache{Fetch: func(context.Context, string) (string, error) { calls++; return raw, nil }}
		for range 3569 {
			if _, err := c.Token(t.Context(), audience); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if calls > 25 {
			t.Errorf("%d calls in an hour", calls)
		}
		time.Sleep(2 * time.Second)
		if _, err := c.Token(t.Context(), audience); err == nil {
			t.Error("a token within 30 s of its exp was handed out")
		}
	})
}

func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{lifetime: time.Hour, delay: 3 * time.Second}
		c := &identity.Cache{Fetch: s.fetch}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Token(ctx, audience); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller with a second to spare: %v", err)
		}
		// The fetch went on for those who come later.
		if _, err := c.Token(t.Context(), audience); err != nil || s.count() != 1 {
			t.Errorf("the next caller: %v, %d calls", err, s.count())
		}
	})
}

func TestDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{lifetime: time.Hour}
		c := &identity.Cache{Fetch: s.fetch}
		first, _ := c.Token(t.Context(), audience)
		if c.Drop(audience, first) {
			t.Error("a token of this second was dropped: another would be refused as well")
		}
		time.Sleep(2 * time.Minute)
		if !c.Drop(audience, first) {
			t.Error("Drop kept a token two minutes old")
		}
		second, err := c.Token(t.Context(), audience)
		if err != nil || second == first {
			t.Errorf("after Drop: the same token, %v", err)
		}
		if !c.Drop(audience, first) {
			t.Error("Drop of a token already replaced: want true, there is another to try")
		}
		if third, _ := c.Token(t.Context(), audience); third != second {
			t.Error("Drop of an old token threw away the new one")
		}
	})
}

func TestAnswerIsNotAToken(t *testing.T) {
	for _, raw := range []string{"", "<html>an error page</html>", "a.b.c", "e30.e30.sig", "e30.eyJleHAiOiJ4In0.sig"} {
		c := &identity.Cache{Fetch: func(context.Context, string) (string, error) { return raw, nil }}
		_, err := c.Token(t.Context(), audience)
		if err == nil {
			t.Errorf("%q was taken for a token", raw)
		} else if raw != "" && strings.Contains(err.Error(), raw) {
			t.Errorf("the error quotes the answer: %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("e30.eyJleHAiOjF9.sig")
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := identity.Parse(raw)
		if err == nil && (tok.Raw != raw || tok.Bearer[0] != "Bearer "+raw) {
			t.Fatalf("Parse(%q) = %+v", raw, tok)
		}
	})
}
