package parser

import (
	"go/types"
	"slices"
	"strings"
)

// What a template of any language needs to know of types. The keys of objects
// and fields that the original had can't tell all of it and stay as they were;
// a template uses either those, or [Definition.Types] and [TypeRef] alone.

// The kinds of types: what a value looks like as JSON.
const (
	KindBool   = "bool"
	KindInt    = "int"    // a number without fraction, of Bits bits
	KindFloat  = "float"  // a number, of Bits bits
	KindNumber = "number" // a number of any length: json.Number
	KindString = "string"
	// KindBytes is text in base64.
	KindBytes = "bytes"
	// KindTime is text as RFC 3339 has it: time.Time.
	KindTime = "time"
	// KindDuration is a number of nanoseconds: time.Duration.
	KindDuration = "duration"
	// KindAny is any JSON, decoded: any.
	KindAny = "any"
	// KindRaw is any JSON, as it came: json.RawMessage.
	KindRaw = "raw"
	// KindText is text that the type itself makes: it has MarshalText.
	KindText = "text"
	// KindJSON is JSON that the type itself makes: it has MarshalJSON.
	KindJSON = "json"
	// KindObject is an object with a key for each of the type's Fields.
	KindObject = "object"
	// KindEnum is text or a number, one of the type's Values.
	KindEnum = "enum"
	// KindList is an array of Elem, KindArray one of Len items. A longer one is cut
	// by Go, a shorter one filled up with zeros.
	KindList  = "list"
	KindArray = "array"
	// KindMap is an object of Elem by Key. A key is of kind string, int, text or
	// enum; as JSON it is text, that of an int its decimal digits.
	KindMap = "map"
)

// TypeRef is a type where it is used: of a field, of what a method takes, of a
// list's items.
//
// One with a Name is explained by the [Type] of that name and has only what
// holds of the use: Kind, of an enum also Base, Bits and Unsigned, Pointers and
// Quoted. One without is all there is, with the types it is made of below it. A
// type that contains itself does so by name, so the tree ends.
type TypeRef struct {
	// Kind is one of the constants above.
	Kind string `json:"kind"`
	// Name is the Name of a Type; empty for a type without one.
	Name string `json:"name,omitempty"`
	// Base is the kind of an enum's values: string or int.
	Base string `json:"base,omitempty"`
	// Bits is the size of an int or float: 8, 16, 32 or 64. Go's int and uint
	// have 64.
	Bits int `json:"bits,omitempty"`
	// Unsigned says that an int can't be below zero.
	Unsigned bool `json:"unsigned,omitempty"`
	// Elem is what a list, array or map has in it; Key is a map's.
	Elem *TypeRef `json:"elem,omitempty"`
	Key  *TypeRef `json:"key,omitempty"`
	// Len is the number of items of an array.
	Len int64 `json:"len,omitempty"`
	// Pointers is how many pointers there are before the value. With any, null
	// stands for a nil one and differs from the zero value. A type that Go has as
	// a name for a pointer is that pointer here.
	Pointers int `json:"pointers,omitempty"`
	// Nullable says that Go may send null: the type is a pointer, list, map,
	// bytes, any or raw, or a name for one. Null is taken for any type; where it
	// isn't nullable it leaves the zero value.
	Nullable bool `json:"nullable,omitempty"`
	// Quoted says that a bool, number or text travels inside of text, as
	// json:",string" has it: "12" for 12, and "\"a\"" for "a".
	Quoted bool `json:"quoted,omitempty"`

	// typ is the type in Go.
	typ types.Type
}

// IsPointer says whether the value is behind a pointer: it is null when there is
// none.
func (t TypeRef) IsPointer() bool { return t.Pointers > 0 }

// IsLossy says whether a double, which JavaScript has for all numbers, can't
// hold every value: an int of 64 bits, a duration, a number of any length.
func (t TypeRef) IsLossy() bool {
	return !t.Quoted && (t.Kind == KindInt || t.Kind == KindEnum && t.Base == KindInt) && t.Bits == 64 ||
		t.Kind == KindDuration || t.Kind == KindNumber
}

// Type is a type with a name: a struct, an enum, a named string, list or map, a
// type that makes its own JSON; the definition's own, another package's, or an
// instance of a generic one.
type Type struct {
	// ID tells types apart: the package's path, the name and type arguments.
	ID string `json:"id"`
	// Name is the type's name in what is generated. No two types have one name,
	// nor a type and a service: where they would, those of other packages get
	// their package's name in front. An instance of a generic type is named for
	// what is in it: PageOfTaco.
	Name string `json:"name"`
	// GoName is the type as its own package calls it: Page[Taco].
	GoName string `json:"goName"`
	// Package and PackageName are the package that declares it: path and name.
	Package     string `json:"package"`
	PackageName string `json:"packageName"`
	// Imported says that generated Go refers to the type in its own package and
	// doesn't declare it: one of another package, or one with methods of its own
	// for JSON.
	Imported bool `json:"imported"`
	// Kind is what its values are on the wire.
	Kind string `json:"kind"`
	// Underlying is what the type is a name for; nil for objects and for types
	// that make their own text or JSON.
	Underlying *TypeRef `json:"underlying"`
	// Fields are the keys of an object on the wire, in the order that Go sends
	// them. What is embedded is flattened, and what doesn't travel is left out. Of
	// their Type only Wire is filled in.
	Fields []Field `json:"fields"`
	// Members are the fields of the struct as it is declared: those that are
	// embedded as such, those that don't travel with an empty JSONName.
	Members []Field `json:"members"`
	// Values are the constants of the type, in the order they are declared: of an
	// enum, all the values it may have.
	Values   []EnumValue    `json:"values"`
	Comment  string         `json:"comment"`
	Doc      string         `json:"doc"`
	Metadata map[string]any `json:"metadata"`

	// typ is the type in Go.
	typ types.Type
}

