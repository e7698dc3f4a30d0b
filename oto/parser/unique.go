package parser

import (
	"cmp"
	"go/types"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// nameAll gives each type and enum value a name of its own: the definition's own
// types keep theirs, those of a package that imports another before the other's;
// then come instances and structs without a name, then other packages' types.
func (r *resolver) nameAll(services []Service, aliases []Alias) {
	taken := make(map[string]bool)
	for _, s := range services {
		taken[s.Name] = true
	}
	for i := range aliases {
		aliases[i].Name = unique(taken, aliases[i].Name, aliases[i].packageName)
	}
	rank := func(t *Type) int {
		named, ok := t.typ.(*types.Named)
		switch {
		case !ok || t.Imported:
			return 2
		case r.b.foreign(named.Obj()):
			return 2
		case named.TypeArgs().Len() > 0:
			return 1
		}
		return 0
	}
	ordered := slices.Clone(r.order)
	slices.SortStableFunc(ordered, func(a, b *Type) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(slices.Index(r.b.paths, a.Package), slices.Index(r.b.paths, b.Package)),
			strings.Compare(a.GoName, b.GoName),
			strings.Compare(a.ID, b.ID),
		)
	})
	for _, t := range ordered {
		t.Name = unique(taken, flatName(t), t.PackageName)
	}
	for _, t := range ordered {
		for i := range t.Values {
			t.Values[i].Name = unique(taken, t.Values[i].GoName, t.PackageName)
		}
	}
}

// unique returns name, if it is taken with the package's name in front, and if
// that is too, with a number behind.
func unique(taken map[string]bool, name, packageName string) string {
	free := name
	if taken[free] {
		free = capitalWord(packageName) + mapFirst(name, unicode.ToUpper)
	}
	for n := 2; taken[free]; n++ {
		free = name + strconv.Itoa(n)
	}
	taken[free] = true
	return free
}

// capitalWord makes a package's name the first word of a name.
func capitalWord(s string) string { return mapFirst(s, unicode.ToUpper) }

// flatName is what a type is called if the name is free.
func flatName(t *Type) string {
	named, ok := t.typ.(*types.Named)
	if !ok {
		return t.GoName
	}
	return wordsOf(named)
}

// wordsOf names a type in words: Page[Taco] is PageOfTaco.
func wordsOf(t types.Type) string {
	switch t := unalias(t).(type) {
	case *types.Named:
		name := t.Obj().Name()
		for i := range t.TypeArgs().Len() {
			if i == 0 {
				name += "Of"
			} else {
				name += "And"
			}
			name += upper(wordsOf(t.TypeArgs().At(i)))
		}
		return name
	case *types.Pointer:
		return "Optional" + upper(wordsOf(t.Elem()))
	case *types.Slice:
		return "ListOf" + upper(wordsOf(t.Elem()))
	case *types.Array:
		return "ArrayOf" + strconv.FormatInt(t.Len(), 10) + upper(wordsOf(t.Elem()))
	case *types.Map:
		return "MapOf" + upper(wordsOf(t.Key())) + "To" + upper(wordsOf(t.Elem()))
	case *types.Basic:
		return upper(t.Name())
	case *types.Alias:
		return "Any"
	case *types.Interface:
		return "Any"
	}
	return "Struct"
}

// finish gives all types their names, tells the references what their types are,
// and returns the types by name.
func (r *resolver) finish(services []Service, aliases []Alias) []Type {
	r.nameAll(services, aliases)
	for _, n := range r.names {
		n.ref.tell(n.typ)
	}
	all := make([]Type, len(r.order))
	for i, t := range r.order {
		all[i] = *t
	}
	slices.SortFunc(all, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// tell tells a reference what its type is.
func (t *TypeRef) tell(is *Type) {
	t.Name, t.Kind = is.Name, is.Kind
	u := is.Underlying
	if u == nil {
		return
	}
	t.Nullable = t.Nullable || u.Nullable
	t.Bits, t.Unsigned = u.Bits, u.Unsigned
	if is.Kind == KindEnum {
		t.Base = u.Kind
	}
}
