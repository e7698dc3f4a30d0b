package render

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pacedotdev/oto/parser"
)

// leg is an object that refers to itself and has one of each kind of field.
func testDefinition() parser.Definition {
	leg := parser.FieldType{TypeID: "m.Leg", ObjectName: "Leg", CleanObjectName: "Leg", ExternalObjectName: "pkg.Leg", IsObject: true}
	text := parser.FieldType{ObjectName: "string", CleanObjectName: "string", ExternalObjectName: "string"}
	texts := text
	texts.Multiple = true
	return parser.Definition{
		PackageName: "pkg",
		Imports:     map[string]string{"b/two": "two", "a/one": "one", "c/three": "three", "d/four": "four"},
		Services: []parser.Service{{Name: "S", Methods: []parser.Method{
			{Name: "M", InputObject: leg, OutputObject: leg, Metadata: map[string]any{"path": "/m"}},
		}}},
		Objects: []parser.Object{{TypeID: "m.Leg", Name: "Leg", ObjectName: "Leg", ExternalObjectName: "pkg.Leg", Fields: []parser.Field{
			{Name: "Next", NameLowerCamel: "next", Type: leg},
			{Name: "Name", NameLowerCamel: "name", Type: text, Example: "x", Metadata: map[string]any{"example": "x"}},
			{Name: "Tags", NameLowerCamel: "tags", Type: texts, Metadata: map[string]any{"example": []any{"a", "b"}}},
		}}},
	}
}

func TestSameTextAtEachRun(t *testing.T) {
	const template = `<%= for (path, name) in def.Imports { %><%= name %>=<%= path %> <% } %>` +
		`<%= for (k, v) in {z: 1, "y": 2, x: 3} { %><%= k %><%= v %> <% } %>` +
		`<%= for (v) in params { %><%= v %> <% } %>`
	const want = "one=a/one two=b/two three=c/three four=d/four x3 y2 z1 1 2 3 "
	for range 50 {
		got, err := Render(template, testDefinition(), map[string]any{"b": 2, "a": 1, "c": 3})
		if err != nil || got != want {
			t.Fatalf("Render = %q, %v, want %q", got, err, want)
		}
	}
}

func TestMapsWithNumbersGoByNumber(t *testing.T) {
	got, err := Render(`<%= for (k, v) in params["m"] { %><%= k %><%= v %> <% } %>`, parser.Definition{},
		map[string]any{"m": map[int]string{10: "c", 9: "b", -1: "a"}})
	if want := "-1a 9b 10c "; err != nil || got != want {
		t.Errorf("Render = %q, %v, want %q", got, err, want)
	}
}

func TestErrorsHavePositions(t *testing.T) {
	for _, tt := range []struct {
		name, template string
		line, column   int
		message        string
	}{
		{name: "unknown name", template: "a\n <%= 1 %> <%= nosuch %>", line: 2, column: 15, message: "unknown identifier"},
		{name: "helper that fails", template: "<%= if (true) { %>\n\n  x <%= format_tags(\"bad\") %><% } %>", line: 3, column: 9, message: "bad syntax for struct tag pair"},
		{name: "no such field", template: "\n\n<%= def.Nope %>", line: 3, column: 5, message: "does not have a field or method named 'Nope'"},
		{name: "wrong argument", template: "<%= camelize_down(1) %>", line: 1, column: 5, message: "invalid argument"},
		{name: "syntax", template: "\n<%= def.( %>", line: 2, column: 1, message: "expected next token"},
		{name: "comment without an end", template: "\n<%# don't \"quote %>\n", line: 2, column: 1, message: "expected %>"},
		{name: "endless function", template: "<% let f = fn(x) { return f(x) } %>\n<%= f(1) %>", line: 1, column: 1, message: "calls itself without end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := Render(tt.template, testDefinition(), nil)
			e, ok := errors.AsType[*Error](err)
			if !ok || out != "" {
				t.Fatalf("Render = %q, %v, want an Error", out, err)
			}
			if e.Line != tt.line || e.Column != tt.column || !strings.Contains(e.Message, tt.message) {
				t.Errorf("%d:%d: %s\nwant %d:%d: ...%s", e.Line, e.Column, e.Message, tt.line, tt.column, tt.message)
			}
		})
	}
}

func TestExampleOfRecursiveObjectEnds(t *testing.T) {
	def := testDefinition()
	example, err := def.Example(def.Objects[0])
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(example)
	if want := `{"name":"x","next":null,"tags":null}`; err != nil || string(text) != want {
		t.Errorf("Example = %s, %v, want %s", text, err, want)
	}
}

func TestObjectGolangIsGo(t *testing.T) {
	def := testDefinition()
	got := string(ObjectGolang(def, &def.Objects[0], 1))
	if want := "pkg.Leg{\n\t\tName: \"x\",\n\t\tTags: []string{\"a\", \"b\"},\n\t}"; got != want {
		t.Errorf("ObjectGolang = %q, want %q", got, want)
	}
}

func TestGoDoc(t *testing.T) {
	for doc, want := range map[string]string{
		"":                    "",
		"One line.":           "// One line.\n",
		"Two.\n\n\tcode\nend": "// Two.\n//\n// \tcode\n// end\n",
	} {
		if got := string(goDoc(doc)); got != want {
			t.Errorf("goDoc(%q) = %q, want %q", doc, got, want)
		}
	}
}

// FuzzTemplate renders whatever comes: there may be an error, but no panic, and
// the same template gives the same text.
func FuzzTemplate(f *testing.F) {
	probes, err := os.ReadFile("../testdata/probes.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(probes)) {
		if !strings.HasPrefix(line, "   ") {
			f.Add(strings.TrimSuffix(line, "\n"))
		}
	}
	def := testDefinition()
	f.Fuzz(func(t *testing.T, template string) {
		if strings.Contains(template, "env") || strings.Contains(template, "range") ||
			strings.Contains(template, "until") || strings.Contains(template, "between") {
			t.Skip("reads the machine, or counts as far as it is told")
		}
		done := time.AfterFunc(20*time.Second, func() { panic("renders without end: " + template) })
		defer done.Stop()
		first, err := Render(template, def, map[string]any{"a": "1"})
		second, err2 := Render(template, def, map[string]any{"a": "1"})
		if first != second || (err == nil) != (err2 == nil) {
			t.Errorf("%q gives %q, %v, and then %q, %v", template, first, err, second, err2)
		}
		for _, err := range []error{err, err2} {
			if err == nil {
				continue
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.Line > 0 && e.Column < 1 {
				t.Errorf("%q gives %#v", template, err)
			}
		}
	})
}
