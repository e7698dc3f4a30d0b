package otohttp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestBufferReadAll(t *testing.T) {
	t.Parallel()
	const large = 300 << 10
	source := bytes.Repeat([]byte("0123456789abcdef"), large/16)
	for _, size := range []int{0, 1, 511, startUnknown, startUnknown + 1, trustLength - 1, trustLength, trustLength + 1, large} {
		for _, claimed := range []int64{-1, 0, int64(size) / 2, int64(size), int64(size) + 1, 1 << 40} {
			for _, limit := range []int64{int64(size) - 1, int64(size), int64(size) + 1, 1<<63 - 1} {
				if limit < 1 {
					continue
				}
				t.Run(fmt.Sprint(size, claimed, limit), func(t *testing.T) {
					t.Parallel()
					b := new(buffer)
					err := b.readAll(iotest.HalfReader(bytes.NewReader(source[:size])), claimed, limit)
					if int64(size) > limit {
						if !errors.Is(err, errTooLong) {
							t.Fatalf("readAll = %v, want %v", err, errTooLong)
						}
					} else if err != nil || !bytes.Equal(b.data, source[:size]) {
						t.Fatalf("readAll = %v, with %d bytes", err, len(b.data))
					}
					if most := max(trustLength, growth*size, startUnknown) + 1; cap(b.data) > most {
						t.Errorf("readAll set aside %d bytes, want at most %d", cap(b.data), most)
					}
				})
			}
		}
	}
}

func TestAssemble(t *testing.T) {
	t.Parallel()
	const large = 600 << 10
	source := strings.Repeat("0123456789abcdef", large/16)
	broken := errors.New("broken")
	for _, size := range []int64{1, trustLength, trustLength + 1, claimedGrowth * trustLength, large} {
		for _, length := range []int64{size / 2, size, size + 1, 1 << 40} {
			for _, limit := range []int64{size - 1, size, 1<<63 - 1} {
				for _, end := range []error{io.EOF, broken} {
					t.Run(fmt.Sprint(size, length, limit, end), func(t *testing.T) {
						t.Parallel()
						reader := io.MultiReader(iotest.HalfReader(strings.NewReader(source[:size])), iotest.ErrReader(end))
						text, err := assemble(make([]byte, 10_000), reader, length, limit)
						want, wantErr := source[:size], error(nil)
						if size > limit {
							want, wantErr = "", errTooLong
						} else if end != io.EOF {
							want, wantErr = "", end
						}
						if text != want || err != wantErr {
							t.Errorf("assemble = %d bytes, %v, want %d, %v", len(text), err, len(want), wantErr)
						}
					})
				}
			}
		}
	}
}

// Memory follows what has come, whatever is claimed, and comes to little more.
func TestAssembleMemory(t *testing.T) {
	const large = 600 << 10
	source := strings.Repeat("x", large)
	// The third is what a handler has unpacked without saying so.
	for length, most := range map[int64]uint64{large: large * 2, 1 << 40: large * 9, large / 6: large * 9} {
		var before, after runtime.MemStats
		reader, piece := strings.NewReader(source), make([]byte, 4<<10)
		runtime.ReadMemStats(&before)
		_, err := assemble(piece, reader, length, 1<<40)
		runtime.ReadMemStats(&after)
		if set := after.TotalAlloc - before.TotalAlloc; set > most {
			t.Errorf("assemble of %d bytes claimed to be %d sets aside %d, %v", large, length, set, err)
		}
	}
}

func TestBufferReadAllByTheByte(t *testing.T) {
	t.Parallel()
	b := new(buffer)
	want := strings.Repeat("x", 10_000)
	if err := b.readAll(iotest.OneByteReader(strings.NewReader(want)), -1, 1<<20); err != nil || string(b.data) != want {
		t.Errorf("readAll = %v, with %d bytes, want %d", err, len(b.data), len(want))
	}
}

func TestBufferPoolKeepsNoLargeOnes(t *testing.T) {
	t.Parallel()
	large := &buffer{data: make([]byte, 0, keepBuffer+1)}
	putBuffer(large)
	for range 100 {
		if b := getBuffer(); cap(b.data) > keepBuffer {
			t.Fatalf("getBuffer returned one of %d bytes", cap(b.data))
		}
	}
}

// A call that waits for its service holds no large buffer.
func TestCallLetsGoOfALargeBody(t *testing.T) {
	t.Parallel()
	for size, held := range map[int]bool{keptInCall: true, keptInCall + 1: false} {
		c := new(generatedCall[int, int])
		c.hold()
		c.body.data = make([]byte, size)
		if c.letGo(); (c.body != nil) != held {
			t.Errorf("a body of %d bytes is held: %t", size, c.body != nil)
		}
	}
}
