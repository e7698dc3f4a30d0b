// Package maps has maps with all sorts of keys, of anything.
package maps

import (
	"net/netip"
	"time"
)

type Service interface{ Echo(Maps) Maps }

type Maps struct {
	Texts    map[string]string
	Ints     map[int]bool
	Uint8s   map[uint8]string
	Addrs    map[netip.Addr]string
	Times    map[time.Time]int
	Named    map[Name]Item
	Items    map[string]Item
	Maybes   map[string]*Item
	Lists    map[string][]Item
	Nested   map[string]map[int64]Item
	Registry Registry
}

type (
	Name     string
	Item     struct{ Count int }
	Registry map[Name]Item
)
