package parser

import (
	"cmp"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

// builder makes one definition of a set of packages.
type builder struct {
	parser      *Parser
	packageName string

	// scanned are the definition's own packages; all others are foreign.
	scanned map[*types.Package]*packages.Package
	// paths are their import paths: a package's before those of others that it
	// imports, else in the order they were named.
	paths []string
	// docs are the comments of the exported types of scanned packages.
	docs map[*types.TypeName]typeDoc
	// comments are those of all types, fields and constants of scanned packages,
	// by the position of the name.
	comments map[token.Pos]*ast.CommentGroup
	// objects are the structs met so far.
	objects map[*types.TypeName]*object
	// locals are the structs that scanned packages declare.
	locals []*object
	// services are all interfaces, ignored ones too.
	services []*service
	// lastPackage is the name of the package scanned last.
	lastPackage string
}

// service is an interface and what its methods refer to.
type service struct {
	Service
	ignored bool
	generic bool
	uses
	pos     token.Pos
	methods []signature // of Methods
}

// signature is what a method takes and returns.
type signature struct {
	params, results types.Type
	pos             token.Pos
}

// object is a struct and what its fields refer to.
type object struct {
	Object
	uses
	name   *types.TypeName
	fields []*types.Var // of Fields
}

// uses is what a declaration refers to and what is wrong with it itself.
type uses struct {
	objects []*object
	imports map[string]string
	faults  []placedFault
}

func (u *uses) fault(pos token.Pos, message string) {
	u.faults = append(u.faults, placedFault{pos, message})
}

// typeDoc is the comments of a type: its own, and those of its methods or
// fields by the position of their names.
type typeDoc struct {
	doc     *ast.CommentGroup
	members map[token.Pos]*ast.CommentGroup
}

func newBuilder(p *Parser, pkgs []*packages.Package, packageName string) *builder {
	b := &builder{
		parser:      p,
		packageName: packageName,
		scanned:     make(map[*types.Package]*packages.Package),
		docs:        make(map[*types.TypeName]typeDoc),
		comments:    make(map[token.Pos]*ast.CommentGroup),
		objects:     make(map[*types.TypeName]*object),
	}
	for _, pkg := range pkgs {
		if pkg.Types != nil {
			b.scanned[pkg.Types] = pkg
			b.indexDocs(pkg)
			b.indexComments(pkg)
		}
	}
	b.paths = importersFirst(pkgs)
	return b
}

// importersFirst returns the paths of pkgs, those of packages that no other one
// imports first.
func importersFirst(pkgs []*packages.Package) []string {
	var paths []string
	for left := pkgs; len(left) > 0; {
		var first, imported []*packages.Package
		for _, pkg := range left {
			if slices.ContainsFunc(left, func(other *packages.Package) bool { return other.Imports[pkg.PkgPath] != nil }) {
				imported = append(imported, pkg)
			} else {
				first = append(first, pkg)
			}
		}
		if len(first) == 0 { // the type checker has told of the cycle
			first, imported = imported, nil
		}
		for _, pkg := range first {
			paths = append(paths, pkg.PkgPath)
		}
		left = imported
	}
	return paths
}

// indexDocs notes the comments of a package's exported types.
func (b *builder) indexDocs(pkg *packages.Package) {
	for _, file := range pkg.Syntax {
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.TYPE {
				continue
			}
			for _, s := range group.Specs {
				spec := s.(*ast.TypeSpec)
				name, ok := pkg.TypesInfo.Defs[spec.Name].(*types.TypeName)
				if !ok || !name.Exported() {
					continue
				}
				doc := spec.Doc
				if doc == nil {
					doc = group.Doc
				}
				b.docs[name] = typeDoc{doc: doc, members: memberDocs(spec.Type)}
			}
		}
	}
}

func memberDocs(expr ast.Expr) map[token.Pos]*ast.CommentGroup {
	var fields *ast.FieldList
	switch t := expr.(type) {
	case *ast.InterfaceType:
		fields = t.Methods
	case *ast.StructType:
		fields = t.Fields
	default:
		return nil
	}
	docs := make(map[token.Pos]*ast.CommentGroup)
	for _, field := range fields.List {
		for _, name := range field.Names {
			docs[name.Pos()] = field.Doc
		}
	}
	return docs
}

// scan takes up the interfaces and structs that a package declares.
func (b *builder) scan(pkg *packages.Package) {
	b.lastPackage = pkg.Name
	if pkg.Types == nil {
		return
	}
	scope := pkg.Types.Scope()
	for _, name := range scope.Names() {
		declared, ok := scope.Lookup(name).(*types.TypeName)
		if !ok {
			continue // variables, constants and functions define nothing
		}
		switch t := types.Unalias(declared.Type()).Underlying().(type) {
		case *types.Interface:
			if named, ok := types.Unalias(declared.Type()).(*types.Named); ok && b.foreign(named.Obj()) {
				continue // a foreign interface by another name
			}
			if onlyMarshals(t) {
				continue // a type of fields
			}
			b.addService(pkg, declared, t)
		case *types.Struct:
			b.locals = append(b.locals, b.object(pkg, declared, t))
		}
	}
}

