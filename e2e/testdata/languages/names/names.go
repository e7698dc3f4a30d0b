// Package names has names and comments that mean something in other languages.
package names

import "time"

// Promise has a comment with */ in it, """quotes""", a \backslash, \N{x} and ends with "quotes"
type Promise interface {
	// Constructor ends with a backslash \
	Constructor(Error) Error
	Then(Error) Error
	List([]Error) []Error
	Close(map[string]Error) map[string]Error
	Cast(cast) cast
	Self(Größe) Größe
	Empty(Empty) Empty
	InitSubclass(str) str
	Import(Object) Object
	Alias(X2Y) X2Y
}

// Error has fields of all sorts of names.
type Error struct {
	// Self is "quoted"
	Self, Cls, Field, Dataclass, Client, Timeout, Any, Decimal, Int, Str string

	Constructor string
	Proto       string `json:"__proto__"`
	Slash       string `json:"a/b~c"`
	Under       string `json:"_"`
	One         string `json:"1"`
	Dunder      string `json:"__class__"`
	TimeOf      time.Time
	Type        string
	Camel       string
	Snake       string `json:"camel_"`
	Upper       string `json:"CAMEL"`
	Ünder       string
}

type cast struct {
	Number number
	Str    str
}

type number float64

type str string

// What enums' members can't be called in Python.
const (
	None  str = "None"
	True  str = "true"
	mro   str = "x\\y\"z\n"
	Name  str = "name"
	Value str = "value"
)

// Größe isn't of ASCII.
type Größe struct {
	Ärger  int
	Object Object
}

// Empty has nothing.
type Empty struct{}

// Object has itself.
type Object struct {
	Object *Object
	Map    map[Bits]string
	B      Bits
}

// Bits are a byte.
type Bits uint8

// Values of Bits.
const (
	Zero Bits = iota
	One
	Two
)

// X2Y is another name.
type X2Y = Error
