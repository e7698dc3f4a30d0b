package parser

import (
	"encoding/json"
	"go/ast"
	"reflect"
	"strings"
	"testing"
)

const petComment = `Kind of pet.
one of: cat, dog

example: "cat"
see http://x.y/z
  indented
required: true
tags: ["a","b"]`

func TestExtractCommentMetadata(t *testing.T) {
	metadata, text, err := New().extractCommentMetadata(petComment)
	if err != nil {
		t.Fatal(err)
	}
	if want := "Kind of pet.\nsee http://x.y/z\nindented"; text != want {
		t.Errorf("text %q, want %q", text, want)
	}
	want := map[string]any{"example": "cat", "required": true, "tags": []any{"a", "b"}}
	if !reflect.DeepEqual(metadata, want) {
		t.Errorf("metadata %v, want %v", metadata, want)
	}
}

func TestProseKeepsWhatIsNoMetadata(t *testing.T) {
	want := "Kind of pet.\none of: cat, dog\n\nsee http://x.y/z\n  indented"
	if got := proseOf(petComment); got != want {
		t.Errorf("prose %q, want %q", got, want)
	}
}

func TestVerboseParserTellsWhatItSkips(t *testing.T) {
	var told strings.Builder
	p := New()
	p.Verbose = true
	p.Logf = func(format string, args ...any) { told.WriteString(format) }
	p.extractCommentMetadata("one of: cat, dog")
	if !strings.HasPrefix(told.String(), "(skipping) failed to marshal JSON value") {
		t.Errorf("told %q", told.String())
	}
}

func FuzzCommentMetadata(f *testing.F) {
	for _, seed := range []string{"", petComment, ": ", "a: {", "a: 1\na: null", "x:\ty: 1", "\r\n: 1\r\n", "k: \"\\ud800\""} {
		f.Add(seed)
	}
	p := New()
	f.Fuzz(func(t *testing.T, src string) {
		metadata, text, err := p.extractCommentMetadata(src)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(metadata); err != nil {
			t.Errorf("metadata %v: %v", metadata, err)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if line != strings.TrimSpace(line) {
				t.Errorf("text has the line %q", line)
			}
		}
		again, same, _ := p.extractCommentMetadata(text)
		if len(again) > 0 || same != text {
			t.Errorf("text %q still has metadata %v or changes to %q", text, again, same)
		}
		prose := proseOf(src)
		if strings.Contains(prose, "\n\n\n") || proseOf(prose) != prose {
			t.Errorf("prose %q isn't settled", prose)
		}
		if _, err := p.comment(&ast.CommentGroup{}); err != nil {
			t.Error(err)
		}
	})
}
