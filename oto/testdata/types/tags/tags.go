// Package tags has names, options and other keys of struct tags.
package tags

import "time"

type Service interface{ Echo(Tags) Tags }

type Tags struct {
	Renamed  string    `json:"another" xml:"x,attr" db:"t_another"`
	Empty    string    `json:"empty,omitempty"`
	Zero     Inner     `json:"zero,omitzero"`
	Never    Inner     `json:"never,omitempty"` // a struct is never empty
	When     time.Time `json:",omitzero"`
	Quoted   int64     `json:"quoted,string"`
	Both     *uint64   `json:",omitempty,string"`
	Text     string    `json:"text,string"`
	Hidden   string    `json:"-"`
	Callback func()    `json:"-"`
	Dash     string    `json:"-,"`
	Odd      string    `json:"a $b.c/d"`
	Invalid  string    `json:"a\"b"` // which encoding/json doesn't take
	HTMLPage string    `yaml:"page"`
	ModelId  string
}

type Inner struct{ N int }
