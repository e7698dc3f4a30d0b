package parser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// OpenAPI is the definition as an OpenAPI 3.1 document says it: schemas are those
// of JSON Schema 2020-12, in which a reference may have other keys beside it.
type OpenAPI struct {
	def *Definition
	identifiers
	// sent are the types, by Name, that a request may hold.
	sent map[string]bool
}

// OpenAPI returns the definition for a document that has schemas of its own,
// whose names are separated by spaces.
func (d *Definition) OpenAPI(names string) *OpenAPI {
	o := &OpenAPI{def: d, sent: make(map[string]bool)}
	o.reserve(strings.Fields(names)...)
	for _, t := range d.Types {
		o.claim(t.Name, t.PackageName)
	}
	for _, s := range d.Services {
		for _, m := range s.Methods {
			o.noteSent(m.Request)
		}
	}
	return o
}

// Services are the services that have methods.
func (o *OpenAPI) Services() []Service {
	var all []Service
	for _, s := range o.def.Services {
		if len(s.Methods) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// Operation is a method of a service.
type Operation struct {
	Service Service
	Method  Method
}

// Name is how the operation is called: Service.Method.
func (o Operation) Name() string { return o.Service.Name + "." + o.Method.Name }

// Operations are all methods.
func (o *OpenAPI) Operations() []Operation {
	var all []Operation
	for _, s := range o.def.Services {
		for _, m := range s.Methods {
			all = append(all, Operation{Service: s, Method: m})
		}
	}
	return all
}

func (o *OpenAPI) noteSent(t *TypeRef) {
	if t == nil || t.Name != "" && o.sent[t.Name] {
		return
	}
	if is, err := o.def.Type(t.Name); err == nil {
		o.sent[t.Name] = true
		o.noteSent(is.Underlying)
		for _, f := range is.Fields {
			o.noteSent(f.Type.Wire)
		}
	}
	o.noteSent(t.Elem)
}

// A Schema is a JSON object with its keys in order.
type Schema []schemaKey

type schemaKey struct {
	name  string
	value any
}

// MarshalJSON keeps the order, and <, > and & as they are.
func (s Schema) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(k.value)
		if err != nil {
			return nil, err
		}
		b.WriteString(literalText(k.name) + ":")
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// With returns the schemas with one more.
func (s Schema) With(name string, schema any) Schema {
	return append(s[:len(s):len(s)], schemaKey{name, schema})
}

func (s *Schema) set(name string, value any) {
	for i := range *s {
		if (*s)[i].name == name {
			(*s)[i].value = value
			return
		}
	}
	*s = append(*s, schemaKey{name, value})
}

// describe adds a comment.
func (s *Schema) describe(doc string) {
	if doc != "" {
		s.set("description", doc)
	}
}

// component is the name of a type's schema, of the letters that OpenAPI allows.
func (o *OpenAPI) component(name string) string {
	var b strings.Builder
	for _, r := range o.Ident(name) {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "_u%04x", r)
		}
	}
	return b.String()
}

// Schemas are the schemas of all named types, by name.
func (o *OpenAPI) Schemas() Schema {
	all := Schema{}
	for _, t := range o.def.Types {
		all.set(o.component(t.Name), o.typeSchema(&t))
	}
	return all
}

func (o *OpenAPI) typeSchema(t *Type) Schema {
	if !t.IsObject() {
		var s Schema
		if t.Underlying != nil {
			plain := *t.Underlying
			plain.Nullable = false // where it is used
			s = o.Schema(plain)
		} else {
			s = o.Schema(TypeRef{Kind: t.Kind})
		}
		if t.IsEnum() {
			s = o.enumSchema(t)
		}
		s.describe(t.Doc)
		return s
	}
	s := Schema{{"type", "object"}}
	s.describe(t.Doc)
	properties, required := Schema{}, []string{}
	for _, f := range t.Fields {
		properties.set(f.JSONName, o.fieldSchema(f))
		if f.Constraints.Required || !f.Optional && !o.sent[t.Name] {
			required = append(required, f.JSONName)
		}
	}
	if len(properties) > 0 {
		s.set("properties", properties)
	}
	if len(required) > 0 {
		s.set("required", required)
	}
	return s
}

func (o *OpenAPI) enumSchema(t *Type) Schema {
	base := "string"
	if t.Underlying.Kind == KindInt {
		base = "integer"
	}
	var values []json.RawMessage
	var names, docs []string
	documented := false
	for _, v := range t.DistinctValues() {
		values = append(values, json.RawMessage(v.JSON))
		names = append(names, v.GoName)
		docs = append(docs, v.Doc)
		documented = documented || v.Doc != ""
	}
	s := Schema{{"type", base}, {"enum", values}, {"x-enum-varnames", names}}
	if documented {
		s.set("x-enum-descriptions", docs)
	}
	return s
}

