package parser

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What templates for Go need to know of a definition.

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

var qualifierPattern = regexp.MustCompile(`\b([\pL_][\pL\pN_]*)\.`)

// GoImports returns the imports of a Go file that has the definition's services
// and its own objects, beside those the template needs itself: the standard
// library's and then the others, each by path and once. Without methods there is
// no use for those of the template.
func (d *Definition) GoImports(own ...string) [][]GoImport {
	paths := make(map[string]string)
	if d.HasMethods() {
		for _, p := range own {
			paths[p] = ""
		}
	}
	byName := make(map[string]string)
	for p, name := range d.Imports {
		byName[name] = p
	}
	use := func(t FieldType) {
		for _, m := range qualifierPattern.FindAllStringSubmatch(t.TypeName, -1) {
			p, ok := byName[m[1]]
			if !ok {
				continue
			}
			paths[p] = ""
			if m[1] != path.Base(p) {
				paths[p] = m[1]
			}
		}
	}
	for _, s := range d.Services {
		for _, m := range s.Methods {
			use(m.InputObject)
			use(m.OutputObject)
		}
	}
	for _, o := range d.Objects {
		if o.Imported {
			continue
		}
		for _, f := range o.Fields {
			use(f.Type)
		}
	}
	var std, others []GoImport
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		spec := GoImport{Name: paths[p], Path: p}
		if host, _, _ := strings.Cut(p, "/"); strings.Contains(host, ".") {
			others = append(others, spec)
		} else {
			std = append(std, spec)
		}
	}
	return slices.DeleteFunc([][]GoImport{std, others}, func(group []GoImport) bool { return len(group) == 0 })
}

// GoType returns the type as Go writes it in a file that imports
// [Definition.GoImports].
func (t FieldType) GoType() string {
	if t.Multiple {
		return "[]" + t.TypeName
	}
	return t.TypeName
}

// GoElem returns GoType without a leading *: what a pointer to it points to.
func (t FieldType) GoElem() string {
	return strings.TrimPrefix(t.GoType(), "*")
}

// GoTag returns the field's struct tag as Go writes it: the definition's own
// keys, with the wire name spelled out under json.
func (f Field) GoTag() string {
	value := f.JSONName
	if value == "" {
		value = "-"
	}
	own, ok := f.ParsedTags["json"]
	switch {
	case ok:
		value = strings.Join(append([]string{value}, own.Options...), ",")
	case f.OmitEmpty:
		value += ",omitempty"
	}
	tags := parseTag(f.Tag)
	tags.set("json", value)
	text := tags.String()
	if strconv.CanBackquote(text) {
		return "`" + text + "`"
	}
	return strconv.Quote(text)
}

// InBandError says whether this is the Error field that objects which methods
// return are given, not one of the definition.
func (f Field) InBandError() bool { return f.Name == "Error" && f.ParsedTags == nil }
