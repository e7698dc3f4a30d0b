package defs

import (
	"encoding/json"
	"math/big"
	"net/http"
	"net/netip"
	"time"

	"github.com/pacedotdev/oto/testdata/torture/ext"
	"github.com/pacedotdev/oto/testdata/torture/more"
)

// Numbers are all sizes of numbers.
type Numbers struct {
	Bool    bool
	Int     int
	Int8    int8
	Int16   int16
	Int32   int32
	Int64   int64
	Uint    uint
	Uint8   uint8
	Uint16  uint16
	Uint32  uint32
	Uint64  uint64
	Byte    byte
	Rune    rune
	Uintptr uintptr
	Float32 float32
	Float64 float64
	// Exact has as many digits as it needs.
	Exact json.Number
	Score Score
}

// Score is a named number without constants.
type Score float64

// Texts are strings.
type Texts struct {
	Text  string
	Name  Name
	Bytes []byte
	Octet Octets
}

// Name is a named string without constants.
type Name string

// Octets are named bytes.
type Octets []byte

// Anything is JSON of any shape.
type Anything struct {
	Any       any
	Interface interface{}
	Named     Whatever
	Raw       json.RawMessage
	Anys      []any
	ByName    map[string]any
}

// Whatever is a named empty interface.
type Whatever interface{}

// Lists are lists and arrays, nested and named.
type Lists struct {
	Ints     []int
	Nested   [][]string
	Deep     [][][]bool
	Array    [3]int
	Octets   [4]byte
	Matrix   Matrix
	Objects  []Texts
	Pointers []*Texts
	Bytes    [][]byte
	Numbers  []uint16
	Arrays   [2][2]Leg
	Maps     []map[string]int
	Tree     Forest
}

// Matrix is a named list of lists.
type Matrix [][]float64

// Forest is a list of itself.
type Forest []Forest

// Leg is one.
type Leg struct {
	Length float64
}

// Maps are maps with all kinds of keys, of anything.
type Maps struct {
	Strings  map[string]string
	Named    map[Name]int
	Colours  map[Colour]bool
	Levels   map[Level]string
	Ints     map[int]string
	Int8s    map[int8]string
	Uint64s  map[uint64]string
	Texts    map[netip.Addr]string
	Times    map[time.Time]string
	Objects  map[string]Texts
	Pointers map[string]*Texts
	Lists    map[string][]int
	Nested   map[string]map[int]Leg
	Registry Registry
}

// Registry is a named map.
type Registry map[string]Leg

// Times are moments and spans.
type Times struct {
	Time     time.Time
	Duration time.Duration
	Maybe    *time.Time
	List     []time.Time
	Spans    map[string]time.Duration
}

// Colour is an enum of text.
type Colour string

const (
	// Red is red.
	Red   Colour = "red"
	Green Colour = "green" // Green is grass.
	// Odd has a text with "quotes" in it.
	Odd Colour = "odd \"one\""
)

// Level is an enum of numbers.
type Level int

const (
	Low Level = iota - 1
	Middle
	High
	// Top is another name for High.
	Top = High
)

// Size is an enum of large numbers.
type Size uint64

const Largest Size = 1<<64 - 1

// Open is a string of which some values have names: it is no enum.
// enum: false
type Open string

const Known Open = "known"

// Enums are named strings and integers with constants.
type Enums struct {
	Colour   Colour
	Level    Level
	Size     Size
	Open     Open
	Maybe    *Colour
	Colours  []Colour
	ByColour map[Colour][]Level
	Unit     ext.Unit
	Month    time.Month
}

// Marshallers are types that make their own JSON.
type Marshallers struct {
	Celsius   Celsius
	Celsiuses []Celsius
	Point     Point
	Points    map[string]Point
	Addr      netip.Addr
	Prefix    *netip.Prefix
	Big       *big.Int
	ByPoint   map[Point]int
}

// Celsius makes its own JSON: a text with a unit.
type Celsius float64

// Point makes its own text.
type Point struct{ X, Y int }

