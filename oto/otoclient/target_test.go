package otoclient

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
)

// A target is made once, and hosts without end don't fill the memory.
func TestLookUp(t *testing.T) {
	to, err := lookUp("http://localhost:8080/oto/", "S", "M")
	if err != nil || to.text != "http://localhost:8080/oto/S.M" || to.route.addr != "localhost:8080" {
		t.Fatalf("lookUp = %+v, %v", to, err)
	}
	if again, _ := lookUp("http://localhost:8080/oto/", "S", "M"); again != to {
		t.Error("the target of a method was made twice")
	}
	if other, _ := lookUp("http://localhost:8080/oto", "S", "M"); other == to {
		t.Error("another RemoteHost has the same target")
	}
	for i := range 2 * maxTargets {
		if _, err := lookUp(fmt.Sprintf("http://host%d", i), "S", "M"); err != nil {
			t.Fatal(err)
		}
		if n := len(*targets.Load()); n > maxTargets+1 {
			t.Fatalf("%d targets are kept, want at most %d", n, maxTargets)
		}
	}
}

// Plain HTTP to a host of a plain name is direct.
func TestTargets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url    string
		direct bool
		addr   string
	}{
		{"http://tacoserver", true, "tacoserver:80"},
		{"http://tacoserver:/", true, "tacoserver:80"},
		{"http://127.0.0.1:8080", true, "127.0.0.1:8080"},
		{"http://[::1]:8080", true, "[::1]:8080"},
		{"http://[::1]", true, "[::1]:80"},
		{"HTTP://Tacoserver", true, "Tacoserver:80"},
		{"https://tacoserver", false, ""},
		{"http://user@tacoserver", false, ""},
		{"http://[fe80::1%25eth0]", false, ""},
		{"http://tacö", false, ""},
		{"http://:8080", false, ""},
		{"tacoserver", false, ""},
	} {
		to, err := newTarget(tt.url + "/S.M")
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if to.direct != tt.direct || to.route.addr != tt.addr {
			t.Errorf("%s: direct %t at %q, want %t at %q", tt.url, to.direct, to.route.addr, tt.direct, tt.addr)
		}
	}
}

// Connections of ours lead to a proxy as well, unless it wants more than a request.
func TestRoutes(t *testing.T) {
	t.Parallel()
	r, err := http.NewRequest(http.MethodPost, "http://tacoserver/oto/S.M", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		proxy string
		want  route
		ours  bool
	}{
		{"", route{addr: "tacoserver:80"}, true},
		{"http://127.0.0.1:3128", route{addr: "127.0.0.1:3128", proxy: true}, true},
		{"http://[::1]:3128", route{addr: "[::1]:3128", proxy: true}, true},
		{"http://proxy.example", route{addr: "proxy.example:80", proxy: true}, true},
		{"http://user:password@proxy.example", route{}, false},
		{"https://proxy.example", route{}, false},
		{"socks5://proxy.example", route{}, false},
		{"http://pröxy.example", route{}, false},
		{"wrong", route{}, false},
	} {
		tr := newTransport(t)
		tr.std.Proxy = func(*http.Request) (*url.URL, error) {
			switch tt.proxy {
			case "":
				return nil, nil
			case "wrong":
				return nil, errors.New("no proxy's URL")
			}
			return url.Parse(tt.proxy)
		}
		if got, ours := tr.route(r); ours != tt.ours || ours && got != tt.want {
			t.Errorf("proxy %q: route %+v, ours %t, want %+v, %t", tt.proxy, got, ours, tt.want, tt.ours)
		}
	}
}
