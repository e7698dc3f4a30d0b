package platform

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// newPlatform has a service taco with the revisions taco-a and taco-b, which say
// their names.
func newPlatform(t *testing.T) *Platform {
	t.Helper()
	p, err := New(Config{Key: key()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for _, name := range []string{"taco-a", "taco-b"} {
		say := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name) })
		if err := p.AddRevision("taco", Revision{Name: name, Account: p.Directory.EnsureDefaultAccount().Email, Template: Template{Handler: say}}); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// get asks a host of the service, by a caller whom nobody checks.
func get(p *Platform, host string) string {
	rec := httptest.NewRecorder()
	p.Door.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://"+host+".localhost/", nil))
	if rec.Code != 200 {
		return fmt.Sprint(rec.Code)
	}
	return rec.Body.String()
}

var open = Settings{InvokerCheckDisabled: true}

func TestShares(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	if got := get(p, "taco"); got != "404" {
		t.Errorf("before there is a route: %s", got)
	}
	if err := p.Route("taco", open, []Target{{Revision: "taco-a", Percent: 75}, {Revision: "taco-b", Percent: 25, Tag: "next"}}); err != nil {
		t.Fatal(err)
	}
	const requests = 2000
	count := make(map[string]int)
	for range requests {
		count[get(p, "taco")]++
	}
	// 25 percent of 2000 are 500, give or take 19 in one of two cases: 150 is not
	// seen in 10^14.
	if b := count["taco-b"]; b < 350 || b > 650 || count["taco-a"]+b != requests {
		t.Errorf("75:25 gives %v", count)
	}
	if got := get(p, "next---taco"); got != "taco-b" {
		t.Errorf("the tag: %s", got)
	}
	for _, targets := range [][]Target{
		{{Revision: "taco-a", Percent: 50}},
		{{Revision: "taco-a", Percent: 50}, {Revision: "taco-c", Percent: 50}},
	} {
		if err := p.Route("taco", open, targets); err == nil {
			t.Errorf("Route(%v) is taken", targets)
		}
	}
	if got := get(p, "next---taco"); got != "taco-b" {
		t.Errorf("the tag after routes that can't be: %s", got)
	}
}

// A revision that had no requests for a while has them again, and loses none when
// it is swapped under load.
func TestRevisionComesBack(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	only := func(name string) {
		if err := p.Route("taco", open, []Target{{Revision: name, Percent: 100}}); err != nil {
			t.Error(err)
		}
	}
	only("taco-a")
	var callers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := get(p, "taco"); !strings.HasPrefix(got, "taco-") {
					t.Errorf("during a change: %s", got)
				}
			}
		})
	}
	for range 20 {
		only("taco-b")
		only("taco-a")
	}
	close(stop)
	callers.Wait()
	if got := get(p, "taco"); got != "taco-a" {
		t.Errorf("in the end: %s", got)
	}
	if n := len(p.Instances("taco")); n != 1 {
		t.Errorf("%d instances, want that of taco-a", n)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	if err := p.Route("taco", open, []Target{{Revision: "taco-a", Percent: 100}, {Revision: "taco-b", Tag: "next"}}); err != nil {
		t.Fatal(err)
	}
	p.RemoveRevision("taco", "taco-b")
	if a, b := get(p, "taco"), get(p, "next---taco"); a != "taco-a" || b != "404" {
		t.Errorf("without taco-b: %s, %s", a, b)
	}
	p.Remove("taco")
	if got := get(p, "taco"); got != "404" || len(p.Names()) != 0 {
		t.Errorf("without the service: %s, names %q", got, p.Names())
	}
	if err := p.Route("taco", open, nil); err == nil {
		t.Error("a service that is gone is routed")
	}
}
