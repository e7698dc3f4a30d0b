package parser

import (
	"fmt"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

// load reads the packages that match patterns. What they import is read from
// export data: it isn't type-checked again.
func load(patterns []string) ([]*packages.Package, error) {
	pkgs, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedTypesSizes | packages.NeedModule,
	}, patterns...)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", strings.Join(patterns, " "), err)
	}
	if len(pkgs) == 0 {
		return nil, fmt.Errorf("load %s: no packages match in the module around the current folder", strings.Join(patterns, " "))
	}
	return pkgs, loadErrors(pkgs)
}

// loadErrors returns what is wrong with the packages' paths, syntax and types.
func loadErrors(pkgs []*packages.Package) error {
	var faults errorList
	packages.Visit(pkgs, nil, func(pkg *packages.Package) {
		for _, e := range pkg.Errors {
			if !echoes(e, pkg.Errors) {
				faults.add(position(e.Pos), withHint(shorten(e.Msg)))
			}
		}
	})
	return faults.err()
}

var notInStd = regexp.MustCompile(`^package (\S+) is not in std`)

// withHint adds the way out to an error of the go command that hides it.
func withHint(message string) string {
	if m := notInStd.FindStringSubmatch(message); m != nil {
		return message + ": for a folder write ./" + m[1]
	}
	return message
}

// echoes says whether e only repeats what others of the same package say better:
// the compiler's text, or the types that a syntax error left undefined.
func echoes(e packages.Error, all []packages.Error) bool {
	compiler := e.Kind == packages.ListError && strings.HasPrefix(e.Msg, "# ")
	return slices.ContainsFunc(all, func(other packages.Error) bool {
		switch other.Kind {
		case packages.ParseError:
			return compiler || e.Kind == packages.TypeError
		case packages.TypeError:
			return compiler
		}
		return false
	})
}

var positionPattern = regexp.MustCompile(`^(.*?):(\d+)(?::(\d+))?$`)

// position reads the text form of a position; "" and "-" are none.
func position(text string) token.Position {
	m := positionPattern.FindStringSubmatch(text)
	if m == nil {
		return token.Position{}
	}
	line, _ := strconv.Atoi(m[2])
	column, _ := strconv.Atoi(m[3])
	return token.Position{Filename: m[1], Line: line, Column: column}
}
