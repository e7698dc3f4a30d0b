package sandbox

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// A recorder keeps each Write apart and takes none of them.
type recorder struct{ writes []string }

func (r *recorder) Write(p []byte) (int, error) {
	r.writes = append(r.writes, string(p))
	return 0, errors.New("full")
}

func TestCopyLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxLine)
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{name: "nothing"},
		{name: "lines", in: "a\n\nb\n", want: []string{"a\n", "\n", "b\n"}},
		{name: "no newline at the end", in: "a\nb", want: []string{"a\n", "b"}},
		{name: "as long as can be", in: long[1:] + "\nb\n", want: []string{long[1:] + "\n", "b\n"}},
		{name: "longer", in: long + "x\nb\n", want: []string{long, "x\n", "b\n"}},
	} {
		for reader, wrap := range map[string]func(io.Reader) io.Reader{
			"whole":        func(r io.Reader) io.Reader { return r },
			"halves":       iotest.HalfReader,
			"with its end": iotest.DataErrReader,
		} {
			t.Run(tt.name+", "+reader, func(t *testing.T) {
				t.Parallel()
				var r recorder
				copyLines(new(sync.Mutex), &r, wrap(strings.NewReader(tt.in)))
				if !slices.Equal(r.writes, tt.want) {
					t.Errorf("wrote %.100q, want %.100q", r.writes, tt.want)
				}
			})
		}
	}
}
