// Package parser turns Go packages into a [Definition]: what oto's templates
// are rendered with.
//
//	definition, err := parser.New("./definitions").Parse()
//
// Interfaces become services, structs become objects, and doc comments carry
// text for people and metadata for templates. The packages are type-checked
// from source and their dependencies read from export data, so what a
// definition imports costs next to nothing.
package parser

import (
	"golang.org/x/tools/go/packages"
)

// Parser reads the packages that match a set of patterns, as the go command
// understands them.
type Parser struct {
	// Verbose makes the parser tell Logf what it sees.
	Verbose bool
	// Logf takes what a verbose parser has to say; nil drops it.
	Logf func(format string, args ...any)
	// ExcludeInterfaces are interfaces that don't become services.
	ExcludeInterfaces []string
	// PackageName is the package to qualify types with in ExternalObjectName.
	PackageName string
	// SuppressErrorField leaves the Error field out of the objects that methods
	// return.
	SuppressErrorField bool
	// ImportedBy are the import paths of the packages that Go is generated for,
	// where they are known: what an internal package has is copied where one of
	// them can't import it.
	ImportedBy []string

	patterns []string
}

// New returns a Parser of the packages that match patterns; without one, of the
// package in the current folder.
func New(patterns ...string) *Parser {
	return &Parser{patterns: patterns}
}

// Parse reads the packages and returns their definition. Each call reads them
// afresh. The error holds every fault found, an [Error] each with its position;
// what could be read of the definition is returned along with it.
func (p *Parser) Parse() (Definition, error) {
	definitions, err := p.ParseAs(p.PackageName)
	return definitions[0], err
}

// ParseAs reads the packages once and returns a definition for each package
// name, as Parse would with that PackageName.
func (p *Parser) ParseAs(packageNames ...string) ([]Definition, error) {
	pkgs, err := load(p.patterns)
	definitions := make([]Definition, len(packageNames))
	for i, name := range packageNames {
		definition, faults := p.build(pkgs, name)
		definitions[i] = definition
		if i == 0 && err == nil {
			err = faults.err()
		}
	}
	return definitions, err
}

func (p *Parser) logf(format string, args ...any) {
	if p.Verbose && p.Logf != nil {
		p.Logf(format, args...)
	}
}

// build makes the definition of pkgs, with types qualified by packageName.
func (p *Parser) build(pkgs []*packages.Package, packageName string) (Definition, errorList) {
	b := newBuilder(p, pkgs, packageName)
	for _, pkg := range pkgs {
		b.scan(pkg)
	}
	return b.definition()
}
