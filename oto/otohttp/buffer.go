package otohttp

import (
	"errors"
	"io"
	"math"
	"strings"
	"sync"
)

const (
	// keepBuffer is the largest buffer that goes back to the pool: a few big
	// calls must not pin their memory for the many small ones.
	keepBuffer = 64 << 10

	// trustLength is how much is set aside on the word of a Content-Length alone.
	// From there on memory follows what has come, so a client gets no more of it
	// than a few times what it sends.
	trustLength = 64 << 10

	// startUnknown is what is set aside first for a body of no known length.
	startUnknown = 4 << 10

	// growth is how many times what has come is set aside for what is to come.
	growth = 4

	// claimedGrowth is the same for a body that has claimed how long it is: that is
	// the end of it, so it may be reached in fewer steps.
	claimedGrowth = 8
)

// buffer is a pooled run of bytes.
type buffer struct{ data []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// getBuffer returns an empty buffer.
func getBuffer() *buffer {
	b := buffers.Get().(*buffer)
	b.data = b.data[:0]
	return b
}

// putBuffer gives b back; its bytes must not be used any more. It isn't
// deferred: the buffer of a call that panics is left to the garbage collector.
func putBuffer(b *buffer) {
	if cap(b.data) <= keepBuffer {
		buffers.Put(b)
	}
}

// Write appends p. It returns no error.
func (b *buffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	return len(p), nil
}

// errTooLong is returned by readAll for a source longer than its limit.
var errTooLong = errors.New("too long")

// readAll reads r to its end into the empty buffer b. length is what r claims to
// hold, or -1. A source of more than limit bytes ends in errTooLong; no more than
// limit+1 bytes are set aside, whatever r claims.
func (b *buffer) readAll(r io.Reader, length, limit int64) error {
	limit = min(limit, math.MaxInt64-1)
	if length < 0 || length > limit {
		length = limit
		b.grow(min(length+1, startUnknown))
	} else {
		// One byte more than the length, so that the end is seen without growing.
		b.grow(min(length+1, trustLength))
	}
	for {
		if len(b.data) == cap(b.data) {
			if int64(len(b.data)) > length {
				length = limit // more came than was claimed
			}
			b.grow(min(growth*int64(len(b.data)), length+1))
		}
		room := b.data[len(b.data):min(int64(cap(b.data)), limit+1)]
		n, err := r.Read(room)
		b.data = b.data[:len(b.data)+n]
		if int64(len(b.data)) > limit {
			return errTooLong
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// assemble reads r to its end, a piece at a time. length is what r claims to hold;
// as in readAll a source of more than limit bytes ends in errTooLong.
func assemble(piece []byte, r io.Reader, length, limit int64) (string, error) {
	text := new(strings.Builder)
	text.Grow(int(min(length, trustLength)))
	for {
		n, err := r.Read(piece)
		if int64(text.Len()+n) > limit {
			return "", errTooLong
		}
		if text.Cap()-text.Len() < n {
			if int64(text.Len()+n) > length {
				length = limit // more came than was claimed
			}
			// A new one, since Grow would make it twice as large and then some.
			larger := new(strings.Builder)
			larger.Grow(int(max(min(claimedGrowth*int64(text.Cap()), length), int64(text.Len()+n))))
			larger.WriteString(text.String())
			text = larger
		}
		text.Write(piece[:n])
		if err == io.EOF {
			return text.String(), nil
		}
		if err != nil {
			return "", err
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
