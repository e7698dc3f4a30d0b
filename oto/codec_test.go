package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pacedotdev/oto/otohttp"
	"github.com/pacedotdev/oto/testdata/roundtrip"
	"github.com/pacedotdev/oto/testdata/torture/defs"
	"github.com/pacedotdev/oto/testdata/torture/echo"
	"github.com/pacedotdev/oto/testdata/torture/server"
	numbers "github.com/pacedotdev/oto/testdata/types/numbers/server"
)

// tortureMethods are the methods of the torture definition that give back what they
// get, and the type that is.
func tortureMethods() (names []string, types []reflect.Type) {
	torture := reflect.TypeFor[server.Torture]()
	for method := range torture.Methods() {
		if method.Name == "Constrained" {
			continue // is refused unless it fits
		}
		names = append(names, method.Name)
		types = append(types, method.Type.In(1))
	}
	return names, types
}

// FuzzGeneratedJSON holds generated code against encoding/json: what a server
// answers with, for any body, is what encoding/json makes of it and back.
//
//	go test -run - -fuzz GeneratedJSON .
func FuzzGeneratedJSON(f *testing.F) {
	services := otohttp.NewServer()
	services.Logger = slog.New(slog.DiscardHandler)
	echo.Register(services)
	names, types := tortureMethods()
	cases, err := roundtrip.Cases(rand.New(rand.NewPCG(3, 4)), "Torture", reflect.TypeFor[defs.Torture](), reflect.TypeFor[server.Torture](), 3, "Constrained")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		i, text := slices.Index(names, c.Method), c.JSON
		f.Add(uint8(i), text)
		f.Add(uint8(i), strings.ToUpper(text))
		f.Add(uint8(i), strings.ReplaceAll(text, `""`, "null"))
		f.Add(uint8(i), text[:len(text)-1]+","+text[1:])
	}
	f.Fuzz(func(t *testing.T, method uint8, body string) {
		i := int(method) % len(names)
		v := reflect.New(types[i])
		r := httptest.NewRequest(http.MethodPost, "/oto/Torture."+names[i], strings.NewReader(body))
		w := httptest.NewRecorder()
		services.ServeHTTP(w, r)
		if err := json.Unmarshal([]byte(body), v.Interface()); err != nil {
			if w.Code != http.StatusBadRequest {
				t.Errorf("%s of %.200q is answered with %d %s, encoding/json: %v", names[i], body, w.Code, w.Body, err)
			}
			return
		}
		want, err := json.Marshal(v.Interface())
		if err != nil {
			if w.Code != http.StatusInternalServerError {
				t.Errorf("%s of %.200q is answered with %d %s, encoding/json: %v", names[i], body, w.Code, w.Body, err)
			}
			return
		}
		if w.Code != http.StatusOK || w.Body.String() != string(want) {
			t.Errorf("%s of %.200q is answered with %d\n%s\nencoding/json:\n%s", names[i], body, w.Code, w.Body, want)
		}
	})
}

// -0 is left out as 0 is, by omitempty and omitzero, and kept elsewhere.
func TestNegativeZero(t *testing.T) {
	services := otohttp.NewServer()
	numbers.RegisterService(services, echoNumbers{})
	const body = `{"float32":-0,"float64":-0,"empty":-0,"zero":-0}`
	var v numbers.Numbers
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	services.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/oto/Service.Echo", strings.NewReader(body)))
	if got := w.Body.String(); got != string(want) || !strings.Contains(got, `"float32":-0,"float64":-0`) {
		t.Errorf("%s is answered with %d\n%s\nencoding/json:\n%s", body, w.Code, got, want)
	}
}

type echoNumbers struct{}

func (echoNumbers) Echo(_ context.Context, r numbers.Numbers) (*numbers.Numbers, error) {
	return &r, nil
}
