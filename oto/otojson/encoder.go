package otojson

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"
)

// mostInside is how many lists, maps and pointers may be inside of each other. From
// there on encoding/json looks whether something is inside of itself.
const mostInside = 1000

// An Encoder writes one JSON text. It is used by generated code, through [Append].
//
// Commas are its own matter: a value needs none behind it, a [Encoder.Key] or
// [Encoder.Item] sees to the one before. On what encoding/json has to decide, the
// Encoder gives up; what it then writes is of no use.
type Encoder struct {
	b      []byte
	inside int
	failed bool
}

// Null writes null.
func (e *Encoder) Null() { e.b = append(e.b, "null"...) }

// Object begins an object.
func (e *Encoder) Object() { e.b = append(e.b, '{') }

// EndObject ends it.
func (e *Encoder) EndObject() { e.b = append(e.b, '}') }

// Key begins a member: key is its key in JSON, with the colon.
func (e *Encoder) Key(key string) {
	if e.b[len(e.b)-1] != '{' {
		e.b = append(e.b, ',')
	}
	e.b = append(e.b, key...)
}

// List begins a list, whose items follow if it reports true: it is null unless
// there is one. EndList ends it.
func (e *Encoder) List(there bool) bool { return e.begin(there, '[') }
func (e *Encoder) EndList()             { e.end(']') }

// Item begins an item of a list.
func (e *Encoder) Item() {
	if e.b[len(e.b)-1] != '[' {
		e.b = append(e.b, ',')
	}
}

// Map begins an object of a map, whose members follow if it reports true: it is
// null unless there is one. EndMap ends it.
func (e *Encoder) Map(there bool) bool { return e.begin(there, '{') }
func (e *Encoder) EndMap()             { e.end('}') }

// MapKey begins a member of a map.
func (e *Encoder) MapKey(key string) {
	e.Key("")
	e.String(key)
	e.b = append(e.b, ':')
}

// Pointer begins what a pointer points to, if there is something; else it writes
// null. EndPointer ends it.
func (e *Encoder) Pointer(there bool) bool {
	if !there {
		e.Null()
		return false
	}
	e.inside++
	e.failed = e.failed || e.inside > mostInside
	return !e.failed
}

func (e *Encoder) EndPointer() { e.inside-- }

func (e *Encoder) begin(there bool, open byte) bool {
	if !e.Pointer(there) {
		return false
	}
	e.b = append(e.b, open)
	return true
}

func (e *Encoder) end(end byte) {
	e.b = append(e.b, end)
	e.inside--
}

// Bool writes true or false.
func (e *Encoder) Bool(v bool) {
	if v {
		e.b = append(e.b, "true"...)
	} else {
		e.b = append(e.b, "false"...)
	}
}

// Bytes writes a text in base64.
func (e *Encoder) Bytes(v []byte) {
	if v == nil {
		e.Null()
		return
	}
	e.b = append(e.b, '"')
	e.b = base64.StdEncoding.AppendEncode(e.b, v)
	e.b = append(e.b, '"')
}

// Time writes a moment.
func (e *Encoder) Time(t time.Time) {
	b, err := t.AppendText(append(e.b, '"'))
	if err != nil {
		e.failed = true
		return
	}
	e.b = append(b, '"')
}

// Any writes a value of any type, to which p points, by encoding/json.
func (e *Encoder) Any(p any) {
	b, err := json.Marshal(p)
	if err != nil {
		e.failed = true
		return
	}
	e.b = append(e.b, b...)
}

// Strings writes a list of texts.
func (e *Encoder) Strings(list []string) {
	if !e.List(list != nil) {
		return
	}
	if len(list) > 16 { // or a long one would be copied time and again as it grows
		size := 0
		for _, s := range list {
			size += len(s) + len(`"",`)
		}
		e.b = slices.Grow(e.b, size)
	}
	for _, s := range list {
		e.Item()
		e.String(s)
	}
	e.EndList()
}

// String writes a text.
func (e *Encoder) String(s string) {
	b := append(e.b, '"')
	for {
		i := plainHTMLEnd(s, 0)
		b = append(b, s[:i]...)
		if i == len(s) {
			break
		}
		n := 1
		b, n = appendEscaped(b, s[i:])
		s = s[i+n:]
	}
	e.b = append(b, '"')
}

const hex = "0123456789abcdef"

// appendEscaped appends the first character of s, which isn't plain, as JSON has it,
// and returns how long it is.
func appendEscaped(b []byte, s string) ([]byte, int) {
	c := s[0]
	if c < utf8.RuneSelf {
		switch c {
		case '"', '\\':
			return append(b, '\\', c), 1
		case '\b':
			return append(b, `\b`...), 1
		case '\f':
			return append(b, `\f`...), 1
		case '\n':
			return append(b, `\n`...), 1
		case '\r':
			return append(b, `\r`...), 1
		case '\t':
			return append(b, `\t`...), 1
		}
		return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf]), 1
	}
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && n == 1:
		return append(b, `\ufffd`...), 1
	case r == '\u2028' || r == '\u2029': // line ends in JavaScript
		return append(b, '\\', 'u', '2', '0', '2', hex[r&0xf]), n
	}
	return append(b, s[:n]...), n
}
