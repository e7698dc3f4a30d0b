package parser

import (
	"encoding/json"
	"errors"
	"go/ast"
	"strings"
)

// comment is a doc comment taken apart.
type comment struct {
	// text is the comment without metadata, blank lines and indentation.
	text string
	// doc is the comment without metadata, otherwise as written.
	doc      string
	metadata map[string]any
}

// comment takes the doc comment of a declaration apart; nil is none.
func (p *Parser) comment(group *ast.CommentGroup) (comment, error) {
	src := group.Text()
	metadata, text, err := p.extractCommentMetadata(src)
	return comment{text: text, doc: proseOf(src), metadata: metadata}, err
}

// errNotMetadata says that a line has no "key: value" form.
var errNotMetadata = errors.New("not metadata")

// metadataOf reads a line "key: value" whose value is JSON. The error is
// errNotMetadata if the line has another form, else what JSON says of the value.
func metadataOf(line string) (key string, value any, err error) {
	key, text, ok := strings.Cut(strings.TrimSpace(line), ": ")
	if !ok {
		return "", nil, errNotMetadata
	}
	err = json.Unmarshal([]byte(strings.TrimSpace(text)), &value)
	return key, value, err
}

// extractCommentMetadata returns the metadata in a comment and its text, without
// blank lines and indentation. A line that looks like metadata but whose value
// isn't JSON ("Note: this") is left out of the text, as templates have always
// known it; see proseOf.
func (p *Parser) extractCommentMetadata(src string) (map[string]any, string, error) {
	metadata := make(map[string]any)
	var text []string
	for line := range strings.SplitSeq(strings.TrimSpace(src), "\n") {
		line = strings.TrimSpace(line)
		switch key, value, err := metadataOf(line); {
		case err == nil:
			metadata[key] = value
		case !errors.Is(err, errNotMetadata):
			p.logf("(skipping) failed to marshal JSON value (%v): %s\n", err, line)
		case line != "":
			text = append(text, line)
		}
	}
	return metadata, strings.Join(text, "\n"), nil
}

// proseOf returns a comment as its author wrote it for people: all of it but
// the metadata, with no blank lines at the ends and no two together.
func proseOf(src string) string {
	var prose []string
	for line := range strings.SplitSeq(src, "\n") {
		if _, _, err := metadataOf(line); err == nil {
			continue
		}
		line = strings.TrimRight(line, " \t\r")
		if line == "" && (len(prose) == 0 || prose[len(prose)-1] == "") {
			continue
		}
		prose = append(prose, line)
	}
	return strings.TrimRight(strings.Join(prose, "\n"), "\n")
}
