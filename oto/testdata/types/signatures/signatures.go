// Package signatures has all ways to write a method.
package signatures

import "context"

type Service interface {
	Plain(Request) Request
	Pointers(*Request) *Request
	Context(ctx context.Context, r Request) (Request, error)
	ContextPointers(context.Context, *Request) (*Request, error)
	ErrorAlone(Request) (Request, error)
}

type Request struct{ Name string }
