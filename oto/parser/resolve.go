package parser

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// resolver describes types as they are on the wire and collects those that have
// a name.
type resolver struct {
	b     *builder
	types map[string]*Type // by ID
	order []*Type          // as they were met
	// names are the references by name: what they say of their type is known
	// only when all types are.
	names  []nameRef
	faults []placedFault
	docs   map[string]map[string]*ast.CommentGroup // of foreign packages, by file
}

type nameRef struct {
	ref *TypeRef
	typ *Type
}

type placedFault struct {
	pos     token.Pos
	message string
}

// site is where a type is used.
type site struct {
	// pos is the place in the definition that leads here.
	pos token.Pos
	// foreign is the way from there into types of other packages, such as
	// ext.Thing.Conn; empty in the definition's own.
	foreign string
	// structName is what a struct without a name is called here.
	structName
	// signature says that this is what a method takes or returns.
	signature bool
	// asDeclared says that the definition's own types are used here as their
	// package has them, not as they are copied.
	asDeclared bool
	// inside says that this is part of a type that Go refers to.
	inside bool
}

func (r *resolver) fault(at site, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if at.foreign != "" {
		message = at.foreign + ": " + message + " (use a type of your own)"
	}
	r.faults = append(r.faults, placedFault{at.pos, message})
}

// trial runs f and takes back what it added if it found faults. It says whether
// there were none.
func (r *resolver) trial(f func()) bool {
	faults, order, names := len(r.faults), len(r.order), len(r.names)
	f()
	if len(r.faults) == faults {
		return true
	}
	for _, t := range r.order[order:] {
		delete(r.types, t.ID)
	}
	r.faults, r.order, r.names = r.faults[:faults], r.order[:order], r.names[:names]
	return false
}

// ref describes t as it is used at a place. It is never nil: where t can't travel
// a fault is noted. A name for a pointer is looked through: nothing but Go has
// such.
func (r *resolver) ref(t types.Type, at site) *TypeRef {
	ref := &TypeRef{}
	pointee := unalias(t)
	for {
		pointer, ok := pointee.(*types.Pointer)
		if named, isNamed := pointee.(*types.Named); isNamed {
			pointer, ok = named.Underlying().(*types.Pointer)
		}
		if !ok {
			break
		}
		pointee = unalias(pointer.Elem())
		if ref.Pointers++; ref.Pointers > maxPointers {
			r.fault(at, "%s is a pointer to itself, which has no end", typeName(t))
			return ref
		}
	}
	ref.typ = pointee
	for range ref.Pointers {
		ref.typ = types.NewPointer(ref.typ)
	}
	r.describe(ref, pointee, at)
	ref.Nullable = ref.Nullable || ref.Pointers > 0
	return ref
}

// maxPointers is more than anyone needs: type P *P has no end of them.
const maxPointers = 16

// describe fills in what ref says of t, which is no pointer.
func (r *resolver) describe(ref *TypeRef, t types.Type, at site) {
	switch t := t.(type) {
	case *types.Named:
		r.describeNamed(ref, t, at)
	case *types.Basic:
		r.describeBasic(ref, t, at)
	case *types.Slice:
		r.describeSlice(ref, t, at)
	case *types.Array:
		ref.Kind, ref.Len, ref.Elem = KindArray, t.Len(), r.ref(t.Elem(), at)
	case *types.Map:
		ref.Kind, ref.Nullable = KindMap, true
		ref.Key, ref.Elem = r.key(t.Key(), at), r.ref(t.Elem(), at)
	case *types.Struct:
		if at.signature {
			r.fault(at, "a struct without a name in a signature: declare it as a type")
			return
		}
		r.refer(ref, r.declareAnonymous(t, at))
	case *types.Alias: // any
		ref.Kind, ref.Nullable = KindAny, true
	case *types.Interface:
		r.describeInterface(ref, t, at)
	case *types.TypeParam:
	default:
		r.fault(at, "%s can't travel as JSON%s", typeName(t), wayOut(at))
	}
}

func wayOut(at site) string {
	if at.signature {
		return ": take and return structs"
	}
	if at.foreign != "" {
		return ""
	}
	return `: leave the field out with json:"-", or use a type that can`
}

// typeName is how messages call a type.
func typeName(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string { return p.Name() })
}

