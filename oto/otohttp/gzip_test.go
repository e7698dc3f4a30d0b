package otohttp

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// What is packed comes out again by the standard library's reader, whatever its
// size: the packer takes 32,767 bytes at first and then 24,575 at a time.
func TestPack(t *testing.T) {
	t.Parallel()
	const most = 200_000
	noise := make([]byte, most)
	rand.NewChaCha8([32]byte{}).Read(noise)
	var list strings.Builder
	for i := 0; list.Len() < most; i++ {
		fmt.Fprintf(&list, `{"name":"Eater %d","tacos":["Chicken","Chorizo"],"count":2},`, i)
	}
	for name, tt := range map[string]struct {
		text []byte
		// most is how much may be left of 1,000 bytes, where there are so many.
		most int
	}{
		"one byte":     {bytes.Repeat([]byte("x"), most), 30},
		"records":      {[]byte(list.String()), 250},
		"random bytes": {noise, 1100},
	} {
		for _, size := range []int{0, 1, 11, 12, 13, 1000, gzipFrom, 19_000, 24_574, 24_575, 24_576, 32_766, 32_767, 32_768, 57_341, 57_342, 57_343, 65_535, 65_536, most} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				t.Parallel()
				text := tt.text[:size]
				b := &buffer{data: bytes.Clone(text)}
				if err := pack(b); err != nil {
					t.Fatal(err)
				}
				r, err := gzip.NewReader(bytes.NewReader(b.data))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r) // to the checksum
				if err != nil || !bytes.Equal(got, text) {
					t.Errorf("%d bytes come out as %d others (%v)", size, len(got), err)
				}
				if size >= gzipFrom && len(b.data)*1000 > size*tt.most {
					t.Errorf("%d bytes are packed into %d, want at most %d of 1000", size, len(b.data), tt.most)
				}
			})
		}
	}
}

// BenchmarkPack is of what a list of records is answered with, and of a few bytes
// more than are sent unpacked.
func BenchmarkPack(b *testing.B) {
	var list strings.Builder
	for i := 0; list.Len() < 19_000; i++ {
		fmt.Fprintf(&list, `{"name":"Eater %d","tacos":["Chicken","Chorizo","Al pastor"],"count":3,"lastMeal":"2026-11-24T%02d:%02d:%02d.%06dZ"},`, i, i%24, i*7%60, i*13%60, i*7919%1_000_000)
	}
	for _, size := range []int{gzipFrom, 19_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			text := []byte(list.String()[:size])
			var packed buffer
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				packed.data = append(packed.data[:0], text...)
				if err := pack(&packed); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(packed.data)), "packed-B")
		})
	}
}
