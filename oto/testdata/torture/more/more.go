// Package more is a second package of the definition.
package more

// Elsewhere is a service of a second package.
type Elsewhere interface {
	Pay(Money) Money
}

// Money is more's own.
type Money struct {
	// More says that it is this one.
	More  int
	Notes []Note
}

// Note is a bank's.
type Note struct{ Value int }
