// Package echo implements the services of the torture definition: each method
// gives back what it gets.
package echo

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/pacedotdev/oto/testdata/torture/ext"
	"github.com/pacedotdev/oto/testdata/torture/server"
)

// Register has s answer the calls of all services.
func Register(s *otohttp.Server) {
	server.RegisterClient(s, client{})
	server.RegisterElsewhere(s, elsewhere{})
	server.RegisterSignatures(s, signatures{})
	server.RegisterTorture(s, torture{})
}

type (
	client     struct{}
	elsewhere  struct{}
	signatures struct{}
	torture    struct{}
)

func same[T any](v T) (*T, error) { return &v, nil }

func (client) Call(_ context.Context, r server.Error) (*server.Error, error) { return same(r) }

func (elsewhere) Pay(_ context.Context, r server.MoreMoney) (*server.MoreMoney, error) { return same(r) }

func (signatures) Alias(_ context.Context, r server.PageOfTexts) (*server.PageOfTexts, error) {
	return same(r)
}
func (signatures) Context(_ context.Context, r server.Texts) (*server.Texts, error) { return same(r) }
func (signatures) ContextPointer(_ context.Context, r server.Texts) (*server.Texts, error) {
	return same(r)
}
func (signatures) Copied(_ context.Context, r server.MoreMoney) (*server.MoreMoney, error) { return same(r) }
func (signatures) Enum(_ context.Context, r server.Colour) (*server.Colour, error) { return same(r) }
func (signatures) Everything(_ context.Context, r any) (*any, error)               { return same(r) }
func (signatures) Imported(_ context.Context, r ext.Money) (*ext.Money, error)     { return same(r) }
func (signatures) Instance(_ context.Context, r server.PageOfTexts) (*server.PageOfTexts, error) {
	return same(r)
}
func (signatures) List(_ context.Context, r []server.Texts) (*[]server.Texts, error) { return same(r) }
func (signatures) Map(_ context.Context, r map[string]server.Texts) (*map[string]server.Texts, error) {
	return same(r)
}
func (signatures) Marshaller(_ context.Context, r netip.Addr) (*netip.Addr, error)    { return same(r) }
func (signatures) Moment(_ context.Context, r time.Time) (*time.Time, error)          { return same(r) }
func (signatures) Named(_ context.Context, r server.Matrix) (*server.Matrix, error)   { return same(r) }
func (signatures) OnlyError(_ context.Context, r server.Texts) (*server.Texts, error) { return same(r) }
func (signatures) Pointer(_ context.Context, r server.Texts) (*server.Texts, error)   { return same(r) }
func (signatures) Raw(_ context.Context, r json.RawMessage) (*json.RawMessage, error) { return same(r) }
func (signatures) Scalar(_ context.Context, r int64) (*int64, error)                  { return same(r) }
func (signatures) Text(_ context.Context, r string) (*string, error)                  { return same(r) }

func (torture) Anything(_ context.Context, r server.Anything) (*server.Anything, error) {
	return same(r)
}
func (torture) Clashes(_ context.Context, r server.Clashes) (*server.Clashes, error) { return same(r) }
func (torture) Constrained(_ context.Context, r server.Constrained) (*server.Constrained, error) {
	return same(r)
}
func (torture) Embedding(_ context.Context, r server.Embedding) (*server.Embedding, error) {
	return same(r)
}
func (torture) Enums(_ context.Context, r server.Enums) (*server.Enums, error)       { return same(r) }
func (torture) Foreign(_ context.Context, r server.Foreign) (*server.Foreign, error) { return same(r) }
func (torture) Generics(_ context.Context, r server.Generics) (*server.Generics, error) {
	return same(r)
}
func (torture) Keywords(_ context.Context, r server.Keywords) (*server.Keywords, error) {
	return same(r)
}
func (torture) Lists(_ context.Context, r server.Lists) (*server.Lists, error) { return same(r) }
func (torture) Maps(_ context.Context, r server.Maps) (*server.Maps, error)    { return same(r) }
func (torture) Marshallers(_ context.Context, r server.Marshallers) (*server.Marshallers, error) {
	return same(r)
}
func (torture) Mutual(_ context.Context, r server.Chicken) (*server.Chicken, error)  { return same(r) }
func (torture) Nested(_ context.Context, r server.Nested) (*server.Nested, error)    { return same(r) }
func (torture) Numbers(_ context.Context, r server.Numbers) (*server.Numbers, error) { return same(r) }
func (torture) Omitted(_ context.Context, r server.Omitted) (*server.Omitted, error) { return same(r) }
func (torture) Pointers(_ context.Context, r server.Pointers) (*server.Pointers, error) {
	return same(r)
}
func (torture) Quoted(_ context.Context, r server.Quoted) (*server.Quoted, error) { return same(r) }
func (torture) Same(_ context.Context, r server.Same) (*server.Same, error)       { return same(r) }
func (torture) Tags(_ context.Context, r server.Tags) (*server.Tags, error)       { return same(r) }
func (torture) Texts(_ context.Context, r server.Texts) (*server.Texts, error)    { return same(r) }
func (torture) Times(_ context.Context, r server.Times) (*server.Times, error)    { return same(r) }
func (torture) Tree(_ context.Context, r server.Node) (*server.Node, error)       { return same(r) }
