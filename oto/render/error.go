package render

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// Error is one fault of a template and where it is. Line and Column count from
// one; they are zero where the fault has no place.
type Error struct {
	Line    int
	Column  int
	Message string

	cause error
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return "line " + strconv.Itoa(e.Line) + ": " + e.Message
}

// Unwrap returns what the engine said, with the errors of helpers in it.
func (e *Error) Unwrap() error { return e.cause }

var linePattern = regexp.MustCompile(`(?m)^line (\d+): `)

// locate turns what plush says of a template, a text of "line N: message" parts,
// into an [Error] for each.
func locate(template string, cause error) error {
	text := cause.Error()
	starts := linePattern.FindAllStringSubmatchIndex(text, -1)
	if len(starts) == 0 || starts[0][0] != 0 {
		return &Error{Message: text, cause: cause}
	}
	var errs []error
	for i, m := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		line, _ := strconv.Atoi(text[m[2]:m[3]])
		e := &Error{Line: line, Message: strings.TrimSuffix(text[m[1]:end], "\n"), cause: cause}
		e.Column = column(template, line, e.Message)
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// culprits find, in what plush says, the text of the template it speaks of.
var culprits = []*regexp.Regexp{
	regexp.MustCompile(`^"([^"]+)": unknown identifier`),
	regexp.MustCompile(`^could not call (\S+) function`),
	regexp.MustCompile(`does not have a (?:field or )?method named '[^']*' \((.+)\)$`),
	regexp.MustCompile(`is an invalid argument for (\S+) at pos`),
	regexp.MustCompile(`^(\w+)\(.*too (?:many|few) arguments`),
	regexp.MustCompile(`^(.+) \(.*\) is an invalid function$`),
	regexp.MustCompile(`expected next token to be \S+, got (\S+) instead`),
}

// column finds the column of a fault in a line: where the text that the message
// speaks of stands in a tag, else where the line's first tag starts.
func column(template string, line int, message string) int {
	lines := strings.Split(template, "\n")
	if line < 1 || line > len(lines) {
		return 1
	}
	text := lines[line-1]
	tag := max(strings.Index(text, "<%"), 0)
	for _, culprit := range culprits {
		m := culprit.FindStringSubmatch(message)
		if m == nil {
			continue
		}
		word := regexp.MustCompile(`(?:^|[^\w])(` + regexp.QuoteMeta(m[1]) + `)(?:[^\w]|$)`)
		if at := word.FindStringSubmatchIndex(text[tag:]); at != nil {
			return tag + at[2] + 1
		}
	}
	return tag + 1
}
