package otoclient

import (
	"errors"
	"io"
	"math"
	"sync"
)

const (
	// keepBuffer is the largest buffer that goes back to a pool: a few big calls
	// must not pin their memory for the many small ones.
	keepBuffer = 64 << 10

	// trustLength is how much is set aside on the word of a Content-Length alone.
	// From there on memory follows what has come.
	trustLength = 64 << 10

	// startUnknown is what is set aside first for an answer of no known length.
	startUnknown = 4 << 10
)

// buffer is a run of bytes that is used again.
type buffer struct{ data []byte }

// empty empties b, and lets go of its memory if that is large.
func (b *buffer) empty() {
	if cap(b.data) > keepBuffer {
		b.data = nil
	}
	b.data = b.data[:0]
}

// wires are for requests as they are sent.
var wires = sync.Pool{New: func() any { return new(buffer) }}

// errTooLong is returned by readAll for a source longer than its limit.
var errTooLong = errors.New("too long")

// readAll reads r to its end into the empty buffer b. length is what r claims to
// hold, or -1. A source of more than limit bytes ends in errTooLong, with limit+1
// of them in b.
func (b *buffer) readAll(r io.Reader, length, limit int64) error {
	limit = min(limit, math.MaxInt64-1)
	// One byte more than the length, so that the end is seen without growing.
	if length < 0 {
		b.grow(min(limit+1, startUnknown))
	} else {
		b.grow(min(length+1, limit+1, trustLength))
	}
	for {
		if len(b.data) == cap(b.data) {
			b.grow(min(4*int64(len(b.data)), limit+1))
		}
		n, err := r.Read(b.data[len(b.data):min(int64(cap(b.data)), limit+1)])
		b.data = b.data[:len(b.data)+n]
		switch {
		case int64(len(b.data)) > limit:
			return errTooLong
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// grow makes b's capacity at least n.
func (b *buffer) grow(n int64) {
	if int64(cap(b.data)) >= n {
		return
	}
	data := make([]byte, len(b.data), n)
	copy(data, b.data)
	b.data = data
}
