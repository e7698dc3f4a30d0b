// Package ext is beside the definition, and of its module.
package ext

// Money is an amount.
type Money struct {
	// Currency is a code.
	// pattern: "^[A-Z]{3}$"
	Currency string
}
