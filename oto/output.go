package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"go/parser"
	"go/scanner"
	"go/token"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"golang.org/x/mod/modfile"
)

// output is a rendered text and the file it is for; without a name, stdout.
type output struct {
	name string
	text string
}

// makesGo says whether the job's output is Go: by the output file's name, else by
// the template's.
func (j job) makesGo() bool {
	name := j.out
	if name == "" {
		name = strings.TrimSuffix(j.template, ".plush")
	}
	return filepath.Ext(name) == ".go"
}

// importPath returns the import path of the package that the job's Go is for, if
// there is a module around its file.
func (j job) importPath() (string, bool) {
	if j.out == "" || !j.makesGo() {
		return "", false
	}
	folder, err := filepath.Abs(filepath.Dir(j.out))
	if err != nil {
		return "", false
	}
	for dir := folder; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err != nil {
			if dir == filepath.Dir(dir) {
				return "", false
			}
			continue
		}
		below, err := filepath.Rel(dir, folder)
		return path.Join(modfile.ModulePath(text), filepath.ToSlash(below)), err == nil
	}
}

// formatGo formats the Go that a template made.
func formatGo(template, text string) (string, error) {
	formatted, err := format.Source([]byte(text))
	if err == nil {
		err = redeclared(text)
	}
	if err == nil {
		return string(formatted), nil
	}
	var list scanner.ErrorList
	if !errors.As(err, &list) {
		return "", fmt.Errorf("%s: what it makes is not Go: %w", template, err)
	}
	lines := strings.Split(text, "\n")
	var errs []error
	for _, e := range list {
		line := ""
		if e.Pos.Line >= 1 && e.Pos.Line <= len(lines) {
			line = strings.TrimSpace(lines[e.Pos.Line-1])
		}
		errs = append(errs, fmt.Errorf("%s: what it makes is not Go: at %d:%d of the result: %s: %q",
			template, e.Pos.Line, e.Pos.Column, e.Msg, line))
	}
	return "", errors.Join(errs...)
}

// redeclared returns what a Go file declares twice, which gofmt doesn't mind: a
// type of the definition may have a name that the template needs itself.
func redeclared(text string) error {
	_, err := parser.ParseFile(token.NewFileSet(), "", text, parser.DeclarationErrors)
	var list scanner.ErrorList
	if !errors.As(err, &list) {
		return nil
	}
	list = slices.DeleteFunc(list, func(e *scanner.Error) bool { return !strings.Contains(e.Msg, " redeclared ") })
	for _, e := range list {
		e.Msg, _, _ = strings.Cut(e.Msg, "\n") // without the place of the other one
	}
	return list.Err()
}

// checkOutputs prints how the files differ from what was rendered. The error
// names those that do.
func checkOutputs(stdout io.Writer, outputs []output) error {
	var errs []error
	for _, out := range outputs {
		old, err := os.ReadFile(out.name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		if err == nil && string(old) == out.text {
			continue
		}
		if _, err := io.WriteString(stdout, udiff.Unified(out.name, out.name, string(old), out.text)); err != nil {
			return err
		}
		errs = append(errs, fmt.Errorf("%s is out of date: generate it again", out.name))
	}
	return errors.Join(errs...)
}

// writeOutputs writes all texts, or none: each goes to a new file beside its
// own, and only when all have been written do they take their places.
func writeOutputs(stdout io.Writer, outputs []output) (err error) {
	var pending []pendingFile
	defer func() {
		for _, p := range pending {
			os.Remove(p.temp)
		}
	}()
	for _, out := range outputs {
		if out.name == "" {
			continue
		}
		p, err := prepare(out)
		if err != nil {
			return err
		}
		if p.temp != "" {
			pending = append(pending, p)
		}
	}
	for len(pending) > 0 {
		if err := os.Rename(pending[0].temp, pending[0].name); err != nil {
			return err
		}
		pending = pending[1:]
	}
	for _, out := range outputs {
		if out.name == "" {
			if _, err := io.WriteString(stdout, out.text); err != nil {
				return err
			}
		}
	}
	return nil
}

// pendingFile is a file that waits to take another's place.
type pendingFile struct{ temp, name string }

// prepare writes out beside its file. A file that already has the text is left
// alone, and what isn't a regular file, a device or pipe, is written to directly:
// nothing is pending then.
func prepare(out output) (pendingFile, error) {
	name := out.name
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	mode := fs.FileMode(0) // what a new file gets
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return pendingFile{}, fmt.Errorf("write %s: it is a folder", out.name)
	case err == nil && !info.Mode().IsRegular():
		return pendingFile{}, writeDevice(name, out.text)
	case err == nil:
		mode = info.Mode().Perm()
		if old, err := os.ReadFile(name); err == nil && bytes.Equal(old, []byte(out.text)) {
			return pendingFile{}, nil
		}
	}
	// Random: in a container the process id of a run that was killed comes again.
	temp := fmt.Sprintf("%s.%08x.tmp", name, rand.Uint32())
	if err := writeNew(temp, out.text, mode); err != nil {
		return pendingFile{}, fmt.Errorf("write %s: %w", out.name, err)
	}
	return pendingFile{temp: temp, name: name}, nil
}

func writeDevice(name, text string) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, text)
	return errors.Join(err, file.Close())
}

// writeNew writes a file that isn't there yet; on an error it isn't afterwards.
// With mode 0 it gets the mode that any new file does.
func writeNew(name, text string, mode fs.FileMode) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if mode != 0 {
		err = file.Chmod(mode) // OpenFile would take the umask off it
	}
	if err == nil {
		_, err = io.WriteString(file, text)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		os.Remove(name)
	}
	return err
}
