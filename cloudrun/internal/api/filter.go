package api

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A filter is one of Cloud Logging's query language: comparisons joined by AND, OR
// and NOT, in parentheses, where a line end is an AND. Functions are not done.
// https://docs.cloud.google.com/logging/docs/view/logging-query-language
type filter struct {
	op       string // AND, OR, NOT, or a comparison's
	operands []*filter
	field    []string
	value    string
	pattern  *regexp.Regexp
}

// maxFilter is Cloud Logging's limit.
const maxFilter = 20_000

// severities are in their order.
var severities = []string{"DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"}

func (f *filter) matches(entry object) bool {
	switch f.op {
	case "AND":
		return !slices.ContainsFunc(f.operands, func(o *filter) bool { return !o.matches(entry) })
	case "OR":
		return slices.ContainsFunc(f.operands, func(o *filter) bool { return o.matches(entry) })
	case "NOT":
		return !f.operands[0].matches(entry)
	}
	if f.field == nil { // a word alone: anywhere
		return contains(entry, strings.ToLower(f.value))
	}
	v, ok := lookup(entry, f.field)
	if !ok {
		return f.op == "!=" || f.op == "!~"
	}
	text := fmt.Sprint(v)
	switch f.op {
	case ":":
		return f.value == "*" || strings.Contains(strings.ToLower(text), strings.ToLower(f.value))
	case "=~":
		return f.pattern.MatchString(text)
	case "!~":
		return !f.pattern.MatchString(text)
	}
	c := compare(f.field[0], text, f.value)
	switch f.op {
	case "=":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

// compare puts two values in order: severities, times and numbers as such.
func compare(field, a, b string) int {
	if field == "severity" {
		return slices.Index(severities, strings.ToUpper(a)) - slices.Index(severities, strings.ToUpper(b))
	}
	if at, err := time.Parse(time.RFC3339Nano, a); err == nil {
		if bt, err := time.Parse(time.RFC3339Nano, b); err == nil {
			return at.Compare(bt)
		}
	}
	if an, err := strconv.ParseFloat(a, 64); err == nil {
		if bn, err := strconv.ParseFloat(b, 64); err == nil {
			return cmp.Compare(an, bn)
		}
	}
	return strings.Compare(strings.ToLower(a), strings.ToLower(b))
}

func lookup(v any, path []string) (any, bool) {
	for _, key := range path {
		o, ok := v.(object)
		if !ok {
			return nil, false
		}
		if v, ok = o[key]; !ok {
			return nil, false
		}
	}
	return v, true
}

func contains(v any, text string) bool {
	if o, ok := v.(object); ok {
		for _, inner := range o {
			if contains(inner, text) {
				return true
			}
		}
		return false
	}
	return strings.Contains(strings.ToLower(fmt.Sprint(v)), text)
}

// parseFilter reads a filter; an empty one matches all.
func parseFilter(text string) (*filter, error) {
	if len(text) > maxFilter {
		return nil, fmt.Errorf("it is longer than %d characters", maxFilter)
	}
	p := &filterParser{}
	if err := p.split(text); err != nil {
		return nil, err
	}
	if len(p.tokens) == 0 {
		return &filter{op: "AND"}, nil
	}
	f, err := p.all()
	if err == nil && len(p.tokens) > 0 {
		err = fmt.Errorf("%q is left over", p.tokens[0].text)
	}
	return f, err
}

type filterParser struct{ tokens []filterToken }

type filterToken struct {
	text   string
	quoted bool
	sign   bool
}

// split makes tokens: words, quoted texts, signs.
func (p *filterParser) split(text string) error {
	for text != "" {
		switch c := rune(text[0]); {
		case unicode.IsSpace(c):
			text = text[1:]
		case strings.HasPrefix(text, "--"): // a comment
			_, text, _ = strings.Cut(text, "\n")
		case c == '"':
			quoted, err := strconv.QuotedPrefix(text)
			if err != nil {
				return errors.New("a quote isn't closed")
			}
			value, err := strconv.Unquote(quoted)
			if err != nil {
				return fmt.Errorf("%s isn't a string", quoted)
			}
			p.tokens = append(p.tokens, filterToken{text: value, quoted: true})
			text = text[len(quoted):]
		default:
			n := 1
			if signs := []string{"!=", "<=", ">=", "=~", "!~"}; len(text) > 1 && slices.Contains(signs, text[:2]) {
				n = 2
			}
			if n == 2 || strings.ContainsRune("()=<>:", c) {
				p.tokens = append(p.tokens, filterToken{text: text[:n], sign: true})
			} else {
				if n = strings.IndexAny(text, " \t\r\n()=<>:!\""); n < 0 {
					n = len(text)
				}
				if n == 0 {
					return fmt.Errorf("%q has no meaning here", c)
				}
				p.tokens = append(p.tokens, filterToken{text: text[:n]})
			}
			text = text[n:]
		}
	}
	return nil
}

func (p *filterParser) is(word string) bool {
	return len(p.tokens) > 0 && !p.tokens[0].quoted && p.tokens[0].text == word
}

func (p *filterParser) next() (filterToken, error) {
	if len(p.tokens) == 0 {
		return filterToken{}, errors.New("it ends too early")
	}
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t, nil
}

// all reads operands joined by AND, or by nothing.
func (p *filterParser) all() (*filter, error) {
	f := &filter{op: "AND"}
	for {
		any, err := p.any()
		if err != nil {
			return nil, err
		}
		f.operands = append(f.operands, any)
		if p.is("AND") {
			p.tokens = p.tokens[1:]
		} else if len(p.tokens) == 0 || p.is(")") {
			return f, nil
		}
	}
}

// any reads operands joined by OR, which binds closer than AND in this language.
func (p *filterParser) any() (*filter, error) {
	f := &filter{op: "OR"}
	for {
		one, err := p.one()
		if err != nil {
			return nil, err
		}
		f.operands = append(f.operands, one)
		if !p.is("OR") {
			return f, nil
		}
		p.tokens = p.tokens[1:]
	}
}

func (p *filterParser) one() (*filter, error) {
	switch {
	case p.is("NOT"):
		p.tokens = p.tokens[1:]
		one, err := p.one()
		return &filter{op: "NOT", operands: []*filter{one}}, err
	case p.is("("):
		p.tokens = p.tokens[1:]
		f, err := p.all()
		if err == nil && !p.is(")") {
			err = errors.New("a parenthesis isn't closed")
		}
		if err != nil {
			return nil, err
		}
		p.tokens = p.tokens[1:]
		return f, nil
	}
	t, err := p.next()
	if err != nil {
		return nil, err
	}
	if t.sign {
		return nil, fmt.Errorf("%q needs a field before it", t.text)
	}
	if len(p.tokens) == 0 || !p.tokens[0].sign || p.is("(") || p.is(")") {
		if p.is("(") {
			return nil, fmt.Errorf("the function %s isn't emulated by the local platform", t.text)
		}
		return &filter{op: ":", value: t.text}, nil
	}
	sign, _ := p.next()
	value, err := p.next()
	if err != nil {
		return nil, err
	}
	if value.sign {
		return nil, fmt.Errorf("%s %s needs a value, not %q", t.text, sign.text, value.text)
	}
	// A time's colons are signs to split.
	for !value.quoted && len(p.tokens) > 1 && p.is(":") && !p.tokens[1].sign {
		value.text += ":" + p.tokens[1].text
		p.tokens = p.tokens[2:]
	}
	f := &filter{op: sign.text, field: strings.Split(t.text, "."), value: value.text}
	if strings.HasSuffix(f.op, "~") {
		if f.pattern, err = regexp.Compile(f.value); err != nil {
			return nil, err
		}
	}
	return f, nil
}
