// Package otojson is what generated code makes JSON with: a [Decoder] and an
// [Encoder] for code that knows the types it reads and writes, which saves
// encoding/json's reflection.
//
// What oto generates for a type looks like this:
//
//	var eatTacoRequestKeys = []string{"name", "tacos"}
//
//	func decodeEatTacoRequest(d *otojson.Decoder, r *EatTacoRequest) {
//		for more := d.Object(); more; more = d.MoreMembers() {
//			switch d.Key(eatTacoRequestKeys) {
//			case "name":
//				d.String(&r.Name)
//			case "tacos":
//				d.Strings(&r.Tacos)
//			default:
//				d.Skip()
//			}
//		}
//	}
//
//	func encodeEatTacoRequest(e *otojson.Encoder, r *EatTacoRequest) {
//		e.Object()
//		e.Key(`"name":`)
//		e.String(r.Name)
//		e.Key(`"tacos":`)
//		e.Strings(r.Tacos)
//		e.EndObject()
//	}
//
// The result is encoding/json's to the byte: names match whatever their case,
// unknown ones are ignored, null leaves a value as it is, a text is escaped in the
// same places. What is wrong, or only unusual, isn't dealt with here: the decoder
// and the encoder give up, and [Unmarshal] and [Append] leave the whole text to
// encoding/json, which then succeeds or says what is wrong. So there is one place
// that explains errors, and this package has only to be right where it succeeds.
// It is fuzzed beside encoding/json.
package otojson

import "encoding/json"

// Unmarshal decodes a JSON text into v, which has to be zero, by decode. The
// strings in v are parts of text, so that none is copied: one that is kept keeps
// all of text in memory. With copied each is a copy instead.
//
// The Decoder is memory to work with, so that the caller can have it together with
// other things. The error is encoding/json's.
func Unmarshal[T any](d *Decoder, text string, copied bool, v *T, decode func(*Decoder, *T)) error {
	*d = Decoder{text: text, copied: copied, spare: len(text) / len("0,")}
	decode(d, v)
	if d.end() {
		return nil
	}
	var zero T
	*v = zero
	d.foreign = true
	return json.Unmarshal([]byte(text), v)
}

// Append appends v to b as JSON, by encode: null if v is nil, and <, > and &
// escaped. The Encoder is memory to work with. The error is encoding/json's; b is
// then as it was.
func Append[T any](e *Encoder, b []byte, v *T, encode func(*Encoder, *T)) ([]byte, error) {
	if v == nil {
		return append(b, "null"...), nil
	}
	*e = Encoder{b: b}
	encode(e, v)
	if !e.failed {
		return e.b, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return b, err
	}
	return append(b, text...), nil
}