// fieldSchema is the schema of a field with what must hold of its value.
func (o *OpenAPI) fieldSchema(f Field) Schema {
	t, c := *f.Type.Wire, f.Constraints
	t.Nullable = t.Nullable && !c.Required
	s := o.Schema(t)
	item := &s
	var items Schema
	if c.Items {
		if known, ok := s.get("items").(Schema); ok {
			items = known
		}
		item = &items
	}
	if c.Pattern != "" {
		item.set("pattern", c.Pattern)
	}
	if len(c.Enum) > 0 {
		values := c.Enum
		if t.Nullable && !c.Items {
			values = append(values[:len(values):len(values)], nil)
		}
		item.set("enum", values)
	}
	if items != nil {
		s.set("items", items)
	}
	least, most := c.Min, c.Max
	if c.Required && (least == "" || least == "0") {
		least = "1"
	}
	switch valueKind(&t) {
	case KindString:
		if c.Length || c.Required {
			s.bound("minLength", least)
			s.bound("maxLength", most)
		}
	case KindList:
		if c.Length || c.Required {
			s.bound("minItems", least)
			s.bound("maxItems", most)
		}
	case KindMap:
		if c.Length || c.Required {
			s.bound("minProperties", least)
			s.bound("maxProperties", most)
		}
	case KindInt, KindFloat, KindDuration:
		s.bound("minimum", c.Min)
		s.bound("maximum", c.Max)
		if c.Required && t.Pointers == 0 {
			s.set("not", Schema{{"const", 0}})
		}
	}
	doc := f.Doc
	if t.Kind == KindBytes {
		doc = f.ConstrainedDoc() // its length isn't that of the text
	}
	if t.Kind == KindDuration {
		doc = withNote(doc, formNote(&t))
	}
	s.describe(doc)
	if example, ok := f.example(); ok {
		s.set("examples", []any{example})
	}
	return s
}

func (s Schema) get(name string) any {
	for _, k := range s {
		if k.name == name {
			return k.value
		}
	}
	return nil
}

// bound sets a number, unless it is empty.
func (s *Schema) bound(name, number string) {
	if number != "" {
		s.set(name, json.Number(number))
	}
}

// Schema returns the schema of a type where it is used.
func (o *OpenAPI) Schema(t TypeRef) Schema {
	if t.Quoted {
		s := Schema{{"type", "string"}}
		if t.Nullable {
			s.set("type", []string{"string", "null"})
		}
		return append(s, schemaKey{"contentMediaType", "application/json"})
	}
	if t.Name != "" {
		ref := Schema{{"$ref", "#/components/schemas/" + o.component(t.Name)}}
		if t.Nullable && valueKind(&t) != KindAny && valueKind(&t) != KindRaw && t.Kind != KindJSON {
			return Schema{{"anyOf", []Schema{ref, {{"type", "null"}}}}}
		}
		return ref
	}
	s := o.kindSchema(&t)
	if kind, ok := s.get("type").(string); ok && t.Nullable {
		s.set("type", []string{kind, "null"})
	}
	return s
}

func (o *OpenAPI) kindSchema(t *TypeRef) Schema {
	switch t.Kind {
	case KindBool:
		return Schema{{"type", "boolean"}}
	case KindInt:
		return intSchema(t)
	case KindFloat:
		if t.Bits == 32 {
			return Schema{{"type", "number"}, {"format", "float"}}
		}
		return Schema{{"type", "number"}, {"format", "double"}}
	case KindNumber:
		return Schema{{"type", "number"}}
	case KindBytes:
		return Schema{{"type", "string"}, {"contentEncoding", "base64"}}
	case KindTime:
		return Schema{{"type", "string"}, {"format", "date-time"}}
	case KindDuration:
		return Schema{{"type", "integer"}, {"format", "int64"}}
	case KindAny, KindRaw, KindJSON:
		return Schema{}
	case KindList:
		return Schema{{"type", "array"}, {"items", o.Schema(*t.Elem)}}
	case KindArray:
		return Schema{{"type", "array"}, {"items", o.Schema(*t.Elem)}, {"minItems", t.Len}, {"maxItems", t.Len}}
	case KindMap:
		s := Schema{{"type", "object"}, {"additionalProperties", o.Schema(*t.Elem)}}
		if valueKind(t.Key) == KindInt {
			s.set("propertyNames", Schema{{"pattern", "^-?[0-9]+$"}})
		} else if t.Key.Kind == KindEnum {
			s.set("propertyNames", o.Schema(*t.Key))
		}
		return s
	}
	return Schema{{"type", "string"}}
}

func intSchema(t *TypeRef) Schema {
	format := "int" + strconv.Itoa(t.Bits)
	if t.Unsigned {
		format = "u" + format
	}
	s := Schema{{"type", "integer"}, {"format", format}}
	switch {
	case t.Unsigned && t.Bits == 64:
		s.set("minimum", 0)
	case t.Unsigned:
		s.set("minimum", 0)
		s.set("maximum", int64(1)<<t.Bits-1)
	case t.Bits < 64:
		s.set("minimum", int64(-1)<<(t.Bits-1))
		s.set("maximum", int64(1)<<(t.Bits-1)-1)
	}
	return s
}

