package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
)

// A generated is the server and client that oto made of a definition, for a
// program to send values through.
type generated struct {
	// Name is what messages call the definition; Seed is of the values.
	Name string
	Seed uint64
	// Definition, Server and Client are import paths. Definition has the types
	// that encoding/json is asked about.
	Definition, Server, Client string
	Services                   []echoed
}

// echoed is a service that is to give back what it gets.
type echoed struct {
	Name string
	// Client is what the client's package calls it.
	Client  string
	Methods []echoedMethod
}

// echoedMethod is a method and the type it takes, as the server's package calls
// it.
type echoedMethod struct{ Name, Type string }

// moduleFiles returns the go.mod and go.sum of a module that uses this one.
func moduleFiles(t *testing.T) (mod, sum string) {
	t.Helper()
	oto, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("go.sum") // or the network would be asked
	if err != nil {
		t.Fatal(err)
	}
	return "module example.com/m\n\ngo 1.26.0\n\nrequire github.com/pacedotdev/oto v0.17.0\n\nreplace github.com/pacedotdev/oto => " + oto + "\n", string(sums)
}

// buildAndRun makes a program of the module in the current folder that sends
// random values through everything that was generated, builds it and runs it. It
// returns what was sent, as a Recorder tells it, or else what is wrong.
func buildAndRun(t *testing.T, all []generated) (string, error) {
	t.Helper()
	var source strings.Builder
	if err := programTemplate.Execute(&source, all); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("main.go", []byte(source.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "checks", ".")
	build.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
		return "what was generated doesn't compile: " + string(out), err
	}
	var stderr strings.Builder
	checks := exec.CommandContext(t.Context(), "./checks")
	checks.Stderr = &stderr
	out, err := checks.Output()
	if err != nil {
		return stderr.String(), err
	}
	return string(out), nil
}

var programTemplate = template.Must(template.New("main.go").Parse(`package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"

	"github.com/pacedotdev/oto/otohttp"
	"github.com/pacedotdev/oto/testdata/roundtrip"
{{range $i, $g := .}}{{$use := ""}}{{if not .Services}}{{$use = "_ "}}{{end}}
	{{or $use (printf "d%d " $i)}}"{{.Definition}}"
	{{or $use (printf "s%d " $i)}}"{{.Server}}"
	{{or $use (printf "c%d " $i)}}"{{.Client}}"
{{- end}}
)
{{range $i, $g := .}}{{range .Services}}{{$service := .Name}}
type echo{{$i}}{{$service}} struct{}
{{range .Methods}}
func (echo{{$i}}{{$service}}) {{.Name}}(_ context.Context, r s{{$i}}.{{.Type}}) (*s{{$i}}.{{.Type}}, error) {
	return &r, nil
}
{{end}}{{end}}{{end}}
func check(name string, seed uint64, register func(*otohttp.Server), client func(string, *http.Client) any, definition reflect.Type) {
	services := otohttp.NewServer()
	register(services)
	server := httptest.NewServer(services)
	defer server.Close()
	recorder := &roundtrip.Recorder{Sent: os.Stdout, Name: name}
	service := client(server.URL+services.Basepath, &http.Client{Transport: recorder})
	r := rand.New(rand.NewPCG(seed, 1))
	if err := roundtrip.Check(context.Background(), r, service, recorder, definition, 20); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func main() {
{{- range $i, $g := .}}{{range .Services}}
	check("{{$g.Name}}", {{$g.Seed}},
		func(s *otohttp.Server) { s{{$i}}.Register{{.Name}}(s, echo{{$i}}{{.Name}}{}) },
		func(url string, h *http.Client) any {
			c := c{{$i}}.New(url)
			c.HTTPClient = h
			return c{{$i}}.New{{.Client}}(c)
		},
		reflect.TypeFor[d{{$i}}.{{.Name}}]())
{{- end}}{{end}}
}
`))
