package main

import (
	"fmt"
	"go/format"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"github.com/pacedotdev/oto/parser"
)

// randomDefinition is the source of a random definition.
type randomDefinition struct {
	// files are by name; those below ext are of a package beside the definition,
	// those below more of a second one of it.
	files map[string]string
	// methods are what M0, M1, ... of its Service take and return.
	methods []string
}

// newDefinition makes the definition of a seed. With explicit all fields of its
// own say what they are called on the wire, as oto's copies of them do, so that
// encoding/json can be asked what it makes of them.
func newDefinition(seed uint64, explicit bool) randomDefinition {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), explicit: explicit, paths: map[string]string{
		"context": "context", "fmt": "fmt", "json": "encoding/json", "big": "math/big", "netip": "net/netip", "time": "time",
		"ext": fmt.Sprintf("example.com/m/d%d/ext", seed), "more": fmt.Sprintf("example.com/m/d%d/more", seed),
	}}
	if explicit {
		g.paths["more"] = fmt.Sprintf("example.com/m/r%d/more", seed)
	}
	d := randomDefinition{files: make(map[string]string)}
	g.ext()
	d.files["ext/ext.go"] = g.file("ext")
	if g.chance(2) {
		g.more()
		d.files["more/more.go"] = g.file("more")
	}
	g.enums()
	d.files["enums.go"] = g.file("defs")
	g.named()
	d.files["named.go"] = g.file("defs")
	g.own()
	d.files["structs.go"] = g.file("defs")
	d.methods = g.service()
	d.files["service.go"] = g.file("defs")
	return d
}

// generator writes Go.
type generator struct {
	*rand.Rand
	strings.Builder
	explicit bool
	paths    map[string]string // of packages, by name

	keys    []string // what a map's key may be
	values  []string // types that may stand anywhere
	structs []string // all of a package, also those still to come
	done    int      // how many of them there are by now
	foreign bool     // that this is the package ext
	depth   int
}

func (g *generator) line(format string, args ...any) { fmt.Fprintf(g, format+"\n", args...) }

func (g *generator) pick(from ...string) string { return from[g.IntN(len(from))] }

// chance is true once in n times.
func (g *generator) chance(n int) bool { return g.IntN(n) == 0 }

var qualifier = regexp.MustCompile(`\b(context|fmt|json|big|netip|time|ext|more)\.`)

// file returns what was written as a file with the imports it needs.
func (g *generator) file(name string) string {
	text := g.String()
	g.Reset()
	imports := make(map[string]bool)
	for _, m := range qualifier.FindAllStringSubmatch(text, -1) {
		imports[fmt.Sprintf("import %q\n", g.paths[m[1]])] = true
	}
	var b strings.Builder
	b.WriteString("package " + name + "\n\n")
	for spec := range imports {
		b.WriteString(spec)
	}
	source, err := format.Source([]byte(b.String() + text))
	if err != nil {
		panic(fmt.Sprintf("%v in:\n%s", err, text))
	}
	return string(source)
}

var basics = strings.Fields(`string bool int int8 int16 int32 int64 uint uint8 uint16 uint32 uint64 uintptr byte rune float32 float64
	any interface{} json.RawMessage json.Number []byte time.Time time.Duration netip.Addr *big.Int`)

var keyTypes = strings.Fields(`string int int8 uint64 netip.Addr time.Time time.Duration`)

// ext writes a package that is not of the definition.
func (g *generator) ext() {
	g.foreign, g.keys, g.values = true, slices.Clone(keyTypes), slices.Clone(basics)
	g.structs = nil
	for i := range 3 {
		g.structs = append(g.structs, fmt.Sprintf("%s%d", g.pick("Ext", "Money", "T", "small"), i))
	}
	for _, name := range g.structs {
		g.line("\n// %s is foreign.\ntype %s %s", name, name, g.structType())
		g.done++
	}
	g.line("type List []Last\ntype Last struct { N int; hidden string }\nfunc (l Last) Hidden() string { return l.hidden }\ntype Kind string\nconst Kind1 Kind = \"1\"")
	g.line("type Box[T any] struct {\n\tContent T\n\tOthers []Box[T] `json:\"others,omitempty\"`\n}")
	exported := slices.DeleteFunc(g.structs, func(name string) bool { return strings.HasPrefix(name, "small") })
	g.foreign, g.values, g.done = false, slices.Clone(basics), 0
	for _, name := range append(exported, "List", "Last", "Kind", "Box[int]", "Box[[]string]") {
		g.values = append(g.values, "ext."+name)
	}
}

