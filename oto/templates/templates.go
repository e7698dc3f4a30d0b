// Package templates holds the templates that are built into oto, by name:
//
//	text, ok := templates.Get("server.go")
//
// The files beside this one are copies: they are written, and tested, in
// templates/ at the top of the repository, whose own stubs they make. go:embed
// reaches no file outside of its module, and oto is to be of use without the
// module around it, so generate.sh copies them, and checks that they are the same.
package templates

import (
	"embed"
	"slices"
	"strings"
)

//go:embed *.plush
var files embed.FS

const extension = ".plush"

// Get returns the built-in template of a name.
func Get(name string) (text string, ok bool) {
	b, err := files.ReadFile(name + extension)
	return string(b), err == nil
}

// Names returns the names of all built-in templates, in order.
func Names() []string {
	entries, _ := files.ReadDir(".")
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), extension))
	}
	slices.Sort(names)
	return names
}
