package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pacedotdev/oto/parser"
)

// typeCases are the definitions in testdata/types, one a kind of type.
func typeCases(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("testdata/types/*")
	if err != nil || len(dirs) < 19 {
		t.Fatalf("found %d definitions, %v", len(dirs), err)
	}
	return dirs
}

// patterns are what a definition in dir is made of: of some there is more.
func patterns(dir string) []string {
	if _, err := os.Stat(dir + "/more"); err == nil {
		return []string{"./" + dir, "./" + dir + "/more"}
	}
	return []string{"./" + dir}
}

// What oto makes of each kind of type is what is committed beside it.
func TestTypes(t *testing.T) {
	for _, dir := range typeCases(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			args := []string{"oto"}
			if !*update {
				args = append(args, "-check")
			}
			for _, name := range []string{"server", "client"} {
				if err := os.MkdirAll(dir+"/"+name, 0o777); err != nil {
					t.Fatal(err)
				}
				args = append(args, "-template", name+".go", "-out", dir+"/"+name+"/oto.gen.go", "-pkg", name)
			}
			var stdout strings.Builder
			if err := run(&stdout, append(args, patterns(dir)...)); err != nil {
				t.Errorf("%v\n%s", err, stdout.String())
			}
		})
	}
}

// All of it compiles, and values come back through it as encoding/json has them.
func TestTypesRoundTrip(t *testing.T) {
	const own = "github.com/pacedotdev/oto/"
	var all []generated
	var defs []parser.Definition
	for _, dir := range typeCases(t) {
		def, err := parser.New(patterns(dir)...).Parse()
		if err != nil {
			t.Fatal(err)
		}
		file := def.GoFile("Client Error New New*")
		g := generated{Name: dir, Definition: own + dir, Server: own + dir + "/server", Client: own + dir + "/client"}
		for _, s := range def.Services {
			service := echoed{Name: s.Name, Client: file.Ident(s.Name)}
			for _, m := range s.Methods {
				if file.Checks(*m.Request) || m.Request.Name == "" {
					continue // random values don't fit, see TestConstraints; the program can't say the type
				}
				service.Methods = append(service.Methods, echoedMethod{m.Name, m.Request.Name})
			}
			if len(s.Methods) > 0 && len(service.Methods) == len(s.Methods) {
				g.Services = append(g.Services, service)
			}
		}
		all, defs = append(all, g), append(defs, def)
	}
	mod, sum := moduleFiles(t)
	t.Chdir(t.TempDir())
	writeFile(t, "go.mod", mod)
	writeFile(t, "go.sum", sum)
	out, err := buildAndRun(t, all)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, g := range all {
		if len(g.Services) > 0 {
			for _, s := range g.Services {
				out = strings.ReplaceAll(out, g.Name+"\t"+s.Client+".", g.Name+"\t"+s.Name+".")
			}
			if _, err := checkSent(&defs[i], g.Name, out); err != nil {
				t.Errorf("%s: %v", g.Name, err)
			}
		}
	}
}
