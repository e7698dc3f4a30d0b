package build

import (
	"context"
	"errors"
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
	watcher, err := NewWatcher(t.Context(), dir, "./cmd/hello")
	if err != nil {
		t.Fatal(err)
	}
	// What changes before Run counts. What is no source doesn't.
	write(t, filepath.Join(dir, "words/words_test.go"), "package words\n")
	write(t, filepath.Join(dir, "words/notes.txt"), "notes\n")
	write(t, filepath.Join(dir, "words/words.go"), "package words\n\nconst Hello = \"hello again\"\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes := make(chan bool)
	ended := make(chan error)
	go func() {
		ended <- watcher.Run(ctx, func() {
			select {
			case changes <- true:
			case <-ctx.Done():
			}
		})
	}()
	<-changes
	// A new package is taken in: its next change is told as well.
	write(t, filepath.Join(dir, "more/more.go"), "package more\n\nconst More = 1\n")
	write(t, filepath.Join(dir, "words/words.go"), "package words\n\nimport _ \"example.com/m/more\"\n\nconst Hello = \"hello\"\n")
	<-changes
	write(t, filepath.Join(dir, "more/more.go"), "package more\n\nconst More = 2\n")
	<-changes
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A build that is broken off leaves no temporary folder.
func TestCommandsBrokenOff(t *testing.T) {
	dir, out, temp := module(t), t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("GOCACHE", t.TempDir()) // so that there is something to do
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Commands(ctx, dir, out, "./cmd/hello") }()
	for begun := false; !begun; time.Sleep(time.Millisecond) {
		found, err := filepath.Glob(filepath.Join(temp, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		begun = len(found) > 0
		select {
		case err := <-ended:
			t.Fatalf("it ended too early: %v", err)
		default:
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Commands = %v, want %v", err, context.Canceled)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
