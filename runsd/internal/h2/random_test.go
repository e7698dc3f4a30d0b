package h2_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amammay/otorun/runsd/internal/h2"
)

// pattern returns the n bytes that seed stands for.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((i*7 + i>>8 + seed) * 31)
	}
	return b
}

// TestAllKindsAtOnce: requests of all kinds at once, some of which are cancelled
// or left half read, get what net/http's server answered, byte for byte, and so
// do those whose connections are reset, or an error.
func TestAllKindsAtOnce(t *testing.T) {
	for name, cfg := range map[string]http.HTTP2Config{
		"wide":   {},
		"narrow": {MaxReceiveBufferPerStream: 1 << 16, MaxReceiveBufferPerConnection: 1 << 16, MaxConcurrentStreams: 20},
	} {
		for _, resets := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/resets %v", name, resets), func(t *testing.T) { allKinds(t, cfg, resets) })
		}
	}
}

func allKinds(t *testing.T, cfg http.HTTP2Config, resets bool) {
	s, c := startDoor(t, cfg, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		seed, _ := strconv.Atoi(q.Get("seed"))
		n, _ := strconv.Atoi(q.Get("n"))
		if q.Has("length") {
			w.Header().Set("Content-Length", q.Get("n"))
		}
		if r.Method == "POST" { // as it comes
			if n, err := io.Copy(flushed{w}, r.Body); err != nil {
				panic(http.ErrAbortHandler)
			} else {
				w.Header().Set(http.TrailerPrefix+"Had", fmt.Sprint(n))
			}
			return
		}
		io.Copy(w, bytes.NewReader(pattern(seed, n)))
	})
	var conn atomic.Pointer[h2.Conn]
	conn.Store(c)
	var done, whole atomic.Int32
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for j := range 12 {
				c := conn.Load()
				if !c.Reserve() {
					if resets && !c.Usable() {
						time.Sleep(time.Millisecond)
						continue
					}
					t.Error("no stream left")
					return
				}
				ok, err := anyKind(t, c, rnd, 100*i+j)
				if ok {
					whole.Add(1)
				}
				if err != nil && !resets {
					t.Error(err)
				}
				if n := done.Add(1); resets && n%50 == 49 {
					s.CloseClientConnections()
					conn.Store(dialDoor(t, s))
				}
			}
		})
	}
	wg.Wait()
	if whole.Load() < 20 {
		t.Errorf("only %d answers came whole", whole.Load())
	}
	// The last of a body may be noted as sent a moment after its answer was read.
	for begin := time.Now(); !resets && c.Available() < cmp.Or(cfg.MaxConcurrentStreams, 100); time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("%d streams left at the end, want all", c.Available())
		}
	}
}

// flushed sends what is written at once.
type flushed struct{ http.ResponseWriter }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	f.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

// anyKind does a request of some kind and reports whether its answer came whole.
// The error says what of it was wrong, or why it didn't.
func anyKind(t *testing.T, c *h2.Conn, rnd *rand.Rand, seed int) (whole bool, err error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	size := []int{0, 1, 100, 16 << 10, 16<<10 + 1, 70_000, 300_000}[rnd.IntN(7)]
	method := []string{"GET", "HEAD", "POST"}[rnd.IntN(3)]
	path := fmt.Sprintf("/?seed=%d&n=%d", seed, size)
	if rnd.IntN(2) == 0 {
		path += "&length"
	}
	want := pattern(seed, size)
	req := request(ctx, method, path)
	req.Header.Set("X-Some", fmt.Sprint(seed%9))
	var body []byte
	switch {
	case method != "POST":
	case rnd.IntN(2) == 0:
		body = want
	default:
		pr, pw := io.Pipe()
		req.Body, req.ContentLength = pr, -1
		piece := 1 + rnd.IntN(40_000)
		go func() {
			for b := want; len(b) > 0; b = b[min(piece, len(b)):] {
				if _, err := pw.Write(b[:min(piece, len(b))]); err != nil {
					return
				}
			}
			pw.Close()
		}()
		defer pr.Close()
	}
	cancelled := rnd.IntN(4) == 0
	if cancelled {
		time.AfterFunc(time.Duration(rnd.IntN(2000))*time.Microsecond, cancel)
	}
	resp, err := c.RoundTrip(req, body)
	if err != nil {
		if cancelled && errors.Is(err, context.Canceled) {
			return false, nil
		}
		return false, err
	}
	defer resp.Body.Close()
	if method == "HEAD" {
		want = nil
	}
	left := rnd.IntN(8) == 0
	var r io.Reader = resp.Body
	if left {
		r = io.LimitReader(r, int64(len(want)/2))
		want = want[:len(want)/2]
	}
	got, err := io.ReadAll(r)
	if !bytes.HasPrefix(want, got) || err == nil && len(got) != len(want) {
		t.Errorf("%s %s: %d bytes that aren't the answer's %d, %v", method, path, len(got), len(want), err)
	}
	if err != nil && cancelled && errors.Is(err, context.Canceled) {
		return false, nil
	}
	if had := resp.Trailer.Get("Had"); err == nil && !left && method == "POST" && had != fmt.Sprint(size) {
		t.Errorf("%s %s: trailer says it had %q", method, path, had)
	}
	return err == nil && !left, err
}
