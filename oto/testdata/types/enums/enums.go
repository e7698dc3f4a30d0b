// Package enums has named strings and integers with constants, and without.
package enums

type Service interface{ Echo(Enums) Enums }

type Enums struct {
	Colour  Colour
	Level   Level
	Maybe   *Colour `json:"maybe,omitempty"`
	All     []Colour
	ByLevel map[Level]Colour
	Open    Open
	Plain   Plain
	Ratio   Ratio
}

// Colour is an enum.
type Colour string

const (
	// Red is the colour of tomatoes.
	Red   Colour = "red"
	Green Colour = "green" // Green is that of coriander.
)

// Level is an enum of numbers.
type Level uint8

const (
	Mild Level = iota
	Hot
	// Default is another name for Mild.
	Default = Mild
)

// Open has constants but is no enum: there are other values.
// enum: false
type Open string

const Known Open = "known"

// Plain is a named string without constants.
type Plain string

// Ratio is a number with constants.
type Ratio float64

// Half is a half.
const Half Ratio = 0.5
