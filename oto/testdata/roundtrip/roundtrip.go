package roundtrip

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// Recorder is an HTTP transport that keeps the last answer.
type Recorder struct {
	Answer []byte
	// Sent, unless it is nil, gets a line for each call: Name, the method and the
	// JSON that was sent, with tabs between.
	Sent io.Writer
	Name string
}

// RoundTrip sends a request and keeps the body of its answer.
func (r *Recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	r.Answer, err = io.ReadAll(response.Body)
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(r.Answer))
	return response, err
}

// Check calls each method of a generated client's service n times with random
// values, but for those to skip. What comes back has to be what went there, on
// the wire to the letter, and what encoding/json makes of the same value in the
// type that the definition has; there only names differ in case.
func Check(ctx context.Context, r *rand.Rand, service any, recorder *Recorder, definition reflect.Type, n int, skip ...string) error {
	v := reflect.ValueOf(service)
	for i := range v.NumMethod() {
		name := v.Type().Method(i).Name
		if slices.Contains(skip, name) {
			continue
		}
		defined, ok := definition.MethodByName(name)
		if !ok {
			return fmt.Errorf("%s is not in the definition", name)
		}
		wants := defined.Type.In(defined.Type.NumIn() - 1)
		if wants.Kind() == reflect.Pointer {
			wants = wants.Elem()
		}
		for range n {
			method := v.Type().Elem().Name() + "." + name
			sent, err := check(ctx, r, v.Method(i), recorder, wants)
			if err != nil {
				return fmt.Errorf("%s: %w", method, err)
			}
			if recorder.Sent != nil {
				fmt.Fprintf(recorder.Sent, "%s\t%s\t%s\n", recorder.Name, method, sent)
			}
		}
	}
	return nil
}

func check(ctx context.Context, r *rand.Rand, call reflect.Value, recorder *Recorder, wants reflect.Type) (sent []byte, err error) {
	expected, err := random(r, wants)
	if err != nil {
		return nil, err
	}
	request := reflect.New(call.Type().In(1))
	strict := json.NewDecoder(bytes.NewReader(expected))
	strict.DisallowUnknownFields()
	if err := strict.Decode(request.Interface()); err != nil {
		return nil, fmt.Errorf("%s doesn't take %s: %w", call.Type().In(1), expected, err)
	}
	sent, err = json.Marshal(request.Interface())
	if err != nil {
		return nil, err
	}
	if a, b := folded(expected), folded(sent); a != b {
		return nil, fmt.Errorf("sends %s\nencoding/json makes of the definition's %s %s", b, wants, a)
	}
	results := call.Call([]reflect.Value{reflect.ValueOf(ctx), request.Elem()})
	if err, _ := results[1].Interface().(error); err != nil {
		return nil, fmt.Errorf("%s: %w", sent, err)
	}
	if !bytes.Equal(recorder.Answer, sent) {
		return nil, fmt.Errorf("sent %s\nserver answered %s", sent, recorder.Answer)
	}
	back, err := json.Marshal(results[0].Interface())
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(back, sent) {
		return nil, fmt.Errorf("sent %s\ngot back %s", sent, back)
	}
	return sent, nil
}

// A Case is a call of a method with a value of an edge, as JSON on the wire: what
// a service that echoes answers to it, to the letter.
type Case struct {
	Service string `json:"service"`
	Method  string `json:"method"`
	JSON    string `json:"json"`
}

// Cases returns n cases of each method of a service, but for those to skip: random
// values of the types that the definition has, and what encoding/json makes of
// them in those of the generated server's interface.
func Cases(r *rand.Rand, name string, definition, server reflect.Type, n int, skip ...string) ([]Case, error) {
	var all []Case
	for method := range definition.Methods() {
		if slices.Contains(skip, method.Name) {
			continue
		}
		served, ok := server.MethodByName(method.Name)
		if !ok {
			return nil, fmt.Errorf("%s has no %s", server, method.Name)
		}
		wants := method.Type.In(method.Type.NumIn() - 1)
		if wants.Kind() == reflect.Pointer {
			wants = wants.Elem()
		}
		for range n {
			text, err := random(r, wants)
			if err != nil {
				return nil, err
			}
			value := reflect.New(served.Type.In(1))
			if err := json.Unmarshal(text, value.Interface()); err != nil {
				return nil, fmt.Errorf("%s doesn't take %s: %w", served.Type.In(1), text, err)
			}
			if text, err = json.Marshal(value.Interface()); err != nil {
				return nil, err
			}
			all = append(all, Case{Service: name, Method: method.Name, JSON: string(text)})
		}
	}
	return all, nil
}

// random returns a random value of a type as JSON. It is one that JSON brings
// back as it was: not a pointer to nil, say, which becomes nil.
func random(r *rand.Rand, t reflect.Type) ([]byte, error) {
	v := reflect.New(t)
	Fill(r, v.Elem())
	text, err := json.Marshal(v.Interface())
	for err == nil {
		v = reflect.New(t)
		if err = json.Unmarshal(text, v.Interface()); err != nil {
			break
		}
		var again []byte
		if again, err = json.Marshal(v.Interface()); err == nil && bytes.Equal(again, text) {
			return text, nil
		}
		text = again
	}
	return nil, fmt.Errorf("encoding/json with the definition's %s: %w", t, err)
}

// folded is JSON with the keys of objects in lower case and in order.
func folded(text []byte) string {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err.Error()
	}
	sorted, err := json.Marshal(fold(v))
	if err != nil {
		return err.Error()
	}
	return string(sorted)
}

func fold(v any) any {
	switch v := v.(type) {
	case map[string]any:
		lower := make(map[string]any, len(v))
		for key, value := range v {
			lower[strings.ToLower(key)] = fold(value)
		}
		return lower
	case []any:
		for i := range v {
			v[i] = fold(v[i])
		}
	}
	return v
}