// more writes a second package of the definition, with types of names that the
// first may have too.
func (g *generator) more() {
	exts := g.values
	g.keys, g.structs, g.done = slices.Clone(keyTypes), []string{"T1", "Money2", "Root"}, 0
	for _, name := range g.structs {
		g.line("\n// %s is of the second package.\ntype %s %s", name, name, g.structType())
		g.done++
	}
	g.line("\n// Enum0 is an enum.\ntype Enum0 string\n\nconst (\n\tEnum0Value0 Enum0 = \"x\"\n\tEnum0Value9 Enum0 = \"y\"\n)")
	g.line("\ntype Named1 map[Enum0]T1")
	g.values, g.done = append(exts, "more.T1", "more.Money2", "more.Root", "more.Enum0", "more.Named1"), 0
}

// enums writes enums and types that make their own text.
func (g *generator) enums() {
	for i := range g.IntN(3) {
		name, under := fmt.Sprintf("Enum%d", i), g.pick("string", "int", "uint8", "int64")
		g.line("\n// %s is an enum.\ntype %s %s\n\nconst (", name, name, under)
		for j := range 1 + g.IntN(3) {
			value := fmt.Sprint(j)
			if under == "string" {
				value = fmt.Sprintf("%q", g.pick("a", "b \"c\"", "", "ü")+value)
			}
			g.line("\t%sValue%d %s = %s // is one.", name, j, name, value)
		}
		g.line(")")
		g.keys, g.values = append(g.keys, name), append(g.values, name)
	}
	if g.chance(2) {
		g.line("\n// Pt makes its own text.\ntype Pt struct{ X int }\n" +
			"func (p Pt) MarshalText() ([]byte, error) { return fmt.Appendf(nil, \"%%d\", p.X), nil }\n" +
			"func (p *Pt) UnmarshalText(b []byte) error { _, err := fmt.Sscan(string(b), &p.X); return err }")
		g.keys, g.values = append(g.keys, "Pt"), append(g.values, "Pt", "*Pt")
	}
	if g.chance(2) {
		g.line("\n// Js makes its own JSON.\ntype Js struct{ X int }\n" +
			"func (j Js) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, \"[%%d]\", j.X), nil }\n" +
			"func (j *Js) UnmarshalJSON(b []byte) error { _, err := fmt.Sscanf(string(b), \"[%%d]\", &j.X); return err }")
		g.values = append(g.values, "Js")
	}
}

// named writes named types that are no structs, generic ones and aliases.
func (g *generator) named() {
	for i := range g.IntN(4) {
		name := fmt.Sprintf("Named%d", i)
		g.line("\ntype %s %s", name, g.pick("string", "bool", "int16", "float32", "[]byte", "[]byte", "[]"+name, "map[string]"+name,
			"[2]string", "[]"+g.pick(g.values...), "map["+g.pick(g.keys...)+"]"+g.pick(g.values...)))
		g.values = append(g.values, name)
	}
	if g.chance(2) {
		g.line("\n// Page is generic.\ntype Page[T any] struct {\n\tItems []T %s\n\tMore *Page[T] %s\n\tMeta struct{ First []T %s }\n}",
			g.tag("Items", ""), g.tag("More", ",omitempty"), g.tag("First", ""))
		g.line("\ntype Pages[T any] = map[string]Page[T]")
		arg := g.pick(g.values...)
		g.values = append(g.values, "Page[string]", "Page["+arg+"]", "*Page["+arg+"]", "Pages["+arg+"]", "Page[Page[bool]]")
		g.line("\n// Alias is another name.\ntype Alias = Page[string]")
		g.values = append(g.values, "Alias")
	}
}

// own writes the definition's structs.
func (g *generator) own() {
	g.structs = nil
	for i := range 2 + g.IntN(5) {
		name := fmt.Sprintf("%s%d", g.pick("T", "T", "T", "Money", "small"), i)
		if g.chance(8) {
			name = g.pick("Client", "Error", "New", "Request", "Any", "Otohttp")
		}
		if i == 0 {
			name = "Root"
		}
		if !slices.Contains(g.structs, name) {
			g.structs = append(g.structs, name)
		}
	}
	for _, name := range g.structs {
		g.line("\n// %s is a struct.\ntype %s %s", name, name, g.structType())
		g.done++
	}
}

