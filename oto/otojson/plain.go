package otojson

import "math/bits"

// Most bytes of a text mean themselves. Runs of them are told eight at a time, as
// the bytes of a word: ones*c is a word with c in each of its bytes, and what is
// found out about a byte is in its highest bit.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// word is the first eight bytes of s, the first one lowest.
func word(s string) uint64 {
	_ = s[7] // the compiler makes one load of it
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// special finds the first byte of w that isn't plain in JSON: a control character,
// a quote, a backslash, or no ASCII. Bytes above it may be told wrongly, since a
// subtraction borrows from them.
func special(w uint64) uint64 {
	return (w | (w - ones*' ') | (w ^ ones*'"' - ones) | (w ^ ones*'\\' - ones)) & highs
}

// specialHTML finds <, > and & as well. Of the bytes that it looks for " and & differ
// in one bit, < and > in another, so that it needs no more steps.
func specialHTML(w uint64) uint64 {
	return (w | (w - ones*' ') | ((w | ones*('"'^'&')) ^ ones*'&' - ones) |
		((w | ones*('<'^'>')) ^ ones*'>' - ones) | (w ^ ones*'\\' - ones)) & highs
}

// plain says of a byte that special doesn't find it, and plainHTML that specialHTML
// doesn't.
var plain, plainHTML = func() (plain, plainHTML [256]bool) {
	for c := byte(' '); c < 0x80; c++ {
		plain[c] = c != '"' && c != '\\'
		plainHTML[c] = plain[c] && c != '<' && c != '>' && c != '&'
	}
	return
}()

// plainEnd is where the plain bytes of s from i on end.
func plainEnd(s string, i int) int {
	for ; len(s)-i >= 8; i += 8 {
		if found := special(word(s[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(s) && plain[s[i]] {
		i++
	}
	return i
}

// plainHTMLEnd is where those end that need no escape where <, > and & do.
func plainHTMLEnd(s string, i int) int {
	for ; len(s)-i >= 8; i += 8 {
		if found := specialHTML(word(s[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(s) && plainHTML[s[i]] {
		i++
	}
	return i
}
