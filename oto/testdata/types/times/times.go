// Package times has moments, which are text, and spans, which are numbers.
package times

import "time"

type Service interface{ Echo(Times) Times }

type Times struct {
	At     time.Time
	Maybe  *time.Time
	Unset  time.Time `json:",omitzero"`
	All    []time.Time
	Took   time.Duration
	Spans  map[string]time.Duration
	Month  time.Month
	Waited *time.Duration `json:"waited,omitempty"`
}
