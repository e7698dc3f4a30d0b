package frontdoor

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/amammay/otorun/cloudrun/internal/identity"
)

func FuzzHost(f *testing.F) {
	for _, s := range []string{
		"tacoserver-123456789012.us-central1.run.app", "green---tacoserver-dpyb4duzqq-uc.a.run.app:443",
		"TACOserver.localhost:8080", "a---b.us-east1.localhost", "a------b.localhost", "---.localhost", "[::1]:80", "run.app", "a.run.internal.localhost", ":", "",
	} {
		f.Add(s)
	}
	d := New(Config{ProjectNumber: "123456789012", ProjectHash: "dpyb4duzqq"})
	f.Fuzz(func(t *testing.T, hostport string) {
		host := hostname(hostport)
		s, ok := d.site(host)
		if ok == (s.why != "") {
			t.Errorf("site(%q) = %+v, %t", host, s, ok)
		}
		if !ok || !s.runApp {
			return
		}
		// A host that names a service is one of those the service has.
		name := strings.TrimPrefix(host, s.Tag+"---")
		if s.Tag == "" {
			name = host
		}
		if urls := d.URLs(s.Service, s.Region); len(s.Service) < 40 && !slices.Contains(urls, "https://"+name) {
			t.Errorf("site(%q) = %+v, whose URLs are %q", host, s, urls)
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"Bearer a.b.c", "bearer  a", "Bearer", "Bearer a, Bearer b", "Basic eDp5", "a.b.c", " ", "Bearer \t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, err := credentialOf(http.Header{"Authorization": {value}})
		if err != nil {
			if identity.ReasonOf(err) == "" {
				t.Errorf("credentialOf(%q): %v has no reason", value, err)
			}
			if _, after, ok := strings.Cut(value, " "); ok && len(after) > 20 && strings.Contains(err.Error(), after) {
				t.Errorf("credentialOf(%q): %v shows it", value, err)
			}
			return
		}
		if c.header != "" && (c.token == "" || strings.ContainsAny(c.token, " ,\t")) {
			t.Errorf("credentialOf(%q) = %+v", value, c)
		}
		h := make(http.Header)
		c.passOn(h)
		if c.header != "" && !strings.HasSuffix(h.Get(c.header), identity.SignatureRemoved) {
			t.Errorf("%q is passed on as %q", value, h)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/a%2Fb%41", "/%", "/%4", "/%zz", "/%25%34%31", "/%7e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI("http://h/" + raw)
		if err != nil {
			return
		}
		got := decodeUnreserved(u.RawPath)
		if path, err := url.PathUnescape(got); u.RawPath != "" && (err != nil || path != u.Path) {
			t.Errorf("%q became %q: the path %q became %q, %v", u.RawPath, got, u.Path, path, err)
		}
	})
}

func FuzzTrace(f *testing.F) {
	for _, s := range []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736/1;o=1", "--;/", "ff-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, k := range []string{traceparent, cloudTrace} {
			got := traceOf(http.Header{k: {value}})
			h := make(http.Header)
			got.set(h)
			for _, k := range []string{traceparent, cloudTrace} {
				if again := traceOf(http.Header{k: h[k]}); again.id != got.id || again.sampled != got.sampled {
					t.Errorf("%s %q became %q", k, value, h)
				}
			}
		}
	})
}
