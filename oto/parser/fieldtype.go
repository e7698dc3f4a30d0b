package parser

import (
	"go/types"
	"strings"

	"golang.org/x/tools/go/packages"
)

// fieldType describes the type of v, a field, parameter or result, as seen from
// pkg, all but its Wire. What the type refers to is noted in u.
func (b *builder) fieldType(u *uses, pkg *packages.Package, v *types.Var) FieldType {
	var t FieldType
	elem := unalias(v.Type())
	if slice, ok := elem.(*types.Slice); ok {
		t.Multiple = true
		elem = slice.Elem()
	}
	base := elem
	if pointer, ok := base.(*types.Pointer); ok {
		base = pointer.Elem()
	}
	if named, ok := base.(*types.Named); ok {
		origin := named.Origin()
		s, ok := origin.Underlying().(*types.Struct)
		if ok && !(b.foreign(origin.Obj()) && ownKind(named) != "") { // time.Time is none
			t.IsObject = true
			u.objects = append(u.objects, b.object(pkg, origin.Obj(), s))
		}
	}
	t.TypeName = types.TypeString(elem, func(other *types.Package) string {
		if other == pkg.Types {
			return ""
		}
		if u.imports == nil {
			u.imports = make(map[string]string)
		}
		u.imports[other.Path()] = other.Name()
		t.Package = other.Path()
		return other.Name()
	})
	t.ObjectName = types.TypeString(elem, unqualified)
	t.ExternalObjectName = types.TypeString(elem, b.external)
	t.ObjectNameLowerCamel = CamelizeDown(t.ObjectName)
	t.CleanObjectName = strings.TrimPrefix(t.ObjectName, "*")
	home := t.Package
	if home == "" {
		home = pkg.PkgPath
	}
	t.TypeID = home + "." + t.ObjectName
	t.setLanguages()
	return t
}

func unqualified(*types.Package) string { return "" }

// external qualifies a type with the package to generate.
func (b *builder) external(*types.Package) string { return b.packageName }

// languages are what the basic types are called in JavaScript, TypeScript, Swift
// and Dart.
var languages = map[string][4]string{
	"interface{}":            {"any", "object", "Any", "dynamic"},
	"map[string]interface{}": {"object", "object", "Any", "Map<String, dynamic>"},
	"string":                 {"string", "string", "String", "String"},
	"bool":                   {"boolean", "boolean", "Bool", "bool"},
	"int":                    {"number", "number", "Int", "int"},
	"int16":                  {"number", "number", "Int", "int"},
	"int32":                  {"number", "number", "Int", "int"},
	"int64":                  {"number", "number", "Int", "int"},
	"uint":                   {"number", "number", "Int", "int"},
	"uint16":                 {"number", "number", "Int", "int"},
	"uint32":                 {"number", "number", "Int", "int"},
	"uint64":                 {"number", "number", "Int", "int"},
	"float32":                {"number", "number", "Double", "double"},
	"float64":                {"number", "number", "Double", "double"},
}

// setLanguages sets the names of the type in other languages. A type they have no
// name for keeps its own.
func (t *FieldType) setLanguages() {
	name := t.CleanObjectName
	known, ok := languages[name]
	switch {
	case t.IsObject:
		known = [4]string{"object", name, name, name}
	case !ok:
		known = [4]string{name, name, name, name}
	}
	t.JSType, t.TSType, t.SwiftType, t.DartType = known[0], known[1], known[2], known[3]
}

// unalias replaces the aliases in t, also inside of slices, maps and the like,
// by what they stand for. The predeclared any stays.
func unalias(t types.Type) types.Type {
	switch t := t.(type) {
	case *types.Alias:
		if t.Obj().Pkg() == nil {
			return t
		}
		return unalias(types.Unalias(t))
	case *types.Pointer:
		return types.NewPointer(unalias(t.Elem()))
	case *types.Slice:
		return types.NewSlice(unalias(t.Elem()))
	case *types.Array:
		return types.NewArray(unalias(t.Elem()), t.Len())
	case *types.Map:
		return types.NewMap(unalias(t.Key()), unalias(t.Elem()))
	case *types.Chan:
		return types.NewChan(t.Dir(), unalias(t.Elem()))
	}
	return t
}
