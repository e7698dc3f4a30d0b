package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pacedotdev/oto/parser"
	"github.com/pacedotdev/oto/testdata/roundtrip"
)

// model holds JSON against what a definition says of types, which is all that
// templates of other languages know.
type model struct {
	def     *parser.Definition
	present map[string]bool // optional fields that were there
	absent  map[string]bool // and that weren't
}

// fits returns where the JSON of a value isn't what t says.
func (m model) fits(t *parser.TypeRef, text string) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	return m.value(t, v)
}

func (m model) value(t *parser.TypeRef, v any) error {
	wrong := func() error { return fmt.Errorf("%v (%T) is no %s %s", v, v, t.Kind, t.Name) }
	if v == nil {
		if t.Nullable || t.Kind == parser.KindJSON {
			return nil
		}
		return wrong()
	}
	if t.Quoted {
		s, ok := v.(string)
		if !ok {
			return wrong()
		}
		inside := *t
		inside.Quoted = false
		return m.fits(&inside, s)
	}
	kind, shape := t.Kind, t
	if t.Name != "" {
		is, err := m.def.Type(t.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		if is.Kind != kind {
			return fmt.Errorf("%s is of kind %s, and of %s where it is used", t.Name, is.Kind, kind)
		}
		if kind == parser.KindObject {
			return m.object(is, v)
		}
		if is.Underlying != nil {
			shape = is.Underlying
		}
	}
	if kind == parser.KindEnum {
		kind = t.Base
	}
	number, _ := v.(json.Number)
	s, isString := v.(string)
	var err error
	switch kind {
	case parser.KindBool:
		if _, ok := v.(bool); !ok {
			return wrong()
		}
	case parser.KindInt, parser.KindDuration:
		bits := t.Bits
		if kind == parser.KindDuration {
			bits = 64
		}
		if t.Unsigned {
			_, err = strconv.ParseUint(number.String(), 10, bits)
		} else {
			_, err = strconv.ParseInt(number.String(), 10, bits)
		}
	case parser.KindFloat:
		_, err = strconv.ParseFloat(number.String(), t.Bits)
	case parser.KindNumber:
		if number == "" {
			return wrong()
		}
	case parser.KindString, parser.KindText:
		if !isString {
			return wrong()
		}
	case parser.KindBytes:
		_, err = base64.StdEncoding.DecodeString(s)
		if !isString {
			return wrong()
		}
	case parser.KindTime:
		_, err = time.Parse(time.RFC3339Nano, s)
	case parser.KindList, parser.KindArray:
		items, ok := v.([]any)
		if !ok || kind == parser.KindArray && len(items) != int(shape.Len) {
			return wrong()
		}
		for i, item := range items {
			if err := m.value(shape.Elem, item); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case parser.KindMap:
		entries, ok := v.(map[string]any)
		if !ok {
			return wrong()
		}
		for key, item := range entries {
			var k any = key
			if shape.Key.Kind == parser.KindInt || shape.Key.Kind == parser.KindDuration || shape.Key.Base == parser.KindInt {
				k = json.Number(key)
			}
			if err := m.value(shape.Key, k); err != nil {
				return fmt.Errorf("key %q: %w", key, err)
			}
			if err := m.value(shape.Elem, item); err != nil {
				return fmt.Errorf("[%q]: %w", key, err)
			}
		}
	case parser.KindAny, parser.KindRaw, parser.KindJSON:
	default:
		return wrong()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", wrong(), err)
	}
	return nil
}

func (m model) object(t *parser.Type, v any) error {
	keys, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%v is no %s", v, t.Name)
	}
	for key := range keys {
		if !slices.ContainsFunc(t.Fields, func(f parser.Field) bool { return f.JSONName == key }) {
			return fmt.Errorf("%s has no field %q", t.Name, key)
		}
	}
	for _, f := range t.Fields {
		value, ok := keys[f.JSONName]
		switch {
		case ok && f.Optional:
			m.present[t.Name+"."+f.Name] = true
		case !ok && f.InBandError():
			continue // which no client sends
		case !ok && f.Optional:
			m.absent[t.Name+"."+f.Name] = true
			continue
		case !ok:
			return fmt.Errorf("%s lacks %q", t.Name, f.JSONName)
		}
		if err := m.value(f.Type.Wire, value); err != nil {
			return fmt.Errorf("%s.%s: %w", t.Name, f.JSONName, err)
		}
	}
	return nil
}

// checkSent holds what a program has sent, a line a call, against a definition:
// the name, the method and the JSON.
func checkSent(def *parser.Definition, name, out string) (model, error) {
	m := model{def: def, present: make(map[string]bool), absent: make(map[string]bool)}
	calls := 0
	for line := range strings.Lines(out) {
		of, rest, _ := strings.Cut(line, "\t")
		call, text, ok := strings.Cut(rest, "\t")
		if of != name || !ok {
			continue
		}
		calls++
		for _, s := range def.Services {
			for _, method := range s.Methods {
				if s.Name+"."+method.Name != call {
					continue
				}
				if err := m.fits(method.Request, text); err != nil {
					return m, fmt.Errorf("%s: %w\n%s", call, err, text)
				}
			}
		}
	}
	if calls == 0 {
		return m, fmt.Errorf("%s: nothing was sent", name)
	}
	return m, nil
}

// What the model says of the torture definition's types holds of their JSON; and
// what it says may be missing is now and then.
func TestTortureModel(t *testing.T) {
	def, err := parser.New("./testdata/torture/defs", "./testdata/torture/more").Parse()
	if err != nil {
		t.Fatal(err)
	}
	var sent strings.Builder
	c, recorder := tortureClient(t)
	recorder.Sent = &sent
	r := rand.New(rand.NewPCG(3, 4))
	for _, s := range tortureServices(c) {
		recorder.Name = "torture"
		if err := roundtrip.Check(t.Context(), r, s.service, recorder, s.definition, 100, "Constrained"); err != nil {
			t.Fatal(err)
		}
	}
	m, err := checkSent(&def, "torture", strings.ReplaceAll(sent.String(), "\tDefsClient.", "\tClient."))
	if err != nil {
		t.Fatal(err)
	}
	for field := range m.present {
		if !m.absent[field] {
			t.Errorf("%s is optional, but never missing", field)
		}
	}
	if len(m.present) < 15 || len(m.absent) != len(m.present) {
		t.Errorf("%d optional fields were there and %d missing", len(m.present), len(m.absent))
	}
}
