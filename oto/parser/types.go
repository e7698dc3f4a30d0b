package parser

import (
	"go/types"
	"maps"
	"slices"
	"strings"
)

// addTypes finds all types that travel: what the services take and return, then
// the structs that nothing uses yet. What is wrong with the former is a fault;
// one of the latter that can't travel is left out.
func (b *builder) addTypes(def *Definition, faults *errorList, services []*service, locals []*object, kept reached) {
	r := &resolver{b: b, types: make(map[string]*Type)}
	var declared []Service
	for _, s := range services {
		for i := range s.Methods {
			m, signature := &s.Methods[i], s.methods[i]
			at := site{pos: signature.pos, signature: true}
			m.InputObject.Wire = r.ref(signature.params, at)
			m.OutputObject.Wire = r.ref(signature.results, at)
			m.Request = r.ref(pointee(signature.params), at)
			m.Response = r.ref(pointee(signature.results), at)
		}
		if len(s.Methods) == 0 {
			continue
		}
		if s.generic {
			r.fault(site{pos: s.pos}, "%s is generic, and a service is called by its name alone: write an interface of an instance, or -ignore it", s.Name)
		}
		if slices.ContainsFunc(declared, func(d Service) bool { return d.Name == s.Name }) {
			r.fault(site{pos: s.pos}, "a service %s is in two packages, and calls couldn't tell them apart: rename one", s.Name)
		}
		declared = append(declared, s.Service)
	}
	for _, o := range locals {
		if named, ok := types.Unalias(o.name.Type()).(*types.Named); ok && named.TypeParams().Len() == 0 {
			r.trial(func() { r.ref(named, site{pos: o.name.Pos()}) })
		}
	}
	b.addAliases(def, r)
	for _, o := range slices.SortedFunc(maps.Keys(kept), func(a, b *object) int { return strings.Compare(a.TypeID, b.TypeID) }) {
		named, ok := types.Unalias(o.name.Type()).(*types.Named)
		if !ok || named.TypeParams().Len() > 0 {
			continue
		}
		var at site
		if o.Imported {
			at = site{foreign: typeName(named), asDeclared: true, inside: true}
		}
		l := levelOf(named, !o.Imported, at)
		for i, v := range o.fields {
			r.trial(func() { o.Fields[i].Type.Wire = r.ref(v.Type(), l.fieldSite(v)) })
		}
	}
	def.Types = r.finish(declared, def.Aliases)
	def.own = make(map[string]bool)
	for pkg := range b.scanned {
		def.own[pkg.Path()] = true
	}
	returned := make(map[string]bool)
	for _, s := range declared {
		for _, m := range s.Methods {
			returned[m.Response.Name] = true
		}
	}
	for i := range def.Types {
		t := &def.Types[i]
		for _, fields := range [][]Field{t.Fields, t.Members} {
			for j := range fields {
				r.constrain(&fields[j])
			}
		}
		if returned[t.Name] && t.IsObject() && !t.Imported && !b.parser.SuppressErrorField &&
			!holdsError(t.Fields) && !holdsError(t.Members) {
			t.Fields = append(t.Fields, errorField())
			t.Members = append(t.Members, errorField())
		}
	}
	for _, f := range r.faults {
		faults.add(b.position(f.pos), f.message)
	}
}

// pointee is what a pointer points to, and anything else as it is.
func pointee(t types.Type) types.Type {
	if p, ok := unalias(t).(*types.Pointer); ok {
		return p.Elem()
	}
	return t
}

// addAliases notes the other names that the definition has for types.
func (b *builder) addAliases(def *Definition, r *resolver) {
	def.Aliases = []Alias{}
	for _, pkg := range slices.SortedFunc(maps.Keys(b.scanned), func(a, b *types.Package) int { return strings.Compare(a.Path(), b.Path()) }) {
		for _, name := range pkg.Scope().Names() {
			declared, ok := pkg.Scope().Lookup(name).(*types.TypeName)
			if !ok || !declared.IsAlias() {
				continue
			}
			alias, ok := declared.Type().(*types.Alias)
			if !ok || alias.TypeParams().Len() > 0 {
				continue
			}
			a := Alias{Name: name, Doc: b.comment(b.comments[declared.Pos()]).doc, packageName: pkg.Name()}
			if r.trial(func() { a.Type = r.ref(alias.Rhs(), site{pos: declared.Pos(), signature: true}) }) {
				def.Aliases = append(def.Aliases, a)
			}
		}
	}
	slices.SortFunc(def.Aliases, func(a, b Alias) int { return strings.Compare(a.Name, b.Name) })
}