// service writes the service and returns what its methods take.
func (g *generator) service() []string {
	g.line("\n// Service echoes.\ntype Service interface {")
	var methods []string
	for _, name := range g.structs {
		if strings.HasPrefix(name, "small") {
			continue
		}
		g.line("\tM%d%s", len(methods), fmt.Sprintf(g.pick("(%[1]s) %[1]s", "(*%[1]s) *%[1]s", "(ctx context.Context, r %[1]s) (%[1]s, error)",
			"(context.Context, *%[1]s) (*%[1]s, error)"), name))
		methods = append(methods, name)
	}
	g.line("}")
	return methods
}

// fieldNames are spelled in all sorts of ways; no two are alike but for case.
var fieldNames = strings.Fields(`A B2 ID UserID ModelId HTMLPage APIKeys Type Func Range Name Überbau URL2 X_Y Created_at GL11Version
	Default Class None Self Map String Client New Json Otohttp Context Ctx Request Response Values Int`)

// structType writes a struct with some of those fields.
func (g *generator) structType() string {
	var b strings.Builder
	b.WriteString("struct {\n")
	taken := make(map[string]bool)
	if g.depth == 0 {
		for range g.IntN(3) {
			g.embed(&b, taken)
		}
	}
	names := slices.Clone(fieldNames)
	g.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:1+g.IntN(6)] {
		if taken[name] {
			continue
		}
		if g.chance(4) {
			fmt.Fprintf(&b, "\t// %s is a field.\n\t// example: 1\n", name)
		}
		options := g.pick("", "", "", "", ",omitempty", ",omitzero", ",string", ",omitempty,string")
		fmt.Fprintf(&b, "\t%s %s %s\n", name, g.fieldType(g.done), g.tag(name, options))
	}
	if g.foreign && g.chance(2) {
		b.WriteString("\thidden int\n")
	}
	b.WriteString("}")
	return b.String()
}

// tag writes the struct tag of a field.
func (g *generator) tag(name, options string) string {
	wire, other := "", ""
	switch g.IntN(6) {
	case 0:
		wire = g.pick("n_", "$", "with space ", "ü.", "UPPER") + name
	case 1:
		other = fmt.Sprintf(" yaml:%q", name)
	case 2:
		if g.chance(4) {
			return "`json:\"-\"`"
		}
	}
	if g.explicit && wire == "" && !g.foreign {
		wire = parser.CamelizeDown(name)
	}
	if wire+options+other == "" {
		return ""
	}
	return fmt.Sprintf("`json:%q%s`", wire+options, other)
}

// embed embeds a struct.
func (g *generator) embed(b *strings.Builder, taken map[string]bool) {
	name := ""
	switch {
	case g.done > 0 && g.chance(2):
		name = g.structs[g.IntN(g.done)]
		if !strings.HasPrefix(name, "small") && g.chance(2) {
			name = "*" + g.structs[g.IntN(len(g.structs))]
			if strings.HasPrefix(name, "*small") {
				name = name[1:]
				if slices.Index(g.structs, name) >= g.done {
					return
				}
			}
		}
	case !g.foreign:
		name = g.pick("ext.Last", "*ext.Last", "ext.Box[int]")
	default:
		return
	}
	plain := strings.TrimPrefix(strings.TrimPrefix(name, "*"), "ext.")
	plain, _, _ = strings.Cut(plain, "[")
	if taken[plain] || slices.Contains(fieldNames, plain) {
		return
	}
	taken[plain] = true
	fmt.Fprintf(b, "\t%s\n", name)
}

// fieldType is a random type. Of the structs the first n may be in it as they
// are; the others only behind something that has an end.
func (g *generator) fieldType(n int) string {
	g.depth++
	defer func() { g.depth-- }()
	if g.depth > 4 || g.chance(2) {
		return g.pick(g.values...)
	}
	all := len(g.structs)
	switch g.IntN(9) {
	case 0, 1:
		return "[]" + g.fieldType(all)
	case 2:
		return fmt.Sprintf("[%d]%s", g.IntN(4), g.fieldType(n))
	case 3, 4:
		return "map[" + g.pick(g.keys...) + "]" + g.fieldType(all)
	case 5:
		return "*" + g.fieldType(all)
	case 6:
		if n == 0 {
			return "*" + g.structs[g.IntN(all)]
		}
		return g.structs[g.IntN(n)]
	case 7:
		return "*" + g.structs[g.IntN(all)]
	}
	return g.structType()
}
