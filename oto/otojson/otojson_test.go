package otojson

import (
	"encoding/json"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// everything has a field of each kind that there is code for, and the code that oto
// generates for it.
type everything struct {
	Text    string
	Flag    bool              `json:"flag"`
	Int     int               `json:"int"`
	Int8    int8              `json:"int8"`
	Uint16  uint16            `json:"uint16"`
	Float64 float64           `json:"float64"`
	Float32 float32           `json:"float32"`
	Bytes   []byte            `json:"bytes"`
	Time    time.Time         `json:"time"`
	Texts   []string          `json:"texts"`
	Below   []everything      `json:"below"`
	Array   [2]int            `json:"array"`
	Map     map[string]int    `json:"map"`
	Pointer *everything       `json:"pointer"`
	Any     any               `json:"any"`
	Kelvin  string            `json:"k<&>"`
	Left    string            `json:"left,omitempty"`
	Deep    [][]*string       `json:"deep"`
	Maps    map[string]string `json:"maps,omitempty"`
}

var everythingKeys = []string{"Text", "flag", "int", "int8", "uint16", "float64", "float32", "bytes", "time", "texts", "below", "array", "map", "pointer", "any", "k<&>", "left", "deep", "maps"}

func decodeEverything(d *Decoder, r *everything) {
	for more := d.Object(); more; more = d.MoreMembers() {
		switch d.Key(everythingKeys) {
		case "Text":
			d.String(&r.Text)
		case "flag":
			d.Bool(&r.Flag)
		case "int":
			DecodeInt(d, &r.Int)
		case "int8":
			DecodeInt(d, &r.Int8)
		case "uint16":
			DecodeUint(d, &r.Uint16)
		case "float64":
			d.Float64(&r.Float64)
		case "float32":
			d.Float32(&r.Float32)
		case "bytes":
			d.Bytes(&r.Bytes)
		case "time":
			d.Time(&r.Time)
		case "texts":
			d.Strings(&r.Texts)
		case "below":
			DecodeList(d, &r.Below, decodeEverything)
		case "array":
			DecodeArray(d, r.Array[:], DecodeInt[int])
		case "map":
			DecodeMap(d, &r.Map, DecodeInt[int])
		case "pointer":
			DecodePointer(d, &r.Pointer, decodeEverything)
		case "any":
			d.Any(&r.Any)
		case "k<&>":
			d.String(&r.Kelvin)
		case "left":
			d.String(&r.Left)
		case "deep":
			DecodeList(d, &r.Deep, func(d *Decoder, v *[]*string) {
				DecodeList(d, v, func(d *Decoder, v **string) {
					DecodePointer(d, v, (*Decoder).String)
				})
			})
		case "maps":
			DecodeMap(d, &r.Maps, (*Decoder).String)
		default:
			d.Skip()
		}
	}
}

func encodeEverything(e *Encoder, r *everything) {
	e.Object()
	e.Key(`"Text":`)
	e.String(r.Text)
	e.Key(`"flag":`)
	e.Bool(r.Flag)
	e.Key(`"int":`)
	EncodeInt(e, r.Int)
	e.Key(`"int8":`)
	EncodeInt(e, r.Int8)
	e.Key(`"uint16":`)
	EncodeUint(e, r.Uint16)
	e.Key(`"float64":`)
	e.Float64(r.Float64)
	e.Key(`"float32":`)
	e.Float32(r.Float32)
	e.Key(`"bytes":`)
	e.Bytes(r.Bytes)
	e.Key(`"time":`)
	e.Time(r.Time)
	e.Key(`"texts":`)
	e.Strings(r.Texts)
	e.Key(`"below":`)
	if e.List(r.Below != nil) {
		for i := range r.Below {
			e.Item()
			encodeEverything(e, &r.Below[i])
		}
		e.EndList()
	}
	e.Key(`"array":`)
	if e.List(true) {
		for i := range r.Array {
			e.Item()
			EncodeInt(e, r.Array[i])
		}
		e.EndList()
	}
	e.Key(`"map":`)
	if e.Map(r.Map != nil) {
		for _, key := range Keys(r.Map) {
			e.MapKey(key)
			EncodeInt(e, r.Map[key])
		}
		e.EndMap()
	}
	e.Key(`"pointer":`)
	if e.Pointer(r.Pointer != nil) {
		encodeEverything(e, r.Pointer)
		e.EndPointer()
	}
	e.Key(`"any":`)
	e.Any(&r.Any)
	e.Key(`"k\u003c\u0026\u003e":`)
	e.String(r.Kelvin)
	if r.Left != "" {
		e.Key(`"left":`)
		e.String(r.Left)
	}
	e.Key(`"deep":`)
	if e.List(r.Deep != nil) {
		for i := range r.Deep {
			e.Item()
			if e.List(r.Deep[i] != nil) {
				for i2 := range r.Deep[i] {
					e.Item()
					if e.Pointer(r.Deep[i][i2] != nil) {
						e.String(*r.Deep[i][i2])
						e.EndPointer()
					}
				}
				e.EndList()
			}
		}
		e.EndList()
	}
	if len(r.Maps) > 0 {
		e.Key(`"maps":`)
		if e.Map(r.Maps != nil) {
			for _, key := range Keys(r.Maps) {
				e.MapKey(key)
				e.String(r.Maps[key])
			}
			e.EndMap()
		}
	}
	e.EndObject()
}

// ordinary are texts that the code decodes by itself; the others it leaves to
// encoding/json, which refuses them or not.
var (
	ordinary = []string{
		`{}`, ` {"Text" : "a" , "flag":true,"int":-12,"int8":127,"uint16":65535} `, `null`,
		`{"Text":null,"flag":null,"int":null,"int8":null,"uint16":null,"float64":null,"bytes":null,"time":null,"texts":null,"below":null,"array":null,"map":null,"pointer":null,"any":null,"deep":null}`,
		`{"float64":1e3,"float32":-0.25E-2,"bytes":"aGVsbG8=","time":"2026-11-24T23:45:50.123+01:00"}`,
		`{"texts":["a","b\"\\\/\b\f\n\r\tc","\u00e4\ud83c\udf2e","\ud83c","\udf2e\ud83c",""],"deep":[[],["x",null],null]}`,
		`{"below":[{"Text":"x","below":[{}]},{}],"array":[1,2,3,{"a":[]}],"map":{"a":1,"b":2,"a":3},"pointer":{"int":1}}`,
		`{"any":{"a":[1,2.5,"x",null,true]},"unknown":{"a":[{},[],"\u0000",-1.5e-7,false,{"b":{"c":[[]]}}]}}`,
		`{"TEXT":"upper","FlAg":true,"text":"again","K\u003c\u0026\u003e":"x","K<&>":"kelvin","ſ":1}`,
		"{\"Text\":\"\xff\xfe invalid \xed\xa0\x80\",\"te\xffxt\":1}",
		`{"maps":{"":"x","\u0061":"y"},"Text":"é ü 漢字 \u2028"}`,
		`{"Kelvin":1,"Maps":{},"MAP":{},"ſexts":[],"":1,"[ext":1,"K<&>":"the kelvin sign","K":"x"}`,
		`{"array":[1],"array":[5,6],"pointer":{"Text":"a"},"pointer":{"int":2}}`,
		"{\"Text\":\"\x7f  long enough for more than one word of eight bytes\"}",
		`{"unknown":` + strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999) + `}`,
	}
	others = []string{
		``, ` `, `{`, `}`, `{"Text":}`, `{"Text":1}`, `{"Text":"a"`, `{"Text":"a",}`, `{,}`, `{"a"}`, `{"a":1 "b":2}`, `[]`, `"x"`, `{} {}`, `{}x`,
		`nul`, `nulls`, `{"flag":tru}`, `{"flag":"true"}`, `{"flag":truee}`, `{"int":1.0}`, `{"int":01}`, `{"int":-}`, `{"int":1e2}`, `{"int":9223372036854775808}`, `{"int8":128}`, `{"int8":-129}`,
		`{"uint16":-1}`, `{"uint16":65536}`, `{"float64":1e400}`, `{"float32":1e39}`, `{"float64":.5}`, `{"float64":5.}`, `{"float64":1e}`, `{"float64":+1}`, `{"float64":"1"}`,
		`{"bytes":"?"}`, `{"bytes":[104,105]}`, `{"bytes":1}`, `{"time":"yesterday"}`, `{"time":1}`, `{"time":"2026-11-24T23:45:50\u005a"}`,
		`{"texts":["a",]}`, `{"texts":["a" "b"]}`, `{"texts":{}}`, `{"texts":["a"],"texts":["b","c"]}`, `{"texts":["a"],"texts":[]}`, `{"below":[{"Text":"x"}],"below":[{"int":1}]}`,
		`{"Text":"\x"}`, `{"Text":"\u12"}`, `{"Text":"\u12g4"}`, `{"Text":"\'"}`, "{\"Text\":\"a\nb\"}", "{\"Text\":\"\x00\"}", `{"Text":"\`, `{"Text":"\u`, "{\"Text\":\"12345678\x1f\"}",
		"\ufeff{}", "{}\x00", "\v{}", `{"a":tru}`, `{"a":[1,]}`, `{"a":{"b":1,}}`, `{"a":{"b"}}`, `{"a":{1:2}}`, `{"a":[}`, `{"a":{]}`, `{"a":01}`, `{"a":--1}`, `{'Text':'a'}`,
		`{"unknown":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`,
		strings.Repeat(`{"pointer":`, 10_001) + `null` + strings.Repeat("}", 10_001),
		strings.Repeat(`[`, 100_000),
	}
)

// checkDecode holds what the code makes of text against encoding/json, and reports
// whether it was by itself that it did.
func checkDecode(t *testing.T, text string) bool {
	t.Helper()
	var want everything
	wantErr := json.Unmarshal([]byte(text), &want)
	alone := false
	for _, copied := range []bool{false, true} {
		d := &Decoder{text: text, copied: copied}
		var own everything
		decodeEverything(d, &own)
		if alone = d.end(); alone && (wantErr != nil || !reflect.DeepEqual(own, want)) {
			t.Errorf("%.200q is decoded to\n%+v\nencoding/json: %v\n%+v", text, own, wantErr, want)
		}
		var got everything
		err := Unmarshal(new(Decoder), text, copied, &got, decodeEverything)
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(err, wantErr) {
			t.Errorf("Unmarshal(%.200q) = %v\n%+v\nencoding/json: %v\n%+v", text, err, got, wantErr, want)
		}
	}
	return alone
}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	for _, text := range ordinary {
		if !checkDecode(t, text) {
			t.Errorf("%.200q is left to encoding/json", text)
		}
	}
	for _, text := range others {
		if checkDecode(t, text) {
			t.Errorf("%.200q isn't left to encoding/json", text)
		}
	}
}

// Every byte, at every place in a word of eight, and cut off at every length.
func TestUnmarshalBytes(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for at := range 9 {
			checkDecode(t, `{"Text":"`+strings.Repeat("x", at)+string([]byte{byte(c)})+strings.Repeat("y", 9)+`","int":1}`)
		}
	}
	for _, text := range ordinary[:len(ordinary)-1] {
		for i := range text {
			checkDecode(t, text[:i])
			checkDecode(t, text[i:])
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, text := range append(ordinary, others...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if checkDecode(t, text) {
			var v everything
			if err := json.Unmarshal([]byte(text), &v); err == nil {
				checkEncode(t, &v)
			}
		}
	})
}

// checkEncode holds the JSON of v against encoding/json's.
func checkEncode(t *testing.T, v *everything) {
	t.Helper()
	want, wantErr := json.Marshal(v)
	got, err := Append(new(Encoder), []byte("before"), v, encodeEverything)
	if string(got) != "before"+string(want) || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
		t.Errorf("Append(%+v) = %v\n%s\nencoding/json: %v\n%s", v, err, got, wantErr, want)
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	text := "text"
	loop := everything{}
	loop.Pointer = &loop
	within := everything{Below: make([]everything, 1)}
	within.Below[0].Below = within.Below
	deep := everything{}
	for range 3000 {
		inner := deep
		deep = everything{Pointer: &inner}
	}
	for _, v := range []*everything{
		nil, {}, {Flag: true, Int: math.MinInt, Int8: -128, Uint16: 65535, Bytes: []byte{}},
		{Bytes: []byte("hello"), Time: time.Date(2026, 11, 24, 1, 2, 3, 4, time.FixedZone("", 5400)), Texts: []string{}, Below: []everything{{}, {Int: 2}}},
		{Map: map[string]int{"b": 1, "a": 2, "\xff": 3, "<": 4}, Maps: map[string]string{"x": "y"}, Deep: [][]*string{nil, {}, {nil, &text}}},
		{Any: map[string]any{"x": []int{1}}, Left: "here", Pointer: &everything{Text: "inner"}},
		{Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}, {Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 100*3600))},
		{Float64: math.NaN()}, {Float64: math.Inf(1)}, {Float32: float32(math.Inf(-1))}, {Any: make(chan int)}, {Any: math.NaN()},
		&loop, &within, &deep,
	} {
		checkEncode(t, v)
	}
	for _, f := range []float64{0, math.Copysign(0, -1), 1, -1.5, 1e20, 1e21, 1e-6, 1e-7, 9.99e-7, 1e-10, 1e100, math.MaxFloat64, math.SmallestNonzeroFloat64, math.MaxFloat32, 123456789.125} {
		checkEncode(t, &everything{Float64: f, Float32: float32(f)})
	}
	for c := range 256 {
		for at := range 9 {
			s := strings.Repeat("x", at) + string([]byte{byte(c)}) + strings.Repeat("y", 9)
			checkEncode(t, &everything{Text: s, Texts: []string{s[:at+1], string(rune(c)), string(rune(0x2000 + c))}})
		}
	}
}

