package parser

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// TSFile is the definition as a generated file of TypeScript says it.
type TSFile struct {
	def *Definition
	identifiers
	shaped func(*TypeRef) bool
}

// TSFile returns the definition for a TypeScript file whose template has the
// names of its own, or uses those of JavaScript, separated by spaces.
func (d *Definition) TSFile(names string) *TSFile {
	f := &TSFile{def: d}
	f.reserve(strings.Fields(tsWords)...)
	f.reserve(strings.Fields(names)...)
	f.claimAll(d)
	f.shaped = d.reaching(func(t *TypeRef) bool { return tsLeaf(t) != "" })
	return f
}

// tsWords can't be the name of a type or class.
const tsWords = `any arguments as asserts async await bigint boolean break case catch class const continue debugger default
delete do else enum eval export extends false finally for function if implements import in infer instanceof interface is keyof
let never new null number object of package private protected public readonly return satisfies static string super switch
symbol this throw true try type typeof undefined unique unknown var void while with yield`

// Methods are what the file calls a service's methods, in their order.
func (f *TSFile) Methods(s Service) []string {
	names := members{reserved: map[string]bool{"constructor": true, "then": true}}
	all := make([]string, len(s.Methods))
	for i, m := range s.Methods {
		all[i] = names.claim(m.NameLowerCamel)
	}
	return all
}

var plainKey = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// Key returns a key as a type or an object literal has it. In the latter
// __proto__ would be something else.
func (f *TSFile) Key(name string) string {
	switch {
	case name == "__proto__":
		return `["__proto__"]`
	case plainKey.MatchString(name):
		return name
	}
	return f.Text(name)
}

// Text returns a string as TypeScript writes it.
func (f *TSFile) Text(s string) string { return literalText(s) }

// literalText returns a string as both JSON and JavaScript write it, without the
// escapes that HTML asks for.
func literalText(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n")
}

// maxTuple is how long an array may be to be a type with each of its items.
const maxTuple = 8

// Type returns a type as TypeScript writes it.
func (f *TSFile) Type(t TypeRef) string {
	text := f.value(&t)
	if t.Nullable && text != "unknown" {
		text += " | null"
	}
	return text
}

// FieldType returns the type of a field. A list or pointer that is required isn't
// null: a service refuses it.
func (f *TSFile) FieldType(field Field) string {
	t := *field.Type.Wire
	t.Nullable = t.Nullable && !field.Constraints.Required
	return f.Type(t)
}

// value is the type of what is there when it isn't null.
func (f *TSFile) value(t *TypeRef) string {
	switch {
	case t.Kind == KindAny || t.Kind == KindRaw || t.Kind == KindJSON:
		return "unknown"
	case t.Name != "":
		return f.Ident(t.Name)
	}
	switch t.Kind {
	case KindBool:
		return "boolean"
	case KindFloat:
		return "number"
	case KindInt, KindDuration:
		if t.Kind == KindInt && t.Bits < 64 {
			return "number"
		}
		return "number | bigint"
	case KindList, KindArray:
		elem := f.Type(*t.Elem)
		if t.Kind == KindArray && t.Len <= maxTuple {
			return "[" + strings.Repeat(", "+elem, int(t.Len))[min(2, int(2*t.Len)):] + "]"
		}
		if strings.Contains(elem, " | ") {
			elem = "(" + elem + ")"
		}
		return elem + "[]"
	case KindMap:
		if f.enumKey(t.Key) {
			return "{ [key in " + f.Ident(t.Key.Name) + "]?: " + f.Type(*t.Elem) + " }"
		}
		return "{ [key: string]: " + f.Type(*t.Elem) + " }"
	}
	return "string"
}

// enumKey says whether a map's key is an enum that can be one in TypeScript: one
// of text, or of numbers that are no bigints.
func (f *TSFile) enumKey(key *TypeRef) bool {
	is, err := f.def.Type(key.Name)
	if err != nil || !is.IsEnum() {
		return false
	}
	for _, v := range is.Values {
		if !isSafe(v.Value) {
			return false
		}
	}
	return true
}

