package parser

import (
	"go/types"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// GoFile is the definition as one generated file of Go says it: with names that
// clash neither with the template's own nor with each other.
type GoFile struct {
	def *Definition
	identifiers
	// imports are the packages that the file refers to: path to name.
	imports map[string]string
	own     []string // paths that the template itself imports
	byID    map[string]*Type
	// names are what the file calls functions and variables of its own, by what
	// they are for.
	names  map[string]string
	checks map[string]bool // by Name: whether something below a type is to be checked
	// collections says of lists, arrays and maps, by Name, whether there is
	// generated code for their JSON.
	collections map[string]bool
	forClient   bool
}

// GoFile returns the definition for a Go file whose template has the names of
// its own, separated by spaces, and imports of its own. In names, * stands for
// each service: New* are the functions that make clients.
func (d *Definition) GoFile(names string, imports ...string) *GoFile {
	f := &GoFile{def: d, imports: make(map[string]string), byID: make(map[string]*Type), names: make(map[string]string), collections: make(map[string]bool)}
	if d.HasMethods() {
		f.own = imports
	}
	for _, p := range imports {
		f.reserve(path.Base(p))
	}
	f.reserve(types.Universe.Names()...)
	var patterns []string
	for name := range strings.FieldsSeq(names) {
		if strings.Contains(name, "*") {
			patterns = append(patterns, name)
		} else {
			f.reserve(name)
		}
	}
	f.claimServices(d)
	for _, pattern := range patterns {
		for _, s := range d.Services {
			f.reserve(strings.ReplaceAll(pattern, "*", f.Ident(s.Name)))
		}
	}
	f.claimAliases(d)
	for i := range d.Types {
		t := &d.Types[i]
		f.byID[t.ID] = t
		if !t.Imported {
			f.claim(t.Name, t.PackageName)
		}
	}
	for _, t := range f.Types() {
		for _, v := range t.Values {
			f.claim(v.Name, t.PackageName)
		}
	}
	f.nameImports()
	f.checks = d.checked()
	f.nameChecks()
	f.findCollections()
	f.nameJSON()
	return f
}

// nameImports finds the packages that the file refers to and names those anew
// whose name is taken.
func (f *GoFile) nameImports() {
	packages := make(map[string]string)
	note := func(p *types.Package) string {
		packages[p.Path()] = p.Name()
		return p.Name()
	}
	use := func(t *TypeRef) { f.write(t, note) }
	for _, s := range f.def.Services {
		for _, m := range s.Methods {
			use(m.Request)
			use(m.Response)
		}
	}
	for _, a := range f.def.Aliases {
		use(a.Type)
	}
	for _, t := range f.Types() {
		if t.Underlying != nil {
			use(t.Underlying)
		}
		for _, m := range t.Members {
			use(m.Type.Wire)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(packages)) {
		name := packages[p]
		if !slices.Contains(f.own, p) {
			for n := 2; f.taken[name]; n++ {
				name = packages[p] + strconv.Itoa(n)
			}
		}
		f.reserve(name)
		f.imports[p] = name
	}
}

// GoImport is an import of a generated file.
type GoImport struct {
	// Name is empty if it is the last part of the path.
	Name string
	Path string
}

// String returns the import as Go writes it.
func (i GoImport) String() string {
	return strings.TrimSpace(i.Name + " " + strconv.Quote(i.Path))
}

// Imports returns the imports of the file: the standard library's and then the
// others, each by path and once. Without methods there is no use for those of the
// template.
func (f *GoFile) Imports() [][]GoImport { return f.ImportsWith(nil) }

// ImportsWith is Imports with more.
func (f *GoFile) ImportsWith(more []string) [][]GoImport {
	names := maps.Clone(f.imports)
	for _, p := range slices.Concat(f.own, more) {
		names[p] = path.Base(p)
	}
	var std, others []GoImport
	for _, p := range slices.Sorted(maps.Keys(names)) {
		spec := GoImport{Path: p}
		if names[p] != path.Base(p) {
			spec.Name = names[p]
		}
		if isStandard(p) {
			std = append(std, spec)
		} else {
			others = append(others, spec)
		}
	}
	return slices.DeleteFunc([][]GoImport{std, others}, func(group []GoImport) bool { return len(group) == 0 })
}

// Types are the types that the file declares.
func (f *GoFile) Types() []Type {
	return slices.DeleteFunc(slices.Clone(f.def.Types), func(t Type) bool { return t.Imported })
}

// Type returns a type as the file writes it.
func (f *GoFile) Type(t TypeRef) string {
	return f.write(&t, func(p *types.Package) string { return f.imports[p.Path()] })
}

func (f *GoFile) write(t *TypeRef, qualifier types.Qualifier) string {
	pointers := strings.Repeat("*", t.Pointers)
	switch {
	case t.Name != "":
		if is, err := f.def.Type(t.Name); err == nil {
			return pointers + f.writeNamed(is, qualifier)
		}
	case t.Kind == KindList && t.Elem != nil:
		return pointers + "[]" + f.write(t.Elem, qualifier)
	case t.Kind == KindArray && t.Elem != nil:
		return pointers + "[" + strconv.FormatInt(t.Len, 10) + "]" + f.write(t.Elem, qualifier)
	case t.Kind == KindMap && t.Elem != nil:
		return pointers + "map[" + f.write(t.Key, qualifier) + "]" + f.write(t.Elem, qualifier)
	}
	return f.writeType(t.typ, qualifier)
}

func (f *GoFile) writeNamed(t *Type, qualifier types.Qualifier) string {
	if !t.Imported {
		return f.Ident(t.Name)
	}
	return f.writeType(t.typ, qualifier)
}

// writeType writes a type that no TypeRef describes, such as an argument of
// another package's generic type.
func (f *GoFile) writeType(t types.Type, qualifier types.Qualifier) string {
	var b strings.Builder
	writeType(&b, t, func(n *types.Named) (string, bool) {
		obj := n.Obj()
		if obj.Pkg() == nil {
			return obj.Name(), false
		}
		if is, ok := f.byID[typeID(n)]; ok && !is.Imported {
			return f.Ident(is.Name), true
		}
		if i, ok := n.Underlying().(*types.Interface); ok && f.def.own[obj.Pkg().Path()] && i.Empty() {
			return "any", true
		}
		return qualifier(obj.Pkg()) + "." + obj.Name(), false
	}, qualifier)
	return b.String()
}

// TypeOf returns a type by its name as the file writes it.
func (f *GoFile) TypeOf(t Type) string {
	return f.writeNamed(&t, func(p *types.Package) string { return f.imports[p.Path()] })
}

// Literal returns an enum's value as Go writes it.
func (f *GoFile) Literal(v EnumValue) string {
	if s, ok := v.Value.(string); ok {
		return strconv.Quote(s)
	}
	return v.JSON
}
