package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// copyRepository copies the repository, without its history, for a test to
// change.
func copyRepository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, path), 0o777)
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, path), text, info.Mode())
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// offline is how the commands of a copy are run: what they need is there.
func offline(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=")
	return cmd
}

// runIn runs a command that must succeed and returns what it printed.
func runIn(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out, err := offline(dir, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

var generated = []string{"generated/server/oto.gen.go", "generated/client/oto.gen.go", "generated/client.ts", "generated/client.py", "generated/openapi.json"}

func readGenerated(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range generated {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// generate.sh, from any folder and without a network, makes what is committed,
// as go generate does, and again the same.
func TestGenerate(t *testing.T) {
	onlyProcesses(t)
	dir := copyRepository(t)
	want := readGenerated(t, dir)
	for _, cmd := range []*exec.Cmd{
		offline(dir, "./generate.sh"),
		offline("/", filepath.Join(dir, "generate.sh")),
		offline(dir, "go", "generate", "./..."),
	} {
		for _, name := range generated {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("package stale\n"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s in %s: %v\n%s", cmd, cmd.Dir, err, out)
		}
		if readGenerated(t, dir) != want {
			t.Errorf("%s in %s made something else than what is committed", cmd, cmd.Dir)
		}
	}
	if out := runIn(t, dir, "./generate.sh", "-check"); out != "" {
		t.Errorf("after generating, -check prints %s", out)
	}
}

// When one of the files can't be made, none is touched.
func TestGenerateAllOrNone(t *testing.T) {
	onlyProcesses(t)
	for name, fault := range map[string]string{
		"templates/client.go.plush": "<%= nosuch %>\n",
		"definitions/taco.go":       "\ntype Broken interface{ M() }\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyRepository(t)
			want := readGenerated(t, dir)
			// What the server's file would become differs from what it is.
			appendTo(t, filepath.Join(dir, "templates/server.go.plush"), "\n// New.\n")
			appendTo(t, filepath.Join(dir, name), fault)
			out, err := offline(dir, "./generate.sh").CombinedOutput()
			if err == nil || !strings.Contains(string(out), name+":") {
				t.Errorf("generate.sh: %v, %s, want an error with a position in %s", err, out, name)
			}
			if readGenerated(t, dir) != want {
				t.Error("a file has changed")
			}
		})
	}
}
