package main

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
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

// Random values of every type come back as they went, and on the wire are what
// encoding/json makes of them in the definition's own types.
func TestTortureRoundTrip(t *testing.T) {
	c, recorder := tortureClient(t)
	for _, s := range []struct {
		service    any
		definition reflect.Type
	}{
		{client.NewTorture(c), reflect.TypeFor[defs.Torture]()},
		{client.NewSignatures(c), reflect.TypeFor[defs.Signatures]()},
		{client.NewElsewhere(c), reflect.TypeFor[more.Elsewhere]()},
		{client.NewDefsClient(c), reflect.TypeFor[defs.Client]()},
	} {
		r := rand.New(rand.NewPCG(1, 2))
		if err := roundtrip.Check(t.Context(), r, s.service, recorder, s.definition, 50, "Constrained"); err != nil {
			t.Error(err)
		}
	}
}
