// Package generics has instances of generic types and aliases.
package generics

import "github.com/pacedotdev/oto/testdata/types/generics/ext"

type Service interface {
	Echo(Generics) Generics
	Page(Page[Item]) Page[Item]
	Alias(ItemPage) ItemPage
}

type Generics struct {
	Items  Page[Item]
	Texts  Page[string]
	Nested Page[Page[int]]
	Pairs  []Pair[string, []Item]
	Maybe  Pair[int, *Item]
	Chain  Chain[Item]
	Alias  ItemPage
	List   List[Item]
	Named  Named[bool]
	Box    ext.Box[Item]
}

// Page is a part of a list.
type Page[T any] struct {
	// Items are what is on it.
	Items []T
	// Next leads to the next one.
	Next *string `json:",omitempty"`
}

type Pair[K comparable, V any] struct {
	Key   K
	Value V
}

// Chain is a list of itself.
type Chain[T any] struct {
	Value T
	Next  *Chain[T]
}

type Item struct{ Name string }

// ItemPage is a page by another name.
type ItemPage = Page[Item]

// List and Named are generic aliases.
type (
	List[T any]  = []T
	Named[T any] = Pair[string, T]
)
