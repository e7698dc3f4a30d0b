package metadata_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/amammay/otorun/runsd/internal/metadata"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func TestProject(t *testing.T) {
	tests := []struct {
		name    string
		paths   map[string]string
		want    metadata.Project
		wantErr bool
	}{
		{name: "Cloud Run", paths: map[string]string{"instance/region": "projects/123456789012/regions/us-east5\n"}, want: metadata.Project{Number: "123456789012", Region: "us-east5"}},
		{name: "Compute Engine", paths: map[string]string{"instance/zone": "projects/1/zones/us-central1-a"}, want: metadata.Project{Number: "1", Region: "us-central1"}},
		{name: "another server's page", paths: map[string]string{"instance/region": "<html>"}, wantErr: true},
		{name: "nothing", wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := metadata.NewWithTransport("", roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Host != "169.254.169.254" {
					t.Errorf("asked %s with %v", r.URL, r.Header)
				}
				if body, ok := tt.paths[strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/")]; ok {
					return answer(200, body)
				}
				return answer(404, "no such path")
			}))
			got, err := c.Project(t.Context())
			if got != tt.want || (err != nil) != tt.wantErr {
				t.Errorf("Project() = %+v, %v, want %+v, error %t", got, err, tt.want, tt.wantErr)
			}
		})
	}
}

// TestRetry: 429 and 503 are tried again with pauses, 404 isn't, and the last
// answer is what the error says when time is up.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		status := []int{429, 503, 200}
		c := metadata.NewWithTransport("", roundTripper(func(r *http.Request) (*http.Response, error) {
			calls++
			return answer(status[calls-1], "tok")
		}))
		if tok, err := c.IdentityToken(t.Context(), "https://a"); tok != "tok" || err != nil || calls != 3 {
			t.Errorf("IdentityToken() = %q, %v after %d calls, want tok after 3", tok, err, calls)
		}

		calls, status = 0, []int{404, 200}
		_, err := c.IdentityToken(t.Context(), "https://a")
		if e, ok := errors.AsType[*metadata.StatusError](err); !ok || e.Status != 404 || calls != 1 {
			t.Errorf("a 404: %v after %d calls, want it at once", err, calls)
		}

		start := time.Now()
		c = metadata.NewWithTransport("", roundTripper(func(r *http.Request) (*http.Response, error) { return answer(500, "") }))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = c.Email(ctx)
		if e, ok := errors.AsType[*metadata.StatusError](err); !ok || e.Status != 500 {
			t.Errorf("a lasting 500: %v", err)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("a lasting 500 took %v, want at most 10s", d)
		}
	})
}

func TestBlackhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		c := metadata.NewWithTransport("", roundTripper(func(r *http.Request) (*http.Response, error) {
			calls++
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := c.Project(ctx); err == nil {
			t.Error("no error from a server that never answers")
		}
		if d := time.Since(start); d > 8*time.Second || calls != 2 {
			t.Errorf("%d tries in %v, want 2 within 8s", calls, d)
		}
	})
}

// TestNoProxy: HTTP_PROXY never sees a metadata call.
func TestNoProxy(t *testing.T) {
	var proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { proxied.Add(1) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "me@example.com") }))
	defer server.Close()
	got, err := metadata.New(server.Listener.Addr().String()).Email(t.Context())
	if got != "me@example.com" || err != nil || proxied.Load() != 0 {
		t.Errorf("Email() = %q, %v, %d calls by the proxy", got, err, proxied.Load())
	}
}

// TestDescriptors: 2,000 failing answers leave no descriptor open.
func TestDescriptors(t *testing.T) {
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skipf("counting descriptors: %v", err)
		}
		return len(fds)
	}
	var conns atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, strings.Repeat("no ", 1000), http.StatusNotFound)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := metadata.New(server.Listener.Addr().String())
	if _, err := c.Email(t.Context()); err == nil {
		t.Fatal("no error from a 404")
	}
	before := open()
	for range 2000 {
		if _, err := c.Email(t.Context()); err == nil {
			t.Fatal("no error from a 404")
		}
	}
	if after := open(); after > before {
		t.Errorf("open descriptors: %d, then %d after 2,000 failing answers", before, after)
	}
	if n := conns.Load(); n > 2 {
		t.Errorf("2,000 calls one after the other opened %d connections", n)
	}
}