// EnumValue is one constant of a type.
type EnumValue struct {
	// Name is the constant's name in what is generated, as unique as a type's.
	Name string `json:"name"`
	// GoName is its name in its own package.
	GoName string `json:"goName"`
	// Value is the constant: a string, an int64 or a uint64; of other types than
	// enums also a float64 or a bool.
	Value any `json:"value"`
	// JSON is the constant as JSON writes it.
	JSON    string `json:"json"`
	Comment string `json:"comment"`
	Doc     string `json:"doc"`
}

// DistinctValues are the values of an enum without constants for a value that an
// earlier one has.
func (t Type) DistinctValues() []EnumValue {
	var distinct []EnumValue
	for _, v := range t.Values {
		if !slices.ContainsFunc(distinct, func(d EnumValue) bool { return d.JSON == v.JSON }) {
			distinct = append(distinct, v)
		}
	}
	return distinct
}

// IsObject, IsEnum say of which kind the type is.
func (t Type) IsObject() bool { return t.Kind == KindObject }
func (t Type) IsEnum() bool   { return t.Kind == KindEnum }

// Type returns the type of that Name. The error is [ErrNotFound] when there is
// none.
func (d *Definition) Type(name string) (*Type, error) {
	i, ok := slices.BinarySearchFunc(d.Types, name, func(t Type, name string) int { return strings.Compare(t.Name, name) })
	if !ok {
		return nil, ErrNotFound
	}
	return &d.Types[i], nil
}

// Alias is another name for a type: type A = B.
type Alias struct {
	Name string   `json:"name"`
	Type *TypeRef `json:"type"`
	Doc  string   `json:"doc"`

	packageName string
}

// Constraints are what must hold of a field's value, from its metadata:
//
//	required: true       a text, list or map with something in it, a number other
//	                     than 0, a pointer other than null; of other types, the
//	                     field is to be sent, which a server can't check
//	min: 1, max: 10      the least and the most that a number may be, or the
//	                     length of a text in characters, of bytes, a list or map
//	pattern: "^[a-z]+$"  a text, or each of a list, has a match of it, in the
//	                     syntax that Go's regexp and JavaScript share
//	enum: ["a", "b"]     a text or number, or each of a list, is one of these
//
// A field that may be left out (a pointer, omitempty, omitzero) is held to the
// others only if it is there.
type Constraints struct {
	Required bool `json:"required"`
	// Min and Max are numbers as JSON writes them; empty if there is no bound.
	Min     string `json:"min"`
	Max     string `json:"max"`
	Pattern string `json:"pattern"`
	// Enum holds strings, or numbers as JSON writes them.
	Enum []any `json:"enum"`
	// EnumJSON is Enum, each as JSON writes it.
	EnumJSON []string `json:"enumJSON"`
	// Length says that Min and Max are of a length, not of a number; Unit is of
	// what: characters, bytes, items or entries.
	Length bool   `json:"length"`
	Unit   string `json:"unit"`
	// Items says that Pattern and Enum hold for each item of a list.
	Items bool `json:"items"`
}

// Any says whether there are any constraints.
func (c Constraints) Any() bool {
	return c.Required || c.Min != "" || c.Max != "" || c.Pattern != "" || len(c.Enum) > 0
}

// Lines says in words what must hold, a line each, for documents and comments.
func (c Constraints) Lines() []string {
	var lines []string
	if c.Required {
		lines = append(lines, "Required.")
	}
	var bounds []string
	if c.Min != "" {
		bounds = append(bounds, "at least "+c.bound(c.Min))
	}
	if c.Max != "" {
		bounds = append(bounds, "at most "+c.bound(c.Max))
	}
	if len(bounds) > 0 {
		lines = append(lines, upper(strings.Join(bounds, ", "))+".")
	}
	each := ""
	if c.Items {
		each = "each "
	}
	if c.Pattern != "" {
		lines = append(lines, upper(each+"matches "+c.Pattern))
	}
	if len(c.Enum) > 0 {
		lines = append(lines, upper(each+"one of "+strings.Join(c.EnumJSON, ", "))+".")
	}
	return lines
}

// bound is a bound in words: 2 items.
func (c Constraints) bound(n string) string {
	switch {
	case !c.Length:
		return n
	case n == "1":
		return n + " " + singular[c.Unit]
	}
	return n + " " + c.Unit
}

var singular = map[string]string{"characters": "character", "bytes": "byte", "items": "item", "entries": "entry"}
