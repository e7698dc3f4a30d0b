// Package work is what every contender is asked: EatTaco with requests of some
// sizes, and the answers that are right.
//
// It imports only the standard library, since it is linked into every contender:
// what a program links costs it time, used or not.
package work

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// A Size is a request's.
type Size struct {
	// ID names it in flags and tables.
	ID string
	// Callers is how many call at once unless a table says otherwise.
	Callers int
	// Name and Tacos are the request.
	Name  string
	Tacos []string
}

// SizeOf returns the size with an ID. The answers to "answer" and "prose" are as
// long as their requests, those to the others are short.
func SizeOf(id string) (Size, error) {
	two := []string{"Chicken", "Chorizo"}
	switch id {
	case "small":
		return Size{ID: id, Callers: 80, Name: "Sammy Sosa", Tacos: two}, nil
	case "k1":
		return Size{ID: id, Callers: 80, Name: "Sammy Sosa", Tacos: many(1000)}, nil
	case "k100":
		return Size{ID: id, Callers: 8, Name: "Sammy Sosa", Tacos: many(100_000)}, nil
	case "answer":
		return Size{ID: id, Callers: 8, Name: page(19_000), Tacos: two}, nil
	case "prose":
		return Size{ID: id, Callers: 8, Name: prose(19_000), Tacos: two}, nil
	}
	return Size{}, fmt.Errorf("no size %q: want small, k1, k100, answer or prose", id)
}

func many(n int) []string {
	tacos := make([]string, n)
	for i := range tacos {
		tacos[i] = fmt.Sprintf("Taco number %06d", i)
	}
	return tacos
}

// page returns n bytes of what ListEaters answers: records with the same fields,
// with names and tacos of which there are some, and numbers. It lacks the quotes,
// which a string would have to escape, and packs as well as it does with them.
func page(n int) string {
	names := strings.Fields("Sammy Ana Luis Maria Grace Ken Ada Rob Frances Edsger Barbara Tony Niklaus Margaret Dennis Brian Radia Leslie")
	families := strings.Fields("Sosa Garcia Lopez Hopper Thompson Lovelace Pike Allen Dijkstra Liskov Hoare Wirth Hamilton Ritchie Kernighan Perlman")
	kinds := strings.Split("Al pastor,Carnitas,Chicken,Chorizo,Fish,Barbacoa,Lengua,Carne asada,Suadero,Birria,Shrimp,Potato", ",")
	r := rand.New(rand.NewPCG(1, 2))
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	var b strings.Builder
	b.WriteString("{eaters:[")
	for count := 20; b.Len() < n; count = max(count-r.IntN(2), 1) {
		fmt.Fprintf(&b, "{name:%s %s,tacos:[", names[r.IntN(len(names))], families[r.IntN(len(families))])
		for i := range count {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(kinds[r.IntN(len(kinds))])
		}
		at = at.Add(-time.Duration(r.Int64N(int64(24 * time.Hour)))).Truncate(time.Microsecond)
		fmt.Fprintf(&b, "],count:%d,lastMeal:%s},", count, at.Format(time.RFC3339Nano))
	}
	return b.String()[:n]
}

// prose returns n bytes of words at random, which are harder to pack than what
// services answer.
func prose(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 500)
	for i := range words {
		for range 2 + r.IntN(8) {
			words[i] += string(rune('a' + r.IntN(26)))
		}
	}
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))] + " ")
	}
	return b.String()[:n]
}

// Status is the sentence that answers a request.
func Status(name string, tacos int) string {
	return name + " has consumed " + strconv.Itoa(tacos) + " tacos"
}

// Want is the sentence that answers a request of the size.
func (s Size) Want() string { return Status(s.Name, len(s.Tacos)) }

// Check tells a wrong answer.
func (s Size) Check(status string) error {
	if want := s.Want(); status != want {
		return fmt.Errorf("EatTaco of size %s = %.60q, want %.60q", s.ID, status, want)
	}
	return nil
}

// JSON and Protobuf are the request on the wire.
func (s Size) JSON() []byte {
	body, err := json.Marshal(struct {
		Name  string   `json:"name"`
		Tacos []string `json:"tacos"`
	}{s.Name, s.Tacos})
	if err != nil {
		panic(err) // strings can be encoded
	}
	return body
}

func (s Size) Protobuf() []byte {
	body := appendField(nil, 1, s.Name)
	for _, taco := range s.Tacos {
		body = appendField(body, 2, taco)
	}
	return body
}

// AnswerJSON and AnswerProtobuf are the right answer on the wire.
func (s Size) AnswerJSON() []byte {
	return fmt.Appendf(nil, `{"tacoConsumptionStatus":%q}`, s.Want()) // all ASCII, where %q is JSON
}

func (s Size) AnswerProtobuf() []byte { return appendField(nil, 1, s.Want()) }

// appendField appends a string as protobuf does. It is written here so that the
// contenders without protobuf don't link it.
func appendField(b []byte, number byte, value string) []byte {
	b = append(b, number<<3|2)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// A Wire is how a contender's requests look over HTTP/1.1.
type Wire struct{ Path, ContentType string }

// Wires are those of the variants that HTTP/1.1 reaches.
var Wires = map[string]Wire{
	"floor":            {"/oto/TacoService.EatTaco", "application/json"},
	"std":              {"/oto/TacoService.EatTaco", "application/json"},
	"jsontext":         {"/oto/TacoService.EatTaco", "application/json"},
	"oto":              {"/oto/TacoService.EatTaco", "application/json"},
	"twirp-json":       {"/twirp/taco.TacoService/EatTaco", "application/json"},
	"twirp-protobuf":   {"/twirp/taco.TacoService/EatTaco", "application/protobuf"},
	"connect-json":     {"/taco.TacoService/EatTaco", "application/json"},
	"connect-protobuf": {"/taco.TacoService/EatTaco", "application/proto"},
}

// IsProtobuf reports whether a content type means protobuf, in the word of Twirp
// or of Connect.
func IsProtobuf(contentType string) bool {
	return contentType == "application/protobuf" || contentType == "application/proto"
}

// Body is a request of the size as the wire has it.
func (w Wire) Body(s Size) []byte {
	if IsProtobuf(w.ContentType) {
		return s.Protobuf()
	}
	return s.JSON()
}
