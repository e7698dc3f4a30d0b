package otojson

import (
	"maps"
	"slices"
)

// DecodeList reads a list, each item by item.
func DecodeList[T any](d *Decoder, p *[]T, item func(*Decoder, *T)) {
	list, more := beginList(d, p)
	start := d.at
	for more {
		list = room(d, list, start)
		list = list[:len(list)+1]
		item(d, &list[len(list)-1])
		more = d.more(']')
	}
	*p = fit(list)
}

// Strings reads a list of texts.
func (d *Decoder) Strings(p *[]string) {
	list, more := beginList(d, p)
	start := d.at
	for more {
		list = room(d, list, start)
		list = list[:len(list)+1]
		item := &list[len(list)-1]
		if s, ok := d.plainItem(); ok {
			*item = d.own(s)
			continue
		}
		d.String(item)
		more = d.more(']')
	}
	*p = fit(list)
}

// plainItem reads a text that needs no decoding, and a comma right behind it, which
// is what most of a long list consists of. It reports false for anything else, of
// which it has read nothing.
func (d *Decoder) plainItem() (string, bool) {
	text, start := d.text, d.at+1
	if d.at >= len(text) || text[d.at] != '"' {
		return "", false
	}
	end := plainEnd(text, start)
	if len(text)-end < 2 || text[end] != '"' || text[end+1] != ',' {
		return "", false
	}
	d.at = end + 2
	return text[start:end], true
}

// beginList begins a list, and reports whether there is an item to be read. The
// list is nil for null.
func beginList[T any](d *Decoder, p *[]T) (list []T, more bool) {
	if len(*p) > 0 {
		// The key comes a second time. What encoding/json does then is its own.
		d.fail()
		return nil, false
	}
	if d.null() {
		return nil, false
	}
	if !d.begin('[', ']') {
		return []T{}, false
	}
	return nil, true
}

// room returns list with room for one more item. How many are to come is told by
// how long those so far were, since start: so that a long list isn't copied time
// and again as it grows. What is set aside in vain that way is bounded: by sixteen
// times what is there, and beyond that, for all lists together, by what one list of
// the shortest items could fill the text with.
func room[T any](d *Decoder, list []T, start int) []T {
	n := len(list)
	if n < cap(list) {
		return list
	}
	more := max(n/4, 4)
	if read := d.at - start; n >= 64 && read > 0 {
		guess := int(float64(n) * float64(len(d.text)-d.at) / float64(read))
		more = max(more, guess+guess/64+1)
		if beyond := more - 15*n; beyond > d.spare {
			more = 15 * n
		} else if beyond > 0 {
			d.spare -= beyond
		}
	}
	grown := make([]T, n, n+more)
	copy(grown, list)
	return grown
}

// fit returns list, or a copy if less than half of its room is needed: one of many
// lists in a text has room for the whole text's end.
func fit[T any](list []T) []T {
	if cap(list) < 64 || len(list) >= cap(list)/2 {
		return list
	}
	return append(make([]T, 0, len(list)), list...)
}

// DecodeArray reads a list into the items of an array. Those beyond it are read
// over, and those that don't come are zero.
func DecodeArray[T any](d *Decoder, array []T, item func(*Decoder, *T)) {
	if d.null() {
		return
	}
	i := 0
	for more := d.begin('[', ']'); more; more = d.more(']') {
		if i < len(array) {
			item(d, &array[i])
			i++
		} else {
			d.Skip()
		}
	}
	clear(array[i:])
}

// DecodeMap reads an object whose keys are not known beforehand.
func DecodeMap[K ~string, V any](d *Decoder, p *map[K]V, value func(*Decoder, *V)) {
	if d.null() {
		*p = nil
		return
	}
	more := d.begin('{', '}')
	if *p == nil {
		*p = make(map[K]V)
	}
	for ; more; more = d.more('}') {
		key, ok := d.string()
		if !ok || d.next() != ':' {
			d.fail()
			return
		}
		d.at++
		var v V
		value(d, &v)
		(*p)[K(d.own(key))] = v
	}
}

// DecodePointer reads null, or else a value.
func DecodePointer[T any](d *Decoder, p **T, value func(*Decoder, *T)) {
	if d.null() {
		*p = nil
		return
	}
	if *p == nil {
		*p = new(T)
	}
	value(d, *p)
}

// Keys returns the keys of m in the order they are written.
func Keys[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
