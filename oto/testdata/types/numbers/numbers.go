// Package numbers has numbers of all sizes, and bool.
package numbers

import "encoding/json"

type Service interface{ Echo(Numbers) Numbers }

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
	Float32 float32
	Float64 float64
	Long    json.Number
	Empty   float64 `json:",omitempty"`
	Zero    float32 `json:",omitzero"`
}
