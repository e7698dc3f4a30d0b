// Package constraints has fields with constraints.
package constraints

import (
	"time"

	"github.com/pacedotdev/oto/testdata/types/constraints/ext"
)

type Service interface {
	// Order is refused if what it gets breaks them.
	Order(Order) Order
}

// Order is constrained.
type Order struct {
	// Name is whose.
	// required: true
	// min: 2
	// max: 20
	// pattern: "^[\\p{L} ]+$"
	Name string
	// Count has bounds.
	// min: 1
	// max: 10
	Count int
	// Size is one of a few.
	// enum: ["S", "M", "L"]
	Size Size `json:"size,omitempty"`
	// Tags are few and short.
	// max: 3
	// pattern: "^[a-z]+$"
	Tags []string
	// Lines are what is ordered.
	// required: true
	Lines []Line
	// Extras are by name.
	Extras map[string]*Line
	// Timeout is at least a second.
	// min: 1000000000
	Timeout time.Duration `json:",omitempty"`
	// Sure is said.
	// required: true
	Sure *bool
	// Price has constraints in its own package.
	Price ext.Money
	// Page is generic.
	Page Page[Line]
	// Words are many, by number.
	// min: 1
	// pattern: "o"
	Words *[]*Word
	*Delivery
	ext.Rated[int]
}

// Page is a part of a list.
type Page[T any] struct {
	// Items are what is on it.
	// max: 10
	Items []T
}

// Word is a named text.
type Word string

type Size string

// Line is one thing that is ordered.
type Line struct {
	// Taco is which.
	// required: true
	Taco string
	// Sides have sides.
	Sides [][]Line
}

// Delivery is embedded.
type Delivery struct {
	// Street is where to.
	// required: true
	Street string
	// Gate is said, but a server can't tell.
	// required: true
	Gate bool
	// Floor is not too high.
	// max: 99
	Floor int
}
