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
	// docs are the comments of the exported types of scanned packages.
	docs map[*types.TypeName]typeDoc
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
	uses
}

// object is a struct and what its fields refer to.
type object struct {
	Object
	uses
}

// uses is what a declaration refers to and what is wrong with it itself.
type uses struct {
	objects []use
	imports map[string]string
	faults  []fault
}

// use is a reference to a struct.
type use struct {
	object *object
	pos    token.Pos
}

type fault struct {
	pos     token.Pos
	message string
}

func (u *uses) fault(pos token.Pos, message string) {
	u.faults = append(u.faults, fault{pos, message})
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
		objects:     make(map[*types.TypeName]*object),
	}
	for _, pkg := range pkgs {
		if pkg.Types != nil {
			b.scanned[pkg.Types] = pkg
			b.indexDocs(pkg)
		}
	}
	return b
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
		},
		ignored: slices.Contains(b.parser.ExcludeInterfaces, declared.Name()),
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
	signature := method.Signature()
	params, results := signature.Params(), signature.Results()
	if params.Len() != 1 || results.Len() != 1 {
		s.fault(at, wantSignature+": "+method.Name()+" has "+
			count(params.Len(), "parameter")+" and "+count(results.Len(), "result"))
		return
	}
	var member *ast.CommentGroup
	if method.Exported() {
		member = docs.members[method.Pos()]
	}
	doc := b.comment(member)
	s.Methods = append(s.Methods, Method{
		Name:           method.Name(),
		NameLowerCamel: CamelizeDown(method.Name()),
		InputObject:    b.fieldType(&s.uses, pkg, params.At(0), at),
		OutputObject:   b.fieldType(&s.uses, pkg, results.At(0), at),
		Comment:        doc.text,
		Metadata:       doc.metadata,
		Doc:            doc.doc,
	})
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
	o := &object{Object: Object{
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
	if !field.Exported() {
		o.fault(field.Pos(), field.Name()+" must be exported")
		return
	}
	tags, err := checkTag(tag)
	if err != nil {
		o.fault(field.Pos(), "parse field tag: "+err.Error()+": `"+tag+"`")
		return
	}
	doc := b.comment(docs.members[field.Pos()])
	f := Field{
		Name:           field.Name(),
		NameLowerCamel: CamelizeDown(field.Name()),
		Type:           b.fieldType(&o.uses, pkg, field, field.Pos()),
		Comment:        doc.text,
		Tag:            tag,
		ParsedTags:     make(map[string]FieldTag, len(tags)),
		Example:        doc.metadata["example"],
		Metadata:       doc.metadata,
		Doc:            doc.doc,
	}
	f.JSONName = f.NameLowerCamel
	for i := len(tags) - 1; i >= 0; i-- { // so that of two json keys the first gives the name
		if _, ok := f.ParsedTags[tags[i].Key]; !ok {
			f.ParsedTags[tags[i].Key] = FieldTag{Value: tags[i].Name, Options: tags[i].Options}
		}
		if tags[i].Key != "json" || tagValue(tags[i]) == "" {
			continue
		}
		f.NameLowerCamel = tags[i].Name
		f.JSONName = tags[i].Name
		switch {
		case tagValue(tags[i]) == "-":
			f.JSONName = ""
		case tags[i].Name == "":
			f.JSONName = CamelizeDown(field.Name())
		}
	}
	o.Fields = append(o.Fields, f)
}

// definition puts together what the scan found, without what is ignored.
func (b *builder) definition() (Definition, errorList) {
	kept, ignored := make(reached), make(reached)
	def := Definition{PackageName: b.lastPackage, Objects: []Object{}}
	var faults errorList
	imports := make(map[string]string)
	for _, s := range b.services {
		if s.ignored {
			ignored.add(&s.uses)
			continue
		}
		kept.add(&s.uses)
		maps.Copy(imports, s.imports)
		def.Services = append(def.Services, s.Service)
		b.report(&faults, s, make(map[*object]bool))
	}
	for _, o := range b.locals {
		if !kept[o] && ignored[o] {
			continue // only what is ignored used it
		}
		if with := (reached{o: true}); with.add(&o.uses) {
			maps.Copy(kept, with)
		}
	}
	for o := range kept {
		maps.Copy(imports, o.imports)
		def.Objects = append(def.Objects, o.Object)
	}
	if len(imports) > 0 {
		def.Imports = imports
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
	for _, use := range u.objects {
		if !r[use.object] {
			r[use.object] = true
			sound = r.add(&use.object.uses) && sound
		}
	}
	return sound
}

// report adds the faults of a service and of all objects it leads to. A fault in
// a foreign struct is shown where the definition refers to that struct.
func (b *builder) report(faults *errorList, s *service, seen map[*object]bool) {
	for _, f := range s.faults {
		faults.add(b.position(f.pos), f.message)
	}
	var visit func(uses []use, at token.Pos)
	visit = func(uses []use, at token.Pos) {
		for _, use := range uses {
			o := use.object
			if seen[o] {
				continue
			}
			seen[o] = true
			from := at
			if from == token.NoPos {
				from = use.pos
			}
			if o.Imported {
				if len(o.faults) > 0 {
					faults.add(b.position(from), o.TypeID+" can't be used: "+o.faults[0].message+" (use a type of your own)")
				}
			} else {
				for _, f := range o.faults {
					faults.add(b.position(f.pos), f.message)
				}
				from = token.NoPos
			}
			visit(o.objects, from)
		}
	}
	visit(s.objects, token.NoPos)
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
		taken := func(f Field) bool { return f.Name == "Error" || f.JSONName == "error" }
		if o.Imported || !returned[o.Name] || slices.ContainsFunc(o.Fields, taken) {
			continue
		}
		o.Fields = append(slices.Clip(o.Fields), Field{
			Name:           "Error",
			NameLowerCamel: "error",
			JSONName:       "error",
			Type: FieldType{
				TypeName:  "string",
				JSType:    "string",
				TSType:    "string",
				SwiftType: "String",
				DartType:  "String",
			},
			OmitEmpty: true,
			Comment:   "Error is string explaining what went wrong. Empty if everything was fine.",
			Doc:       "Error is string explaining what went wrong. Empty if everything was fine.",
			Example:   "something went wrong",
			Metadata:  map[string]any{},
		})
	}
}