func FuzzAppend(f *testing.F) {
	f.Add("a<b>&\u2028\xff\"\\\x00", 1.5, float32(0.1), int64(-1), uint16(1), []byte("x"), int64(1))
	f.Add("", 1e-7, float32(1e21), int64(1)<<62, uint16(0), []byte(nil), int64(-62135596801))
	f.Fuzz(func(t *testing.T, s string, f64 float64, f32 float32, i int64, u uint16, b []byte, unix int64) {
		inner := everything{Text: s, Float64: f64, Float32: f32, Int: int(i), Int8: int8(i), Uint16: u, Bytes: b, Time: time.Unix(unix, i%1e9)}
		checkEncode(t, &everything{Texts: []string{s, ""}, Below: []everything{inner}, Map: map[string]int{s: int(i)}, Pointer: &inner, Any: s, Kelvin: s, Left: s, Deep: [][]*string{{&s}}, Maps: map[string]string{s: s, "a": s}})
	})
}

// A string that is kept keeps no more than itself, if it is copied.
func TestUnmarshalCopied(t *testing.T) {
	t.Parallel()
	for _, copied := range []bool{false, true} {
		text := strings.Clone(`{"Text":"part","texts":["another"],"maps":{"key":"value"}}`)
		var v everything
		if err := Unmarshal(new(Decoder), text, copied, &v, decodeEverything); err != nil {
			t.Fatal(err)
		}
		var key string
		for key = range v.Maps {
		}
		for _, s := range []string{v.Text, v.Texts[0], key, v.Maps[key]} {
			if part := within(s, text); part == copied {
				t.Errorf("copied %t: %q is part of the text: %t", copied, s, part)
			}
		}
	}
}

