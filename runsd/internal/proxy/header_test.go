package proxy

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/amammay/otorun/internal/runhost"
	"github.com/amammay/otorun/runsd/internal/services"
)

var hello = &services.Target{
	Service: runhost.Service{Name: "hello", Region: "us-central1"}, Scheme: "https", Host: "hello-1.us-central1.run.app",
	Audience: "https://hello-1.us-central1.run.app", Aliases: []string{"hello-1.us-central1.run.app"}, Project: "1",
}

func TestForwardedFor(t *testing.T) {
	for _, tt := range []struct {
		prior        []string
		remote, want string
	}{
		{nil, "127.0.0.1:1234", "127.0.0.1"},
		{nil, "[::1]:1234", "::1"},
		{[]string{"192.0.2.1"}, "127.0.0.1:1234", "192.0.2.1, 127.0.0.1"},
		{[]string{"192.0.2.1", "192.0.2.2"}, "[::1]:1", "192.0.2.1, 192.0.2.2, ::1"},
		{nil, "", ""},
	} {
		h := http.Header{}
		if tt.prior != nil {
			h[xForwardedFor] = tt.prior
		}
		toService(h, tt.remote, "runsd")
		if got := h.Get(xForwardedFor); got != tt.want {
			t.Errorf("%q from %q: %q, want %q", tt.prior, tt.remote, got, tt.want)
		}
	}
}

// FuzzHeaders: what belongs to one connection never passes, whatever Connection
// says, and rewriting neither adds lines nor touches what isn't the service's.
func FuzzHeaders(f *testing.F) {
	f.Add("close, X-Hop", "trailers", "https://hello-1.us-central1.run.app/x?y#z", "a=b; Domain=hello-1.us-central1.run.app; Path=/")
	f.Add("Upgrade,Authorization", "gzip", "//hello-1.us-central1.run.app", "domain=run.app; domain=.run.app")
	f.Add(",;", "", "http://[::1]:443", ";;;Domain")
	f.Fuzz(func(t *testing.T, connection, te, location, cookie string) {
		h := http.Header{
			"Connection": {connection}, "Te": {te}, "Upgrade": {"x"}, "Keep-Alive": {"1"}, "Proxy-Authorization": {"secret"}, "Transfer-Encoding": {"chunked"},
			"X-Hop": {"1"}, "User-Agent": {"app"},
		}
		toService(h, "127.0.0.1:1", "runsd version=x")
		for _, name := range hopByHop {
			if v := h[name]; v != nil && (name != "Te" || !slices.Equal(v, []string{"trailers"})) {
				t.Fatalf("%s: %q passed on", name, v)
			}
		}
		for name := range strings.SplitSeq(connection, ",") {
			// These runsd sets by itself.
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name != "" && name != "Te" && name != "User-Agent" && name != xForwardedFor && h[name] != nil {
				t.Fatalf("%s: named in Connection and passed on", name)
			}
		}

		h = http.Header{"Location": {location}, "Set-Cookie": {cookie}}
		fromService(h, hello, "hello:80")
		got := h.Get("Location")
		if got != location && !strings.HasPrefix(got, "http://hello:80") {
			t.Fatalf("Location %q became %q", location, got)
		}
		if got != location && !strings.HasSuffix(location, strings.TrimPrefix(got, "http://hello:80")) {
			t.Fatalf("Location %q became %q: its path changed", location, got)
		}
		if c := h.Get("Set-Cookie"); len(c) > len(cookie) || !strings.HasPrefix(c, strings.SplitN(cookie, ";", 2)[0]) {
			t.Fatalf("Set-Cookie %q became %q", cookie, c)
		}
	})
}
