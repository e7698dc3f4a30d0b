// Package context has the name of one of the standard library.
package context

// Amount is foreign.
type Amount struct {
	// Units are counted.
	Units int64 `json:"units"`
	Code  string
}
