package otojson

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxDepth is how many objects and lists may be inside of each other, as in
// encoding/json.
const maxDepth = 10_000

// A Decoder reads one JSON text from its start to its end. It is used by generated
// code, through [Unmarshal].
//
// Every method reads a whole value, or says what of one follows. On what it doesn't
// expect, a text where a number should be or a comma too many, the Decoder gives
// up: from there on it is at the end of the text, no method reads anything, and
// loops end.
type Decoder struct {
	text   string
	at     int // what is before it has been read
	depth  int // of objects and lists
	spare  int // items that lists may be given room for on a guess
	copied bool
	failed bool

	foreign bool // others have decoded something
}

// Foreign reports whether other code than generated has decoded some of the text, into
// what it may still have a pointer to: a type's own UnmarshalJSON may keep one.
func (d *Decoder) Foreign() bool { return d.foreign }

// fail gives up.
func (d *Decoder) fail() {
	d.failed = true
	d.at = len(d.text)
}

// end reports whether all of the text has been read, and was right.
func (d *Decoder) end() bool {
	d.space()
	return !d.failed && d.at == len(d.text)
}

// space reads over white space.
func (d *Decoder) space() {
	for d.at < len(d.text) {
		switch d.text[d.at] {
		case ' ', '\n', '\t', '\r':
			d.at++
		default:
			return
		}
	}
}

// next returns the first byte of what follows, without reading it: 0 at the end.
func (d *Decoder) next() byte {
	// Few send white space.
	if d.at < len(d.text) {
		if c := d.text[d.at]; c > ' ' {
			return c
		}
	}
	if d.space(); d.at < len(d.text) {
		return d.text[d.at]
	}
	return 0
}

// null reads null, if that is what follows.
func (d *Decoder) null() bool {
	return d.next() == 'n' && d.literal("null")
}

// literal reads a word. If something else follows it gives up.
func (d *Decoder) literal(word string) bool {
	if !strings.HasPrefix(d.text[d.at:], word) {
		d.fail()
		return false
	}
	d.at += len(word)
	return true
}

// begin reads a { or [, or null. It reports whether there is something inside.
func (d *Decoder) begin(open, end byte) bool {
	if c := d.next(); c != open {
		if c != 'n' || !d.literal("null") {
			d.fail()
		}
		return false
	}
	d.at++
	if d.depth++; d.depth > maxDepth {
		d.fail()
		return false
	}
	if d.next() == end {
		d.at++
		d.depth--
		return false
	}
	return true
}

// more reads a comma, or the end of an object or list. It reports whether
// something follows.
func (d *Decoder) more(end byte) bool {
	switch d.next() {
	case ',':
		d.at++
		return true
	case end:
		d.at++
		d.depth--
		return false
	}
	d.fail()
	return false
}

// Object begins an object. It reports whether there is a member to be read; there
// is none in an empty one, or in null.
func (d *Decoder) Object() bool { return d.begin('{', '}') }

// MoreMembers goes on to the next member of an object. It reports whether there is
// one.
func (d *Decoder) MoreMembers() bool { return d.more('}') }

// Key reads the key of a member. Of the names it returns the one that the key
// means: the same, else the first that differs only in case; "" if there is none.
// Names have nothing in them that JSON escapes.
func (d *Decoder) Key(names []string) string {
	// Most keys are one of the names, with the colon right behind.
	if start := d.at + 1; start <= len(d.text) && d.text[start-1] == '"' {
		for _, name := range names {
			rest := d.text[start:]
			if n := len(name); len(rest) > n+1 && rest[n] == '"' && rest[n+1] == ':' && rest[:n] == name {
				d.at = start + n + 2
				return name
			}
		}
	}
	key, ok := d.string()
	if !ok || d.next() != ':' {
		d.fail()
		return ""
	}
	d.at++
	for _, name := range names {
		if name == key {
			return name
		}
	}
	for _, name := range names {
		if mayFold(name, key) && strings.EqualFold(name, key) {
			return name
		}
	}
	return ""
}

// mayFold reports whether a and b may differ only in case, by a look at their first
// bytes: in ASCII one bit makes the case. Most names differ there already.
func mayFold(a, b string) bool {
	return a != "" && b != "" && (a[0]|0x20 == b[0]|0x20 || a[0] >= utf8.RuneSelf || b[0] >= utf8.RuneSelf)
}

// String reads a text.
func (d *Decoder) String(p *string) {
	if s, ok := d.string(); ok {
		*p = d.own(s)
	} else {
		d.orNull()
	}
}

