// Package anything has JSON of any shape.
package anything

import "encoding/json"

type Service interface{ Echo(Anything) Anything }

type Anything struct {
	Any       any
	Interface interface{}
	Raw       json.RawMessage
	Anys      []any
	Maybe     *any
	ByName    map[string]any
	Named     Value
}

// Value is an empty interface with a name.
type Value any
