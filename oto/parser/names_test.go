package parser

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The vectors are the wire format: a JSON name never changes.
func TestCamelizeVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/camelize-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ In, Down, Up, UpField string }
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 1200 {
		t.Fatalf("read %d vectors", len(vectors))
	}
	for _, v := range vectors {
		if got := CamelizeDown(v.In); got != v.Down {
			t.Errorf("CamelizeDown(%q) = %q, want %q", v.In, got, v.Down)
		}
		if got := CamelizeUp(v.In); got != v.Up {
			t.Errorf("CamelizeUp(%q) = %q, want %q", v.In, got, v.Up)
		}
		if got := CamelizeUpField(v.In); got != v.UpField {
			t.Errorf("CamelizeUpField(%q) = %q, want %q", v.In, got, v.UpField)
		}
	}
}

func TestSplit(t *testing.T) {
	for src, want := range map[string][]string{
		"":                 {},
		"lowercase":        {"lowercase"},
		"MyHTMLPage":       {"My", "HTML", "Page"},
		"GL11Version":      {"GL", "11", "Version"},
		"BFG9000":          {"BFG", "9000"},
		"Two  spaces":      {"Two", "  ", "spaces"},
		"BöseÜberraschung": {"Böse", "Überraschung"},
		"bad\xffutf8":      {"bad\xffutf8"},
	} {
		if got := Split(src); !slices.Equal(got, want) {
			t.Errorf("Split(%q) = %q, want %q", src, got, want)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"", "ID", "HTMLPage", "some_field", "*[]Leg", "Überraschung", "ßa", "a\xffb", "ǅx", "!!"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got := strings.Join(Split(name), ""); got != name {
			t.Errorf("Split(%q) joins to %q", name, got)
		}
		for _, camelize := range []func(string) string{CamelizeDown, CamelizeUp, CamelizeUpField} {
			got := camelize(name)
			if utf8.ValidString(name) && !utf8.ValidString(got) {
				t.Errorf("%q became %q, which is not UTF-8", name, got)
			}
			if again := camelize(name); again != got {
				t.Errorf("%q became %q and then %q", name, got, again)
			}
		}
	})
}
