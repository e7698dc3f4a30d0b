package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A room is a package, or with /... all packages below a folder, and what of
// other rooms and other modules it may import. The standard library and what is
// in the room itself are open to all.
type room struct {
	name string
	may  []string // as a room's name; "*" is every package of another module
	// inTests are further arrows that its tests may have.
	inTests []string
}

const (
	root = "github.com/amammay/otorun"
	oto  = "github.com/pacedotdev/oto"
)

// rooms says who may import whom. A package is in the first room that fits; one
// that is in none is an error, so a new room has to be given its arrows. A room
// here may not exist yet.
var rooms = []room{
	{name: root + "/definitions/..."},
	{name: root + "/templates/...", inTests: []string{root + "/generated/...", oto + "/otohttp", "*"}}, // no Go but tests of what they make
	{name: root + "/generated/server/...", may: []string{oto + "/otohttp"}},
	{name: root + "/generated/client/..."},
	{name: root + "/generated/..."},

	{name: root + "/server/...", may: []string{
		root + "/generated/server", root + "/internal/httpservice", root + "/internal/cloudlog", root + "/internal/tracecontext",
		oto + "/otohttp", "go.etcd.io/bbolt/...", "cloud.google.com/go/firestore/...", "google.golang.org/...",
	}, inTests: []string{root + "/internal/firestoreemulator/..."}},
	{name: root + "/client/...", may: []string{
		root + "/generated/client", root + "/internal/httpservice", root + "/internal/cloudlog", root + "/internal/tracecontext",
		"cloud.google.com/go/compute/metadata",
	}},
	{name: root + "/runsd/...", may: []string{
		root + "/internal/runhost", root + "/internal/cloudlog", root + "/internal/tracecontext",
		"github.com/miekg/dns", "golang.org/x/net/...", "golang.org/x/sys/...",
	}},
	{name: root + "/cloudrun/...", may: []string{root + "/internal/runhost", root + "/internal/firestoreemulator", "*"}},

	{name: root + "/internal/httpservice/...", may: []string{root + "/internal/cloudlog", root + "/internal/tracecontext"}},
	{name: root + "/internal/cloudlog/...", may: []string{root + "/internal/tracecontext"}},
	{name: root + "/internal/tracecontext/..."},
	{name: root + "/internal/runhost/..."},
	{name: root + "/internal/firestoreemulator/emulatortest", may: []string{root + "/internal/firestoreemulator", "cloud.google.com/go/firestore", "google.golang.org/..."}},
	{name: root + "/internal/firestoreemulator/...", inTests: []string{root + "/internal/firestoreemulator/emulatortest"}},

	{name: root + "/e2e/...", inTests: []string{root + "/cloudrun/cloudruntest", root + "/internal/firestoreemulator/...", "*"}},

	{name: oto + "/parser/...", may: []string{"*"}},
	{name: oto + "/render/...", may: []string{oto + "/parser", "*"}},
	{name: oto + "/otohttp/...", may: []string{"github.com/klauspost/compress/flate"}},
	{name: oto + "/templates/..."},
	{name: oto, may: []string{oto + "/parser", oto + "/render", oto + "/templates", "*"}, inTests: []string{oto + "/otohttp", oto + "/testdata/..."}},
}

// A listed is a package as go list describes it.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestArrows(t *testing.T) {
	onlyProcesses(t)
	noteSources("../go.mod", "../definitions", "../templates", "../runsd", "../cloudrun", "../oto", "../e2e")
	seen := make(map[string]bool)
	// A file for another system has its arrows too.
	for _, goos := range []string{"linux", "darwin", "windows"} {
		list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...", oto+"/...")
		list.Dir = ".."
		list.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		list.Stderr = os.Stderr
		out, err := list.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := list.Start(); err != nil {
			t.Fatal(err)
		}
		var packages []listed
		for d := json.NewDecoder(out); ; {
			var p listed
			if err := d.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			packages = append(packages, p)
			seen[p.ImportPath] = true
		}
		if err := list.Wait(); err != nil {
			t.Fatalf("%s: %v", list, err)
		}
		for _, v := range violations(packages) {
			t.Errorf("%s: %s", goos, v)
		}
	}
	for _, p := range []string{root + "/server", root + "/client", oto, oto + "/otohttp"} {
		if !seen[p] {
			t.Errorf("go list doesn't know %s: this test has looked at the wrong packages", p)
		}
	}
}

