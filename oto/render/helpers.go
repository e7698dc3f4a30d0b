package render

import (
	"encoding/json"
	"fmt"
	"go/doc"
	"html/template"
	"strings"

	"github.com/pacedotdev/oto/parser"
)

// helpers are the functions that templates call by these names.
var helpers = map[string]any{
	"camelize_down":       camelizeDown,
	"camelize_up":         camelizeUp,
	"camelize_up_field":   camelizeUpField,
	"json":                toJSON,
	"json_inline":         toJSONInline,
	"format_comment_line": formatCommentLine,
	"format_comment_text": formatCommentText,
	"format_comment_html": formatCommentHTML,
	"format_tags":         formatTags,
	"go_doc":              goDoc,
	"js_doc":              jsDoc,
	"py_doc":              pyDoc,
	"object_golang":       objectGolang,
	"smart_prefix":        smartPrefix,

	sortedHelper: sorted,
	keyHelper:    loopKey,
	valueHelper:  loopValue,
}

// Split cuts a camel-case name into its words; see [parser.Split].
func Split(src string) []string { return parser.Split(src) }

func camelizeDown(s string) string    { return parser.CamelizeDown(s) }
func camelizeUp(s string) string      { return parser.CamelizeUp(s) }
func camelizeUpField(s string) string { return parser.CamelizeUpField(s) }

// toJSON returns v as indented JSON; an empty indent is a tab.
func toJSON(v any, prefix, indent string) (template.HTML, error) {
	if indent == "" {
		indent = "\t"
	}
	text, err := json.MarshalIndent(v, prefix, indent)
	return template.HTML(text), err
}

// toJSONInline returns v as JSON on one line.
func toJSONInline(v any) (template.HTML, error) {
	text, err := json.Marshal(v)
	return template.HTML(text), err
}

// formatCommentLine returns each paragraph of a comment on one line.
func formatCommentLine(s string) template.HTML {
	var b strings.Builder
	//lint:ignore SA1019 its wrapping is what templates rely on
	doc.ToText(&b, s, "", "", 2000)
	return template.HTML(strings.TrimSpace(b.String()))
}

// formatCommentText returns a comment as // lines of 80 columns, paragraphs
// wrapped anew.
func formatCommentText(s string) template.HTML {
	var b strings.Builder
	//lint:ignore SA1019 its wrapping is what templates rely on
	doc.ToText(&b, s, "// ", "", 80)
	return template.HTML(b.String())
}

// formatCommentHTML returns a comment as HTML.
func formatCommentHTML(s string) template.HTML {
	var b strings.Builder
	//lint:ignore SA1019 its markup is what templates rely on
	doc.ToHTML(&b, s, nil)
	return template.HTML(b.String())
}

// goDoc returns a doc comment as // lines, wrapped as they are.
func goDoc(s string) template.HTML {
	if s == "" {
		return ""
	}
	var b strings.Builder
	for line := range strings.SplitSeq(s, "\n") {
		b.WriteString(strings.TrimRight("// "+line, " ") + "\n")
	}
	return template.HTML(b.String())
}

// jsDoc returns a doc comment as JavaScript has it, and the indentation of what
// follows it.
func jsDoc(s, indent string) template.HTML {
	s = strings.ReplaceAll(s, "*/", `*\/`)
	switch {
	case s == "":
		return ""
	case !strings.Contains(s, "\n"):
		return template.HTML("/** " + s + " */\n" + indent)
	}
	var b strings.Builder
	b.WriteString("/**\n")
	for line := range strings.SplitSeq(s, "\n") {
		b.WriteString(strings.TrimRight(indent+" * "+line, " ") + "\n")
	}
	b.WriteString(indent + " */\n" + indent)
	return template.HTML(b.String())
}

// pyDoc returns a doc comment as Python's text in three quotes, with the
// indentation of what it belongs to before it and a new line behind it.
func pyDoc(s, indent string) template.HTML {
	if s == "" {
		return ""
	}
	s = strings.NewReplacer(`\`, `\\`, `"""`, `\"\"\"`).Replace(s)
	if quoteless, ok := strings.CutSuffix(s, `"`); ok {
		s = quoteless + `\"`
	}
	var b strings.Builder
	b.WriteString(indent + `"""`)
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteString("\n")
			if line != "" {
				b.WriteString(indent)
			}
		}
		b.WriteString(line)
	}
	if strings.Contains(s, "\n") {
		b.WriteString("\n" + indent)
	}
	b.WriteString("\"\"\"\n")
	return template.HTML(b.String())
}

// formatTags merges struct tags, a later key replacing an earlier one, and
// returns the tag in backquotes; nothing if there is none.
func formatTags(tags ...string) (template.HTML, error) {
	merged, err := parser.MergeTags(tags...)
	if err != nil || merged == "" {
		return "", err
	}
	return template.HTML("`" + merged + "`"), nil
}

// smartPrefix puts prefix before s, but after a leading *.
func smartPrefix(prefix, s string) string {
	if name, ok := strings.CutPrefix(s, "*"); ok {
		return "*" + prefix + name
	}
	return prefix + s
}

// objectGolang is ObjectGolang for templates, which may hold the object itself or
// a pointer to it.
func objectGolang(def parser.Definition, object any, tabs int) (template.HTML, error) {
	switch o := object.(type) {
	case *parser.Object:
		return ObjectGolang(def, o, tabs), nil
	case parser.Object:
		return ObjectGolang(def, &o, tabs), nil
	}
	return "", fmt.Errorf("%T is not an object", object)
}
