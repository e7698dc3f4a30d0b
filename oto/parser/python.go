package parser

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// PyFile is the definition as a generated file of Python says it.
type PyFile struct {
	def *Definition
	identifiers
	// hidden are the names that one within a class would hide from annotations.
	hidden map[string]bool
}

// PyFile returns the definition for a Python file whose template has the names of
// its own, separated by spaces.
func (d *Definition) PyFile(names string) *PyFile {
	f := &PyFile{def: d}
	f.reserve(strings.Fields(pyWords)...)
	f.reserve(strings.Fields(pyTypes)...)
	f.reserve(strings.Fields(names)...)
	f.claimAll(d)
	f.hidden = make(map[string]bool)
	for name := range strings.FieldsSeq(pyWords + " " + pyTypes + " self") {
		f.hidden[name] = true
	}
	for _, t := range d.Types {
		f.hidden[f.Ident(t.Name)] = true
	}
	for _, a := range d.Aliases {
		f.hidden[f.Ident(a.Name)] = true
	}
	return f
}

// pyWords can't be names; pyTypes are the names that annotations have.
const (
	pyWords = `False None True and as assert async await break class continue def del elif else except finally for from
global if import in is lambda nonlocal not or pass raise return self try while with yield`
	pyTypes = `Any Decimal bool bytes dict float int list str`
)

// snake returns a name in lower case with underscores between its words; empty if
// it can't be a name in Python.
func snake(name string) string {
	var words []string
	for _, word := range Split(name) {
		word = strings.Trim(strings.ToLower(word), "_")
		if word == "" {
			continue
		}
		for _, r := range word {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				return ""
			}
		}
		if n := len(words); n > 0 && strings.IndexFunc(word, func(r rune) bool { return !unicode.IsDigit(r) }) < 0 {
			words[n-1] += word // int64, not int_64
			continue
		}
		words = append(words, word)
	}
	s := strings.Join(words, "_")
	if s == "" || unicode.IsDigit([]rune(s)[0]) {
		return ""
	}
	return s
}

// PyField is a field as a class has it.
type PyField struct {
	Field
	// Attr is what the class calls it.
	Attr string
}

// Fields are the fields of a class, without the Error that methods' results are
// given: a call raises it.
func (f *PyFile) Fields(t Type) []PyField {
	names := members{reserved: f.hidden}
	var all []PyField
	for _, field := range t.Fields {
		if field.InBandError() {
			continue
		}
		attr := snake(field.JSONName)
		if attr == "" {
			attr = snake(field.Name)
		}
		if attr == "" {
			attr = "field"
		}
		all = append(all, PyField{field, names.claim(attr)})
	}
	return all
}

// Methods are what the file calls a service's methods, in their order.
func (f *PyFile) Methods(s Service) []string {
	names := members{reserved: f.hidden}
	all := make([]string, len(s.Methods))
	for i, m := range s.Methods {
		all[i] = names.claim(snake(m.Name))
	}
	return all
}

// Values are the names of an enum's members, in the order of its values.
func (f *PyFile) Values(t Type) []string {
	names := members{}
	all := make([]string, len(t.Values))
	for i, v := range t.Values {
		all[i] = names.claim(strings.ToUpper(snake(v.GoName)))
	}
	return all
}

// EnumBases are the classes of the enum module that the file's enums are made of,
// with commas between them.
func (f *PyFile) EnumBases() string {
	var bases []string
	for _, t := range f.def.Types {
		if t.IsEnum() {
			bases = append(bases, f.EnumBase(t))
		}
	}
	slices.Sort(bases)
	return strings.Join(slices.Compact(bases), ", ")
}

// EnumBase is the class that an enum is made of.
func (f *PyFile) EnumBase(t Type) string {
	if t.Underlying.Kind == KindString {
		return "StrEnum"
	}
	return "IntEnum"
}

// HasAliases says whether the file has names for types that aren't classes.
func (f *PyFile) HasAliases() bool {
	return len(f.def.Aliases) > 0 || slices.ContainsFunc(f.def.Types, f.IsAlias)
}

// Text returns a string as Python writes it.
func (f *PyFile) Text(s string) string { return literalText(s) }

// Literal returns an enum's value as Python writes it.
func (f *PyFile) Literal(v EnumValue) string {
	if s, ok := v.Value.(string); ok {
		return literalText(s)
	}
	return v.JSON
}

