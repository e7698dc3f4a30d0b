package parser

import (
	"cmp"
	"errors"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Error is one fault of a definition and where it is.
type Error struct {
	// Pos has a file name relative to the current folder if it lies below it.
	Pos token.Position
	// Message says what is wrong and what was expected.
	Message string
}

func (e *Error) Error() string {
	if !e.Pos.IsValid() {
		return e.Message
	}
	return e.Pos.String() + ": " + e.Message
}

// errorList collects the faults of a run.
type errorList []*Error

func (l *errorList) add(pos token.Position, message string) {
	pos.Filename = relative(pos.Filename)
	*l = append(*l, &Error{Pos: pos, Message: message})
}

// err returns the faults in the order of their positions, each once; nil if
// there are none.
func (l errorList) err() error {
	sorted := slices.Clone(l)
	slices.SortStableFunc(sorted, func(a, b *Error) int {
		return cmp.Or(
			strings.Compare(a.Pos.Filename, b.Pos.Filename),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column),
			strings.Compare(a.Message, b.Message),
		)
	})
	sorted = slices.CompactFunc(sorted, func(a, b *Error) bool { return a.Error() == b.Error() })
	errs := make([]error, len(sorted))
	for i, e := range sorted {
		errs[i] = e
	}
	return errors.Join(errs...)
}

// relative shortens the name of a file below the current folder.
func relative(name string) string {
	dir, err := os.Getwd()
	if err != nil || !filepath.IsAbs(name) {
		return name
	}
	short, err := filepath.Rel(dir, name)
	if err != nil || strings.HasPrefix(short, "..") {
		return name
	}
	return short
}

// shorten makes the names of files below the current folder, in a message of the
// go command, relative to it.
func shorten(message string) string {
	dir, err := os.Getwd()
	if err != nil {
		return message
	}
	return strings.ReplaceAll(message, dir+string(filepath.Separator), "")
}
