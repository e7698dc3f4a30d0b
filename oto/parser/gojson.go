package parser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/types"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Code for JSON is generated in functions, one a type that needs more than a line:
// an object, a list or a map with a name. What it doesn't cover is left to
// encoding/json, a field at a time: types that make their own JSON, any, maps by
// numbers. An object is left to it as a whole if one of its fields travels inside of
// text, comes from behind an embedded pointer, or has an omitzero that only
// encoding/json can tell.

// JSONTypes are the types that have a function of their own to decode or encode
// them, for what methods take ("request") or return ("response").
func (f *GoFile) JSONTypes(of string) []Type {
	reached := make(map[string]bool)
	var visit func(t *TypeRef)
	visit = func(t *TypeRef) {
		if t == nil || reached[t.Name] || !f.hasJSON(t) {
			return
		}
		if is := f.ownFunc(t); is != nil {
			reached[t.Name] = true
			visit(is.Underlying)
			for _, field := range is.Fields {
				visit(field.Type.Wire)
			}
		}
		visit(t.Elem)
	}
	for _, s := range f.def.Services {
		for _, m := range s.Methods {
			if of == "request" {
				visit(m.Request)
			} else {
				visit(m.Response)
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(f.def.Types), func(t Type) bool { return !reached[t.Name] })
}

// nameJSON names the functions and variables of the code for JSON.
func (f *GoFile) nameJSON() {
	for _, t := range slices.Concat(f.JSONTypes("request"), f.JSONTypes("response")) {
		if f.names["decode "+t.Name] != "" {
			continue
		}
		ident := f.Ident(t.Name)
		f.names["decode "+t.Name] = unique(f.taken, "decode"+upper(ident), t.PackageName)
		f.names["encode "+t.Name] = unique(f.taken, "encode"+upper(ident), t.PackageName)
		if t.IsObject() && len(t.Fields) > 0 {
			f.names["keys "+t.Name] = unique(f.taken, mapFirst(ident, unicode.ToLower)+"Keys", t.PackageName)
		}
	}
}

// DecodeFunc and EncodeFunc are the names of a type's functions, and Keys that of
// the list of its keys, if it has any.
func (f *GoFile) DecodeFunc(t Type) string { return f.names["decode "+t.Name] }
func (f *GoFile) EncodeFunc(t Type) string { return f.names["encode "+t.Name] }
func (f *GoFile) Keys(t Type) string {
	if len(f.jsonFields(t)) == 0 {
		return ""
	}
	return f.names["keys "+t.Name]
}

// ForClient is the file with the fields that clients have: all but the error in a
// result, which becomes an error of the call.
func (f *GoFile) ForClient() *GoFile {
	client := *f
	client.forClient = true
	return &client
}

// jsonFields are the fields of an object that the file has.
func (f *GoFile) jsonFields(t Type) []Field {
	if !f.forClient {
		return t.Fields
	}
	return slices.DeleteFunc(slices.Clone(t.Fields), Field.InBandError)
}

// KeyList is the list of an object's keys, as Go writes it.
func (f *GoFile) KeyList(t Type) string {
	var keys []string
	for _, field := range f.jsonFields(t) {
		keys = append(keys, strconv.Quote(field.JSONName))
	}
	return strings.Join(keys, ", ")
}

// DecodeOf and EncodeOf are functions for what a method takes or returns: nil where
// that is encoding/json's.
func (f *GoFile) DecodeOf(t TypeRef) string {
	if !f.hasJSON(&t) {
		return "nil"
	}
	return f.decoder(&t)
}

func (f *GoFile) EncodeOf(t TypeRef) string {
	if !f.hasJSON(&t) {
		return "nil"
	}
	return f.encoder(&t)
}

// ownFunc returns the type that t names if it has functions of its own.
func (f *GoFile) ownFunc(t *TypeRef) *Type {
	is, err := f.def.Type(t.Name)
	if err != nil || is.Imported {
		return nil
	}
	switch is.Kind {
	case KindObject, KindList, KindArray, KindMap:
		return is
	}
	return nil
}

// hasJSON says whether there is generated code for values of a type, rather than a
// call of encoding/json.
func (f *GoFile) hasJSON(t *TypeRef) bool {
	if t.Quoted {
		return false
	}
	if t.Pointers > 0 {
		return f.hasJSON(pointeeOf(t))
	}
	switch kind := valueKind(t); kind {
	case KindBool, KindString, KindInt, KindFloat, KindDuration:
		_, ok := t.typ.Underlying().(*types.Basic)
		return ok
	case KindTime:
		return isTime(t.typ)
	case KindBytes:
		return isBytes(t.typ.Underlying())
	case KindObject:
		is := f.ownFunc(t)
		return is != nil && !slices.ContainsFunc(is.Fields, func(field Field) bool { return !f.fieldHasJSON(field) })
	case KindList, KindArray, KindMap:
		if t.Name == "" {
			return f.collectionHasJSON(t)
		}
		return f.collections[t.Name]
	}
	return false
}

// findCollections finds out of which lists, arrays and maps with names there is
// generated code: those that may be in themselves and each other, so at first it is
// of all, until no more fall out.
func (f *GoFile) findCollections() {
	for _, t := range f.def.Types {
		f.collections[t.Name] = !t.Imported && t.Underlying != nil && (t.Kind == KindList || t.Kind == KindArray || t.Kind == KindMap)
	}
	for changed := true; changed; {
		changed = false
		for _, t := range f.def.Types {
			if f.collections[t.Name] && !f.collectionHasJSON(t.Underlying) {
				f.collections[t.Name], changed = false, true
			}
		}
	}
}

// collectionHasJSON says so of a list, array or map without a name.
func (f *GoFile) collectionHasJSON(t *TypeRef) bool {
	if t.Kind != KindMap {
		return f.hasJSON(t.Elem)
	}
	// encoding/json doesn't reach methods of a pointer to what is in a map, so what
	// it is left with there would come out differently.
	return f.isOwnString(t.Key) && f.isPlain(t.Elem, nil)
}

// isOwnString says whether a map's key is a string that has no methods.
func (f *GoFile) isOwnString(t *TypeRef) bool {
	if t.Pointers > 0 || valueKind(t) != KindString {
		return false
	}
	if t.Name == "" {
		_, ok := t.typ.(*types.Basic)
		return ok
	}
	is, err := f.def.Type(t.Name)
	return err == nil && !is.Imported
}

// isPlain says whether all of t is generated code, with no call of encoding/json.
// seen are the types that t is in.
func (f *GoFile) isPlain(t *TypeRef, seen []string) bool {
	if t == nil || slices.Contains(seen, t.Name) {
		return true
	}
	if t.Elem != nil {
		return f.isPlain(t.Elem, seen) && (t.Key == nil || f.isOwnString(t.Key))
	}
	if !f.hasJSON(t) {
		return false
	}
	is := f.ownFunc(t)
	if is == nil {
		return true
	}
	seen = append(slices.Clone(seen), t.Name)
	return f.isPlain(is.Underlying, seen) && !slices.ContainsFunc(is.Fields, func(field Field) bool { return !f.isPlain(field.Type.Wire, seen) })
}

// fieldHasJSON says whether an object with the field has functions of its own: a
// field that encoding/json can't be left with alone rules that out.
func (f *GoFile) fieldHasJSON(field Field) bool {
	t := field.Type.Wire
	_, guards := f.fieldExpr(field)
	return !t.Quoted && len(guards) == 0 && f.canReach(field) && (!field.OmitsZero || f.zero(t, "x") != "")
}

// canReach says whether the file may name the embedded fields above one.
func (f *GoFile) canReach(field Field) bool {
	return !slices.ContainsFunc(field.path, func(s step) bool {
		is, err := f.def.Type(s.ref.Name)
		return err != nil || is.Imported && !ast.IsExported(is.GoName)
	})
}

func pointeeOf(t *TypeRef) *TypeRef {
	pointee := *t
	pointee.Pointers--
	pointee.typ = t.typ.(*types.Pointer).Elem()
	return &pointee
}

func isTime(t types.Type) bool {
	named, ok := t.(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "time" && named.Obj().Name() == "Time"
}

// present is the condition that a field with omitempty has something to send: empty
// if it always has.
func present(t *TypeRef, expr string) string {
	if t.Pointers > 0 {
		return expr + " != nil"
	}
	switch under := t.typ.Underlying().(type) {
	case *types.Basic:
		switch {
		case under.Info()&types.IsBoolean != 0:
			return expr
		case under.Info()&types.IsString != 0:
			return expr + ` != ""`
		}
		return expr + " != 0"
	case *types.Interface:
		return expr + " != nil"
	case *types.Slice, *types.Map:
		return "len(" + expr + ") > 0"
	case *types.Array:
		if under.Len() == 0 {
			return "false" // never
		}
	}
	return ""
}

// zero is the condition that a field with omitzero has something to send: empty if
// only encoding/json can tell.
func (f *GoFile) zero(t *TypeRef, expr string) string {
	if t.Pointers == 0 && valueKind(t) == KindTime && isTime(t.typ) {
		return "!" + expr + ".IsZero()"
	}
	if hasIsZero(t.typ) {
		return ""
	}
	switch t.typ.Underlying().(type) {
	case *types.Basic: // -0 is zero too
		return present(t, expr)
	case *types.Pointer, *types.Slice, *types.Map:
		return expr + " != nil"
	}
	return ""
}

// decoder is a function that decodes values of a type that has one.
func (f *GoFile) decoder(t *TypeRef) string {
	if is := f.ownFunc(t); is != nil && t.Pointers == 0 {
		return f.DecodeFunc(*is)
	}
	statement := f.decode(t, "v")
	if method, ok := strings.CutPrefix(statement, "d."); ok {
		if method, ok = strings.CutSuffix(method, "(v)"); ok {
			return "(*otojson.Decoder)." + method
		}
	}
	if function, ok := strings.CutSuffix(statement, "(d, v)"); ok {
		return fmt.Sprintf("%s[%s]", function, f.Type(*t))
	}
	return fmt.Sprintf("func(d *otojson.Decoder, v *%s) {\n%s\n}", f.Type(*t), statement)
}

// decode is the statement that decodes into what the expression p points to.
func (f *GoFile) decode(t *TypeRef, p string) string {
	if !f.hasJSON(t) {
		return fmt.Sprintf("d.Any(%s)", p)
	}
	if t.Pointers > 0 {
		return fmt.Sprintf("otojson.DecodePointer(d, %s, %s)", p, f.decoder(pointeeOf(t)))
	}
	if is := f.ownFunc(t); is != nil {
		return fmt.Sprintf("%s(d, %s)", f.DecodeFunc(*is), p)
	}
	switch basic, _ := t.typ.Underlying().(*types.Basic); valueKind(t) {
	case KindBool:
		return fmt.Sprintf("d.Bool(%s)", converted(t, "*bool", p))
	case KindString:
		return fmt.Sprintf("d.String(%s)", converted(t, "*string", p))
	case KindInt, KindDuration:
		if basic.Info()&types.IsUnsigned != 0 {
			return fmt.Sprintf("otojson.DecodeUint(d, %s)", p)
		}
		return fmt.Sprintf("otojson.DecodeInt(d, %s)", p)
	case KindFloat:
		if basic.Kind() == types.Float32 {
			return fmt.Sprintf("d.Float32(%s)", converted(t, "*float32", p))
		}
		return fmt.Sprintf("d.Float64(%s)", converted(t, "*float64", p))
	case KindTime:
		return fmt.Sprintf("d.Time(%s)", p)
	case KindBytes:
		return fmt.Sprintf("d.Bytes(%s)", converted(t, "*[]byte", p))
	}
	return f.decodeCollection(t, p)
}

// decodeCollection is the statement for a list, array or map without a name. p may
// point to a type with a name that is one.
func (f *GoFile) decodeCollection(t *TypeRef, p string) string {
	if isStrings(t) {
		return fmt.Sprintf("d.Strings(%s)", p)
	}
	item := f.decoder(t.Elem)
	switch t.Kind {
	case KindMap:
		return fmt.Sprintf("otojson.DecodeMap(d, %s, %s)", p, item)
	case KindArray:
		return fmt.Sprintf("otojson.DecodeArray(d, %s[:], %s)", strings.TrimPrefix(p, "&"), item)
	}
	return fmt.Sprintf("otojson.DecodeList(d, %s, %s)", p, item)
}

// isStrings says whether t is []string.
func isStrings(t *TypeRef) bool {
	return t.Kind == KindList && t.Elem.typ == types.Typ[types.String]
}

// converted is an expression of a type of the definition's as one of Go's own,
// unless it is.
func converted(t *TypeRef, to, expr string) string {
	switch t.typ.(type) {
	case *types.Basic, *types.Slice:
		return expr
	}
	if strings.HasPrefix(to, "*") {
		to = "(" + to + ")"
	}
	return to + "(" + expr + ")"
}

// DecodeBody is the body of the function that decodes a value into what r points
// to.
func (f *GoFile) DecodeBody(t Type) string {
	if !t.IsObject() {
		p := "r"
		if t.Kind != KindArray {
			p = fmt.Sprintf("(*%s)(r)", f.Type(*t.Underlying))
		}
		return f.decodeCollection(t.Underlying, p)
	}
	var b strings.Builder
	b.WriteString("for more := d.Object(); more; more = d.MoreMembers() {\n")
	fields := f.jsonFields(t)
	if len(fields) == 0 {
		b.WriteString("d.Key(nil)\nd.Skip()\n}")
		return b.String()
	}
	fmt.Fprintf(&b, "switch d.Key(%s) {\n", f.Keys(t))
	for _, field := range fields {
		expr, _ := f.fieldExpr(field)
		fmt.Fprintf(&b, "case %q:\n%s\n", field.JSONName, f.decode(field.Type.Wire, "&"+expr))
	}
	b.WriteString("default:\nd.Skip()\n}\n}")
	return b.String()
}

// encoder is a function that encodes values of a type that has one.
func (f *GoFile) encoder(t *TypeRef) string {
	if is := f.ownFunc(t); is != nil && t.Pointers == 0 {
		return f.EncodeFunc(*is)
	}
	w := encodeWriter{file: f}
	w.value(t, "*v")
	return fmt.Sprintf("func(e *otojson.Encoder, v *%s) {\n%s}", f.Type(*t), w.String())
}

// EncodeBody is the body of the function that encodes the value that r points to.
func (f *GoFile) EncodeBody(t Type) string {
	w := encodeWriter{file: f}
	if !t.IsObject() {
		w.collection(t.Underlying, "*r")
		return w.String()
	}
	w.line("e.Object()")
	for _, field := range f.jsonFields(t) {
		w.field(field)
	}
	w.line("e.EndObject()")
	return w.String()
}

// encodeWriter writes statements that encode.
type encodeWriter struct {
	bytes.Buffer
	file  *GoFile
	depth int // of loops
}

func (w *encodeWriter) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

func (w *encodeWriter) field(field Field) {
	t := field.Type.Wire
	expr, _ := w.file.fieldExpr(field)
	var conditions []string
	if field.OmitsEmpty {
		conditions = append(conditions, present(t, expr))
	}
	if field.OmitsZero {
		conditions = append(conditions, w.file.zero(t, expr))
	}
	conditions = slices.DeleteFunc(slices.Compact(conditions), func(c string) bool { return c == "" })
	if len(conditions) > 0 {
		w.line("if %s {", strings.Join(conditions, " && "))
	}
	key, err := json.Marshal(field.JSONName) // escapes <, > and &, as encoding/json does there
	if err != nil {
		panic(err) // a string can be encoded
	}
	literal := string(key) + ":"
	if strings.Contains(literal, "`") {
		literal = strconv.Quote(literal)
	} else {
		literal = "`" + literal + "`"
	}
	w.line("e.Key(%s)", literal)
	w.value(t, expr)
	if len(conditions) > 0 {
		w.line("}")
	}
}

// value writes the statements for a value, whose address can be taken.
func (w *encodeWriter) value(t *TypeRef, expr string) {
	f := w.file
	switch is := f.ownFunc(t); {
	case !f.hasJSON(t):
		w.line("e.Any(%s)", address(expr))
		return
	case t.Pointers > 0:
		w.line("if e.Pointer(%s != nil) {", operand(expr))
		w.value(pointeeOf(t), "*"+operand(expr))
		w.line("e.EndPointer()\n}")
		return
	case is != nil:
		w.line("%s(e, %s)", f.EncodeFunc(*is), address(expr))
		return
	}
	switch basic, _ := t.typ.Underlying().(*types.Basic); valueKind(t) {
	case KindBool:
		w.line("e.Bool(%s)", converted(t, "bool", expr))
	case KindString:
		w.line("e.String(%s)", converted(t, "string", expr))
	case KindInt, KindDuration:
		if basic.Info()&types.IsUnsigned != 0 {
			w.line("otojson.EncodeUint(e, %s)", expr)
		} else {
			w.line("otojson.EncodeInt(e, %s)", expr)
		}
	case KindFloat:
		if basic.Kind() == types.Float32 {
			w.line("e.Float32(%s)", converted(t, "float32", expr))
		} else {
			w.line("e.Float64(%s)", converted(t, "float64", expr))
		}
	case KindTime:
		w.line("e.Time(%s)", expr)
	case KindBytes:
		w.line("e.Bytes(%s)", expr)
	default:
		w.collection(t, expr)
	}
}

// collection writes the statements for a list, array or map.
func (w *encodeWriter) collection(t *TypeRef, expr string) {
	if isStrings(t) {
		w.line("e.Strings(%s)", expr)
		return
	}
	number := ""
	if w.depth++; w.depth > 1 {
		number = strconv.Itoa(w.depth)
	}
	if t.Kind == KindMap {
		key, value := "key"+number, "value"+number
		w.line("if e.Map(%s != nil) {\nfor _, %s := range otojson.Keys(%s) {", operand(expr), key, expr)
		w.line("%s := %s[%s]\ne.MapKey(string(%s))", value, operand(expr), key, key)
		w.value(t.Elem, value)
		w.line("}\ne.EndMap()\n}")
	} else {
		there := "true"
		if t.Kind == KindList {
			there = operand(expr) + " != nil"
		}
		index := "i" + number
		w.line("if e.List(%s) {\nfor %s := range %s {\ne.Item()", there, index, expr)
		w.value(t.Elem, operand(expr)+"["+index+"]")
		w.line("}\ne.EndList()\n}")
	}
	w.depth--
}

// address is the address of what an expression is.
func address(expr string) string {
	if p, ok := strings.CutPrefix(expr, "*"); ok {
		return p
	}
	return "&" + expr
}

// operand is an expression as an operand that something may stand behind.
func operand(expr string) string {
	if strings.HasPrefix(expr, "*") {
		return "(" + expr + ")"
	}
	return expr
}

// JSONImports are the packages that the code for JSON uses.
func (f *GoFile) JSONImports() []string {
	for _, s := range f.def.Services {
		for _, m := range s.Methods {
			if f.hasJSON(m.Request) || f.hasJSON(m.Response) {
				return []string{"github.com/pacedotdev/oto/otojson"}
			}
		}
	}
	return nil
}

// ServerImports are those that it and the checks use.
func (f *GoFile) ServerImports() []string { return append(f.CheckImports(), f.JSONImports()...) }