// Type returns a type as Python writes it.
func (f *PyFile) Type(t TypeRef) string {
	text := f.value(&t)
	if t.Nullable && text != "Any" {
		text += " | None"
	}
	return text
}

func (f *PyFile) value(t *TypeRef) string {
	switch t.Kind {
	case KindAny, KindRaw, KindJSON:
		return "Any"
	case KindObject, KindEnum:
		return f.Ident(t.Name)
	}
	if t.Name != "" {
		return f.Ident(t.Name)
	}
	switch t.Kind {
	case KindBool:
		return "bool"
	case KindInt, KindDuration:
		return "int"
	case KindFloat:
		return "float"
	case KindNumber:
		return "Decimal"
	case KindBytes:
		return "bytes"
	case KindList, KindArray:
		return "list[" + f.Type(*t.Elem) + "]"
	case KindMap:
		return "dict[" + f.value(t.Key) + ", " + f.Type(*t.Elem) + "]"
	}
	return "str"
}

// IsAlias says whether the file has a name for a type that is neither an object
// nor an enum.
func (f *PyFile) IsAlias(t Type) bool { return !t.IsObject() && !t.IsEnum() }

// Underlying returns what a named type is a name for.
func (f *PyFile) Underlying(t Type) string {
	if t.Underlying == nil {
		return f.value(&TypeRef{Kind: t.Kind})
	}
	return f.value(t.Underlying)
}

// FieldType returns the type of a field. What may be missing is None then; what is
// required isn't.
func (f *PyFile) FieldType(field Field) string {
	t := *field.Type.Wire
	t.Nullable = (t.Nullable || field.Optional) && !field.Constraints.Required
	return f.Type(t)
}

// Default returns what a field is unless it is said; empty if it has to be said.
func (f *PyFile) Default(field Field) string {
	t := field.Type.Wire
	switch {
	case field.Constraints.Required:
		return ""
	case t.Nullable || field.Optional:
		return "None"
	}
	switch t.Kind {
	case KindBool:
		return "False"
	case KindInt, KindDuration:
		return "0"
	case KindFloat:
		return "0.0"
	case KindString:
		return `""`
	}
	return ""
}

// Doc is the comment of a field, with what must hold of its value and what its
// type doesn't say of how it is written.
func (f *PyFile) Doc(field Field) string {
	t := field.Type.Wire
	for t.Elem != nil {
		t = t.Elem
	}
	if t.Kind == KindBytes || t.Kind == KindNumber {
		return field.ConstrainedDoc()
	}
	return withNote(field.ConstrainedDoc(), formNote(t))
}

// Shape returns how the template's reader and writer take a type, as Python
// writes it.
func (f *PyFile) Shape(t TypeRef) string {
	var args []string
	switch kind := t.Kind; {
	case kind == KindObject || kind == KindEnum:
		args = []string{strconv.Quote(kind), f.Ident(t.Name)}
	case t.Name != "":
		args = []string{`"named"`, strconv.Quote(f.Ident(t.Name))}
	case kind == KindList || kind == KindArray:
		args = []string{strconv.Quote(kind), "of=" + f.Shape(*t.Elem)}
		if kind == KindArray {
			args = append(args, "size="+strconv.FormatInt(t.Len, 10))
		}
	case kind == KindMap:
		args = []string{strconv.Quote(kind), "of=" + f.Shape(*t.Elem), "key=" + f.Shape(*t.Key)}
	default:
		args = []string{strconv.Quote(kind)}
	}
	if t.Nullable {
		args = append(args, "null=True")
	}
	if t.Quoted {
		args = append(args, "quoted=True")
	}
	return "_Shape(" + strings.Join(args, ", ") + ")"
}

// AliasOf returns another name's type: what is a class, so that the name is one
// too, or else text for type checkers.
func (f *PyFile) AliasOf(t TypeRef) string {
	if text := f.Type(t); text != f.Ident(t.Name) || t.Kind != KindObject && t.Kind != KindEnum {
		return literalText(text)
	}
	return f.Ident(t.Name)
}

// ShapeOf is the shape of what a named type is a name for.
func (f *PyFile) ShapeOf(t Type) string {
	if t.Underlying == nil {
		return f.Shape(TypeRef{Kind: t.Kind})
	}
	return f.Shape(*t.Underlying)
}
