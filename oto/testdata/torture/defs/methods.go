package defs

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// MarshalJSON makes a text with a unit.
func (c Celsius) MarshalJSON() ([]byte, error) {
	return json.Marshal(strconv.FormatFloat(float64(c), 'g', -1, 64) + " °C")
}

// UnmarshalJSON reads what MarshalJSON makes.
func (c *Celsius) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	number, ok := strings.CutSuffix(s, " °C")
	if !ok {
		return fmt.Errorf("%q is no temperature", s)
	}
	f, err := strconv.ParseFloat(number, 64)
	*c = Celsius(f)
	return err
}

// MarshalText makes "1,2".
func (p Point) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d,%d", p.X, p.Y), nil }

// UnmarshalText reads what MarshalText makes.
func (p *Point) UnmarshalText(text []byte) error {
	_, err := fmt.Sscanf(string(text), "%d,%d", &p.X, &p.Y)
	return err
}