// foreign says whether a type is declared outside the scanned packages.
func (b *builder) foreign(name *types.TypeName) bool {
	return b.scanned[name.Pkg()] == nil
}

func (b *builder) comment(group *ast.CommentGroup) comment {
	c, _ := b.parser.comment(group)
	return c
}

func (b *builder) addService(pkg *packages.Package, declared *types.TypeName, t *types.Interface) {
	b.parser.logf("%s ", declared.Name())
	docs := b.docs[declared]
	doc := b.comment(docs.doc)
	s := &service{
		Service: Service{
			Name:     declared.Name(),
			Comment:  doc.text,
			Metadata: doc.metadata,
			Doc:      doc.doc,

			packageName: pkg.Name,
		},
		ignored: slices.Contains(b.parser.ExcludeInterfaces, declared.Name()),
		pos:     declared.Pos(),
	}
	if named, ok := declared.Type().(*types.Named); ok {
		s.generic = named.TypeParams().Len() > 0
	}
	for method := range t.Methods() {
		at := method.Pos()
		if b.scanned[method.Pkg()] == nil {
			at = declared.Pos() // embedded from elsewhere: error's method has no place at all
		}
		b.addMethod(s, pkg, method, at, docs)
	}
	b.services = append(b.services, s)
}

const wantSignature = "invalid method signature: expected Method(MethodRequest) MethodResponse"

// addMethod adds a method to s; what is wrong with it is shown at the position at.
func (b *builder) addMethod(s *service, pkg *packages.Package, method *types.Func, at token.Pos, docs typeDoc) {
	params, results := method.Signature().Params(), method.Signature().Results()
	takes, gives := params.Len() == 1, results.Len() == 1
	if params.Len() == 2 && isContext(params.At(0).Type()) {
		takes = true
	}
	if results.Len() == 2 && isError(results.At(1).Type()) {
		gives = true
	}
	if !takes || !gives {
		s.fault(at, wantSignature+": "+method.Name()+" has "+
			count(params.Len(), "parameter")+" and "+count(results.Len(), "result"))
		return
	}
	param, result := params.At(params.Len()-1), results.At(0)
	var member *ast.CommentGroup
	if method.Exported() {
		member = docs.members[method.Pos()]
	}
	doc := b.comment(member)
	s.Methods = append(s.Methods, Method{
		Name:           method.Name(),
		NameLowerCamel: CamelizeDown(method.Name()),
		InputObject:    b.fieldType(&s.uses, pkg, param),
		OutputObject:   b.fieldType(&s.uses, pkg, result),
		Comment:        doc.text,
		Metadata:       doc.metadata,
		Doc:            doc.doc,
	})
	s.methods = append(s.methods, signature{params: param.Type(), results: result.Type(), pos: at})
}

// isContext says whether t is context.Context.
func isContext(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "context" && named.Obj().Name() == "Context"
}

func count(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// object returns the object of the struct that name declares. pkg is the package
// whose point of view the names of types take.
func (b *builder) object(pkg *packages.Package, name *types.TypeName, t *types.Struct) *object {
	if known := b.objects[name]; known != nil {
		return known
	}
	if own := b.scanned[name.Pkg()]; own != nil {
		pkg = own
	}
	docs := b.docs[name]
	doc := b.comment(docs.doc)
	full := unalias(name.Type())
	o := &object{name: name, Object: Object{
		TypeID:             name.Pkg().Path() + "." + name.Name(),
		ObjectName:         types.TypeString(full, unqualified),
		ExternalObjectName: types.TypeString(full, b.external),
		Name:               name.Name(),
		Imported:           b.foreign(name),
		Fields:             []Field{},
		Comment:            doc.text,
		Metadata:           doc.metadata,
		Doc:                doc.doc,
	}}
	b.objects[name] = o // before its fields: a type may contain itself
	for i := range t.NumFields() {
		b.addField(o, pkg, t.Field(i), t.Tag(i), docs)
	}
	return o
}

func (b *builder) addField(o *object, pkg *packages.Package, field *types.Var, tag string, docs typeDoc) {
	if !field.Exported() && (o.Imported || ownKind(o.name.Type()) != "") {
		return // which its package, or its methods, keep to themselves
	}
	if !field.Exported() && !embedsStruct(field) {
		o.fault(field.Pos(), unexported(field))
		return
	}
	tags, err := checkTag(tag)
	if err != nil && !o.Imported {
		o.fault(field.Pos(), badTag(tag, err))
		return
	}
	doc := b.comment(docs.members[field.Pos()])
	f := Field{
		Name:           field.Name(),
		NameLowerCamel: CamelizeDown(field.Name()),
		Type:           b.fieldType(&o.uses, pkg, field),
		Comment:        doc.text,
		Tag:            tag,
		Example:        doc.metadata["example"],
		Metadata:       doc.metadata,
		Doc:            doc.doc,
	}
	f.setTag(tag, !o.Imported)
	for _, t := range slices.Backward(tags) { // of two json keys the first gives the name
		if t.Key == "json" && tagValue(t) != "" {
			f.NameLowerCamel = t.Name
		}
	}
	o.Fields = append(o.Fields, f)
	o.fields = append(o.fields, field)
}

func unexported(field *types.Var) string { return field.Name() + " must be exported" }

func badTag(tag string, err error) string {
	return "parse field tag: " + err.Error() + ": `" + tag + "`"
}

// embedsStruct says whether a field is an embedded struct.
func embedsStruct(field *types.Var) bool {
	t := field.Type()
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		t = p.Elem()
	}
	_, ok := t.Underlying().(*types.Struct)
	return ok && field.Embedded()
}