// own makes a part of the text what is to be kept.
func (d *Decoder) own(s string) string {
	if d.copied {
		return strings.Clone(s)
	}
	return s
}

// Bool reads true or false.
func (d *Decoder) Bool(p *bool) {
	switch d.next() {
	case 't':
		if d.literal("true") {
			*p = true
		}
	case 'f':
		if d.literal("false") {
			*p = false
		}
	default:
		d.orNull()
	}
}

// orNull reads null where a value of another type is no right one.
func (d *Decoder) orNull() {
	if !d.null() {
		d.fail()
	}
}

// number reads a number and returns its text. It reports false for anything else,
// of which it has read nothing.
func (d *Decoder) number() (string, bool) {
	c := d.next()
	if c != '-' && (c < '0' || c > '9') {
		return "", false
	}
	start := d.at
	if d.skipNumber(); d.failed {
		return "", true
	}
	return d.text[start:d.at], true
}

// digits reads digits and reports whether there are any.
func (d *Decoder) digits() bool {
	start := d.at
	for d.at < len(d.text) && d.text[d.at]-'0' <= 9 {
		d.at++
	}
	return d.at > start
}

// skipNumber reads a number.
func (d *Decoder) skipNumber() {
	text := d.text
	if text[d.at] == '-' {
		d.at++
	}
	if d.at < len(text) && text[d.at] == '0' {
		d.at++ // and no digit behind it
	} else if !d.digits() {
		d.fail()
		return
	}
	if d.at < len(text) && text[d.at] == '.' {
		if d.at++; !d.digits() {
			d.fail()
			return
		}
	}
	if d.at < len(text) && text[d.at]|0x20 == 'e' {
		if d.at++; d.at < len(text) && (text[d.at] == '+' || text[d.at] == '-') {
			d.at++
		}
		if !d.digits() {
			d.fail()
		}
	}
}

// Float64 and Float32 read a number.
func (d *Decoder) Float64(p *float64) {
	if f, ok := d.float(64); ok {
		*p = f
	}
}

func (d *Decoder) Float32(p *float32) {
	if f, ok := d.float(32); ok {
		*p = float32(f)
	}
}

func (d *Decoder) float(bits int) (float64, bool) {
	text, ok := d.number()
	if !ok {
		d.orNull()
		return 0, false
	}
	f, err := strconv.ParseFloat(text, bits)
	if err != nil {
		d.fail()
		return 0, false
	}
	return f, true
}

// Bytes reads a text in base64.
func (d *Decoder) Bytes(p *[]byte) {
	s, ok := d.string()
	if !ok {
		if d.orNull(); !d.failed { // else it may be a list of numbers
			*p = nil
		}
		return
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
	n, err := base64.StdEncoding.Decode(b, []byte(s))
	if err != nil {
		d.fail()
		return
	}
	*p = b[:n]
}

// Time reads a moment.
func (d *Decoder) Time(p *time.Time) {
	if err := p.UnmarshalJSON([]byte(d.raw())); err != nil {
		d.fail()
	}
}

// Any reads a value of any type by encoding/json into what p points to.
func (d *Decoder) Any(p any) {
	d.foreign = true
	if err := json.Unmarshal([]byte(d.raw()), p); err != nil {
		d.fail()
	}
}

// raw reads a value and returns its text.
func (d *Decoder) raw() string {
	d.next()
	start := d.at
	if d.Skip(); d.failed {
		return ""
	}
	return d.text[start:d.at]
}

// Skip reads a value that nobody wants.
func (d *Decoder) Skip() {
	// What is open is noted here rather than on the stack: a text can open a
	// great deal.
	var room [32]byte
	open := room[:0]
	for {
		switch c := d.next(); c {
		case '{', '[':
			if !d.begin(c, c+2) { // ']' is '['+2, and '}' is '{'+2
				break
			}
			if open = append(open, c+2); c == '{' {
				d.skipKey()
			}
			continue
		case '"':
			d.skipString()
		case 't':
			d.literal("true")
		case 'f':
			d.literal("false")
		case 'n':
			d.literal("null")
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			d.skipNumber()
		default:
			d.fail()
		}
		// That was a value; what ends with it?
		for len(open) > 0 && !d.more(open[len(open)-1]) {
			open = open[:len(open)-1]
		}
		if len(open) == 0 || d.failed {
			return
		}
		if open[len(open)-1] == '}' {
			d.skipKey()
		}
	}
}

func (d *Decoder) skipKey() {
	if d.next() != '"' {
		d.fail()
		return
	}
	if d.skipString(); d.next() != ':' {
		d.fail()
		return
	}
	d.at++
}
