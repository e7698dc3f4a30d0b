package resolvconf_test

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/amammay/otorun/runsd/internal/resolvconf"
)

var loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}

func TestParse(t *testing.T) {
	tests := []struct {
		name, in string
		want     resolvconf.Conf
	}{
		{name: "Cloud Run's", in: "nameserver 169.254.169.254\nsearch google.internal\n",
			want: resolvconf.Conf{Nameservers: []netip.Addr{netip.MustParseAddr("169.254.169.254")}, Search: []string{"google.internal"}}},
		{name: "last line wins", in: "search a b\ndomain c d\n", want: resolvconf.Conf{Search: []string{"c"}}},
		{name: "search after domain", in: "domain c\nsearch a b", want: resolvconf.Conf{Search: []string{"a", "b"}}},
		{name: "junk", in: "# nameserver 1.1.1.1\n;x\nnameserver\nnameserver x\n\tnameserver 8.8.8.8 # more\nfoo\n",
			want: resolvconf.Conf{Nameservers: []netip.Addr{netip.MustParseAddr("8.8.8.8")}}},
		{name: "empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := resolvconf.Parse([]byte(tt.in)); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Parse(%q) = %+v, want %+v", tt.in, got, tt.want)
			}
		})
	}
}

func TestRewrite(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{name: "Cloud Run's", in: "nameserver 169.254.169.254\nsearch google.internal\noptions timeout:2\n",
			want: "nameserver 127.0.0.1\nnameserver ::1\nsearch run.internal google.internal\noptions timeout:2\noptions ndots:1\n"},
		{name: "what else it says stays", in: "# by hand\r\nsortlist 10.0.0.0\nnameserver 1.1.1.1\noptions ndots:5 rotate\nnameserver 8.8.8.8\noptions edns0",
			want: "nameserver 127.0.0.1\nnameserver ::1\nsearch run.internal\n# by hand\nsortlist 10.0.0.0\noptions rotate\noptions edns0\noptions ndots:1\n"},
		{name: "empty", want: "nameserver 127.0.0.1\nnameserver ::1\nsearch run.internal\noptions ndots:1\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := resolvconf.Rewrite([]byte(tt.in), loopback, "run.internal", 1)
			if string(got) != tt.want {
				t.Errorf("Rewrite(%q) =\n%s\nwant\n%s", tt.in, got, tt.want)
			}
		})
	}
}

func TestWriteAndRestore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	was := []byte("nameserver 169.254.169.254\nsearch google.internal\n")
	if err := os.WriteFile(path, was, 0o644); err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(path)
	wrote := []byte("nameserver 127.0.0.1\n")
	if err := resolvconf.Write(path, wrote); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, wrote) {
		t.Errorf("after Write: %q, want %q", got, wrote)
	}
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("Write replaced the file, want it written in place")
	}
	if err := resolvconf.Restore(path, wrote, was); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, was) {
		t.Errorf("after Restore: %q, want %q", got, was)
	}
	// Somebody else's change stays.
	if err := resolvconf.Restore(path, wrote, []byte("lost")); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, was) {
		t.Errorf("after a second Restore: %q, want %q", got, was)
	}
}

func TestWriteDoesNotCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	if err := resolvconf.Write(path, nil); err == nil {
		t.Error("Write made a new file")
	}
	if err := resolvconf.Writable(path); err == nil {
		t.Error("Writable of a missing file: no error")
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add([]byte("nameserver 169.254.169.254\nsearch google.internal\noptions timeout:2\n"))
	f.Add([]byte("search\nsearch \x00\ndomain\noptions ndots:\n#"))
	f.Fuzz(func(t *testing.T, in []byte) {
		out := resolvconf.Rewrite(in, loopback, "run.internal", 1)
		c := resolvconf.Parse(out)
		if !slices.Equal(c.Nameservers, loopback) {
			t.Fatalf("Rewrite(%q): nameservers %v", in, c.Nameservers)
		}
		if len(c.Search) == 0 || c.Search[0] != "run.internal" {
			t.Fatalf("Rewrite(%q): search %v", in, c.Search)
		}
		if again := resolvconf.Rewrite(out, loopback, "run.internal", 1); !bytes.Equal(again, out) {
			t.Fatalf("Rewrite twice: %q, then %q", out, again)
		}
	})
}
