package parser

import (
	"reflect"
	"strconv"
	"testing"
)

func TestMergeTags(t *testing.T) {
	for _, tt := range []struct {
		name string
		tags []string
		want string
	}{
		{name: "none", want: ""},
		{name: "blank", tags: []string{"", "  "}, want: ""},
		{name: "one", tags: []string{`json:"a,omitempty"`}, want: `json:"a,omitempty"`},
		{name: "later key replaces in place", tags: []string{`json:"a" xml:"c"`, `json:"b"`}, want: `json:"b" xml:"c"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := MergeTags(tt.tags...); err != nil || got != tt.want {
				t.Errorf("MergeTags(%q) = %q, %v, want %q", tt.tags, got, err, tt.want)
			}
		})
	}
	if _, err := MergeTags("bad"); err == nil || err.Error() != "parse tags: `bad`: bad syntax for struct tag pair" {
		t.Errorf("MergeTags(bad) = %v", err)
	}
}

func TestGoTag(t *testing.T) {
	for _, tt := range []struct {
		name  string
		field Field
		want  string
	}{
		{name: "untagged", field: Field{JSONName: "htmlPage"}, want: "`json:\"htmlPage\"`"},
		{name: "in-band error", field: Field{JSONName: "error", OmitEmpty: true}, want: "`json:\"error,omitempty\"`"},
		{name: "other keys stay", field: tagged(`xml:"id,attr"`, "id"), want: "`xml:\"id,attr\" json:\"id\"`"},
		{name: "options stay", field: tagged(`json:",omitempty"`, "id"), want: "`json:\"id,omitempty\"`"},
		{name: "never travels", field: tagged(`json:"-"`, ""), want: "`json:\"-\"`"},
		{name: "named minus", field: tagged(`json:"-,"`, "-"), want: "`json:\"-,\"`"},
		{name: "backquote", field: tagged("doc:\"`\"", "id"), want: strconv.Quote("doc:\"`\" json:\"id\"")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.field.GoTag(); got != tt.want {
				t.Errorf("GoTag() = %s, want %s", got, tt.want)
			}
		})
	}
}

func tagged(tag, jsonName string) Field {
	f := Field{Tag: tag, JSONName: jsonName, ParsedTags: map[string]FieldTag{}}
	for _, t := range parseTag(tag) {
		f.ParsedTags[t.Key] = FieldTag{Value: t.Name, Options: t.Options}
	}
	return f
}

func FuzzStructTag(f *testing.F) {
	for _, seed := range []string{"", " ", `json:"a"`, `json:"a" json:"b"`, `json:"-,"`, `a:"\"" b:"\\"`, "x:\"`\"", `bad`, `a:"b`, `:"x"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		merged, err := MergeTags(tag)
		if err != nil {
			return
		}
		again, err := MergeTags(merged)
		if err != nil || again != merged {
			t.Errorf("%q merges to %q, and that to %q, %v", tag, merged, again, err)
		}
		f := tagged(tag, "name")
		literal, err := strconv.Unquote(f.GoTag())
		if err != nil {
			t.Fatalf("GoTag of %q is no Go: %v", tag, err)
		}
		if name := reflect.StructTag(literal).Get("json"); name == "" {
			t.Errorf("GoTag of %q is %q, without a JSON name", tag, literal)
		}
	})
}
