package parser

import (
	"cmp"
	"encoding/json"
	"go/constant"
	"go/types"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// declare returns the Type of a named type.
func (r *resolver) declare(t *types.Named, at site) *Type {
	obj := t.Obj()
	own := !r.b.foreign(obj) && !at.asDeclared
	id := typeID(t)
	if !own && !r.b.foreign(obj) {
		id = "import " + id // beside the copy of it
	}
	reach := r.importable(obj)
	if known := r.types[id]; known != nil {
		if !own && !reach && !at.inside {
			known.Imported = false
		}
		return known
	}
	d := &Type{
		ID:          id,
		GoName:      types.TypeString(t, unqualified),
		Package:     obj.Pkg().Path(),
		PackageName: obj.Pkg().Name(),
		Kind:        ownKind(t),
		Fields:      []Field{},
		Members:     []Field{},
		Values:      []EnumValue{},
		typ:         t,
	}
	r.add(d)
	d.Imported = reach && (d.Kind != "" || !own) || !own && at.inside
	doc := r.b.comment(r.docOf(obj, obj.Name()))
	d.Comment, d.Doc, d.Metadata = doc.text, doc.doc, doc.metadata
	if d.Kind != "" {
		if !d.Imported {
			r.fault(at, "%s has its own methods for JSON, and generated code can't import it from %s: move it to a package that can be imported", typeName(t), obj.Pkg().Path())
		}
		return d
	}
	below := at
	below.signature, below.inside = false, d.Imported
	if r.b.foreign(obj) || !own {
		// What such a type is made of is as its package has it; but type arguments
		// are the definition's.
		below.asDeclared = t.TypeArgs().Len() == 0 || at.asDeclared
		below.foreign = cmp.Or(at.foreign, typeName(t))
	}
	if s, ok := t.Underlying().(*types.Struct); ok {
		d.Kind = KindObject
		r.addFields(d, s, levelOf(t, own, below))
		return d
	}
	if own {
		below.pos = obj.Pos()
	}
	d.Underlying = r.ref(t.Underlying(), below)
	d.Kind = d.Underlying.Kind
	if _, ok := t.Underlying().(*types.Basic); ok {
		r.addValues(d, obj)
	}
	return d
}

// declareAnonymous returns the Type of a struct without a name, which gets that
// of the field it is found in.
func (r *resolver) declareAnonymous(s *types.Struct, at site) *Type {
	if known := r.types[at.id]; known != nil {
		return known
	}
	d := &Type{
		ID:       at.id,
		GoName:   at.words,
		Imported: at.inside,
		Kind:     KindObject,
		Fields:   []Field{},
		Members:  []Field{},
		Values:   []EnumValue{},
		Metadata: map[string]any{},
		typ:      s,
	}
	r.add(d)
	r.addFields(d, s, level{structName: at.structName, camel: at.foreign == "", site: at})
	return d
}

func (r *resolver) add(d *Type) {
	r.types[d.ID] = d
	r.order = append(r.order, d)
}

// importable says whether the generated files can import the package of a type
// and name the type.
func (r *resolver) importable(obj *types.TypeName) bool {
	if !obj.Exported() || obj.Pkg().Name() == "main" || obj.Parent() != obj.Pkg().Scope() {
		return false
	}
	root, _, internal := cutInternal(obj.Pkg().Path())
	if !internal {
		return true
	}
	if root == "" {
		return false
	}
	for _, importer := range r.b.parser.ImportedBy {
		if importer != root && !strings.HasPrefix(importer, root+"/") {
			return false
		}
	}
	return true
}

// cutInternal cuts an import path at its last element internal.
func cutInternal(p string) (root, rest string, internal bool) {
	elems := strings.Split(p, "/")
	for i := len(elems) - 1; i >= 0; i-- {
		if elems[i] == "internal" {
			return path.Join(elems[:i]...), path.Join(elems[i+1:]...), true
		}
	}
	return p, "", false
}

// level is one struct whose fields are looked at: that of a type, or one that is
// embedded in it.
type level struct {
	structName
	// camel says that fields without a name in their tag get one in camel case,
	// as copies of the definition's own types have it.
	camel bool
	site  site

	// Of an embedded struct: the way to it, and whether it may be missing.
	path     []step
	index    []int
	optional bool
}

// structName says what a struct, or one without a name in it, is called.
type structName struct {
	id    string // of its Type
	words string // in one word: PageOfTaco
	key   string // in its source: Page, and Page.Field for one without a name
}

// field is what a struct without a name is called that a field has.
func (n structName) field(name string) structName {
	return structName{id: n.id + "." + name, words: n.words + upper(name), key: n.key + "." + name}
}

func levelOf(t *types.Named, camel bool, at site) level {
	return level{structName: structName{id: typeID(t), words: wordsOf(t), key: t.Obj().Name()}, camel: camel, site: at}
}

// member is a field of a struct as it is declared.
type member struct {
	Field
	tagged   bool
	embedded *types.Struct // whose fields are promoted
	level    level         // of embedded
}

// members returns the fields of a struct as they are declared, but for those that
// no other package sees.
func (r *resolver) members(s *types.Struct, l level) []member {
	var all []member
	for i := range s.NumFields() {
		v := s.Field(i)
		under, pointers := v.Type(), 0
		if p, ok := unalias(v.Type()).(*types.Pointer); ok {
			under, pointers = p.Elem(), 1
		}
		embedded, _ := under.Underlying().(*types.Struct)
		if !v.Embedded() {
			embedded = nil
		}
		at := l.fieldSite(v)
		if !v.Exported() && embedded == nil {
			if l.camel {
				r.fault(at, "%s", unexported(v))
			}
			continue
		}
		if _, err := checkTag(s.Tag(i)); err != nil && l.camel {
			r.fault(at, "%s", badTag(s.Tag(i), err))
			continue
		}
		m := member{Field: Field{Name: v.Name(), NameLowerCamel: CamelizeDown(v.Name()), Tag: s.Tag(i)}}
		group := r.docOf(v, at.key)
		doc := r.b.comment(group)
		m.Comment, m.Doc, m.Metadata, m.Example = doc.text, doc.doc, doc.metadata, doc.metadata["example"]
		named := m.setTag(s.Tag(i), l.camel)
		m.pos, m.constrained = at.pos, r.b.inModule(v.Pkg().Path())
		if m.constrained && len(m.Metadata) > 0 {
			m.exact = exactMetadata(group.Text())
		}
		m.tagged = l.camel || named
		if embedded != nil && !named && m.JSONName != "" {
			m.Embedded, m.embedded, m.JSONName = true, embedded, ""
			if !v.Exported() && pointers > 0 && l.camel {
				r.fault(at, "*%s can't be embedded: encoding/json can't set a pointer to a type that isn't exported", typeName(under))
			}
			m.level = r.embeddedLevel(unalias(under), l, at)
			m.level.optional = l.optional || pointers > 0
		}
		if m.JSONName == "" && !m.Embedded {
			// What doesn't travel may be of any type, and stays if Go can write it.
			if !r.trial(func() { m.Type.Wire = r.ref(v.Type(), at) }) {
				if !r.b.writable(v.Type()) {
					continue
				}
				m.Type.Wire = &TypeRef{typ: v.Type()}
			}
		} else {
			m.Type.Wire = r.ref(v.Type(), at)
		}
		if named, ok := unalias(under).(*types.Named); ok && l.camel && m.OmitsZero && !r.b.foreign(named.Obj()) && ownKind(named) == "" && hasIsZero(named) {
			r.fault(at, "omitzero: %s has its own IsZero, and the copy of it has no methods: use omitempty, with a pointer for a struct", typeName(named))
		}
		m.quote()
		m.Optional = l.optional || m.OmitsZero || m.OmitsEmpty && canBeEmpty(v.Type())
		all = append(all, m)
	}
	return all
}

// embeddedLevel is that of a struct embedded in one of l: if that is of the
// definition, this one needn't be.
func (r *resolver) embeddedLevel(t types.Type, l level, at site) level {
	named, ok := t.(*types.Named)
	if !ok { // an alias of a struct without a name
		return level{structName: at.structName, camel: l.camel, site: at}
	}
	camel := l.camel && !r.b.foreign(named.Obj())
	if l.camel && !camel {
		at.asDeclared, at.inside = named.TypeArgs().Len() == 0, true
		at.foreign = typeName(t)
	}
	return levelOf(named, camel, at)
}

// canBeEmpty says whether omitempty has an effect on values of t.
func canBeEmpty(t types.Type) bool {
	switch t := t.Underlying().(type) {
	case *types.Struct:
		return false
	case *types.Array:
		return t.Len() == 0
	}
	return true
}

// writable says whether Go can write t without types of the definition.
func (b *builder) writable(t types.Type) bool {
	ok := true
	writeType(new(strings.Builder), t, func(n *types.Named) (string, bool) {
		ok = ok && b.scanned[n.Obj().Pkg()] == nil
		return "", false
	}, func(p *types.Package) string {
		ok = ok && b.scanned[p] == nil
		return p.Name()
	})
	return ok
}

// fieldSite is where the type of a field of l is used.
func (l level) fieldSite(v *types.Var) site {
	at := l.site
	at.signature = false
	at.structName = l.field(v.Name())
	if at.foreign == "" {
		at.pos = v.Pos()
	} else {
		at.foreign = v.Pkg().Name() + "." + at.key
	}
	return at
}

func upper(s string) string { return mapFirst(s, unicode.ToUpper) }

// quote notes json:",string", which has an effect on some types only.
func (f *Field) quote() {
	t := f.Type.Wire
	if t == nil || t.Pointers > 1 || !f.hasOption("string") {
		return
	}
	under := t.typ
	if p, ok := unalias(under).(*types.Pointer); ok {
		under = p.Elem()
	}
	if basic, ok := under.Underlying().(*types.Basic); ok && ownKind(under) == "" {
		t.Quoted = basic.Info()&(types.IsBoolean|types.IsNumeric|types.IsString) != 0
	}
}

// candidate is a field that may be one of an object's, unless another of the same
// name hides it.
type candidate struct {
	member
	index []int
}

// addFields fills in the fields of an object as encoding/json finds them: those
// of embedded structs too, of several with one name the one that is the least
// deep, then the one with a tag, and none if there are still several.
func (r *resolver) addFields(d *Type, s *types.Struct, top level) {
	found := make(map[string][]candidate)
	visited := make(map[string]bool)
	type next struct {
		s *types.Struct
		level
		times int
	}
	for round := []next{{s: s, level: top, times: 1}}; len(round) > 0; {
		var following []next
		for _, n := range round {
			if visited[n.id] {
				continue
			}
			visited[n.id] = true
			for i, m := range r.members(n.s, n.level) {
				if n.index == nil {
					d.Members = append(d.Members, m.Field)
				}
				index := append(slices.Clip(n.index), i)
				switch {
				case m.embedded != nil:
					l := m.level
					l.index = index
					l.path = append(slices.Clip(n.path), step{ref: m.Type.Wire})
					if j := slices.IndexFunc(following, func(f next) bool { return f.id == l.id }); j >= 0 {
						following[j].times++
						continue
					}
					following = append(following, next{s: m.embedded, level: l, times: 1})
				case m.JSONName != "":
					m.path = n.path
					m.Optional = m.Optional || n.optional
					for range min(n.times, 2) { // embedded twice it hides itself
						found[m.JSONName] = append(found[m.JSONName], candidate{m, index})
					}
				}
			}
		}
		round = following
	}
	var fields []candidate
	for name, candidates := range found {
		slices.SortStableFunc(candidates, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(len(a.index), len(b.index)), -compareBool(a.tagged, b.tagged))
		})
		first := candidates[0]
		if len(candidates) > 1 {
			second := candidates[1]
			if len(first.index) == len(second.index) && first.tagged == second.tagged {
				if len(first.index) == 1 && top.site.foreign == "" {
					r.faults = append(r.faults, placedFault{second.pos, second.Name + " and " + first.Name + " are both " +
						strconv.Quote(name) + ` in JSON: give one of them another name, with json:"..."`})
				}
				continue
			}
		}
		fields = append(fields, first)
	}
	slices.SortFunc(fields, func(a, b candidate) int { return slices.Compare(a.index, b.index) })
	for _, f := range fields {
		d.Fields = append(d.Fields, f.Field)
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// addValues notes the constants of d. Text and integers are an enum then, unless
// the type's comment says otherwise.
func (r *resolver) addValues(d *Type, obj *types.TypeName) {
	if r.b.foreign(obj) && !r.b.inModule(obj.Pkg().Path()) {
		return // the library's numbers are often flags, or open
	}
	scope := obj.Pkg().Scope()
	var constants []*types.Const
	for _, name := range scope.Names() {
		c, ok := scope.Lookup(name).(*types.Const)
		if ok && types.Identical(c.Type(), obj.Type()) && (c.Exported() || !d.Imported) {
			constants = append(constants, c)
		}
	}
	if len(constants) == 0 {
		return
	}
	slices.SortStableFunc(constants, func(a, b *types.Const) int {
		x, y := r.b.position(a.Pos()), r.b.position(b.Pos())
		return cmp.Or(strings.Compare(x.Filename, y.Filename), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
	if d.Metadata["enum"] != false && (d.Kind == KindString || d.Kind == KindInt) {
		d.Kind = KindEnum
	}
	for _, c := range constants {
		doc := r.b.comment(r.docOf(c, c.Name()))
		v := EnumValue{GoName: c.Name(), Value: constantValue(c.Val()), Comment: doc.text, Doc: doc.doc}
		text, _ := json.Marshal(v.Value)
		v.JSON = string(text)
		d.Values = append(d.Values, v)
	}
}

func constantValue(v constant.Value) any {
	switch v.Kind() {
	case constant.String:
		return constant.StringVal(v)
	case constant.Bool:
		return constant.BoolVal(v)
	case constant.Float:
		f, _ := constant.Float64Val(v)
		return f
	}
	if i, exact := constant.Int64Val(v); exact {
		return i
	}
	u, _ := constant.Uint64Val(v)
	return u
}

// setTag fills in what a field's struct tag says, and says whether that gives it
// a name. Without one, JSONName is the camel-case one or, with camel false, Go's.
func (f *Field) setTag(tag string, camel bool) (named bool) {
	f.JSONName = f.Name
	if camel {
		f.JSONName = f.NameLowerCamel
	}
	f.ParsedTags = make(map[string]FieldTag)
	for _, t := range parseTag(tag) {
		f.ParsedTags[t.Key] = FieldTag{Value: t.Name, Options: t.Options}
	}
	// So encoding/json reads a tag: of two json keys, the first.
	value := reflect.StructTag(tag).Get("json")
	name, _, _ := strings.Cut(value, ",")
	switch {
	case value == "-":
		f.JSONName = ""
	case validName(name):
		f.JSONName, named = name, true
	}
	f.OmitsEmpty = f.hasOption("omitempty")
	f.OmitsZero = f.hasOption("omitzero")
	return named
}

// hasOption says whether a field's json tag has an option.
func (f *Field) hasOption(option string) bool {
	return slices.Contains(strings.Split(reflect.StructTag(f.Tag).Get("json"), ",")[1:], option)
}

// validName says whether encoding/json takes a name from a struct tag.
func validName(name string) bool {
	for _, c := range name {
		if !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return false
		}
	}
	return name != ""
}
