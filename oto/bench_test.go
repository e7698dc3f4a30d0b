package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// inModule makes a module with the package defs of the given source and changes
// to it. It returns the path of a template for servers.
func inModule(tb testing.TB, source string) (template string) {
	tb.Helper()
	template, err := filepath.Abs("../templates/server.go.plush")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Chdir(tb.TempDir())
	for name, text := range map[string]string{
		"go.mod":       "module example.com/m\n\ngo 1.26\n",
		"defs/defs.go": source,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			tb.Fatal(err)
		}
	}
	return template
}

// BenchmarkNetHTTP generates from a definition that imports net/http, whose
// dependencies are many. It is to stay under 0.5 s.
func BenchmarkNetHTTP(b *testing.B) {
	benchmark(b, `package defs

import "net/http"

type S interface{ M(R) R }

type R struct{ Header http.Header }
`)
}

// BenchmarkLarge generates from 100 services of 10 methods with 2,000 objects.
// It is to stay under 1.5 s.
func BenchmarkLarge(b *testing.B) { benchmark(b, largeDefinition()) }

func benchmark(b *testing.B, source string) {
	template := inModule(b, source)
	args := []string{"oto", "-template", template, "-out", "oto.gen.go", "-pkg", "generated", "./defs"}
	if err := run(io.Discard, args); err != nil { // warms the build cache
		b.Fatal(err)
	}
	for b.Loop() {
		if err := run(io.Discard, args); err != nil {
			b.Fatal(err)
		}
	}
}

func largeDefinition() string {
	var s strings.Builder
	s.WriteString("package defs\n")
	for i := range 100 {
		fmt.Fprintf(&s, "\n// Service%dX does things.\ntype Service%dX interface {\n", i, i)
		for j := range 10 {
			fmt.Fprintf(&s, "\t// Method%d does one.\n\tMethod%d(Request%dx%d) Response%dx%d\n", j, j, i, j, i, j)
		}
		s.WriteString("}\n")
		for j := range 10 {
			fmt.Fprintf(&s, `
// Request%[1]dx%[2]d asks.
type Request%[1]dx%[2]d struct {
	// Name is whose.
	// example: "Sammy Sosa"
	Name  string
	Items []string
	Count int
	Sure  bool
	Last  *Response%[1]dx%[2]d
}

// Response%[1]dx%[2]d answers.
type Response%[1]dx%[2]d struct {
	Status string
	Count  int
}
`, i, j)
		}
	}
	return s.String()
}
