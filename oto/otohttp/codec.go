package otohttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// This file is all that knows how JSON is encoded and decoded, and by what: by
// encoding/json, or by generated code, which leaves to it what it doesn't expect.

// marshal appends v as JSON to b.
func marshal(b *buffer, v any) error {
	// An Encoder, since json.Marshal makes a copy of what it returns.
	if err := json.NewEncoder(b).Encode(v); err != nil {
		return Errorf(Internal, "encode response").WithCause(err)
	}
	b.data = bytes.TrimSuffix(b.data, []byte("\n"))
	return nil
}

// unmarshal decodes data, the body of a request, into v. It keeps no part of data.
func unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return malformed(err, len(bytes.TrimSpace(data)) == 0)
	}
	return nil
}

// malformed tells the client what encoding/json found wrong with its body.
func malformed(err error, empty bool) error {
	if empty {
		return Errorf(InvalidArgument, "request body: empty, want JSON")
	}
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		e := Errorf(InvalidArgument, "request body: %swant %s, got %s (at byte %d)",
			fieldPrefix(wrongType.Field), jsonType(wrongType.Type), clip(wrongType.Value), wrongType.Offset)
		e.quoted = err
		return e
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return Errorf(InvalidArgument, "request body: not JSON: %w (at byte %d)", err, syntax.Offset)
	}
	if _, ok := errors.AsType[*json.InvalidUnmarshalError](err); ok {
		// The handler's mistake, not the client's.
		return Errorf(Internal, "decode request").WithCause(err)
	}
	// A type's own UnmarshalJSON or UnmarshalText: time.Time's, for one.
	e := Errorf(InvalidArgument, "request body: %s", clip(err.Error()))
	e.quoted = err
	return e
}

// fieldPrefix is how a message names a field: by its path from the root, "" for
// the root itself.
func fieldPrefix(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}

// jsonType says in JSON's terms what decodes into t.
func jsonType(t reflect.Type) string {
	if t == nil {
		return "another type" // a type's own UnmarshalJSON may leave it out
	}
	switch t.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "string"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return fmt.Sprintf("integer of %d bits", t.Bits())
	case reflect.Uint, reflect.Uint64, reflect.Uintptr:
		return "integer not below 0"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return fmt.Sprintf("integer of %d bits not below 0", t.Bits())
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "string of base64"
		}
		return "array"
	case reflect.Array:
		return "array"
	case reflect.Map, reflect.Struct:
		return "object"
	case reflect.Pointer:
		return jsonType(t.Elem())
	}
	return t.String()
}
