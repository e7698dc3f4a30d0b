package parser

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// checked says of which types, by Name, something is checked: a field of theirs,
// or of what is in them.
func (d *Definition) checked() map[string]bool {
	checked := make(map[string]bool)
	for changed := true; changed; {
		changed = false
		for _, t := range d.Types {
			if !checked[t.Name] && t.needsCheck(checked) {
				checked[t.Name], changed = true, true
			}
		}
	}
	return checked
}

func (t *Type) needsCheck(checked map[string]bool) bool {
	if t.Underlying.needsCheck(checked) {
		return true
	}
	for _, f := range t.Fields {
		if f.Constraints.Any() || f.Type.Wire.needsCheck(checked) {
			return true
		}
	}
	return false
}

func (t *TypeRef) needsCheck(checked map[string]bool) bool {
	return t != nil && (checked[t.Name] || t.Elem.needsCheck(checked))
}

// Checks says whether there is something to check in values of a type.
func (f *GoFile) Checks(t TypeRef) bool { return t.needsCheck(f.checks) }

// CheckedTypes are the types that have a function to check their values: those
// that a request may hold, with something to check.
func (f *GoFile) CheckedTypes() []Type {
	reached := make(map[string]bool)
	var visit func(t *TypeRef)
	visit = func(t *TypeRef) {
		if t == nil || reached[t.Name] {
			return
		}
		if f.checks[t.Name] {
			reached[t.Name] = true
			is, _ := f.def.Type(t.Name)
			visit(is.Underlying)
			for _, field := range is.Fields {
				visit(field.Type.Wire)
			}
		}
		visit(t.Elem)
	}
	for _, s := range f.def.Services {
		for _, m := range s.Methods {
			visit(m.Request)
		}
	}
	return slices.DeleteFunc(slices.Clone(f.def.Types), func(t Type) bool { return !reached[t.Name] })
}

// nameChecks names the functions that check, and the patterns they need.
func (f *GoFile) nameChecks() {
	for _, t := range f.CheckedTypes() {
		f.names[t.Name] = unique(f.taken, "check"+upper(f.Ident(t.Name)), t.PackageName)
		for _, field := range t.Fields {
			if field.Constraints.Pattern != "" {
				name := mapFirst(f.Ident(t.Name), unicode.ToLower) + field.Name + "Pattern"
				f.names[t.Name+"."+field.Name] = unique(f.taken, name, t.PackageName)
			}
		}
	}
}

// CheckFunc is the name of the function that checks values of a type.
func (f *GoFile) CheckFunc(t Type) string { return f.names[t.Name] }

// GoPattern is a pattern that a field's text has to match.
type GoPattern struct {
	Name    string
	Pattern string
}

// Literal returns the pattern as Go writes it.
func (p GoPattern) Literal() string {
	if strconv.CanBackquote(p.Pattern) {
		return "`" + p.Pattern + "`"
	}
	return strconv.Quote(p.Pattern)
}

// Patterns are the patterns of all checks.
func (f *GoFile) Patterns() []GoPattern {
	var patterns []GoPattern
	for _, t := range f.CheckedTypes() {
		for _, field := range t.Fields {
			if field.Constraints.Pattern != "" {
				patterns = append(patterns, GoPattern{f.patternName(t, field), field.Constraints.Pattern})
			}
		}
	}
	return patterns
}

func (f *GoFile) patternName(t Type, field Field) string { return f.names[t.Name+"."+field.Name] }

// CheckBody is the body of the function that checks the value r points to and
// notes in v what is wrong with it.
func (f *GoFile) CheckBody(t Type) string {
	c := checkWriter{file: f, typ: t}
	if t.Kind != KindObject {
		c.descend(t.Underlying, "(*r)", `""`, "", nil)
	}
	for _, field := range t.Fields {
		c.field(field)
	}
	return c.String()
}

// checkWriter writes the checks of one type.
type checkWriter struct {
	bytes.Buffer
	file  *GoFile
	typ   Type
	depth int // of loops
}

func (c *checkWriter) line(format string, args ...any) { fmt.Fprintf(c, format+"\n", args...) }

// block writes a block, unless there is nothing in it. It says whether there is.
func (c *checkWriter) block(open string, body func()) bool {
	start := c.Len()
	c.line("%s {", open)
	inside := c.Len()
	if body(); c.Len() == inside {
		c.Truncate(start)
		return false
	}
	c.line("}")
	return true
}

// condition is one thing that may be wrong with a value.
type condition struct{ code, message string }