// isSafe says whether a double holds an enum's value, and no other integer that
// rounds to it.
func isSafe(value any) bool {
	const most = 1<<53 - 1
	switch v := value.(type) {
	case int64:
		return -most <= v && v <= most
	case uint64:
		return v <= most
	}
	return true
}

// Underlying returns what a named type is a name for.
func (f *TSFile) Underlying(t Type) string {
	if t.IsEnum() {
		var values []string
		for _, v := range t.DistinctValues() {
			values = append(values, f.Literal(v))
		}
		return strings.Join(values, " | ")
	}
	if t.Underlying == nil { // it makes its own
		return f.value(&TypeRef{Kind: t.Kind})
	}
	return f.value(t.Underlying)
}

// Literal returns an enum's value as TypeScript writes it.
func (f *TSFile) Literal(v EnumValue) string {
	if s, ok := v.Value.(string); ok {
		return literalText(s)
	}
	if !isSafe(v.Value) {
		return v.JSON + "n"
	}
	return v.JSON
}

// Doc is the comment of a field, with what must hold of its value and what its
// type doesn't say of how it is written.
func (f *TSFile) Doc(field Field) string {
	return withNote(field.ConstrainedDoc(), formNote(field.Type.Wire))
}

// withNote adds a paragraph to a comment.
func withNote(doc, note string) string {
	if doc == "" || note == "" {
		return doc + note
	}
	return doc + "\n\n" + note
}

// formNote says how values are written whose kind a language's text or number
// doesn't tell.
func formNote(t *TypeRef) string {
	for t.Elem != nil {
		t = t.Elem
	}
	switch t.Kind {
	case KindBytes:
		return "Bytes, as text in base64."
	case KindTime:
		return `A moment, as text in RFC 3339: "2006-01-02T15:04:05.999999999Z".`
	case KindDuration:
		return "A span of time, in nanoseconds."
	case KindNumber:
		return "A number of any length, as text with its digits."
	}
	return ""
}

// tsLeaf is how the template's reader and writer treat a value that plain JSON
// would lose something of; empty where it doesn't.
func tsLeaf(t *TypeRef) string {
	if t.Quoted {
		inside := *t
		inside.Quoted = false
		return strings.TrimSuffix("#quoted "+tsLeaf(&inside), " ")
	}
	switch t.Kind {
	case KindRaw, KindJSON:
		return "#exact"
	case KindNumber:
		return "#digits"
	}
	if t.IsLossy() {
		return "#int"
	}
	return ""
}

// Shape returns what the template's reader and writer have to know of a type, as
// TypeScript writes it: undefined if nothing.
func (f *TSFile) Shape(t TypeRef) string {
	switch leaf := tsLeaf(&t); {
	case leaf != "":
		return strconv.Quote(leaf)
	case !f.shaped(&t):
		return "undefined"
	case t.Name != "":
		return strconv.Quote(t.Name)
	}
	return "[" + f.Shape(*t.Elem) + "]"
}

// Shaped are the types that have a shape.
func (f *TSFile) Shaped() []Type {
	var all []Type
	for _, t := range f.def.Types {
		if ref := (TypeRef{Name: t.Name, Kind: t.Kind}); tsLeaf(&ref) == "" && f.shaped(&ref) && (t.IsObject() || tsLeaf(t.Underlying) == "") {
			all = append(all, t)
		}
	}
	return all
}

// ShapeOf returns the shape that a type has: of an object, those of its fields.
func (f *TSFile) ShapeOf(t Type) string {
	if !t.IsObject() {
		return f.Shape(*t.Underlying)
	}
	var fields []string
	for _, field := range t.Fields {
		if f.shaped(field.Type.Wire) {
			fields = append(fields, f.Key(field.JSONName)+": "+f.Shape(*field.Type.Wire))
		}
	}
	return "{ " + strings.Join(fields, ", ") + " }"
}
