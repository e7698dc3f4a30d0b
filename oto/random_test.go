package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	definitions = flag.Int("definitions", 12, "how many random definitions TestRandomDefinitions makes")
	seed        = flag.Uint64("seed", 0, "seed of the first random definition; those that follow have the next ones")
)

// found are the seeds of definitions with which something was wrong once.
var found = []uint64{}

// Random well-formed definitions generate Go that compiles and round-trips equal
// to encoding/json. They are built in one program, which sends values of each.
//
//	go test -run RandomDefinitions -definitions 1000 -seed 5000 .
func TestRandomDefinitions(t *testing.T) {
	seeds := append([]uint64(nil), found...)
	for i := range *definitions {
		seeds = append(seeds, *seed+uint64(i))
	}
	const batch = 100 // the linker takes its time, and memory
	for len(seeds) > 0 {
		n := min(batch, len(seeds))
		checkDefinitions(t, seeds[:n])
		seeds = seeds[n:]
	}
}

// checkDefinitions generates from the definitions of the seeds, and builds and
// runs the program that checks what was generated.
func checkDefinitions(t *testing.T, seeds []uint64) {
	t.Helper()
	oto, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/m\n\ngo 1.26.0\n\nrequire github.com/pacedotdev/oto v0.17.0\n\nreplace github.com/pacedotdev/oto => "+oto+"\n")
	t.Chdir(dir)
	var imports, echoes, checks strings.Builder
	sources := make(map[uint64]string)
	for _, n := range seeds {
		d := newDefinition(n, false)
		for file, text := range d.files {
			write(fmt.Sprintf("d%d/%s", n, file), text)
			sources[n] += text
		}
		for file, text := range newDefinition(n, true).files { // the reference
			if !strings.HasPrefix(file, "ext/") {
				write(fmt.Sprintf("r%d/%s", n, file), text)
			}
		}
		fmt.Fprintf(&imports, "\td%[1]d \"example.com/m/r%[1]d\"\n\ts%[1]d \"example.com/m/s%[1]d\"\n\tc%[1]d \"example.com/m/c%[1]d\"\n", n)
		fmt.Fprintf(&echoes, "type echo%d struct{}\n\n", n)
		for i, request := range d.methods {
			fmt.Fprintf(&echoes, "func (echo%d) M%d(_ context.Context, r s%d.%s) (*s%d.%s, error) { return &r, nil }\n", n, i, n, request, n, request)
		}
		fmt.Fprintf(&checks, "\tcheck(%[1]d, func(s *otohttp.Server) { s%[1]d.RegisterService(s, echo%[1]d{}) },\n"+
			"\t\tfunc(url string, h *http.Client) any { c := c%[1]d.New(url); c.HTTPClient = h; return c%[1]d.NewService(c) },\n"+
			"\t\treflect.TypeFor[d%[1]d.Service]())\n", n)
		var stdout bytes.Buffer
		err := run(&stdout, []string{"oto",
			"-template", "server.go", "-out", mkdir(t, fmt.Sprintf("s%d", n)), "-pkg", "server",
			"-template", "client.go", "-out", mkdir(t, fmt.Sprintf("c%d", n)), "-pkg", "client",
			fmt.Sprintf("./d%d", n)})
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", n, err, sources[n])
		}
	}
	write("main.go", fmt.Sprintf(mainSource, imports.String(), echoes.String(), checks.String()))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", "checks", ".")
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("what was generated doesn't compile: %v\n%s%s", err, out, blamed(string(out), sources))
	}
	if out, err := exec.CommandContext(t.Context(), "./checks").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s%s", err, out, blamed(string(out), sources))
	}
}

// mkdir makes a folder and returns the name of a Go file in it.
func mkdir(t *testing.T, name string) string {
	if err := os.MkdirAll(name, 0o777); err != nil {
		t.Fatal(err)
	}
	return name + "/oto.gen.go"
}

var blame = regexp.MustCompile(`(?:\b[dcrs]|^seed )(\d+)[/:]`)

// blamed returns the definition that an output speaks of first.
func blamed(out string, sources map[uint64]string) string {
	for line := range strings.Lines(out) {
		m := blame.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n, _ := strconv.ParseUint(m[1], 10, 64)
		return fmt.Sprintf("\nthe definition of seed %d:\n%s", n, sources[n])
	}
	return ""
}

const mainSource = `package main

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

%s)

%s
func check(seed uint64, register func(*otohttp.Server), client func(string, *http.Client) any, definition reflect.Type) {
	services := otohttp.NewServer()
	register(services)
	server := httptest.NewServer(services)
	defer server.Close()
	recorder := new(roundtrip.Recorder)
	service := client(server.URL+services.Basepath, &http.Client{Transport: recorder})
	if err := roundtrip.Check(context.Background(), rand.New(rand.NewPCG(seed, 1)), service, recorder, definition, 20); err != nil {
		fmt.Printf("seed %%d: %%v\n", seed, err)
		os.Exit(1)
	}
}

func main() {
%s}
`
