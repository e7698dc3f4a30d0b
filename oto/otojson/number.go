package otojson

import (
	"math"
	"strconv"
)

// signed and unsigned are the integers.
type (
	signed interface {
		~int | ~int8 | ~int16 | ~int32 | ~int64
	}
	unsigned interface {
		~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
	}
)

// DecodeInt reads a number without a fraction.
func DecodeInt[T signed](d *Decoder, p *T) {
	text, ok := d.number()
	if !ok {
		d.orNull()
		return
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || int64(T(n)) != n {
		d.fail()
		return
	}
	*p = T(n)
}

// DecodeUint reads a number without a fraction or sign.
func DecodeUint[T unsigned](d *Decoder, p *T) {
	text, ok := d.number()
	if !ok {
		d.orNull()
		return
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || uint64(T(n)) != n {
		d.fail()
		return
	}
	*p = T(n)
}

// EncodeInt and EncodeUint write a number.
func EncodeInt[T signed](e *Encoder, n T)    { e.b = strconv.AppendInt(e.b, int64(n), 10) }
func EncodeUint[T unsigned](e *Encoder, n T) { e.b = strconv.AppendUint(e.b, uint64(n), 10) }

// Float64 and Float32 write a number.
func (e *Encoder) Float64(f float64) {
	e.float(f, 64, f != 0 && (math.Abs(f) < 1e-6 || math.Abs(f) >= 1e21))
}

func (e *Encoder) Float32(f float32) {
	abs := float32(math.Abs(float64(f)))
	e.float(float64(f), 32, f != 0 && (abs < 1e-6 || abs >= 1e21))
}

// float writes a number as JavaScript does, with an exponent if it is very large or
// very small.
func (e *Encoder) float(f float64, bits int, exponent bool) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		e.failed = true
		return
	}
	if !exponent {
		e.b = strconv.AppendFloat(e.b, f, 'f', -1, bits)
		return
	}
	e.b = strconv.AppendFloat(e.b, f, 'e', -1, bits)
	// 1e-07 is 1e-7 there.
	if n := len(e.b); n >= 4 && e.b[n-4] == 'e' && e.b[n-3] == '-' && e.b[n-2] == '0' {
		e.b[n-2] = e.b[n-1]
		e.b = e.b[:n-1]
	}
}
