package firestoreemulator_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/amammay/otorun/internal/firestoreemulator"
	"github.com/amammay/otorun/internal/firestoreemulator/emulatortest"
)

func TestClose(t *testing.T) {
	e := emulatortest.Start(t)
	conn, err := net.Dial("tcp", e.Addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	e.Close()
	select {
	case <-e.Done():
	default:
		t.Error("Done is open after Close")
	}
	if conn, err := net.Dial("tcp", e.Addr); err == nil {
		conn.Close()
		t.Error("it listens after Close")
	}
	e.Close() // once more does nothing
}

// What keeps it from starting is in the error.
func TestAddressInUse(t *testing.T) {
	e := emulatortest.Start(t)
	_, err := firestoreemulator.StartAt(t.Context(), e.Addr)
	if err == nil || !strings.Contains(err.Error(), e.Addr) || !strings.Contains(err.Error(), "it ended with exit status") {
		t.Errorf("StartAt(an address in use): %v", err)
	}
}

func TestGivenUp(t *testing.T) {
	emulatortest.Need(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := firestoreemulator.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Start with a context that is done: %v", err)
	}
}

func TestNotInstalled(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, file, want string }{
		{name: "no SDK", want: "gcloud is not in the PATH"},
		{name: "no emulator in it", file: "bin/gcloud", want: "gcloud components install cloud-firestore-emulator"},
		{name: "no java", file: "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar", want: "it needs java"},
	} {
		if tt.file != "" {
			file := filepath.Join(dir, tt.file)
			if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, nil, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", filepath.Join(dir, "bin"))
		_, err := firestoreemulator.Start(t.Context())
		if !errors.Is(err, firestoreemulator.ErrNotInstalled) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.name, err, tt.want)
		}
	}
}
