// Package emulatortest gives tests a Firestore emulator.
package emulatortest

import (
	"errors"
	"os"
	"testing"

	"github.com/amammay/otorun/internal/firestoreemulator"
)

// Start starts an emulator that ends with the test. Where none is installed the
// test is skipped; in CI, which has to have one, it fails.
func Start(t testing.TB) *firestoreemulator.Emulator {
	t.Helper()
	e, err := firestoreemulator.Start(t.Context())
	switch {
	case errors.Is(err, firestoreemulator.ErrNotInstalled) && os.Getenv("CI") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}