// definition puts together what the scan found, without what is ignored.
func (b *builder) definition() (Definition, errorList) {
	kept, ignored := make(reached), make(reached)
	def := Definition{PackageName: b.lastPackage, Objects: []Object{}}
	var faults errorList
	imports := make(map[string]string)
	var services []*service
	for _, s := range b.services {
		if s.ignored {
			ignored.add(&s.uses)
			continue
		}
		kept.add(&s.uses)
		maps.Copy(imports, s.imports)
		services = append(services, s)
		b.report(&faults, s, make(map[*object]bool))
	}
	var locals []*object
	for _, o := range b.locals {
		if !kept[o] && ignored[o] {
			continue // only what is ignored used it
		}
		if with := (reached{o: true}); with.add(&o.uses) {
			maps.Copy(kept, with)
			locals = append(locals, o)
		}
	}
	for o := range kept {
		maps.Copy(imports, o.imports)
	}
	if len(imports) > 0 {
		def.Imports = imports
	}
	b.addTypes(&def, &faults, services, locals, kept)
	for _, s := range services {
		def.Services = append(def.Services, s.Service)
	}
	for o := range kept {
		def.Objects = append(def.Objects, o.Object)
	}
	slices.SortStableFunc(def.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(def.Objects, func(a, b Object) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.TypeID, b.TypeID))
	})
	if !b.parser.SuppressErrorField {
		b.addErrorFields(&def)
	}
	return def, faults
}

// reached is a set of objects.
type reached map[*object]bool

// add adds all objects that u leads to and says whether all of them can be
// described.
func (r reached) add(u *uses) bool {
	sound := len(u.faults) == 0
	for _, o := range u.objects {
		if !r[o] {
			r[o] = true
			sound = r.add(&o.uses) && sound
		}
	}
	return sound
}

// report adds the faults of a service and of all objects it leads to.
func (b *builder) report(faults *errorList, s *service, seen map[*object]bool) {
	for _, f := range s.faults {
		faults.add(b.position(f.pos), f.message)
	}
	var visit func(objects []*object)
	visit = func(objects []*object) {
		for _, o := range objects {
			if seen[o] {
				continue
			}
			seen[o] = true
			for _, f := range o.faults {
				faults.add(b.position(f.pos), f.message)
			}
			visit(o.objects)
		}
	}
	visit(s.objects)
}

func (b *builder) position(pos token.Pos) token.Position {
	for _, pkg := range b.scanned {
		return pkg.Fset.Position(pos) // all packages of a load share it
	}
	return token.Position{}
}

// addErrorFields adds the field Error to each object that a method returns and
// that has no such field of its own.
func (b *builder) addErrorFields(def *Definition) {
	returned := make(map[string]bool)
	for _, s := range b.services {
		for _, m := range s.Methods {
			returned[m.OutputObject.TypeName] = true
		}
	}
	for i := range def.Objects {
		o := &def.Objects[i]
		if o.Imported || !returned[o.Name] || holdsError(o.Fields) {
			continue
		}
		o.Fields = append(slices.Clip(o.Fields), errorField())
	}
}

// errorField is the field Error that objects which methods return are given.
func errorField() Field {
	return Field{
		Name:           "Error",
		NameLowerCamel: "error",
		JSONName:       "error",
		Type: FieldType{
			TypeName:  "string",
			JSType:    "string",
			TSType:    "string",
			SwiftType: "String",
			DartType:  "String",
			Wire:      &TypeRef{Kind: KindString, typ: types.Typ[types.String]},
		},
		OmitEmpty:  true,
		OmitsEmpty: true,
		Optional:   true,
		Comment:    "Error is string explaining what went wrong. Empty if everything was fine.",
		Doc:        "Error is string explaining what went wrong. Empty if everything was fine.",
		Example:    "something went wrong",
		Metadata:   map[string]any{},
	}
}

// holdsError says whether one of fields is called Error, or error on the wire.
func holdsError(fields []Field) bool {
	return slices.ContainsFunc(fields, func(f Field) bool { return f.Name == "Error" || f.JSONName == "error" })
}
