package otoclient

import (
	"fmt"
	"testing"
)

// A target is made once, and hosts without end don't fill the memory.
func TestLookUp(t *testing.T) {
	to, err := lookUp("http://localhost:8080/oto/", "S", "M")
	if err != nil || to.text != "http://localhost:8080/oto/S.M" || to.addr != "localhost:8080" {
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
		if to.direct != tt.direct || to.addr != tt.addr {
			t.Errorf("%s: direct %t at %q, want %t at %q", tt.url, to.direct, to.addr, tt.direct, tt.addr)
		}
	}
}
