// Oto turns Go interfaces into typed servers, clients and whatever else a
// template says.
//
//	oto -template server.go.plush -out generated/oto.gen.go -pkg generated ./definitions
//
// It reads the packages, renders the plush template with their definition,
// formats Go, and replaces the output file in one step: on any error what was
// there stays. A template is a file, or one that is built in, by its name: -template
// server.go. -template and -out may be given several times, in pairs; the
// packages are then read once, and either all files are written or none.
//
// The exit status is 1 if the definition, a template or, with -check, an output
// file is not as it should be, and 2 if oto was called wrongly.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/pacedotdev/oto/parser"
	"github.com/pacedotdev/oto/render"
	"github.com/pacedotdev/oto/templates"
)

// Version is set when a release is linked.
var Version = "dev"

func main() {
	err := run(os.Stdout, os.Args)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	var wrong *usageError
	if errors.As(err, &wrong) {
		os.Exit(2)
	}
	os.Exit(1)
}

// run does what args, the program's name first, ask for. Rendered text for which
// there is no output file goes to stdout.
func run(stdout io.Writer, args []string) error {
	o, err := parseOptions(stdout, args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	logf := func(format string, args ...any) {
		if o.verbose {
			fmt.Fprintf(os.Stderr, format, args...)
		}
	}
	logf("oto - github.com/pacedotdev/oto %s\n", Version)
	p := parser.New(o.patterns...)
	p.Verbose, p.Logf = o.verbose, logf
	p.ExcludeInterfaces = o.ignore
	p.SuppressErrorField = o.suppressErrorField
	packageNames := make([]string, len(o.jobs))
	for i, job := range o.jobs {
		packageNames[i] = job.pkg
		if path, ok := job.importPath(); ok {
			p.ImportedBy = append(p.ImportedBy, path)
		}
	}
	definitions, err := p.ParseAs(packageNames...)
	outputs := make([]output, len(o.jobs))
	errs := []error{err}
	for i, job := range o.jobs {
		text, jobErr := job.render(definitions[i], err == nil)
		outputs[i] = output{name: job.out, text: text}
		errs = append(errs, jobErr)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if o.check {
		return checkOutputs(stdout, outputs)
	}
	if err := writeOutputs(stdout, outputs); err != nil {
		return err
	}
	def := definitions[0]
	methods, size := 0, 0
	for _, s := range def.Services {
		methods += len(s.Methods)
	}
	for _, out := range outputs {
		size += len(out.text)
	}
	logf("\n\tTotal services: %d\tTotal Methods: %d\tTotal Objects: %d\n\tOutput size: %s\n",
		len(def.Services), methods, len(def.Objects), humanize.Bytes(uint64(size)))
	return nil
}

// job is one template to render.
type job struct {
	template string
	out      string
	pkg      string
	params   map[string]any
}

// render returns the text that the job's template makes of def. With sound false
// the definition has errors, and only the template file is looked for.
func (j job) render(def parser.Definition, sound bool) (string, error) {
	template, err := j.text()
	if err != nil || !sound {
		return "", err
	}
	if j.pkg != "" {
		def.PackageName = j.pkg
	}
	text, err := render.Render(template, def, j.params)
	if err != nil {
		return "", inFile(j.template, err)
	}
	if j.makesGo() {
		return formatGo(j.template, text)
	}
	return text, nil
}

// text returns the job's template: one that is built in, or a file. A file that has
// the name of a built-in one is named with its folder, ./server.go.
func (j job) text() (string, error) {
	if text, ok := templates.Get(j.template); ok {
		return text, nil
	}
	text, err := os.ReadFile(j.template)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; built-in templates are %s", err, strings.Join(templates.Names(), ", "))
	}
	return string(text), err
}

// inFile puts the name of the template before each of its errors.
func inFile(template string, err error) error {
	var errs []error
	for _, err := range split(err) {
		var e *render.Error
		if errors.As(err, &e) && e.Line > 0 {
			errs = append(errs, fmt.Errorf("%s:%d:%d: %s", template, e.Line, e.Column, e.Message))
		} else {
			errs = append(errs, fmt.Errorf("%s: %w", template, err))
		}
	}
	return errors.Join(errs...)
}

// split returns the errors that were joined into err.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
