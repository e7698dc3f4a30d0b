package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/pacedotdev/oto/templates"
)

// usageError says that oto was called wrongly.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() + "\nrun oto -h for the flags" }
func (e *usageError) Unwrap() error { return e.err }

func wrongUsage(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// options is what the command line asks for.
type options struct {
	jobs               []job
	patterns           []string
	ignore             []string
	suppressErrorField bool
	check              bool
	verbose            bool
}

// list is the values of a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// parseOptions reads the command line. Asked for help it writes it to stdout and
// returns [flag.ErrHelp]; other errors are a [usageError].
func parseOptions(stdout io.Writer, args []string) (*options, error) {
	var (
		o                      options
		chosen, outs, pkgs, ps list
		ignore                 string
	)
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Var(&chosen, "template", "plush `template` to render: a file, or built in: "+strings.Join(templates.Names(), ", ")+";\ngive it again, with its -out, for more files")
	flags.Var(&outs, "out", "output `file` (default: stdout)")
	flags.Var(&pkgs, "pkg", "explicit package `name` (default: inferred); once for all templates, or once for each")
	flags.Var(&ps, "params", "list of `parameters` in the format: \"key:value,key:value\", where \\: and \\, stand for themselves;\nonce for all templates, or once for each")
	flags.StringVar(&ignore, "ignore", "", "comma separated list of `interfaces` to ignore")
	flags.BoolVar(&o.suppressErrorField, "suppressErrorField", false, "suppress error field in response")
	flags.BoolVar(&o.check, "check", false, "write nothing: print what would change in the output files, and fail if anything would")
	flags.BoolVar(&o.verbose, "v", false, "verbose output, on standard error")
	err := flags.Parse(args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(stdout, "%s %s usage:\n\toto [flags] paths [[path2] [path3]...]\n\nflags:\n", args[0], Version)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return nil, err
	}
	if err != nil {
		return nil, &usageError{err}
	}
	o.patterns = flags.Args()
	o.ignore = splitList(ignore)
	o.jobs, err = jobs(chosen, outs, pkgs, ps)
	if err != nil {
		return nil, err
	}
	for _, job := range o.jobs {
		if o.check && job.out == "" {
			return nil, wrongUsage("nothing to check %s against: name the file with -out", job.template)
		}
	}
	return &o, nil
}

// jobs pairs each template with what belongs to it.
func jobs(templates, outs, pkgs, params list) ([]job, error) {
	if len(templates) == 0 || templates[0] == "" {
		return nil, wrongUsage("missing template")
	}
	n := len(templates)
	if len(outs) != n && (n > 1 || len(outs) > 1) {
		return nil, wrongUsage("%d times -template and %d times -out: give each template its file", n, len(outs))
	}
	if len(pkgs) > 1 && len(pkgs) != n {
		return nil, wrongUsage("%d times -template and %d times -pkg: give one name for all, or each its own", n, len(pkgs))
	}
	if len(params) > 1 && len(params) != n {
		return nil, wrongUsage("%d times -template and %d times -params: give one list for all, or each its own", n, len(params))
	}
	taken := make(map[string]bool)
	jobs := make([]job, n)
	for i, template := range templates {
		job := job{template: template, out: nth(outs, i), pkg: nth(pkgs, i)}
		if file := filepath.Clean(job.out); job.out != "" {
			if taken[file] {
				return nil, wrongUsage("two templates for one file: -out %s", job.out)
			}
			taken[file] = true
		}
		var err error
		if job.params, err = parseParams(nth(params, i)); err != nil {
			return nil, &usageError{fmt.Errorf("params: %w", err)}
		}
		jobs[i] = job
	}
	return jobs, nil
}

// nth returns the value for the i-th template: there is one for each, one for
// all, or none.
func nth(l list, i int) string {
	switch len(l) {
	case 0:
		return ""
	case 1:
		return l[0]
	}
	return l[i]
}

// splitList splits a comma separated list.
func splitList(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

var errMalformedParams = errors.New("malformed params")

// parseParams reads the parameters for a template: "key:value,key:value". A
// backslash before a colon or comma makes it part of the text.
func parseParams(s string) (map[string]any, error) {
	params := make(map[string]any)
	if s == "" {
		return params, nil
	}
	for _, pair := range splitEscaped(s, ',') {
		parts := splitEscaped(pair, ':')
		if len(parts) != 2 {
			return nil, errMalformedParams
		}
		params[unescapeParam(parts[0])] = unescapeParam(parts[1])
	}
	return params, nil
}

// splitEscaped splits s at each sep that has no backslash before it.
func splitEscaped(s string, sep byte) []string {
	var parts []string
	start := 0
	for i := range len(s) {
		if s[i] == sep && (i == 0 || s[i-1] != '\\') {
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

var paramEscapes = strings.NewReplacer(`\:`, `:`, `\,`, `,`)

func unescapeParam(s string) string { return paramEscapes.Replace(strings.TrimSpace(s)) }
