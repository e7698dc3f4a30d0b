package warden

import (
	"os"
	"reflect"
	"testing"
)

func TestOrderUnpacksAsPacked(t *testing.T) {
	o := Order{AllIDs: true, CopyRoot: true,
		Args: []string{"/app", ""}, Env: []string{"A=\xff"}, Dir: "/", Hostname: "taco", Root: "r", UID: 1, GID: 1<<32 - 2,
		Files: []File{{Path: "/a", Data: []byte("a"), Mode: os.ModeDir | 0o700, UID: 1}, {Path: "/b", Source: "b", Copy: true, Replace: true, Data: []byte{}}},
		Doors: []Door{{Name: "udp 1.2.3.4:53", UDP: true, IP: []byte{1, 2, 3, 4}, Port: 53}},
	}
	got, err := unpack(o.Pack())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, o) {
		t.Errorf("unpacked %+v, want %+v", got, o)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add((&Order{Args: []string{"/app"}, Files: []File{{Path: "/a"}}}).Pack())
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = unpack(b) })
}
