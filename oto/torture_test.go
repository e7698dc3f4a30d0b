package main

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pacedotdev/oto/otohttp"
	"github.com/pacedotdev/oto/testdata/roundtrip"
	"github.com/pacedotdev/oto/testdata/torture/client"
	"github.com/pacedotdev/oto/testdata/torture/defs"
	"github.com/pacedotdev/oto/testdata/torture/echo"
	"github.com/pacedotdev/oto/testdata/torture/more"
)

// What is committed of the torture definition is what oto makes of it.
func TestTortureIsUpToDate(t *testing.T) {
	args := []string{"oto",
		"-template", "server.go", "-out", "testdata/torture/server/oto.gen.go", "-pkg", "server",
		"-template", "client.go", "-out", "testdata/torture/client/oto.gen.go", "-pkg", "client",
		"-template", "client.ts", "-out", "testdata/torture/client.ts", "-pkg", "torture",
		"-template", "client.py", "-out", "testdata/torture/client.py", "-pkg", "torture",
		"-template", "openapi.json", "-out", "testdata/torture/openapi.json", "-pkg", "torture",
		"./testdata/torture/defs", "./testdata/torture/more"}
	if !*update {
		args = append([]string{"oto", "-check"}, args[1:]...)
	}
	var stdout strings.Builder
	if err := run(&stdout, args); err != nil {
		t.Errorf("%v\n%s", err, stdout.String())
	}
}

// tortureClient returns a client of a server that echoes.
func tortureClient(t *testing.T) (*client.Client, *roundtrip.Recorder) {
	t.Helper()
	services := otohttp.NewServer()
	echo.Register(services)
	server := httptest.NewServer(services)
	t.Cleanup(server.Close)
	recorder := new(roundtrip.Recorder)
	c := client.New(server.URL + services.Basepath)
	c.HTTPClient = &http.Client{Transport: recorder}
	return c, recorder
}

// The server that the tests of other languages run against tells where it is, and
// ends with whoever started it.
func TestTortureServer(t *testing.T) {
	program := filepath.Join(t.TempDir(), "torture")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/torture").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server := exec.CommandContext(t.Context(), program)
	stdin, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	said, err := client.NewSignatures(client.New(strings.TrimSpace(url))).Text(t.Context(), "hello")
	if err != nil || *said != "hello" {
		t.Errorf("the server at %q says %v, %v", url, said, err)
	}
	stdin.Close()
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}

// Random values of every type come back as they went, and on the wire are what
// encoding/json makes of them in the definition's own types.
func TestTortureRoundTrip(t *testing.T) {
	c, recorder := tortureClient(t)
	for _, s := range tortureServices(c) {
		r := rand.New(rand.NewPCG(1, 2))
		if err := roundtrip.Check(t.Context(), r, s.service, recorder, s.definition, 50, "Constrained"); err != nil {
			t.Error(err)
		}
	}
}

// tortureService is a client's service and its interface in the definition.
type tortureService struct {
	service    any
	definition reflect.Type
}

func tortureServices(c *client.Client) []tortureService {
	return []tortureService{
		{client.NewTorture(c), reflect.TypeFor[defs.Torture]()},
		{client.NewSignatures(c), reflect.TypeFor[defs.Signatures]()},
		{client.NewElsewhere(c), reflect.TypeFor[more.Elsewhere]()},
		{client.NewDefsClient(c), reflect.TypeFor[defs.Client]()},
	}
}

