package api

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// child returns an object in an object, which is made if there is none.
func child(o object, key string) object {
	c, ok := o[key].(object)
	if !ok {
		c = object{}
		o[key] = c
	}
	return c
}

func text(o object, key string) string {
	s, _ := o[key].(string)
	return s
}

// copied returns a deep copy of JSON.
func copied(v any) any {
	switch v := v.(type) {
	case object:
		c := make(object, len(v))
		for key, inner := range v {
			c[key] = copied(inner)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, inner := range v {
			c[i] = copied(inner)
		}
		return c
	}
	return v
}

// plain returns JSON to compare: what is empty says the same as what isn't there,
// as gcloud sends {} and [] for both.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		c := make(object, len(v))
		for key, inner := range v {
			if p := plain(inner); p != nil {
				c[key] = p
			}
		}
		if len(c) == 0 {
			return nil
		}
		return c
	case []any:
		if len(v) == 0 {
			return nil
		}
		c := make([]any, len(v))
		for i, inner := range v {
			c[i] = plain(inner)
		}
		return c
	case string:
		if v == "" {
			return nil
		}
	case json.Number, int, int64, float64:
		return fmt.Sprint(v)
	}
	return v
}

// convert reads JSON as a Go value.
func convert(from, into any) error {
	if from == nil {
		return nil
	}
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	err = json.Unmarshal(b, into)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s can't be a %s", e.Field, e.Value)
	}
	return err
}

// newUID returns a random UUID.
func newUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
