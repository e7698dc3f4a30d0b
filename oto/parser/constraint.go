package parser

import (
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// constrain reads the constraints in the metadata of a field. What is no
// constraint for the type of its value is a fault: nothing would check it.
func (r *resolver) constrain(f *Field) {
	if !f.constrained || f.JSONName == "" {
		return
	}
	read := constraintReader{field: f, item: f.Type.Wire, c: &f.Constraints}
	read.kind = valueKind(f.Type.Wire)
	if read.kind == KindList || read.kind == KindArray {
		read.item = r.itemOf(f.Type.Wire)
	}
	for _, key := range []string{"required", "min", "max", "pattern", "enum"} {
		value, ok := f.exact[key]
		if !ok {
			continue
		}
		if want := read.take(key, value); want != "" {
			r.faults = append(r.faults, placedFault{f.pos, f.Name + ": " + key + ": " + want})
		}
	}
}

// itemOf returns what a list or array has in it.
func (r *resolver) itemOf(t *TypeRef) *TypeRef {
	for t.Elem == nil {
		i := slices.IndexFunc(r.order, func(d *Type) bool { return d.Name == t.Name })
		if i < 0 || r.order[i].Underlying == nil {
			return t
		}
		t = r.order[i].Underlying
	}
	return t.Elem
}

// valueKind is the kind of a type's values; of an enum, that of its constants.
func valueKind(t *TypeRef) string {
	if t.Kind == KindEnum {
		return t.Base
	}
	return t.Kind
}

// constraintReader reads the constraints of one field.
type constraintReader struct {
	field *Field
	kind  string
	item  *TypeRef // of a list or array; else the field's type
	c     *Constraints
}

// take reads the constraint of a key. It returns what is wrong with it.
func (c *constraintReader) take(key string, value any) string {
	switch key {
	case "required":
		b, ok := value.(bool)
		if !ok {
			return "want true or false"
		}
		c.c.Required = b
		return ""
	case "min", "max":
		return c.takeBound(key, value)
	case "pattern":
		return c.takePattern(value)
	}
	return c.takeEnum(value)
}

// units are what the lengths of kinds count.
var units = map[string]string{KindString: "characters", KindBytes: "bytes", KindList: "items", KindMap: "entries"}

func (c *constraintReader) takeBound(key string, value any) string {
	t := c.field.Type.Wire
	number, ok := value.(json.Number)
	if !ok {
		return "want a number"
	}
	bound := number.String()
	unit, long := units[c.kind]
	switch {
	case long:
		if n, err := strconv.ParseInt(bound, 10, 32); err != nil || n < 0 {
			return bound + " is no length: want a number from 0 without fraction"
		}
		c.c.Length, c.c.Unit = true, unit
	case c.kind == KindInt, c.kind == KindFloat, c.kind == KindDuration:
		if !holds(t, bound) {
			return bound + " is no " + typeName(t.typ)
		}
	default:
		return "is for numbers and for the length of text, bytes, lists and maps, not for " + typeName(t.typ)
	}
	if key == "min" {
		c.c.Min = bound
		return ""
	}
	c.c.Max = bound
	if c.c.Min != "" && rational(c.c.Min).Cmp(rational(bound)) > 0 {
		return bound + " is less than min, " + c.c.Min
	}
	return ""
}

func (c *constraintReader) takePattern(value any) string {
	pattern, ok := value.(string)
	if !ok {
		return "want text"
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return err.Error()
	}
	if valueKind(c.item) != KindString {
		return "is for text and lists of text, not for " + typeName(c.field.Type.Wire.typ)
	}
	c.c.Pattern, c.c.Items = pattern, c.item != c.field.Type.Wire
	return ""
}

func (c *constraintReader) takeEnum(value any) string {
	values, ok := value.([]any)
	if !ok || len(values) == 0 {
		return `want a list of values, such as ["a", "b"]`
	}
	for _, v := range values {
		text, _ := json.Marshal(v)
		switch v := v.(type) {
		case string:
			ok = valueKind(c.item) == KindString
		case json.Number:
			ok = holds(c.item, v.String())
		default:
			ok = false
		}
		if !ok {
			return string(text) + " is no " + typeName(c.item.typ)
		}
		c.c.Enum = append(c.c.Enum, v)
		c.c.EnumJSON = append(c.c.EnumJSON, string(text))
	}
	c.c.Items = c.item != c.field.Type.Wire
	return ""
}

// holds says whether values of type t can be the number.
func holds(t *TypeRef, number string) bool {
	size, unsigned := t.Bits, t.Unsigned
	switch valueKind(t) {
	case KindFloat:
		f, err := strconv.ParseFloat(number, size)
		return err == nil && !math.IsInf(f, 0)
	case KindDuration:
		size = 64
	case KindInt:
	default:
		return false
	}
	if unsigned {
		_, err := strconv.ParseUint(number, 10, size)
		return err == nil
	}
	_, err := strconv.ParseInt(number, 10, size)
	return err == nil
}

// rational is the exact value of a number that JSON could read.
func rational(number string) *big.Rat {
	value, ok := new(big.Rat).SetString(number)
	if !ok {
		return new(big.Rat)
	}
	return value
}

// exactMetadata returns the metadata of a comment with its numbers as they are
// written: a float64 doesn't hold all integers.
func exactMetadata(src string) map[string]any {
	exact := make(map[string]any)
	for line := range strings.Lines(src) {
		key, text, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		var value any
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if _, _, err := metadataOf(line); err == nil && d.Decode(&value) == nil {
			exact[key] = value
		}
	}
	return exact
}
