// Package emulatortest gives tests a Firestore emulator.
package emulatortest

import (
	"os"
	"testing"

	"github.com/amammay/otorun/internal/firestoreemulator"
)

// Start starts an emulator that ends with the test, which is skipped as by Need.
func Start(t testing.TB) *firestoreemulator.Emulator {
	t.Helper()
	Need(t)
	e, err := firestoreemulator.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// Need skips the test where no emulator is installed. In CI, which has to have one,
// the test fails.
func Need(t testing.TB) {
	t.Helper()
	switch err := firestoreemulator.Installed(); {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}
