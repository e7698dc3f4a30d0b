// Package more is of the definition too.
package more

// Money is of the second package.
type Money struct{ Second Note }

// Note is only here.
type Note struct{ Value int }
