// Package roundtrip sends random values of every type through a generated client
// and a server that echoes, and holds what comes back against encoding/json.
package roundtrip

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strconv"
	"time"
)

// Fill sets v to a random value: edges of numbers, texts with all sorts of
// characters, nil and empty lists.
func Fill(r *rand.Rand, v reflect.Value) { filler{r}.fill(v, 0) }

type filler struct{ *rand.Rand }

// maxDepth is how deep a value of a recursive type gets.
const maxDepth = 5

var special = map[reflect.Type]func(filler) any{
	reflect.TypeFor[time.Time](): func(f filler) any {
		if f.IntN(5) == 0 {
			return time.Time{}
		}
		return time.Unix(f.Int64N(200_000_000_000)-60_000_000_000, f.Int64N(1e9)).In(time.FixedZone("", 60*(f.IntN(1440)-720))).Round(0)
	},
	reflect.TypeFor[json.RawMessage](): func(f filler) any {
		if f.IntN(8) == 0 {
			return json.RawMessage(`{"beyond":[9007199254740993,-18446744073709551615]}`)
		}
		text, err := json.Marshal(f.any(0))
		if err != nil {
			panic(err)
		}
		return json.RawMessage(text)
	},
	reflect.TypeFor[json.Number](): func(f filler) any {
		return json.Number(strconv.FormatUint(f.Uint64(), 10) + strconv.FormatUint(f.Uint64()|1, 10) + "." + strconv.Itoa(f.IntN(100)))
	},
	reflect.TypeFor[netip.Addr](): func(f filler) any {
		return netip.AddrFrom4([4]byte{byte(f.Int()), byte(f.Int()), byte(f.Int()), 1})
	},
	reflect.TypeFor[netip.Prefix](): func(f filler) any {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(f.Int())}), f.IntN(33))
	},
	reflect.TypeFor[big.Int](): func(f filler) any {
		return *new(big.Int).Lsh(big.NewInt(f.Int64()), 100)
	},
}

func (f filler) fill(v reflect.Value, depth int) {
	if make, ok := special[v.Type()]; ok {
		v.Set(reflect.ValueOf(make(f)))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(f.int(v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		v.SetUint(f.uint(v.Type().Bits()))
	case reflect.Float32:
		v.SetFloat(float64([]float32{0, -1.5, math.MaxFloat32, math.SmallestNonzeroFloat32, f.Float32()}[f.IntN(5)]))
	case reflect.Float64:
		v.SetFloat([]float64{0, -1.5, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e21, 1e-7, f.Float64()}[f.IntN(7)])
	case reflect.String:
		v.SetString(f.string())
	case reflect.Pointer:
		if f.absent(depth) {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), depth+1)
	case reflect.Slice:
		if f.absent(depth) {
			v.SetZero()
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), f.IntN(3), 3))
		for i := range v.Len() {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		if f.absent(depth) {
			v.SetZero()
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range f.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key, depth+1)
			f.fill(value, depth+1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Field(i)
			if field.CanSet() || v.Type().Field(i).Anonymous && field.Kind() == reflect.Struct {
				f.fill(field, depth+1)
			}
		}
	case reflect.Interface:
		if v.NumMethod() == 0 {
			if value := f.any(depth); value != nil {
				v.Set(reflect.ValueOf(value))
			}
		}
	case reflect.Func, reflect.Chan:
	default:
		panic(fmt.Sprintf("can't fill %s", v.Type()))
	}
}

// absent says whether a value is to be nil.
func (f filler) absent(depth int) bool { return depth > maxDepth || f.IntN(4) == 0 }

func (f filler) int(bits int) int64 {
	least := int64(-1) << (bits - 1)
	return []int64{0, 1, -1, least, -(least + 1), f.Int64() >> (64 - bits)}[f.IntN(6)]
}

func (f filler) uint(bits int) uint64 {
	most := uint64(math.MaxUint64) >> (64 - bits)
	return []uint64{0, 1, most, f.Uint64() & most}[f.IntN(4)]
}

func (f filler) string() string {
	pieces := []string{"", "a", "Zoë", "<&>", `"quoted"`, `\`, "\u2028", "\x00", "\n", "😀", "null", "0", "-", "\uFEFF", "__proto__"}
	s := ""
	for range f.IntN(4) {
		s += pieces[f.IntN(len(pieces))]
	}
	return s
}

// any returns what JSON of no known type decodes to.
func (f filler) any(depth int) any {
	n := 4
	if depth < maxDepth {
		n = 6
	}
	switch f.IntN(n) {
	case 0:
		return nil
	case 1:
		return f.string()
	case 2:
		return []float64{f.Float64(), 1e20, -1e21, math.MaxFloat64}[f.IntN(4)]
	case 3:
		return f.IntN(2) == 0
	case 4:
		return []any{f.any(depth + 1), f.any(depth + 1)}
	}
	return map[string]any{f.string(): f.any(depth + 1)}
}
