// Package marshallers has types that make their own JSON. Those of the definition
// are referred to in its package, which has their methods.
package marshallers

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
)

type Service interface{ Echo(Marshallers) Marshallers }

type Marshallers struct {
	Celsius Celsius
	All     []Celsius
	Point   *Point
	ByPoint map[Point]Celsius
	Addr    netip.Addr
	Big     *big.Int
	Secret  Secret
}

// Celsius makes its own JSON.
type Celsius float64

func (c Celsius) MarshalJSON() ([]byte, error) { return json.Marshal([]float64{float64(c)}) }

func (c *Celsius) UnmarshalJSON(text []byte) error {
	var one [1]float64
	err := json.Unmarshal(text, &one)
	*c = Celsius(one[0])
	return err
}

// Point makes its own text.
type Point struct{ X, Y int }

func (p Point) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d/%d", p.X, p.Y), nil }

func (p *Point) UnmarshalText(text []byte) error {
	_, err := fmt.Sscanf(string(text), "%d/%d", &p.X, &p.Y)
	return err
}

// Secret has nothing that is exported, but makes its own text.
type Secret struct{ text string }

func (s Secret) MarshalText() ([]byte, error) { return []byte(s.text), nil }

func (s *Secret) UnmarshalText(text []byte) error {
	s.text = string(text)
	return nil
}