// Pointers are optional and nullable.
type Pointers struct {
	Bool     *bool
	Int      *int64
	Text     *string
	Object   *Texts
	List     *[]int
	Map      *map[string]int
	Twice    **int
	Any      *any
	Bytes    *[]byte
	Optional Optional
}

// Optional is a named pointer.
type Optional *Texts

// Omitted are left out when empty or zero.
type Omitted struct {
	Text     string            `json:",omitempty"`
	Int      int               `json:"int,omitempty"`
	List     []int             `json:"list,omitempty"`
	Map      map[string]string `json:"map,omitempty"`
	Pointer  *string           `json:"pointer,omitempty"`
	Object   Leg               `json:"object,omitempty"`
	Zero     Leg               `json:"zero,omitzero"`
	Time     time.Time         `json:"time,omitzero"`
	Duration time.Duration     `json:"duration,omitzero"`
	Array    [2]int            `json:"array,omitzero"`
	Always   string            `json:"always"`
}

// Quoted are numbers inside of text.
type Quoted struct {
	Int64   int64   `json:"int64,string"`
	Uint64  uint64  `json:",string"`
	Bool    bool    `json:",string"`
	Float   float64 `json:",string"`
	Text    string  `json:",string"`
	Pointer *int64  `json:"pointer,string,omitempty"`
	Level   Level   `json:",string"`
	List    []int   `json:",string"` // without effect
}

// Tags are names and tags of all sorts.
type Tags struct {
	Renamed  string `json:"another_name" xml:"x,attr"`
	Dash     string `json:"-,"`
	Hidden   string `json:"-"`
	Spaced   string `json:"with space"`
	Dollar   string `json:"$ref"`
	Dotted   string `json:"a.b-c/d"`
	Accented string `json:"größe"`
	Digit    string `json:"1st"`
	Upper    string `json:"UPPER"`
	HTMLPage string
	APIKeyID string
	ModelId  string
	Überbau  string
	Func     func() `json:"-"`
}

// Base is embedded.
type Base struct {
	// ID is promoted.
	ID string
	// Shadowed is hidden by what embeds it.
	Shadowed string
	Created  time.Time
}

// Deep is embedded in what is embedded.
type Deep struct {
	Base
	Deepest int
}

type hidden struct {
	Visible string
}

// Embedding embeds.
type Embedding struct {
	Deep
	*Leg
	hidden
	ext.Money
	Page[Texts]
	Named    Base `json:"named"`
	Shadowed int
	Colour
}

// Node is a tree.
type Node struct {
	Name     string
	Left     *Node
	Children []Node
	ByName   map[string]*Node
}

// Chicken and Egg have each other.
type Chicken struct {
	Name string
	Eggs []Egg
}

// Egg and Chicken have each other.
type Egg struct {
	Mother *Chicken
	Shells map[string]Chicken
}

// Page is a part of a list of anything.
type Page[T any] struct {
	// Items are what is on it.
	Items []T
	// Next leads to the next one.
	Next *string `json:"next,omitempty"`
}

// Pair is two things.
type Pair[K comparable, V any] struct {
	Key   K
	Value V
}

// Linked is a generic list of itself.
type Linked[T any] struct {
	Value T
	Next  *Linked[T]
}

// TextPage is an instance by another name.
type TextPage = Page[Texts]

// ListOf is a generic alias.
type ListOf[T any] = []T

// PairTo is a generic alias of a generic type.
type PairTo[V any] = Pair[string, V]

// Generics are instances.
type Generics struct {
	Page    Page[Texts]
	Strings Page[string]
	Pages   Page[Page[int]]
	Pair    Pair[string, Leg]
	Pairs   []Pair[int, []string]
	Alias   TextPage
	List    ListOf[Leg]
	To      PairTo[*Leg]
	Linked  Linked[Level]
	Foreign ext.Box[Texts]
	Numbers ext.Box[int]
	ByName  map[string]Page[Colour]
}