// field writes the checks of a field and of what is below it.
func (c *checkWriter) field(field Field) {
	if !field.Constraints.Any() && !field.Type.Wire.needsCheck(c.file.checks) {
		return
	}
	name := strconv.Quote(field.Name)
	expr, guards := c.file.fieldExpr(field)
	if len(guards) == 0 {
		c.value(field, expr, name)
		return
	}
	written := c.block("if "+strings.Join(guards, " && "), func() { c.value(field, expr, name) })
	if written && field.Constraints.Required {
		c.Truncate(c.Len() - len("\n"))
		c.line(" else {\nv.Add(%s, \"is required\")\n}", name)
	}
}

// fieldExpr is a field of what r points to, and the conditions that there is one:
// that no embedded pointer on the way is nil.
func (f *GoFile) fieldExpr(field Field) (expr string, guards []string) {
	expr = "r"
	for _, s := range field.path {
		ref := *s.ref
		ref.Pointers = 0
		embedded, _, _ := strings.Cut(f.Type(ref), "[") // of a generic type, the name alone
		expr += "." + embedded[strings.LastIndex(embedded, ".")+1:]
		if s.ref.Pointers > 0 {
			guards = append(guards, expr+" != nil")
		}
	}
	return expr + "." + field.Name, guards
}

// value writes the checks of the value of a field.
func (c *checkWriter) value(field Field, expr, name string) {
	cons, t := field.Constraints, field.Type.Wire
	missing, present := emptiness(t, expr)
	value := strings.Repeat("*", t.Pointers) + expr
	wrong := lengthConditions(cons, t, value)
	if !cons.Items {
		wrong = append(wrong, c.valueConditions(field, t, value)...)
	}
	switch {
	case cons.Required && missing != "":
		c.line("if %s {\nv.Add(%s, \"is required\")", missing, name)
		c.otherwise(wrong, name)
	case present != "" && (t.Pointers > 0 || field.OmitsEmpty || field.OmitsZero):
		if len(wrong) == 1 {
			wrong[0].code = present + " && " + wrong[0].code
			c.conditions(wrong, name, "")
			break
		}
		c.block("if "+present, func() { c.conditions(wrong, name, "") })
	default:
		c.conditions(wrong, name, "")
	}
	if !cons.Items {
		c.descend(t, expr, name, "", nil)
		return
	}
	c.descend(t, expr, name, "", func(item *TypeRef, expr, keys string) {
		value := strings.Repeat("*", item.Pointers) + expr
		check := func() { c.conditions(c.valueConditions(field, item, value), name, keys) }
		if _, present := emptiness(item, expr); item.Pointers > 0 {
			c.block("if "+present, check)
			return
		}
		check()
	})
}

// otherwise ends an if with what else may be wrong.
func (c *checkWriter) otherwise(wrong []condition, name string) {
	switch len(wrong) {
	case 0:
		c.line("}")
	case 1:
		c.line("} else if %s {\nv.Add(%s, %s)\n}", wrong[0].code, name, strconv.Quote(wrong[0].message))
	default:
		c.line("} else {")
		c.conditions(wrong, name, "")
		c.line("}")
	}
}

func (c *checkWriter) conditions(wrong []condition, name, keys string) {
	for _, w := range wrong {
		c.line("if %s {\nv.Add(%s, %s%s)\n}", w.code, name, strconv.Quote(w.message), keys)
	}
}

// emptiness returns the conditions that a value is missing and that it is there;
// empty where Go can't tell.
func emptiness(t *TypeRef, expr string) (missing, present string) {
	kind := valueKind(t)
	switch {
	case t.Pointers > 0 || kind == KindAny:
		return expr + " == nil", expr + " != nil"
	case kind == KindString || kind == KindNumber:
		return expr + ` == ""`, expr + ` != ""`
	case kind == KindList || kind == KindMap || kind == KindBytes || kind == KindRaw:
		return "len(" + expr + ") == 0", "len(" + expr + ") > 0"
	case kind == KindInt || kind == KindFloat || kind == KindDuration:
		return expr + " == 0", expr + " != 0"
	case kind == KindTime:
		return expr + ".IsZero()", "!" + expr + ".IsZero()"
	}
	return "", ""
}

// lengthConditions are the bounds of a length.
func lengthConditions(cons Constraints, t *TypeRef, value string) []condition {
	if !cons.Length {
		return nil
	}
	length := "len(" + value + ")"
	if valueKind(t) == KindString {
		length = "utf8.RuneCountInString(" + asString(t, value) + ")"
	}
	var all []condition
	if cons.Min != "" && cons.Min != "0" {
		all = append(all, condition{length + " < " + cons.Min, "must have at least " + cons.bound(cons.Min)})
	}
	if cons.Max != "" {
		all = append(all, condition{length + " > " + cons.Max, "must have at most " + cons.bound(cons.Max)})
	}
	return all
}

