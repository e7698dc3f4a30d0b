// Package bytes has bytes, which are base64 on the wire; its name is that of a
// package that templates import.
package bytes

type Service interface{ Echo(Bytes) Bytes }

type Bytes struct {
	Bytes []byte
	Named Blob
	Odd   []Octet
	Array [4]byte // an array of numbers
	Lists [][]byte
}

// Blob is named bytes.
type Blob []byte

// Octet is a named byte.
type Octet byte
