// Package http has the name of one of the standard library.
package http

// Request is foreign.
type Request struct{ URL string }

// Money has the name of one of the definition's.
type Money struct{ Theirs int }
