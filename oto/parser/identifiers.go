package parser

import "slices"

// identifiers are what a generated file calls what the definition names: names
// that clash neither with the template's own nor with each other.
type identifiers struct {
	taken   map[string]bool
	changed map[string]string
}

// reserve keeps names for the template.
func (i *identifiers) reserve(names ...string) {
	if i.taken == nil {
		i.taken, i.changed = make(map[string]bool), make(map[string]string)
	}
	for _, name := range names {
		i.taken[name] = true
	}
}

// claim gives what the definition calls name a name that is free in the file.
func (i *identifiers) claim(name, packageName string) {
	i.reserve()
	if free := unique(i.taken, name, packageName); free != name {
		i.changed[name] = free
	}
}

func (i *identifiers) claimServices(d *Definition) {
	for _, s := range d.Services {
		if len(s.Methods) > 0 {
			i.claim(s.Name, s.packageName)
		}
	}
}

func (i *identifiers) claimAliases(d *Definition) {
	for _, a := range d.Aliases {
		i.claim(a.Name, a.packageName)
	}
}

// claimAll names all that a file in another language declares.
func (i *identifiers) claimAll(d *Definition) {
	i.claimServices(d)
	i.claimAliases(d)
	for _, t := range d.Types {
		i.claim(t.Name, t.PackageName)
	}
}

// Ident returns what the file calls a service, a type, an alias or, in Go, an
// enum's value that the definition calls name.
func (i *identifiers) Ident(name string) string {
	if ident, ok := i.changed[name]; ok {
		return ident
	}
	return name
}

// members are the names within a class: each is kept from the reserved ones, and
// from the others, by underscores behind it.
type members struct {
	reserved map[string]bool
	used     []string
}

func (m *members) claim(name string) string {
	for m.reserved[name] || slices.Contains(m.used, name) {
		name += "_"
	}
	m.used = append(m.used, name)
	return name
}

// reaching says of which types, by Name, something is so: of the type itself, or
// of what is in it.
func (d *Definition) reaching(so func(*TypeRef) bool) func(*TypeRef) bool {
	found := make(map[string]bool)
	var reaches func(t *TypeRef) bool
	reaches = func(t *TypeRef) bool {
		return t != nil && (so(t) || found[t.Name] || reaches(t.Elem))
	}
	for changed := true; changed; {
		changed = false
		for _, t := range d.Types {
			if found[t.Name] || !reaches(t.Underlying) && !slices.ContainsFunc(t.Fields, func(f Field) bool { return reaches(f.Type.Wire) }) {
				continue
			}
			found[t.Name], changed = true, true
		}
	}
	return reaches
}
