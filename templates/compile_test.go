package templates_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScript generates from definitions of many kinds with the real oto and
// compiles what comes out.
func TestScript(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/pacedotdev/oto").CombinedOutput(); err != nil {
		t.Fatalf("build oto: %v\n%s", err, out)
	}
	dirs, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	cache := strings.Split(string(dirs), "\n")
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("GOCACHE", cache[0])
			e.Setenv("GOMODCACHE", cache[1])
			e.Setenv("GOPROXY", "off")
			e.Setenv("GOFLAGS", "-mod=mod")
			e.Setenv("TEMPLATES", filepath.Join(root, "templates"))
			sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
			if err != nil {
				return err
			}
			mod := "module example.com/m\n\ngo 1.26.0\n\nrequire github.com/pacedotdev/oto v0.17.0\n\n" +
				"replace github.com/pacedotdev/oto => " + filepath.Join(root, "oto") + "\n"
			if err := os.WriteFile(filepath.Join(e.WorkDir, "go.mod"), []byte(mod), 0o666); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "go.sum"), sums, 0o666)
		},
	})
}
