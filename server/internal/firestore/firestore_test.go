package firestore_test

import (
	"fmt"
	"testing"

	"github.com/amammay/otorun/internal/firestoreemulator"
	"github.com/amammay/otorun/internal/firestoreemulator/emulatortest"
	"github.com/amammay/otorun/server/internal/eaterstest"
	"github.com/amammay/otorun/server/internal/firestore"
)

func emulator(t testing.TB) *firestoreemulator.Emulator {
	t.Helper()
	e := emulatortest.Start(t)
	t.Setenv("FIRESTORE_EMULATOR_HOST", e.Addr)
	return e
}

func open(t testing.TB, project string) *firestore.Store {
	s := firestore.New(project)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestContract(t *testing.T) {
	emulator(t)
	projects := 0
	eaterstest.Contract(t, func(t *testing.T) eaterstest.Store {
		projects++ // each is empty
		return open(t, fmt.Sprint("contract-", projects))
	})
}

func BenchmarkStore(b *testing.B) {
	emulator(b)
	eaterstest.Benchmark(b, open(b, "benchmark"))
}