// Foreign are types of other packages.
type Foreign struct {
	Money  ext.Money
	Moneys []*ext.Money
	ByName map[string]ext.Money
	Header http.Header
	Cookie ext.Nested
	Code   ext.Code
}

// Money is the definition's own, beside other packages'.
type Money struct {
	// Mine says that it is this one.
	Mine string
}

// Same are types of one name.
type Same struct {
	Own   Money
	Ext   ext.Money
	More  more.Money
	Owns  []Money
	Exts  []ext.Money
	Mores []more.Money
}

// Keywords are names that mean something in some language.
type Keywords struct {
	Type, Class, Default, Func, From, Import, None, True, Self, Lambda string
	Def, Pass, Var, Let, New, This, Function, Constructor, Prototype   string
	Async, Await, Yield, With, Is, In, Not, And, Or, Global, Del       string
	Range, Map, Select, Interface, Package, Const, String, Int, Date   string
	ToString, HasOwnProperty, Get, Keys, Values, Items, Json, Datetime string
	Proto                                                              string `json:"__proto__"`
	Init                                                               string `json:"__init__"`
}

// Nested has structs without names.
type Nested struct {
	Point struct {
		// X is across.
		X int
		Y int `json:"y,omitempty"`
	}
	Points []struct{ X, Y int }
	Maybe  *struct{ Deeper struct{ Name string } }
}

// Error has the name of something in generated clients.
type Error struct {
	Message string
	Object  Object
}

// Object has the name of something in JavaScript.
type Object struct{ Array Array }

// Array has the name of something in JavaScript.
type Array struct{ Promise Promise }

// Promise has the name of something in JavaScript.
type Promise struct{ Date Date }

// Date has the name of something in JavaScript.
type Date struct{ Map Map }

// Map has the name of something in JavaScript.
type Map struct{ Record string }

// Clashes are names that clash with those of templates.
type Clashes struct {
	Error    Error
	Any      Any
	Optional List
	Dict     Dict
	New      New
	NewX     NewTorture
	Register RegisterTorture
}

// Any, List, Dict, New, NewTorture and RegisterTorture have names that templates
// may need.
type (
	Any             struct{ A string }
	List            struct{ B string }
	Dict            struct{ C string }
	New             struct{ D string }
	NewTorture      struct{ E string }
	RegisterTorture struct{ F string }
)

// Constrained says what must hold.
type Constrained struct {
	// Name is asked for.
	// required: true
	// min: 2
	// max: 20
	// pattern: "^[A-Za-zäöü ]+$"
	// example: "Ana"
	Name string
	// Colour is one of a few.
	// enum: ["red", "green"]
	// example: "red"
	Colour Colour
	// Count has bounds.
	// min: 1
	// max: 9007199254740993
	// example: 3
	Count int64
	// Ratio has them too.
	// min: -0.5
	// max: 1.5
	Ratio float64
	// Dice is one of six.
	// enum: [1, 2, 3, 4, 5, 6]
	// example: 6
	Dice int
	// Tags are short, and there are some.
	// required: true
	// max: 3
	// pattern: "^[a-z]*$"
	// example: ["a", "b"]
	Tags []string
	// Nick may be left out, but if it's there it has a length.
	// min: 3
	Nick string `json:"nick,omitempty"`
	// Maybe may be null.
	// min: 10
	Maybe *int
	// Sure has to be there.
	// required: true
	Sure *bool
	// Items have constraints of their own.
	// min: 1
	// max: 2
	Items []Item
	// ByName have them too.
	ByName map[string]Item
	// Next is optional.
	Next *Item
	// Key is of a length.
	// max: 4
	Key []byte
	Bounds
}

// Bounds is embedded.
type Bounds struct {
	// Low is promoted with its constraint.
	// max: 100
	Low int
}

// Item is one.
type Item struct {
	// Label is asked for.
	// required: true
	Label string
	// Grid has rows of short texts.
	Grid [][]Cell
}

// Cell is one of a grid.
type Cell struct {
	// Text is short.
	// max: 1
	Text string
}