// violations returns the imports of packages that rooms doesn't allow.
func violations(packages []listed) []string {
	var all []string
	for _, p := range packages {
		i := slices.IndexFunc(rooms, func(r room) bool { return within(p.ImportPath, r.name) })
		if i < 0 {
			all = append(all, p.ImportPath+" is in no room: say in rooms what it may import")
			continue
		}
		r := rooms[i]
		check := func(imports, may []string, what string) {
			for _, imported := range imports {
				if !isStandard(imported) && !within(imported, r.name) && !slices.ContainsFunc(may, func(m string) bool { return within(imported, m) }) {
					all = append(all, fmt.Sprintf("%s%s imports %s, which its room %s may not", p.ImportPath, what, imported, r.name))
				}
			}
		}
		check(p.Imports, r.may, "")
		check(slices.Concat(p.TestImports, p.XTestImports), slices.Concat(r.may, r.inTests), " (test)")
	}
	return all
}

// within reports whether the package path is what name means.
func within(path, name string) bool {
	if name == "*" {
		return !within(path, root+"/...") && !within(path, oto+"/...")
	}
	if dir, ok := strings.CutSuffix(name, "/..."); ok {
		return path == dir || strings.HasPrefix(path, dir+"/")
	}
	return path == name
}

// isStandard tells the standard library by its paths: no dot before the first
// slash.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// TestArrowsCanFail draws each arrow that must not be, and some that may.
func TestArrowsCanFail(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		inTest   bool
		allowed  bool
	}{
		{from: root + "/definitions", to: root + "/internal/runhost"},
		{from: root + "/definitions", to: "github.com/miekg/dns"},
		{from: root + "/definitions", to: "time", allowed: true},
		{from: oto, to: oto + "/parser", allowed: true},
		{from: oto, to: oto + "/otohttp"},
		{from: oto, to: root + "/internal/cloudlog"},
		{from: oto, to: root + "/definitions", inTest: true},
		{from: oto + "/render", to: oto + "/parser", allowed: true},
		{from: oto + "/parser", to: oto + "/render"},
		{from: oto + "/parser", to: root + "/definitions"},
		{from: oto + "/parser", to: "golang.org/x/tools/go/packages", allowed: true},
		{from: oto + "/otohttp", to: "net/http", allowed: true},
		{from: oto + "/otohttp", to: oto + "/parser"},
		{from: oto + "/otohttp", to: "github.com/gobuffalo/plush/v4"},
		{from: root + "/generated/server", to: oto + "/otohttp", allowed: true},
		{from: root + "/generated/server", to: root + "/generated/client"},
		{from: root + "/generated/client", to: oto + "/otohttp"},
		{from: root + "/server", to: root + "/generated/server", allowed: true},
		{from: root + "/server", to: root + "/generated/client"},
		{from: root + "/server", to: "cloud.google.com/go/compute/metadata"},
		{from: root + "/server", to: "go.etcd.io/bbolt", allowed: true},
		{from: root + "/server", to: root + "/runsd"},
		{from: root + "/server", to: root + "/internal/firestoreemulator"},
		{from: root + "/server", to: root + "/internal/firestoreemulator/emulatortest", inTest: true, allowed: true},
		{from: root + "/server", to: root + "/cloudrun/cloudruntest", inTest: true},
		{from: root + "/client", to: root + "/generated/client", allowed: true},
		{from: root + "/client", to: root + "/generated/server", inTest: true},
		{from: root + "/client", to: oto + "/otohttp"},
		{from: root + "/client", to: root + "/cloudrun"},
		{from: root + "/runsd", to: root + "/internal/runhost", allowed: true},
		{from: root + "/runsd", to: root + "/internal/httpservice"},
		{from: root + "/runsd", to: root + "/cloudrun"},
		{from: root + "/runsd/internal/proxy", to: root + "/runsd/internal/token", allowed: true},
		{from: root + "/cloudrun", to: root + "/internal/runhost", allowed: true},
		{from: root + "/cloudrun/internal/door", to: root + "/runsd"},
		{from: root + "/cloudrun", to: root + "/internal/cloudlog"},
		{from: root + "/internal/tracecontext", to: root + "/internal/cloudlog"},
		{from: root + "/internal/runhost", to: root + "/internal/cloudlog"},
		{from: root + "/e2e", to: root + "/cloudrun/cloudruntest", inTest: true, allowed: true},
		{from: root + "/e2e", to: root + "/runsd", inTest: true},
		{from: root + "/newroom", to: "fmt"},
	} {
		p := listed{ImportPath: tt.from, Imports: []string{tt.to}}
		if tt.inTest {
			p.Imports, p.XTestImports = nil, p.Imports
		}
		if got := len(violations([]listed{p})) == 0; got != tt.allowed {
			t.Errorf("%s -> %s (in a test: %t): allowed %t, want %t", tt.from, tt.to, tt.inTest, got, tt.allowed)
		}
	}
}
