// Package request has the name of what a client's method takes.
package request

type Unit int
