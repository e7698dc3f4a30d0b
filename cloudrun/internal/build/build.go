// Package build makes the commands that the platform runs, and tells when what
// they are made of changes.
package build

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Commands builds the commands of the module that dir is in, packages such as
// ./server, into the folder out, each under the last part of its name. They are
// static Linux programs, as in an image.
func Commands(ctx context.Context, dir, out string, packages ...string) error {
	args := append([]string{"build", "-trimpath", "-o", out + string(filepath.Separator)}, packages...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	// What is broken off may leave its temporary folder behind.
	temp, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "otorun-build-")
	if err != nil {
		return fmt.Errorf("build %s: %w", strings.Join(packages, " "), err)
	}
	defer os.RemoveAll(temp)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOTMPDIR="+temp)
	// So that the compilers which it runs have ended when it has.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if text, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("build %s: %w\n%s", strings.Join(packages, " "), err, strings.TrimSpace(string(text)))
	}
	return nil
}

// folders returns the folders with the sources of packages: those of their own
// module, and of modules that a replace puts beside it.
func folders(ctx context.Context, dir string, packages ...string) ([]string, error) {
	const format = `{{if not .Standard}}{{if .Module}}{{if or .Module.Main (and .Module.Replace (not .Module.Replace.Version))}}{{.Dir}}{{end}}{{end}}{{end}}`
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-f", format}, packages...)...)
	cmd.Dir = dir
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the sources of %s: %w", strings.Join(packages, " "), err)
	}
	found := strings.Fields(string(text))
	slices.Sort(found)
	return slices.Compact(found), nil
}

// settle is how long sources must be quiet before a change is told: an editor
// writes several files, or one in steps.
const settle = 100 * time.Millisecond

// A Watcher tells when the sources of packages change. Tests don't count.
type Watcher struct {
	dir      string
	packages []string
	files    *fsnotify.Watcher
}

// NewWatcher returns a Watcher of the sources as they are now.
func NewWatcher(ctx context.Context, dir string, packages ...string) (*Watcher, error) {
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch sources: %w", err)
	}
	w := &Watcher{dir: dir, packages: packages, files: files}
	if err := w.follow(ctx); err != nil {
		files.Close()
		return nil, err
	}
	return w, nil
}

// follow takes in the folders of all packages.
func (w *Watcher) follow(ctx context.Context) error {
	dirs, err := folders(ctx, w.dir, w.packages...)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if err := w.files.Add(d); err != nil {
			return fmt.Errorf("watch %s: %w", d, err)
		}
	}
	return nil
}

// Run calls changed each time the sources have changed since NewWatcher, until
// ctx is done. It closes the Watcher.
func (w *Watcher) Run(ctx context.Context, changed func()) error {
	defer w.files.Close()
	quiet := time.NewTimer(settle)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-w.files.Events:
			if isSource(event.Name) && !event.Has(fsnotify.Chmod) {
				quiet.Reset(settle)
			}
		case err := <-w.files.Errors:
			return fmt.Errorf("watch sources: %w", err)
		case <-quiet.C:
			// There may be new packages. Sources that don't even parse are for the
			// build to tell of.
			_ = w.follow(ctx)
			changed()
		}
	}
}

func isSource(name string) bool {
	base := filepath.Base(name)
	return filepath.Ext(base) == ".go" && !strings.HasSuffix(base, "_test.go") && !strings.HasPrefix(base, ".") || base == "go.mod"
}
