// Package pointers has optional and nullable values.
package pointers

type Service interface{ Echo(*Pointers) *Pointers }

type Pointers struct {
	Bool   *bool
	Int    *int64 `json:"int,omitempty"`
	Text   *string
	Object *Item
	Items  *[]*Item
	Map    *map[string]*int
	Twice  **string
	Named  Maybe
}

type Item struct{ Name string }

// Maybe is a name for a pointer.
type Maybe *Item