// bits are the sizes of numbers; on the wire int and uint have 64 bits on any
// machine.
var bits = map[types.BasicKind]int{
	types.Int8: 8, types.Int16: 16, types.Int32: 32, types.Int64: 64, types.Int: 64,
	types.Uint8: 8, types.Uint16: 16, types.Uint32: 32, types.Uint64: 64, types.Uint: 64, types.Uintptr: 64,
	types.Float32: 32, types.Float64: 64,
}

func (r *resolver) describeBasic(ref *TypeRef, t *types.Basic, at site) {
	ref.Bits = bits[t.Kind()]
	switch info := t.Info(); {
	case t.Kind() == types.Invalid:
		ref.Kind = KindAny // the type checker has told
	case info&types.IsBoolean != 0:
		ref.Kind = KindBool
	case info&types.IsString != 0:
		ref.Kind = KindString
	case info&types.IsInteger != 0:
		ref.Kind, ref.Unsigned = KindInt, info&types.IsUnsigned != 0
	case info&types.IsFloat != 0:
		ref.Kind = KindFloat
	default:
		r.fault(at, "%s can't travel as JSON%s", t, wayOut(at))
	}
}

func (r *resolver) describeSlice(ref *TypeRef, t *types.Slice, at site) {
	ref.Nullable = true
	elem := r.ref(t.Elem(), at)
	basic, ok := t.Elem().Underlying().(*types.Basic)
	if ok && basic.Kind() == types.Uint8 && !encodes(t.Elem()) {
		ref.Kind = KindBytes
		return
	}
	ref.Kind, ref.Elem = KindList, elem
}

func (r *resolver) describeInterface(ref *TypeRef, t *types.Interface, at site) {
	ref.Nullable = true
	switch {
	case t.NumMethods() == 0 && t.IsMethodSet():
		ref.Kind = KindAny
	case onlyMarshals(t):
		ref.Kind = ownKind(t)
	case types.Identical(t, types.Universe.Lookup("error").Type().Underlying()):
		r.fault(at, "error can't travel as JSON: send its text as a string")
	default:
		r.fault(at, "%s can't travel as JSON: an interface has to be empty or to make its own JSON%s", typeName(ref.typ), wayOut(at))
	}
}

// special are types that have a kind of their own.
var special = map[string]string{
	"time.Time":                KindTime,
	"time.Duration":            KindDuration,
	"encoding/json.RawMessage": KindRaw,
	"encoding/json.Number":     KindNumber,
}

func (r *resolver) describeNamed(ref *TypeRef, t *types.Named, at site) {
	if t.Obj().Pkg() == nil { // error
		r.describeInterface(ref, t.Underlying().(*types.Interface), at)
		return
	}
	if kind, ok := special[t.Obj().Pkg().Path()+"."+t.Obj().Name()]; ok {
		ref.Kind, ref.Nullable = kind, kind == KindRaw
		return
	}
	if i, ok := t.Underlying().(*types.Interface); ok && !onlyMarshals(i) {
		r.describeInterface(ref, i, at)
		return
	}
	r.refer(ref, r.declare(t, at))
}

// refer makes ref one to a type by its name.
func (r *resolver) refer(ref *TypeRef, t *Type) {
	r.names = append(r.names, nameRef{ref: ref, typ: t})
}

// key describes the key of a map.
func (r *resolver) key(t types.Type, at site) *TypeRef {
	ref := r.ref(t, at)
	basic, ok := t.Underlying().(*types.Basic)
	switch {
	case ref.Pointers > 0:
	case marshalsText(t):
		return ref
	case ok && basic.Info()&(types.IsString|types.IsInteger) != 0:
		if encodes(t) { // as a value; a key is digits, or the text itself
			ref = &TypeRef{typ: t}
			r.describeBasic(ref, basic, at)
			r.names = r.names[:len(r.names)-1]
		}
		return ref
	}
	if _, generic := unalias(t).(*types.TypeParam); !generic {
		r.fault(at, "%s can't be the key of a map in JSON: use a string, an integer or a type with MarshalText", typeName(t))
	}
	return ref
}

// The methods by which a type makes its own JSON.
const (
	marshalJSON   = "MarshalJSON"
	unmarshalJSON = "UnmarshalJSON"
	marshalText   = "MarshalText"
	unmarshalText = "UnmarshalText"
)