// example is the example in the comment of a field, with its numbers as they are
// written where that is known, as it travels.
func (f Field) example() (any, bool) {
	example, ok := f.exact["example"]
	if !ok {
		example = f.Example
	}
	if t := f.Type.Wire; example != nil && t.Quoted {
		if _, text := example.(string); !text || valueKind(t) == KindString {
			quoted, _ := json.Marshal(example)
			example = string(quoted)
		}
	}
	return example, example != nil
}

// Example is an example of a type: of what is in its fields' comments, and where
// there is nothing, of something that fits.
func (o *OpenAPI) Example(t TypeRef) any {
	value, _ := o.sample(&t, Constraints{}, make(map[string]bool))
	return value
}

// HasExample says whether there is one: only the methods of a type that makes its
// own JSON know what fits.
func (o *OpenAPI) HasExample(t TypeRef) bool {
	_, ok := o.sample(&t, Constraints{}, make(map[string]bool))
	return ok
}

// sample returns a value that fits a type. There is none of a type that is being
// built already, above, nor of one that makes its own JSON.
func (o *OpenAPI) sample(t *TypeRef, c Constraints, above map[string]bool) (value any, ok bool) {
	if t.Quoted {
		plain := *t
		plain.Quoted = false
		value, ok = o.sample(&plain, c, above)
		text, _ := json.Marshal(value)
		return string(text), ok
	}
	if is, err := o.def.Type(t.Name); err == nil {
		if above[t.Name] {
			return nil, false
		}
		above[t.Name] = true
		defer delete(above, t.Name)
		switch {
		case is.IsObject():
			return o.sampleObject(is, above)
		case is.IsEnum() && len(c.Enum) == 0:
			return json.RawMessage(is.Values[0].JSON), true
		case is.Underlying == nil:
			return nil, false
		}
		return o.sample(is.Underlying, c, above)
	}
	if len(c.Enum) > 0 && !c.Items {
		return c.Enum[0], true
	}
	switch t.Kind {
	case KindAny, KindRaw:
		return Schema{}, true
	case KindBool:
		return true, true
	case KindInt, KindFloat, KindDuration, KindNumber:
		return sampleNumber(c), true
	case KindString:
		return sampleText(c), true
	case KindBytes:
		return "", true
	case KindTime:
		return "2006-01-02T15:04:05Z", true
	case KindList:
		item, ok := o.sample(t.Elem, itemsOf(c), above)
		if !ok {
			return []any{}, true
		}
		return []any{item}, true
	case KindArray:
		items := []any{}
		for range t.Len {
			item, ok := o.sample(t.Elem, itemsOf(c), above)
			if !ok {
				return nil, false
			}
			items = append(items, item)
		}
		return items, true
	case KindMap:
		key, ok := o.sampleKey(t.Key)
		item, known := o.sample(t.Elem, Constraints{}, above)
		if !ok || !known {
			return Schema{}, true
		}
		return Schema{{key, item}}, true
	}
	return nil, false
}

func (o *OpenAPI) sampleObject(is *Type, above map[string]bool) (any, bool) {
	s := Schema{}
	for _, f := range is.Fields {
		if f.InBandError() {
			continue
		}
		value, ok := f.example()
		if !ok {
			value, ok = o.sample(f.Type.Wire, f.Constraints, above)
		}
		if ok {
			s.set(f.JSONName, value)
		}
	}
	return s, true
}

// itemsOf are the constraints of what is in a list.
func itemsOf(c Constraints) Constraints {
	if !c.Items {
		return Constraints{}
	}
	return Constraints{Pattern: c.Pattern, Enum: c.Enum}
}

func (o *OpenAPI) sampleKey(key *TypeRef) (string, bool) {
	switch valueKind(key) {
	case KindString:
		if is, err := o.def.Type(key.Name); err == nil && is.IsEnum() {
			return fmt.Sprint(is.Values[0].Value), true
		}
		return "key", true
	case KindInt:
		return "1", true
	}
	return "", false
}

// sampleNumber is 1, or the bound that is nearest.
func sampleNumber(c Constraints) json.Number {
	one := rational("1")
	switch {
	case c.Min != "" && rational(c.Min).Cmp(one) > 0:
		return json.Number(c.Min)
	case c.Max != "" && rational(c.Max).Cmp(one) < 0:
		return json.Number(c.Max)
	}
	return "1"
}

// sampleText is a word of a length that fits; a pattern asks for an example in the
// comment.
func sampleText(c Constraints) string {
	text := "text"
	if least, err := strconv.Atoi(c.Min); err == nil && c.Length && least > len(text) {
		text = strings.Repeat("text", least/len(text)+1)[:least]
	}
	if most, err := strconv.Atoi(c.Max); err == nil && c.Length && most < len(text) {
		text = text[:most]
	}
	return text
}

// Summary is the first sentence or line of a comment.
func (o *OpenAPI) Summary(doc string) string {
	line, _, _ := strings.Cut(doc, "\n")
	if i := strings.Index(doc, ". "); i >= 0 {
		line = strings.ReplaceAll(doc[:i+1], "\n", " ")
	} else if strings.HasSuffix(doc, ".") && !strings.Contains(doc, "\n\n") {
		line = strings.ReplaceAll(doc, "\n", " ")
	}
	return strings.TrimSuffix(line, ".")
}