// A request that breaks its constraints is answered with all that is wrong, and
// the service isn't called.
func TestConstraints(t *testing.T) {
	c, recorder := tortureClient(t)
	fits := func() client.Constrained {
		return client.Constrained{
			Name: "Ana", Colour: client.Red, Count: 1, Dice: 6, Tags: []string{"a", ""}, Sure: new(bool),
			Items: []client.Item{{Label: "x"}},
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*client.Constrained)
		want   string // after "Constrained."; empty if it fits
	}{
		{name: "fits", change: func(r *client.Constrained) {}},
		{name: "length in characters, not bytes", change: func(r *client.Constrained) { r.Name = "äö" }},
		{name: "bounds are part of it", change: func(r *client.Constrained) { r.Ratio, r.Count = -0.5, 9007199254740993 }},
		{name: "required text", change: func(r *client.Constrained) { r.Name = "" }, want: "Name is required"},
		{name: "all of a field", change: func(r *client.Constrained) { r.Name = "!" },
			want: "Name must have at least 2 characters; Constrained.Name must match ^[A-Za-zäöü ]+$"},
		{name: "longer", change: func(r *client.Constrained) { r.Name = strings.Repeat("ä", 21) }, want: "Name must have at most 20 characters"},
		{name: "value of an enum", change: func(r *client.Constrained) { r.Colour = client.Odd }, want: `Colour must be one of "red", "green"`},
		{name: "number of an enum", change: func(r *client.Constrained) { r.Dice = 7 }, want: "Dice must be one of 1, 2, 3, 4, 5, 6"},
		{name: "min", change: func(r *client.Constrained) { r.Count = 0 }, want: "Count must be at least 1"},
		{name: "max beyond 2^53", change: func(r *client.Constrained) { r.Count = 9007199254740994 }, want: "Count must be at most 9007199254740993"},
		{name: "fraction", change: func(r *client.Constrained) { r.Ratio = 1.51 }, want: "Ratio must be at most 1.5"},
		{name: "required list", change: func(r *client.Constrained) { r.Tags = []string{} }, want: "Tags is required"},
		{name: "length of a list", change: func(r *client.Constrained) { r.Tags = make([]string, 4) }, want: "Tags must have at most 3 items"},
		{name: "item of a list", change: func(r *client.Constrained) { r.Tags = []string{"a", "B"} }, want: "Tags[1] must match ^[a-z]*$"},
		{name: "left out", change: func(r *client.Constrained) { r.Nick = "" }},
		{name: "not left out", change: func(r *client.Constrained) { r.Nick = "ab" }, want: "Nick must have at least 3 characters"},
		{name: "pointer", change: func(r *client.Constrained) { r.Maybe = new(int) }, want: "Maybe must be at least 10"},
		{name: "required pointer", change: func(r *client.Constrained) { r.Sure = nil }, want: "Sure is required"},
		{name: "objects of a list", change: func(r *client.Constrained) { r.Items = []client.Item{{Label: "x"}, {}} }, want: "Items[1].Label is required"},
		{name: "objects of a map, by key", change: func(r *client.Constrained) { r.ByName = map[string]client.Item{"b": {}, "a\n": {}} },
			want: `ByName["a\n"].Label is required; Constrained.ByName["b"].Label is required`},
		{name: "behind a pointer, in lists of lists", change: func(r *client.Constrained) {
			r.Next = &client.Item{Label: "x", Grid: [][]client.Cell{nil, {{Text: "a"}, {Text: "ab"}}}}
		}, want: "Next.Grid[1][1].Text must have at most 1 character"},
		{name: "bytes", change: func(r *client.Constrained) { r.Key = make([]byte, 5) }, want: "Key must have at most 4 bytes"},
		{name: "embedded", change: func(r *client.Constrained) { r.Low = 101 }, want: "Low must be at most 100"},
		{name: "several", change: func(r *client.Constrained) { *r = client.Constrained{} },
			want: `Name is required; Constrained.Colour must be one of "red", "green"; Constrained.Count must be at least 1; ` +
				`Constrained.Dice must be one of 1, 2, 3, 4, 5, 6; Constrained.Tags is required; Constrained.Sure is required; Constrained.Items must have at least 1 item`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request := fits()
			tt.change(&request)
			_, err := client.NewTorture(c).Constrained(t.Context(), request)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e, ok := errors.AsType[*client.Error](err)
			if want := "Constrained." + tt.want; !ok || e.Message != want || e.Code != "invalid_argument" || e.StatusCode != 400 {
				t.Errorf("got %v %s\nwant %s", err, recorder.Answer, want)
			}
		})
	}
}