// ownKind is the kind of a type that makes or reads its own JSON, by methods of
// its own or of a pointer to it; empty if it doesn't.
func ownKind(t types.Type) string {
	switch {
	case hasMethod(t, marshalJSON), hasMethod(t, unmarshalJSON):
		return KindJSON
	case hasMethod(t, marshalText), hasMethod(t, unmarshalText):
		return KindText
	}
	return ""
}

// encodes says whether t makes its own JSON.
func encodes(t types.Type) bool { return hasMethod(t, marshalJSON) || hasMethod(t, marshalText) }

func hasMethod(t types.Type, name string) bool {
	method, _, _ := types.LookupFieldOrMethod(t, true, nil, name)
	f, ok := method.(*types.Func)
	return ok && marshals(f)
}

// marshalsText says whether t itself has MarshalText, as the key of a map has to.
func marshalsText(t types.Type) bool {
	method, _, indirect := types.LookupFieldOrMethod(t, false, nil, marshalText)
	f, ok := method.(*types.Func)
	return ok && !indirect && marshals(f)
}

// marshals says whether f is one of the methods that encoding/json calls.
func marshals(f *types.Func) bool {
	s := f.Signature()
	switch f.Name() {
	case marshalJSON, marshalText:
		return s.Params().Len() == 0 && s.Results().Len() == 2 &&
			isBytes(s.Results().At(0).Type()) && isError(s.Results().At(1).Type())
	case unmarshalJSON, unmarshalText:
		return s.Params().Len() == 1 && s.Results().Len() == 1 &&
			isBytes(s.Params().At(0).Type()) && isError(s.Results().At(0).Type())
	}
	return false
}

func isBytes(t types.Type) bool {
	return types.Identical(t, types.NewSlice(types.Typ[types.Byte]))
}

func isError(t types.Type) bool { return types.Identical(t, types.Universe.Lookup("error").Type()) }

// hasIsZero says whether t has the method that omitzero asks.
func hasIsZero(t types.Type) bool {
	method, _, _ := types.LookupFieldOrMethod(t, true, nil, "IsZero")
	f, ok := method.(*types.Func)
	return ok && f.Signature().Params().Len() == 0 && f.Signature().Results().Len() == 1 &&
		types.Identical(f.Signature().Results().At(0).Type(), types.Typ[types.Bool])
}

// onlyMarshals says whether an interface has methods, all of which are for JSON.
func onlyMarshals(t *types.Interface) bool {
	for method := range t.Methods() {
		if !marshals(method) {
			return false
		}
	}
	return t.NumMethods() > 0 && t.IsMethodSet()
}

// writeType writes t, named types as named says, with their type arguments
// unless it says they are in the name.
func writeType(b *strings.Builder, t types.Type, named func(*types.Named) (name string, whole bool), qualifier types.Qualifier) {
	switch t := unalias(t).(type) {
	case *types.Named:
		name, whole := named(t)
		b.WriteString(name)
		if whole || t.TypeArgs().Len() == 0 {
			return
		}
		for i := range t.TypeArgs().Len() {
			b.WriteString("[,"[min(i, 1):][:1])
			writeType(b, t.TypeArgs().At(i), named, qualifier)
		}
		b.WriteString("]")
	case *types.Pointer:
		b.WriteString("*")
		writeType(b, t.Elem(), named, qualifier)
	case *types.Slice:
		b.WriteString("[]")
		writeType(b, t.Elem(), named, qualifier)
	case *types.Array:
		fmt.Fprintf(b, "[%d]", t.Len())
		writeType(b, t.Elem(), named, qualifier)
	case *types.Map:
		b.WriteString("map[")
		writeType(b, t.Key(), named, qualifier)
		b.WriteString("]")
		writeType(b, t.Elem(), named, qualifier)
	default:
		b.WriteString(types.TypeString(t, qualifier))
	}
}

// typeID tells types apart.
func typeID(t types.Type) string {
	var b strings.Builder
	writeType(&b, t, func(n *types.Named) (string, bool) {
		if n.Obj().Pkg() == nil {
			return n.Obj().Name(), false
		}
		return n.Obj().Pkg().Path() + "." + n.Obj().Name(), false
	}, nil)
	return b.String()
}
