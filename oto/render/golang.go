package render

import (
	"encoding/json"
	"fmt"
	"html/template"
	"strings"

	"github.com/pacedotdev/oto/parser"
)

// ObjectGolang returns a Go composite literal of object, indented by tabs, with
// the examples in its fields' comments. Fields without an example are left out.
func ObjectGolang(def parser.Definition, object *parser.Object, tabs int) template.HTML {
	l := literal{def: def, above: make(map[string]bool)}
	l.object(object.ExternalObjectName, object, tabs)
	return template.HTML(l.String())
}

// literal writes Go composite literals.
type literal struct {
	strings.Builder
	def parser.Definition
	// above are the objects being written: where a type contains itself, the
	// literal ends.
	above map[string]bool
}

func (l *literal) object(name string, o *parser.Object, tabs int) {
	l.above[o.TypeID] = true
	defer delete(l.above, o.TypeID)
	l.WriteString(name + "{\n")
	for _, f := range o.Fields {
		l.field(f, tabs+1)
	}
	l.indent(tabs)
	l.WriteString("}")
}

func (l *literal) field(f parser.Field, tabs int) {
	if !f.Type.IsObject {
		value, ok := goValue(f.Type, f.Metadata["example"])
		if ok {
			l.indent(tabs)
			l.WriteString(f.Name + ": " + value + ",\n")
		}
		return
	}
	o, err := l.def.ObjectOf(f.Type)
	if err == nil && l.above[o.TypeID] {
		return
	}
	l.indent(tabs)
	l.WriteString(f.Name + ": ")
	name := f.Type.ExternalObjectName
	if pointee, ok := strings.CutPrefix(name, "*"); ok && !f.Type.Multiple {
		name = "&" + pointee
	}
	switch {
	case err != nil:
		l.WriteString(fmt.Sprintf("nil /* %s: %v */", f.Type.ObjectName, err))
	case f.Type.Multiple:
		l.WriteString("[]" + name + "{\n")
		l.indent(tabs + 1)
		l.object("", o, tabs+1)
		l.WriteString(",\n")
		l.indent(tabs)
		l.WriteString("}")
	default:
		l.object(name, o, tabs)
	}
	l.WriteString(",\n")
}

func (l *literal) indent(tabs int) { l.WriteString(strings.Repeat("\t", max(tabs, 0))) }

// goValue returns an example of a basic type as Go. There is none for pointers,
// nor for what JSON has no Go literal for.
func goValue(t parser.FieldType, example any) (string, bool) {
	if t.Multiple {
		items, ok := example.([]any)
		if !ok {
			return "", false
		}
		values := make([]string, len(items))
		t.Multiple = false
		for i, item := range items {
			if values[i], ok = goValue(t, item); !ok {
				return "", false
			}
		}
		return "[]" + t.ExternalObjectName + "{" + strings.Join(values, ", ") + "}", true
	}
	switch example.(type) {
	case string, bool, float64:
	default:
		return "", false
	}
	if t.IsOptional() {
		return "", false
	}
	text, err := json.Marshal(example)
	return string(text), err == nil
}
