package bolt_test

import (
	"path/filepath"
	"testing"

	"github.com/amammay/otorun/server/internal/bolt"
	"github.com/amammay/otorun/server/internal/eaterstest"
)

func open(t testing.TB, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestContract(t *testing.T) {
	eaterstest.Contract(t, func(t *testing.T) eaterstest.Store {
		return open(t, filepath.Join(t.TempDir(), "tacos.db"))
	})
}

func BenchmarkStore(b *testing.B) {
	eaterstest.Benchmark(b, open(b, filepath.Join(b.TempDir(), "tacos.db")))
}
