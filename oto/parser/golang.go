package parser

import (
	"reflect"
	"strconv"
	"strings"
)

// GoTag returns the field's struct tag as Go writes it: the definition's own
// keys, with the wire name spelled out under json.
func (f Field) GoTag() string {
	if f.Embedded {
		return backquote(f.Tag)
	}
	value := f.JSONName
	if value == "" {
		value = "-"
	}
	_, options, more := strings.Cut(reflect.StructTag(f.Tag).Get("json"), ",")
	switch {
	case more:
		value += "," + options
	case value == "-" && f.JSONName != "": // a field of that name
		value = "-,"
	case f.OmitEmpty:
		value += ",omitempty"
	}
	tags := parseTag(f.Tag)
	tags.set("json", value)
	return backquote(tags.String())
}

// backquote returns a struct tag as Go writes it; nothing for none.
func backquote(tag string) string {
	switch {
	case tag == "":
		return ""
	case strconv.CanBackquote(tag):
		return "`" + tag + "`"
	}
	return strconv.Quote(tag)
}

// InBandError says whether this is the Error field that objects which methods
// return are given, not one of the definition.
func (f Field) InBandError() bool { return f.Name == "Error" && f.ParsedTags == nil }

// ConstrainedDoc is the field's comment with what must hold of its value, for the
// documents of a client.
func (f Field) ConstrainedDoc() string {
	lines := f.Constraints.Lines()
	if len(lines) == 0 {
		return f.Doc
	}
	return strings.TrimLeft(f.Doc+"\n\n", "\n") + strings.Join(lines, "\n")
}
