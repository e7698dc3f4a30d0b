package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/pacedotdev/oto/parser"
	"github.com/pacedotdev/oto/render"
)

var update = flag.Bool("update", false, "write the want files in testdata anew")

// layOutCases makes the module that the cases are part of and changes to it. It
// returns the folder of the cases in this repository.
func layOutCases(t testing.TB) string {
	t.Helper()
	source, err := filepath.Abs("testdata/cases")
	if err != nil {
		t.Fatal(err)
	}
	module := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(module, "go.mod"), []byte("module github.com/pacedotdev/oto\n\ngo 1.26.0\n"), 0o666),
		os.CopyFS(filepath.Join(module, "zz_cases"), os.DirFS(source)),
		os.CopyFS(filepath.Join(module, "zz_defs"), os.DirFS(filepath.Join(source, "defs"))),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(module)
	return source
}

// better says, for each case that this oto answers differently from the
// original, what is better and why.
var better = map[string]string{
	"buildtag":    "no files to read is an error, not an empty definition",
	"chans":       "what can't travel as JSON is refused with its position, where the first call failed",
	"collide":     "two types of one name both appear, each with its own TypeID",
	"ctxparam":    "a context and an error in a signature mean the same as none",
	"errfield":    "a result's own Error field isn't doubled, which didn't compile",
	"errvar":      "a package-level error variable is no service and stops nothing",
	"ifacevar":    "a variable of an interface type is no second service",
	"nested":      "a struct without a name is one named after its field",
	"nestedslice": "a struct without a name is one named after its field",
	"recursive":   "a type that contains itself is described, where the stack overflowed",
	"samepkg":     "a package is known by its path: an import of the same name stays foreign",
	"spacetag":    "a blank struct tag is no tag, where the parser panicked",
	"syntaxerr":   "a syntax error is reported with its position, not passed over",
	"timefield":   "a type that makes its own JSON is no struct of unexported fields",
	"typeerr":     "all unknown types are reported with their positions, not passed over",
	"unexpunused": "an unused struct with one without a name in it is described",
	"vars":        "a variable of a struct type is no object",
}

func TestCases(t *testing.T) {
	source := layOutCases(t)
	dirs, err := filepath.Glob("zz_cases/*/x.go")
	if err != nil || len(dirs) < 40 {
		t.Fatalf("found %d cases, %v", len(dirs), err)
	}
	for _, file := range dirs {
		name := filepath.Base(filepath.Dir(file))
		title := name
		if why, ok := better[name]; ok {
			title += ": " + why
		}
		t.Run(title, func(t *testing.T) {
			var stdout bytes.Buffer
			err := run(&stdout, []string{"oto", "-template", "zz_cases/dump.plush", "./zz_cases/" + name})
			dir := filepath.Join(source, name)
			if better[name] != "" {
				checkBetter(t, dir, stdout.Bytes(), err)
			} else {
				checkSame(t, dir, stdout.Bytes(), err)
			}
		})
	}
}

// checkSame holds an answer against the original's: all keys of its model, or its
// error, whose position now comes first and which may go on after it.
func checkSame(t *testing.T, dir string, got []byte, gotErr error) {
	t.Helper()
	if text, err := os.ReadFile(filepath.Join(dir, "expect.err")); err == nil {
		lines := strings.Split(string(text), "\n")
		want := lines[1][strings.Index(lines[1], "<cases>/")+len("<cases>/"):]
		if gotErr == nil || !strings.HasPrefix(gotErr.Error(), "zz_cases/"+want) {
			t.Errorf("error %v\nwant zz_cases/%s...", gotErr, want)
		}
		return
	}
	if gotErr != nil {
		t.Fatal(gotErr)
	}
	text, err := os.ReadFile(filepath.Join(dir, "expect.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range missing("", decode(t, text), decode(t, got)) {
		t.Error(difference)
	}
}

// checkBetter holds an answer against our own, which must differ from the
// original's.
func checkBetter(t *testing.T, dir string, got []byte, gotErr error) {
	t.Helper()
	name := filepath.Join(dir, "want.json")
	if gotErr != nil {
		name, got = filepath.Join(dir, "want.err"), []byte(gotErr.Error()+"\n")
	}
	if *update {
		if err := os.WriteFile(name, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v\nanswer: %s", err, got)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	text, err := os.ReadFile(filepath.Join(dir, "expect.json"))
	if err == nil && gotErr == nil && len(missing("", decode(t, text), decode(t, got))) == 0 {
		t.Error("the answer is the original's: nothing is better")
	}
}

func decode(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return v
}

// missing returns where got lacks what want has. Keys may have been added.
func missing(path string, want, got any) []string {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s: no object", path)}
		}
		var all []string
		for key, value := range want {
			if _, ok := got[key]; !ok {
				all = append(all, fmt.Sprintf("%s.%s is missing", path, key))
				continue
			}
			all = append(all, missing(path+"."+key, value, got[key])...)
		}
		return all
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			return []string{fmt.Sprintf("%s: %d items, want %d", path, len(got), len(want))}
		}
		var all []string
		for i, value := range want {
			all = append(all, missing(fmt.Sprintf("%s[%d]", path, i), value, got[i])...)
		}
		return all
	}
	if !reflect.DeepEqual(want, got) {
		return []string{fmt.Sprintf("%s = %v, want %v", path, got, want)}
	}
	return nil
}

