// Package render renders plush templates with a definition.
//
//	code, err := render.Render(template, definition, params)
//
// A template sees the definition as def, the parameters as params, and the
// helpers of this package beside plush's own. The same template and definition
// always give the same text: loops over maps go by their keys.
package render

import (
	"fmt"

	"github.com/gobuffalo/plush/v4"
	"github.com/gobuffalo/plush/v4/lexer"
	"github.com/gobuffalo/plush/v4/token"

	"github.com/pacedotdev/oto/parser"
)

// Render renders a plush template. The error is an [Error] for each fault found,
// joined, with their lines and columns in the template.
func Render(template string, def parser.Definition, params map[string]any) (out string, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = "", locate(template, fmt.Errorf("line 0: the template engine fails: %v", r))
		}
	}()
	if err := checkComments(template); err != nil {
		return "", err
	}
	parsed, err := plush.NewTemplate(template)
	if err != nil {
		return "", locate(template, err)
	}
	if err := rewrite(parsed); err != nil {
		return "", err
	}
	ctx := plush.NewContext()
	ctx.Set("def", def)
	ctx.Set("params", params)
	for name, helper := range helpers {
		ctx.Set(name, helper)
	}
	ctx.Set(depthHelper, depthCheck())
	out, err = parsed.Exec(ctx)
	if err != nil {
		return "", locate(template, err)
	}
	return out, nil
}

// checkComments finds a comment without an end, at which plush would wait for it
// forever. Its comments are made of tokens: a lone quote in one can hide its end.
func checkComments(template string) error {
	tokens := lexer.New(template)
	for {
		start := tokens.NextToken()
		switch start.Type {
		case token.EOF:
			return nil
		case token.C_START:
			for t := start; t.Type != token.E_END; t = tokens.NextToken() {
				if t.Type == token.EOF {
					return &Error{
						Line:    start.LineNumber,
						Column:  column(template, start.LineNumber, ""),
						Message: "comment without an end: expected %>, outside of quotes",
					}
				}
			}
		}
	}
}
