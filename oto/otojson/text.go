package otojson

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// string reads a text. It reports false for anything else, of which it has read
// nothing; if it gives up, it reports true.
func (d *Decoder) string() (string, bool) {
	if d.next() != '"' {
		return "", false
	}
	start := d.at + 1
	i := plainEnd(d.text, start)
	if i < len(d.text) && d.text[i] == '"' {
		d.at = i + 1
		return d.text[start:i], true
	}
	if d.skipString(); d.failed {
		return "", true
	}
	return unquote(d.text[start : d.at-1]), true
}

// skipString reads a text, which has begun with a quote.
func (d *Decoder) skipString() {
	text := d.text
	for i := d.at + 1; i < len(text); i++ {
		switch i = plainEnd(text, i); {
		case i == len(text) || text[i] < ' ':
			d.fail()
			return
		case text[i] == '"':
			d.at = i + 1
			return
		case text[i] == '\\':
			n := escapeLen(text[i:])
			if n == 0 {
				d.fail()
				return
			}
			i += n - 1
		}
	}
	d.fail()
}

// escapeLen is the length of the escape at the start of s, which is a backslash: 0
// if it is none that JSON has.
func escapeLen(s string) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(s); ok {
			return 6
		}
	}
	return 0
}

// hex4 returns the number in \uXXXX at the start of s.
func hex4(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s[2:6]) {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20-'a' <= 5:
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unquote returns what s, between the quotes and known to be right, means. As
// encoding/json does it puts U+FFFD for what is no UTF-8, and for a half of a
// surrogate pair.
func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for s != "" {
		if s[0] != '\\' {
			r, size := utf8.DecodeRuneInString(s)
			b.WriteRune(r)
			s = s[size:]
			continue
		}
		if r, ok := hex4(s); ok {
			s = s[6:]
			if utf16.IsSurrogate(r) {
				low, _ := hex4(s)
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					s = s[6:]
				}
			}
			b.WriteRune(r)
			continue
		}
		c := s[1]
		if i := strings.IndexByte("bfnrt", c); i >= 0 {
			c = "\b\f\n\r\t"[i]
		}
		b.WriteByte(c)
		s = s[2:]
	}
	return b.String()
}
