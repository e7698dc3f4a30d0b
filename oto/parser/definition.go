package parser

import (
	"errors"
	"fmt"
	"go/token"
	"strings"
)

// ErrNotFound says that a definition has no object of the name asked for.
var ErrNotFound = errors.New("not found")

// Definition is everything a template can say about a set of Go packages. The
// JSON names of its fields are part of its contract: templates print them.
type Definition struct {
	// PackageName is the name of the package to generate.
	PackageName string `json:"packageName"`
	// Services are the interfaces, by name.
	Services []Service `json:"services"`
	// Objects are the structs, by name.
	Objects []Object `json:"objects"`
	// Imports are the foreign packages that types refer to: path to name.
	Imports map[string]string `json:"imports"`
	// Types are all types with a name that travel, by Name: see [Type].
	Types []Type `json:"types"`
	// Aliases are the definition's other names for types, by name.
	Aliases []Alias `json:"aliases"`

	// own are the paths of the packages that the definition is in.
	own map[string]bool
}

// Object returns the object named name, one of the definition's own packages
// before an imported one. The error is [ErrNotFound] when there is none.
func (d *Definition) Object(name string) (*Object, error) {
	var imported *Object
	for i := range d.Objects {
		if o := &d.Objects[i]; o.Name == name {
			if !o.Imported {
				return o, nil
			}
			if imported == nil {
				imported = o
			}
		}
	}
	if imported == nil {
		return nil, ErrNotFound
	}
	return imported, nil
}

// ObjectOf returns the object that a field's type refers to: by its TypeID, so
// that of two types with one name the right one is found, else by its name.
func (d *Definition) ObjectOf(t FieldType) (*Object, error) {
	if pkg, ok := strings.CutSuffix(t.TypeID, "."+t.ObjectName); ok {
		id := pkg + "." + t.CleanObjectName
		for i := range d.Objects {
			if d.Objects[i].TypeID == id {
				return &d.Objects[i], nil
			}
		}
	}
	return d.Object(t.CleanObjectName)
}

// ObjectIsInput says whether a method takes the object named name.
func (d *Definition) ObjectIsInput(name string) bool {
	return d.hasMethod(func(m Method) bool { return m.InputObject.ObjectName == name })
}

// ObjectIsOutput says whether a method returns the object named name.
func (d *Definition) ObjectIsOutput(name string) bool {
	return d.hasMethod(func(m Method) bool { return m.OutputObject.ObjectName == name })
}

// HasMethods says whether any service has a method.
func (d *Definition) HasMethods() bool {
	return d.hasMethod(func(Method) bool { return true })
}

func (d *Definition) hasMethod(match func(Method) bool) bool {
	for _, s := range d.Services {
		for _, m := range s.Methods {
			if match(m) {
				return true
			}
		}
	}
	return false
}

// Example returns an example of o as JSON would show it: the example in each
// field's comment by the field's wire name.
func (d *Definition) Example(o Object) (map[string]any, error) {
	return d.ExampleP(&o)
}

// ExampleP is Example for templates that hold a pointer.
func (d *Definition) ExampleP(o *Object) (map[string]any, error) {
	return d.example(o, map[string]bool{})
}

// example builds the example of o. above holds the objects being built: where a
// type contains itself the example ends in null.
func (d *Definition) example(o *Object, above map[string]bool) (map[string]any, error) {
	above[o.TypeID] = true
	defer delete(above, o.TypeID)
	example := make(map[string]any, len(o.Fields))
	for _, f := range o.Fields {
		if !f.Type.IsObject {
			example[f.NameLowerCamel] = f.Example
			continue
		}
		sub, err := d.ObjectOf(f.Type)
		if err != nil {
			return nil, fmt.Errorf("Object(%q): %w", f.Type.CleanObjectName, err)
		}
		if above[sub.TypeID] {
			example[f.NameLowerCamel] = nil
			continue
		}
		value, err := d.example(sub, above)
		if err != nil {
			return nil, err
		}
		if f.Type.Multiple {
			example[f.NameLowerCamel] = []any{value, value}
		} else {
			example[f.NameLowerCamel] = value
		}
	}
	return example, nil
}

// Service is an interface of the definition.
type Service struct {
	Name    string   `json:"name"`
	Methods []Method `json:"methods"`
	// Comment is the doc comment without metadata, one line after another.
	Comment  string         `json:"comment"`
	Metadata map[string]any `json:"metadata"`
	// Doc is the doc comment as written, with its paragraphs and indentation
	// but without metadata.
	Doc string `json:"doc"`

	packageName string
}

