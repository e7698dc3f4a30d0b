package parser

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/fatih/structtag"
)

// tagList is the keys of a struct tag, in their order.
type tagList []*structtag.Tag

// parseTag reads a struct tag that is known to be well formed.
func parseTag(tag string) tagList {
	tags, _ := checkTag(tag)
	return tags
}

func checkTag(tag string) (tagList, error) {
	if strings.TrimSpace(tag) == "" { // which structtag panics on
		return nil, nil
	}
	tags, err := structtag.Parse(tag)
	if err != nil || tags == nil {
		return nil, err
	}
	return tags.Tags(), nil
}

// set replaces the value of key, or puts it last.
func (l *tagList) set(key, value string) {
	name, options, ok := strings.Cut(value, ",")
	tag := &structtag.Tag{Key: key, Name: name}
	if ok {
		tag.Options = strings.Split(options, ",")
	}
	for i, t := range *l {
		if t.Key == key {
			(*l)[i] = tag
			return
		}
	}
	*l = append(*l, tag)
}

// tagValue returns the whole value of a key, also where its last option is empty:
// json:"-," is a field named -.
func tagValue(t *structtag.Tag) string {
	return strings.Join(append([]string{t.Name}, t.Options...), ",")
}

// String returns the tag in its canonical form, without the backquotes.
func (l tagList) String() string {
	keys := make([]string, len(l))
	for i, t := range l {
		keys[i] = t.Key + ":" + strconv.Quote(tagValue(t))
	}
	return strings.Join(keys, " ")
}

// MergeTags merges struct tags from left to right, a later key replacing an
// earlier one in its place, and returns the canonical tag.
func MergeTags(tags ...string) (string, error) {
	var merged tagList
	for _, tag := range tags {
		list, err := checkTag(tag)
		if err != nil {
			return "", fmt.Errorf("parse tags: `%s`: %w", tag, err)
		}
		for _, t := range list {
			merged.set(t.Key, tagValue(t))
		}
	}
	return merged.String(), nil
}