// within reports whether s is a part of text, by where it is in memory.
func within(s, text string) bool {
	at, from := reflect.ValueOf(s).Pointer(), reflect.ValueOf(text).Pointer()
	return at >= from && at < from+uintptr(len(text))
}

// A long list is given room for by how long its items so far were, so that it
// isn't copied time and again; and a text can't have much set aside in vain.
func TestListRoom(t *testing.T) {
	for name, text := range map[string]string{
		"alike":            `{"texts":[` + strings.Repeat(`"Taco number 000123",`, 100_000) + `""]}`,
		"short ones first": `{"texts":[` + strings.Repeat(`"",`, 1000) + `"` + strings.Repeat("x", 2_000_000) + `"]}`,
		// Here it is 700 lists that begin with short items.
		"many with short ones first": `{"deep":[` + strings.Repeat(`[`+strings.Repeat(`null,`, 65)+`"`+strings.Repeat("x", 2700)+`"],`, 699) + `[]]}`,
	} {
		var before, after runtime.MemStats
		var v everything
		runtime.ReadMemStats(&before)
		err := Unmarshal(new(Decoder), text, false, &v, decodeEverything)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		// The list of 100,000 strings is 1.6 MB by itself. The most that two million
		// bytes can have set aside in vain is 16 MB of strings, and sixteen times what
		// there is.
		most := uint64(len(text)) * 5 / 6
		if name != "alike" {
			most = uint64(len(text))*10 + 700*16*65*8
		}
		if set := after.TotalAlloc - before.TotalAlloc; set > most {
			t.Errorf("%s: %d bytes are set aside for %d of JSON, want at most %d", name, set, len(text), most)
		}
	}
}

// Of many lists in one text each begins as if it had the whole text to itself. None
// keeps that much.
func TestListsRoom(t *testing.T) {
	list := "[" + strings.Repeat(`"",`, 79) + `""]`
	text := "[" + strings.Repeat(list+",", 499) + list + "]"
	var lists [][]string
	err := Unmarshal(new(Decoder), text, false, &lists, func(d *Decoder, p *[][]string) { DecodeList(d, p, (*Decoder).Strings) })
	if err != nil || len(lists) != 500 {
		t.Fatalf("%d lists, %v", len(lists), err)
	}
	for i, list := range lists {
		if len(list) != 80 || cap(list) > 160 {
			t.Fatalf("list %d has %d items, room for %d", i, len(list), cap(list))
		}
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	for name, n := range map[string]int{"small": 2, "k1": 1000, "k100": 100_000} {
		text := `{"Text":"Sammy Sosa","texts":["Chicken"` + strings.Repeat(`,"Taco number 000123"`, n-1) + `]}`
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var v everything
				if err := Unmarshal(new(Decoder), strings.Clone(text), false, &v, decodeEverything); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