// MethodsByMetadata groups the service's methods by the text that their
// metadata has under field. Methods without one are left out.
func (s Service) MethodsByMetadata(field string) map[string][]Method {
	groups := make(map[string][]Method)
	for _, m := range s.Methods {
		if value, ok := m.Metadata[field].(string); ok {
			groups[value] = append(groups[value], m)
		}
	}
	return groups
}

// Method is a method of a service.
type Method struct {
	Name           string         `json:"name"`
	NameLowerCamel string         `json:"nameLowerCamel"`
	InputObject    FieldType      `json:"inputObject"`
	OutputObject   FieldType      `json:"outputObject"`
	Comment        string         `json:"comment"`
	Metadata       map[string]any `json:"metadata"`
	Doc            string         `json:"doc"`
	// Request and Response are what the method takes and returns, without a
	// pointer: M(*R) means the same as M(R).
	Request  *TypeRef `json:"request"`
	Response *TypeRef `json:"response"`
}

// Object is a struct of the definition, or one of another package that the
// definition refers to.
type Object struct {
	TypeID             string `json:"typeID"`
	ObjectName         string `json:"objectName"`
	ExternalObjectName string `json:"externalObjectName"`
	Name               string `json:"name"`
	// Imported says that the struct is declared outside the definition.
	Imported bool           `json:"imported"`
	Fields   []Field        `json:"fields"`
	Comment  string         `json:"comment"`
	Metadata map[string]any `json:"metadata"`
	Doc      string         `json:"doc"`
}

// Field is a field of an object.
type Field struct {
	Name string `json:"name"`
	// NameLowerCamel is the name in the field's json tag, else the camel-case
	// name. For json:"-" it is "-"; JSONName is then empty.
	NameLowerCamel string              `json:"nameLowerCamel"`
	Type           FieldType           `json:"type"`
	OmitEmpty      bool                `json:"omitEmpty"`
	Comment        string              `json:"comment"`
	Tag            string              `json:"tag"`
	ParsedTags     map[string]FieldTag `json:"parsedTags"`
	Example        any                 `json:"example"`
	Metadata       map[string]any      `json:"metadata"`
	Doc            string              `json:"doc"`
	// JSONName is the field's name on the wire; empty if it never travels.
	JSONName string `json:"jsonName"`
	// OmitsEmpty and OmitsZero say that the json tag has omitempty and omitzero.
	// (OmitEmpty is true for the field Error alone.)
	OmitsEmpty bool `json:"omitsEmpty,omitempty"`
	OmitsZero  bool `json:"omitsZero,omitempty"`
	// Optional says that the field may be missing in what a service sends: it is
	// left out when empty or zero, or is embedded by a pointer. A service takes
	// any field to be missing.
	Optional bool `json:"optional,omitempty"`
	// Embedded says that the field is an embedded struct whose fields stand in
	// its place on the wire. Only a [Type]'s Members have such.
	Embedded bool `json:"embedded,omitempty"`
	// Constraints are what the field's metadata says of its value.
	Constraints Constraints `json:"constraints,omitzero"`

	// path are the embedded fields that a promoted one is below.
	path []step
	// pos is where a fault of the field is shown; constrained says that its
	// metadata may have constraints, and exact is that metadata with its numbers
	// as they are written.
	pos         token.Pos
	constrained bool
	exact       map[string]any
}

// step is an embedded field on the way to one that is promoted.
type step struct{ ref *TypeRef }

// FieldTag is the value of one key of a struct tag.
type FieldTag struct {
	Value   string   `json:"value"`
	Options []string `json:"options"`
}

// FieldType is the type of a field, or of what a method takes or returns.
type FieldType struct {
	TypeID   string `json:"typeID"`
	TypeName string `json:"typeName"`
	// ObjectName is TypeName without package names.
	ObjectName         string `json:"objectName"`
	ExternalObjectName string `json:"externalObjectName"`
	// CleanObjectName is ObjectName without a leading *.
	CleanObjectName      string `json:"cleanObjectName"`
	ObjectNameLowerCamel string `json:"objectNameLowerCamel"`
	// Multiple says that the type is a slice of what the names say.
	Multiple bool `json:"multiple"`
	// Package is the path of the foreign package the type is of, if any.
	Package   string `json:"package"`
	IsObject  bool   `json:"isObject"`
	JSType    string `json:"jsType"`
	TSType    string `json:"tsType"`
	SwiftType string `json:"swiftType"`
	DartType  string `json:"dartType"`
	// Wire is the type on the wire, which the keys above don't tell in full; nil
	// where there is none, as for a type parameter.
	Wire *TypeRef `json:"wire"`
}

// IsOptional says whether the type is a pointer.
func (t FieldType) IsOptional() bool { return strings.HasPrefix(t.ObjectName, "*") }
