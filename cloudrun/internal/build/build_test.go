package build

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// module makes a module with a command that prints what a package beside it says.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/m\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "cmd/hello/main.go"), "package main\n\nimport (\n\t\"fmt\"\n\n\t\"example.com/m/words\"\n)\n\nfunc main() { fmt.Print(words.Hello) }\n")
	write(t, filepath.Join(dir, "words/words.go"), "package words\n\nconst Hello = \"hello\"\n")
	return dir
}

func TestCommands(t *testing.T) {
	dir, out := module(t), t.TempDir()
	if err := Commands(t.Context(), dir, out, "./cmd/hello"); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "linux" {
		return
	}
	if text, err := exec.Command(filepath.Join(out, "hello")).Output(); err != nil || string(text) != "hello" {
		t.Errorf("hello prints %q, %v", text, err)
	}
	write(t, filepath.Join(dir, "words/words.go"), "package words\n\nconst Hello = nothing\n")
	err := Commands(t.Context(), dir, out, "./cmd/hello")
	if err == nil || !strings.Contains(err.Error(), "words.go:3:15: undefined: nothing") {
		t.Errorf("error %v, want the compiler's", err)
	}
}

func TestWatch(t *testing.T) {
	dir := module(t)
	found, err := folders(t.Context(), dir, "./cmd/hello")
	if err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(real, "cmd/hello"), filepath.Join(real, "words")}; !slices.Equal(found, want) {
		t.Fatalf("folders %v, want %v", found, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changes := make(chan bool, 100)
	ended := make(chan error)
	go func() { ended <- Watch(ctx, dir, func() { changes <- true }, "./cmd/hello") }()
	// The watch begins at its own time: the source changes until that is seen.
	for n, seen := 0, false; !seen; n++ {
		write(t, filepath.Join(dir, "words/words.go"), "package words\n\nconst Hello = \"hello\" // "+strings.Repeat("x", n%50)+"\n")
		select {
		case seen = <-changes:
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(2 * settle):
		}
		if n > 200 {
			t.Fatal("no change was told")
		}
	}
	for quiet := false; !quiet; { // the last of those changes may be yet to be told
		select {
		case <-changes:
		case <-time.After(5 * settle):
			quiet = true
		}
	}
	// What is no source changes nothing.
	write(t, filepath.Join(dir, "words/words_test.go"), "package words\n")
	write(t, filepath.Join(dir, "words/notes.txt"), "notes\n")
	select {
	case <-changes:
		t.Error("a test's change was told")
	case <-time.After(3 * settle):
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
