package parser

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inModule makes a module of the given files and changes to it.
func inModule(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	files["go.mod"] = "module example.com/m\n\ngo 1.26\n"
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func names(objects []Object) string {
	var all []string
	for _, o := range objects {
		all = append(all, o.Name)
	}
	return strings.Join(all, " ")
}

// A parser can be used again: it reads anew and doubles nothing.
func TestParseTwice(t *testing.T) {
	inModule(t, map[string]string{"defs/d.go": "package defs\n\ntype S interface{ M(R) R }\ntype R struct{ A string }\n"})
	p := New("./defs")
	first, err := p.Parse()
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.Parse()
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(first)
	b, _ := json.Marshal(second)
	if string(a) != string(b) {
		t.Errorf("second Parse = %s, first %s", b, a)
	}
}

func TestParseAsNamesThePackage(t *testing.T) {
	inModule(t, map[string]string{"defs/d.go": "package defs\n\ntype S interface{ M(R) R }\ntype R struct{ A string }\n"})
	defs, err := New("./defs").ParseAs("", "server", "client")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"R", "server.R", "client.R"} {
		if got := defs[i].Objects[0].ExternalObjectName; got != want {
			t.Errorf("definition %d calls the object %s, want %s", i, got, want)
		}
	}
}

// What only an ignored interface uses goes with it: objects and imports. What
// others use stays.
func TestIgnoredInterfaces(t *testing.T) {
	inModule(t, map[string]string{
		"money/m.go": "package money\n\ntype Amount struct{ Units int }\n",
		"defs/d.go": `package defs

import (
	"time"

	"example.com/m/money"
)

type S interface{ M(Shared) Shared }
type Ignored interface {
	N(Only) Shared
	P(*ByPointer) Only
	Bad()
	Unusable(time.Time) Only
}
type Shared struct{ A string }
type Only struct{ Deep Deep }
type Deep struct{ Amount money.Amount }
type ByPointer struct{ A string }
type Unused struct{ A string }
`})
	p := New("./defs")
	if _, err := p.Parse(); err == nil {
		t.Error("a bad signature passed")
	}
	p.ExcludeInterfaces = []string{"Ignored"}
	def, err := p.Parse()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(def.Objects), "Shared Unused"; got != want {
		t.Errorf("objects %s, want %s", got, want)
	}
	if len(def.Imports) > 0 {
		t.Errorf("imports %v, want none", def.Imports)
	}
}

// Several packages make one definition; each struct is there once, with the
// comments of where it is declared.
func TestSeveralPackages(t *testing.T) {
	inModule(t, map[string]string{
		"a/a.go": "package a\n\nimport \"example.com/m/b\"\n\ntype A interface{ M(b.R) R }\n\n// R of a.\ntype R struct{ B b.R }\n",
		"b/b.go": "package b\n\ntype B interface{ M(R) R }\n\n// R of b.\ntype R struct{ X string }\n",
	})
	def, err := New("./a", "./b").Parse()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(def.Objects), "R R"; got != want {
		t.Fatalf("objects %s, want %s", got, want)
	}
	for i, want := range []string{"R of a.", "R of b."} {
		if o := def.Objects[i]; o.Comment != want || o.Imported {
			t.Errorf("object %s has comment %q, imported %t, want %q of its own", o.TypeID, o.Comment, o.Imported, want)
		}
	}
}

func TestErrorsAreAllThereWithPositions(t *testing.T) {
	inModule(t, map[string]string{"defs/d.go": "package defs\n\ntype S interface {\n\tA()\n\tB(R) R\n}\n\ntype R struct{ x int }\n"})
	_, err := New("./defs").Parse()
	var lines []int
	for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatalf("%T is no Error", err)
		}
		if e.Pos.Filename != filepath.FromSlash("defs/d.go") {
			t.Errorf("position in %q", e.Pos.Filename)
		}
		lines = append(lines, e.Pos.Line)
	}
	if !slices.Equal(lines, []int{4, 8}) {
		t.Errorf("errors in lines %v, want 4 and 8:\n%v", lines, err)
	}
}

func TestGoFileImports(t *testing.T) {
	inModule(t, map[string]string{
		"money/m.go": "package currency\n\ntype Amount struct{ Units int }\n",
		"defs/d.go": `package defs

import (
	"net/http"

	currency "example.com/m/money"
)

type S interface{ M(R) currency.Amount }
type R struct{ H map[string]http.Header }
`})
	def, err := New("./defs").Parse()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, group := range def.GoFile("", "net/http", "context").Imports() {
		for _, spec := range group {
			got = append(got, spec.String())
		}
		got = append(got, "")
	}
	want := []string{`"context"`, `"net/http"`, "", `currency "example.com/m/money"`, ""}
	if !slices.Equal(got, want) {
		t.Errorf("imports %q, want %q", got, want)
	}
	if want := map[string]string{"net/http": "http", "example.com/m/money": "currency"}; !maps.Equal(def.Imports, want) {
		t.Errorf("Imports = %v, want %v", def.Imports, want)
	}
}

// Types of other packages have the comments of their source.
func TestForeignComments(t *testing.T) {
	inModule(t, map[string]string{
		"ext/e.go": `// Package ext is beside the definition.
package ext

// Money is an amount.
type Money struct {
	// Units are counted.
	// example: 12
	Units int
	// Kind says which.
	Kind Kind
}

// Kind is an enum.
type Kind string

const (
	// Coin is hard.
	Coin Kind = "coin"
	Note Kind = "note" // Note is soft.
)
`,
		"defs/d.go": `package defs

import (
	"net/http"

	"example.com/m/ext"
)

type S interface{ M(R) R }
type R struct {
	Header http.Header
	Money  ext.Money
}
`})
	def, err := New("./defs").Parse()
	if err != nil {
		t.Fatal(err)
	}
	get := func(name string) *Type {
		t.Helper()
		is, err := def.Type(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return is
	}
	if doc := get("Header").Doc; !strings.HasPrefix(doc, "A Header represents the key-value pairs in an HTTP header.") {
		t.Errorf("http.Header has the comment %q", doc)
	}
	money, kind := get("Money"), get("Kind")
	if !money.Imported || money.Doc != "Money is an amount." || money.Fields[0].Doc != "Units are counted." || money.Fields[0].Example != 12.0 {
		t.Errorf("ext.Money is %+v", money)
	}
	if kind.Kind != KindEnum || len(kind.Values) != 2 || kind.Values[0].Doc != "Coin is hard." || kind.Values[1].Doc != "Note is soft." {
		t.Errorf("ext.Kind is %+v", kind)
	}
}