// valueConditions are the constraints of a number or text, or of each in a list.
func (c *checkWriter) valueConditions(field Field, t *TypeRef, value string) []condition {
	var all []condition
	cons := field.Constraints
	if !cons.Length && !cons.Items {
		if cons.Min != "" {
			all = append(all, condition{value + " < " + cons.Min, "must be at least " + cons.Min})
		}
		if cons.Max != "" {
			all = append(all, condition{value + " > " + cons.Max, "must be at most " + cons.Max})
		}
	}
	if cons.Pattern != "" {
		all = append(all, condition{
			fmt.Sprintf("!%s.MatchString(%s)", c.file.patternName(c.typ, field), asString(t, value)),
			"must match " + cons.Pattern,
		})
	}
	if len(cons.Enum) > 0 {
		var differs []string
		for i, v := range cons.Enum {
			literal := cons.EnumJSON[i]
			if s, ok := v.(string); ok {
				literal = strconv.Quote(s)
			}
			differs = append(differs, value+" != "+literal)
		}
		all = append(all, condition{strings.Join(differs, " && "), "must be one of " + strings.Join(cons.EnumJSON, ", ")})
	}
	return all
}

// asString converts a value of a named string type.
func asString(t *TypeRef, value string) string {
	if t.Name == "" {
		return value
	}
	return "string(" + value + ")"
}

// descend writes the checks of what is in a value: of objects by their own
// function, of each item of a list or map. With each, items have checks of their
// own.
func (c *checkWriter) descend(t *TypeRef, expr, name, keys string, each func(item *TypeRef, expr, keys string)) {
	if each == nil && !t.needsCheck(c.file.checks) {
		return
	}
	if t.Pointers > 0 {
		pointee := *t
		pointee.Pointers--
		c.block("if "+expr+" != nil", func() { c.descend(&pointee, "(*"+expr+")", name, keys, each) })
		return
	}
	if c.file.checks[t.Name] {
		pointer, ok := strings.CutPrefix(expr, "(*")
		if pointer = strings.TrimSuffix(pointer, ")"); !ok {
			pointer = "&" + expr
		}
		is, _ := c.file.def.Type(t.Name)
		c.line("if below := %s(%s); below.Any() {\nv.Below(below, %s%s)\n}", c.file.CheckFunc(*is), pointer, name, keys)
	}
	elem := c.file.elem(t)
	if elem == nil {
		return
	}
	item := func(expr, key string) {
		if each != nil {
			each(elem, expr, keys+", "+key)
		}
		if t.Name == "" {
			c.descend(elem, expr, name, keys+", "+key, nil)
		}
	}
	number := ""
	if c.depth++; c.depth > 1 {
		number = strconv.Itoa(c.depth)
	}
	if t.Kind == KindMap {
		key, value := "key"+number, "value"+number
		c.block(fmt.Sprintf("for _, %s := range otohttp.SortedKeys(%s)", key, expr), func() {
			start := c.Len()
			c.line("%s := %s[%s]", value, expr, key)
			inside := c.Len()
			if item(value, key); c.Len() == inside {
				c.Truncate(start)
			}
		})
	} else {
		index := "i" + number
		c.block(fmt.Sprintf("for %s := range %s", index, expr), func() { item(expr+"["+index+"]", index) })
	}
	c.depth--
}

// elem is what is in a list, array or map, also in one with a name.
func (f *GoFile) elem(t *TypeRef) *TypeRef {
	if t.Name != "" {
		is, err := f.def.Type(t.Name)
		if err != nil || is.Underlying == nil {
			return nil
		}
		t = is.Underlying
	}
	return t.Elem
}

// CheckOf is the function that checks what a method takes: one by name, or, for
// a list or map, one on the spot.
func (f *GoFile) CheckOf(t TypeRef) string {
	if f.checks[t.Name] {
		is, _ := f.def.Type(t.Name)
		return f.CheckFunc(*is)
	}
	c := checkWriter{file: f}
	c.descend(&t, "(*r)", `""`, "", nil)
	return fmt.Sprintf("func(r *%s) (v otohttp.Violations) {\n%sreturn v\n}", f.Type(t), c.String())
}

// CheckRoot is what messages call what a method takes.
func (f *GoFile) CheckRoot(t TypeRef) string {
	if t.Name == "" {
		return "request"
	}
	return t.Name
}

// CheckImports are the packages of the standard library that checks use.
func (f *GoFile) CheckImports() []string {
	var all strings.Builder
	for _, t := range f.CheckedTypes() {
		all.WriteString(f.CheckBody(t))
	}
	var imports []string
	if len(f.Patterns()) > 0 {
		imports = append(imports, "regexp")
	}
	if strings.Contains(all.String(), "utf8.") {
		imports = append(imports, "unicode/utf8")
	}
	return imports
}