// betterProbes says why the answer to a probe differs from the original's, and
// what it is. The probes are known by their template. Without an answer, only
// keys were added to what is printed.
var betterProbes = map[string]struct{ why, want string }{
	`<%= camelize_down("Überraschung") %>`: {
		"a first letter beyond ASCII is lowered, not cut in half", `=> "überraschung"`},
	`<%= camelize_down("") %>`:       {"an empty name is empty, where the helper panicked", `=> ""`},
	`<%= camelize_down() %>`:         {"a missing name is empty, where the helper panicked", `=> ""`},
	`<%= camelize_up("") %>`:         {"an empty name is empty, where the helper panicked", `=> ""`},
	`<%= camelize_up_field("") %>`:   {"an empty name is empty, where the helper panicked", `=> ""`},
	`<%= camelize_up_field("!!") %>`: {"a name without letters is empty, where the helper panicked", `=> ""`},
	`<%= format_tags(" ") %>`:        {"a blank tag is no tag, where the helper panicked", `=> ""`},
	`<% let o = def.Object("Leg") %><%= json_inline(def.Example(o)) %>`: {
		"the object in the message has more keys", ""},
	`<%= for (o) in def.Objects { %><%= if (o.Name == "Leg") { %><%= object_golang(def, o, 0) %><% } %><% } %>`: {
		"a loop variable will do, not only a pointer", `=> "pkgx.Leg{\n\tLength: 3.5,\n}"`},
	`<% let o = def.Object("WalkResponse") %><%= object_golang(def, o, 1) %>`: {
		"slices are slices and null is left out: the literal compiles",
		`=> "pkgx.WalkResponse{\n\t\tSteps: []pkgx.Leg{\n\t\t\t{\n\t\t\t\tLength: 3.5,\n\t\t\t},\n\t\t},\n\t}"`},
	`<% let o = def.Object("WalkRequest") %><%= object_golang(def, o, 1) %>`: {
		"a pointer doesn't replace the whole literal by an error",
		`=> "pkgx.WalkRequest{\n\t\tID: \"abc\",\n\t\tPtrObj: &pkgx.Leg{\n\t\t\tLength: 3.5,\n\t\t},` +
			`\n\t\tObj: pkgx.Leg{\n\t\t\tLength: 3.5,\n\t\t},\n\t\tObjs: []pkgx.Leg{\n\t\t\t{\n\t\t\t\tLength: 3.5,\n\t\t\t},\n\t\t},` +
			`\n\t\tPtrObjs: []*pkgx.Leg{\n\t\t\t{\n\t\t\t\tLength: 3.5,\n\t\t\t},\n\t\t},` +
			`\n\t\tMoney: pkgx.Money{\n\t\t},\n\t\tMoneys: []*pkgx.Money{\n\t\t\t{\n\t\t\t},\n\t\t},\n\t\tEmbedded: pkgx.Embedded{\n\t\t},\n\t}"`},
	`<%= for (s) in def.Services { %><%= for (k,v) in s.MethodsByMetadata("path") { %><%= k %>=<%= len(v) %>;<% } %><% } %>`: {
		"a loop over a map goes by its keys, not at random", `=> "/buy=1;/walk=2;"`},
	`<%= for (p,n) in def.Imports { %><%= n %> "<%= p %>"<% } %>`: {
		"imports come in order of their paths, not at random",
		`=> "json \"encoding/json\"ext \"github.com/pacedotdev/oto/zz_defs/ext\""`},
	`<%= json(def.Services, "  ", "  ") %>`: {"the model has more keys", ""},
}

func TestProbes(t *testing.T) {
	probes, err := os.ReadFile("testdata/probes.txt")
	if err != nil {
		t.Fatal(err)
	}
	layOutCases(t)
	p := parser.New("./zz_defs/torture")
	p.PackageName = "pkgx"
	def, err := p.Parse()
	if err != nil {
		t.Fatal(err)
	}
	params := map[string]any{
		"a": "1", "html": `<b>&'"`, "n": 3, "t": true,
		"m": map[string]any{"k": "v"}, "l": []any{"x", "<y>"},
	}
	n := 0
	for template, want := range parseProbes(string(probes)) {
		n++
		title, original := fmt.Sprintf("%d", n), want
		if b, ok := betterProbes[template]; ok {
			title += ": " + b.why
			want = b.want
		}
		t.Run(title, func(t *testing.T) {
			out, err := render.Render(strings.ReplaceAll(template, "␤", "\n"), def, params)
			got := fmt.Sprintf("=> %q", out)
			if err != nil {
				got = "ERR " + err.Error()
			}
			if want == "" {
				want = original
				got, want = withoutModel(t, got, want)
			}
			if got != want {
				t.Errorf("%s\n got %s\nwant %s", template, got, want)
			}
		})
	}
	if n < 250 {
		t.Errorf("read %d probes", n)
	}
}

// withoutModel cuts what is printed of the model from two answers that agree on
// it but for keys that were added.
func withoutModel(t *testing.T, got, want string) (string, string) {
	t.Helper()
	if strings.HasPrefix(want, "ERR") {
		const after = " is an invalid argument"
		return got[strings.Index(got, after):], want[strings.Index(want, after):]
	}
	texts := make([]string, 2)
	for i, answer := range []string{got, want} {
		text, err := strconv.Unquote(strings.TrimPrefix(answer, "=> "))
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = text
	}
	return strings.Join(missing("", decode(t, []byte(texts[1])), decode(t, []byte(texts[0]))), "\n"), ""
}

// parseProbes yields templates and answers. An answer starts after three spaces
// with => or ERR and may go on for several lines.
func parseProbes(text string) func(yield func(template, want string) bool) {
	return func(yield func(template, want string) bool) {
		template, want := "", ""
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			switch {
			case strings.HasPrefix(line, "   => ") || strings.HasPrefix(line, "   ERR "):
				want = line[3:]
			case want != "" && strings.HasPrefix(line, "line "):
				want += "\n" + line
			default:
				if want != "" && !yield(template, want) {
					return
				}
				template, want = line, ""
			}
		}
		yield(template, want)
	}
}
