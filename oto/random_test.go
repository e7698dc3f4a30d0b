package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pacedotdev/oto/parser"
)

var (
	definitions = flag.Int("definitions", 8, "how many random definitions TestRandomDefinitions makes")
	seed        = flag.Uint64("seed", 0, "seed of the first random definition; those that follow have the next ones")
)

// Random well-formed definitions generate Go that compiles and round-trips equal
// to encoding/json. They are built in one program, which sends values of each.
//
//	go test -run RandomDefinitions -definitions 1000 -seed 5000 .
func TestRandomDefinitions(t *testing.T) {
	var seeds []uint64
	for i := range *definitions {
		seeds = append(seeds, *seed+uint64(i))
	}
	mod, sum := moduleFiles(t)
	const batch = 100 // the linker takes its time, and memory
	for len(seeds) > 0 {
		n := min(batch, len(seeds))
		t.Chdir(t.TempDir())
		writeFile(t, "go.mod", mod)
		writeFile(t, "go.sum", sum)
		checkRandom(t, seeds[:n])
		seeds = seeds[n:]
	}
}

// writeFile writes a file, and the folders it is in.
func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// checkRandom generates from the definitions of the seeds, in the module of the
// current folder, and sends values through all of it.
func checkRandom(t *testing.T, seeds []uint64) {
	t.Helper()
	var all []generated
	var defs []parser.Definition
	sources := make(map[string]string)
	for _, n := range seeds {
		id := strconv.FormatUint(n, 10)
		d := newDefinition(n, false)
		for file, text := range d.files {
			writeFile(t, "d"+id+"/"+file, text)
			sources[id] += text
		}
		for file, text := range newDefinition(n, true).files { // what encoding/json is asked about
			if !strings.HasPrefix(file, "ext/") {
				writeFile(t, "r"+id+"/"+file, text)
			}
		}
		server, client := "s"+id+"/oto.gen.go", "c"+id+"/oto.gen.go"
		writeFile(t, server, "")
		writeFile(t, client, "")
		patterns := []string{"./d" + id}
		if _, ok := d.files["more/more.go"]; ok {
			patterns = append(patterns, "./d"+id+"/more")
		}
		err := run(io.Discard, append([]string{"oto",
			"-template", "server.go", "-out", server, "-pkg", "server",
			"-template", "client.go", "-out", client, "-pkg", "client"}, patterns...))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", n, err, sources[id])
		}
		def, err := parser.New(patterns...).Parse()
		if err != nil {
			t.Fatal(err)
		}
		defs = append(defs, def)
		service := echoed{Name: "Service", Client: "Service"}
		for i, request := range d.methods {
			service.Methods = append(service.Methods, echoedMethod{fmt.Sprintf("M%d", i), request})
		}
		const module = "example.com/m/"
		all = append(all, generated{
			Name: "seed " + id, Seed: n,
			Definition: module + "r" + id, Server: module + "s" + id, Client: module + "c" + id,
			Services: []echoed{service},
		})
	}
	out, err := buildAndRun(t, all)
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, blamed(out, sources))
	}
	for i, g := range all {
		if _, err := checkSent(&defs[i], g.Name, out); err != nil {
			t.Errorf("%s: %v%s", g.Name, err, blamed(g.Name+":", sources))
		}
	}
}

var blame = regexp.MustCompile(`(?:\b[dcrs]|^seed )(\d+)[/:]`)

// blamed returns the definition that an output speaks of first.
func blamed(out string, sources map[string]string) string {
	for line := range strings.Lines(out) {
		if m := blame.FindStringSubmatch(line); m != nil {
			return "\nthe definition of seed " + m[1] + ":\n" + sources[m[1]]
		}
	}
	return ""
}
