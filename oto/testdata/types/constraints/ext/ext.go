// Package ext is beside the definition, and of its module.
package ext

// Money is an amount.
type Money struct {
	// Currency is a code.
	// pattern: "^[A-Z]{3}$"
	Currency string
}

// Rated is generic.
type Rated[T any] struct {
	// Stars are few.
	// min: 1
	// max: 5
	Stars int
	Of    T
}
