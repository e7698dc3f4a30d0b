package sandbox

import (
	"net/netip"
	"os"
	"reflect"
	"testing"
)

func TestOrderUnpacksAsPacked(t *testing.T) {
	o := order{allIDs: true, Spec: Spec{
		Args: []string{"/app", ""}, Env: []string{"A=\xff"}, Dir: "/", Hostname: "taco", Root: "r", UID: 1, GID: 1<<32 - 2,
		Files:  []File{{Path: "/a", Data: []byte("a"), Mode: os.ModeDir | 0o700, UID: 1}, {Path: "/b", Source: "b", Copy: true, Data: []byte{}}},
		Listen: []Address{{Network: "udp", AddrPort: netip.MustParseAddrPort("[fd00::1]:53")}},
	}}
	got, err := unpack(o.pack())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.order, o) {
		t.Errorf("unpacked %+v, want %+v", got.order, o)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add((&order{Spec: Spec{Args: []string{"/app"}, Files: []File{{Path: "/a"}}}}).pack())
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = unpack(b) })
}
