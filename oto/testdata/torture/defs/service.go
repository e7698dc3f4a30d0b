// Package defs uses everything that oto understands of Go, with a method for each
// kind of type that gives back what it gets.
package defs

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/pacedotdev/oto/testdata/torture/ext"
	"github.com/pacedotdev/oto/testdata/torture/more"
)

// Torture echoes.
type Torture interface {
	Numbers(Numbers) Numbers
	Texts(Texts) Texts
	Anything(Anything) Anything
	Lists(Lists) Lists
	Maps(Maps) Maps
	Times(Times) Times
	Enums(Enums) Enums
	Marshallers(Marshallers) Marshallers
	Pointers(Pointers) Pointers
	Omitted(Omitted) Omitted
	Quoted(Quoted) Quoted
	Tags(Tags) Tags
	Embedding(Embedding) Embedding
	Tree(Node) Node
	Mutual(Chicken) Chicken
	Generics(Generics) Generics
	Foreign(Foreign) Foreign
	Same(Same) Same
	Keywords(Keywords) Keywords
	Nested(Nested) Nested
	Clashes(Clashes) Clashes
	// Constrained is refused unless what it gets fits.
	Constrained(Constrained) Constrained
}

// Signatures are the ways to write a method.
type Signatures interface {
	Context(ctx context.Context, r Texts) (Texts, error)
	Pointer(*Texts) *Texts
	ContextPointer(ctx context.Context, r *Texts) (*Texts, error)
	OnlyError(r Texts) (Texts, error)
	List([]Texts) []Texts
	Map(map[string]Texts) map[string]Texts
	Scalar(int64) int64
	Text(string) string
	Moment(time.Time) time.Time
	Instance(Page[Texts]) Page[Texts]
	Alias(TextPage) TextPage
	Imported(ext.Money) ext.Money
	Copied(more.Money) more.Money
	Raw(json.RawMessage) json.RawMessage
	Enum(Colour) Colour
	Named(Matrix) Matrix
	Marshaller(netip.Addr) netip.Addr
	Everything(any) any
}

// Client has the name of something in generated clients.
type Client interface {
	Call(Error) Error
}
