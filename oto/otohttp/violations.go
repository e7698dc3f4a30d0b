package otohttp

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Violations are the places where a request breaks the constraints of its
// definition, as generated code finds them. The zero value is none.
type Violations struct {
	list []violation
	more int // beyond maxViolations
}

type violation struct{ path, message string }

// maxViolations is how many are told: a body of many megabytes can break a
// constraint in each of its bytes.
const maxViolations = 100

// Any reports whether there are any.
func (v Violations) Any() bool { return len(v.list) > 0 }

// Add notes that the value of a field breaks a constraint: "is required". With
// keys it is what the field has there: an item of a list by its number, of a map
// by its key.
func (v *Violations) Add(field, message string, keys ...any) {
	v.add(violation{path: pathOf(field, keys), message: message})
}

// Below notes what is wrong with the object that a field has, at the keys.
func (v *Violations) Below(below Violations, field string, keys ...any) {
	path := pathOf(field, keys)
	for _, b := range below.list {
		v.add(violation{path: path + b.path, message: b.message})
	}
	v.more += below.more
}

func (v *Violations) add(one violation) {
	if len(v.list) == maxViolations {
		v.more++
		return
	}
	v.list = append(v.list, one)
}

// pathOf is how a message names what a field has at the keys: .Orders[2].
func pathOf(field string, keys []any) string {
	path := ""
	if field != "" {
		path = "." + field
	}
	for _, key := range keys {
		if i, ok := key.(int); ok {
			path += fmt.Sprintf("[%d]", i)
		} else {
			path += fmt.Sprintf("[%q]", clip(fmt.Sprint(key)))
		}
	}
	return path
}

// Err returns an error of code [InvalidArgument] that names all violations by
// their paths from root: "EatTacoRequest.Name is required". It is nil if there
// are none.
func (v Violations) Err(root string) error {
	if !v.Any() {
		return nil
	}
	messages := make([]string, len(v.list))
	for i, one := range v.list {
		messages[i] = root + one.path + " " + one.message
	}
	if v.more > 0 {
		messages = append(messages, fmt.Sprintf("and %d more", v.more))
	}
	return Errorf(InvalidArgument, "%s", strings.Join(messages, "; "))
}

// Check is what [HandleJSON] checks requests by: all of what breaks the definition's
// constraints, as check finds it, named by its path from root.
func Check[Request any](root string, check func(*Request) Violations) func(*Request) error {
	return func(r *Request) error { return check(r).Err(root) }
}

// SortedKeys returns the keys of m by their text, so that what is found in it
// comes in the same order each time.
func SortedKeys[Key comparable, Value any](m map[Key]Value) []Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b Key) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}
