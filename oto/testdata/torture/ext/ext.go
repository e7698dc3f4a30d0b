// Package ext is not of the definition, but of its module.
package ext

import "time"

// Money is an amount.
type Money struct {
	// Units is how many.
	// example: 12
	Units int64 `json:"units_count"`
	// Currency is a code.
	// example: "GBP"
	Currency string
	secret   string
}

// Secret says what nobody sees.
func (m Money) Secret() string { return m.secret }

// Unit is an enum of another package.
type Unit string

const (
	// Metre is a metre.
	Metre Unit = "m"
	// Foot is a foot.
	Foot Unit = "ft"
)

// Box is generic.
type Box[T any] struct {
	Content T
	Label   string `json:"label"`
}

// Nested has other types in it.
type Nested struct {
	Money   Money `json:"money"`
	Expires time.Time
	inner   inner
	Inner   inner
}

type inner struct{ Depth int }

// New returns a Nested: its Inner can't be made elsewhere.
func New(depth int) Nested { return Nested{Inner: inner{depth}, inner: inner{depth}} }

// Hidden says what nobody sees.
func (n Nested) Hidden() int { return n.inner.Depth }

// Code is a named number of another package.
type Code int
