// Package ext is beside the definition.
package ext

// Box is generic.
type Box[T any] struct{ Content T }
