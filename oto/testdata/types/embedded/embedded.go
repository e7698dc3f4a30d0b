// Package embedded has embedded structs: their fields stand in their place.
package embedded

import "github.com/pacedotdev/oto/testdata/types/embedded/ext"

type Service interface{ Echo(Outer) Outer }

type Outer struct {
	Base
	*Optional
	inner
	ext.Tracked
	Pair[string]
	Coordinates
	Named  Base `json:"base"`
	Hidden int
}

type Base struct {
	// ID is promoted.
	ID string
	Root
	// Hidden is hidden by Outer's own.
	Hidden string
}

type Root struct{ Depth int }

type Optional struct{ Note string }

type inner struct{ Inside string }

type Pair[T any] struct{ Left, Right T }

// Coordinates is an alias of a struct without a name.
type Coordinates = struct{ X, Y int }
