package packages

// Money is of the first package.
type Money struct{ First int }
