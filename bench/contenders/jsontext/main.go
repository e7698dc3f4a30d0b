// Jsontext is EatTaco written by hand with net/http and the tokenizer of
// go-json-experiment, which is to be the standard library's: what generated code for
// JSON would do with it, rather than with otojson.
package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/work"
)

func main() {
	contender.Program{
		Servers: map[string]func(net.Listener, work.Size) error{"jsontext": contender.HTTP(func(work.Size) http.Handler {
			return http.HandlerFunc(eatTaco)
		})},
		Clients: map[string]func(contender.Options) (contender.Call, error){"jsontext": client},
	}.Main()
}

// A coder is a body, and what reads it or writes it.
type coder struct {
	body bytes.Buffer
	jsontext.Decoder
	jsontext.Encoder
}

var coders = sync.Pool{New: func() any { return new(coder) }}

// get returns an empty coder.
func get() *coder {
	c := coders.Get().(*coder)
	c.body.Reset()
	return c
}

// put gives it back, unless it is a large one.
func put(c *coder) {
	if c.body.Cap() <= 64<<10 {
		coders.Put(c)
	}
}

func eatTaco(w http.ResponseWriter, r *http.Request) {
	c := get()
	if r.ContentLength > 0 {
		c.body.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := c.body.ReadFrom(r.Body)
	var name string
	var tacos []string
	if err == nil {
		name, tacos, err = c.decode()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.body.Reset()
	if err := c.encode("tacoConsumptionStatus", func() error {
		return c.WriteToken(jsontext.String(work.Status(name, len(tacos))))
	}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header()["Content-Type"] = contentType
	w.Write(c.body.Bytes())
	put(c)
}

var contentType = []string{"application/json"}

// decode reads a request: the name and the tacos.
func (c *coder) decode() (name string, tacos []string, err error) {
	c.Decoder.Reset(&c.body)
	err = c.members(func(key string) error {
		switch {
		case strings.EqualFold(key, "name"):
			name, err = c.text()
			return err
		case strings.EqualFold(key, "tacos"):
			if _, err := c.ReadToken(); err != nil {
				return err
			}
			for c.PeekKind() != ']' {
				taco, err := c.text()
				if err != nil {
					return err
				}
				tacos = append(tacos, taco)
			}
			_, err := c.ReadToken()
			return err
		}
		return c.SkipValue()
	})
	return name, tacos, err
}

// members has value read the value of each member of an object.
func (c *coder) members(value func(key string) error) error {
	token, err := c.ReadToken()
	if err != nil || token.Kind() != '{' {
		return fmt.Errorf("%v, want an object: %w", token, err)
	}
	for c.PeekKind() != '}' {
		key, err := c.text()
		if err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
	}
	_, err = c.ReadToken()
	return err
}

// text reads a text.
func (c *coder) text() (string, error) {
	token, err := c.ReadToken()
	if err != nil || token.Kind() != '"' {
		return "", fmt.Errorf("%v, want a text: %w", token, err)
	}
	return token.String(), nil
}

// encode writes an object with a key; value writes what follows it.
func (c *coder) encode(key string, value func() error) error {
	c.Encoder.Reset(&c.body, jsontext.EscapeForHTML(true))
	if err := c.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	if err := c.WriteToken(jsontext.String(key)); err != nil {
		return err
	}
	if err := value(); err != nil {
		return err
	}
	return c.WriteToken(jsontext.EndObject)
}

func client(o contender.Options) (contender.Call, error) {
	client := &http.Client{Transport: contender.Transport(o)}
	url := o.To + work.Wires["jsontext"].Path
	return func(ctx context.Context, _ int) error {
		c := get()
		err := c.encode("name", func() error {
			for _, token := range []jsontext.Token{jsontext.String(o.Size.Name), jsontext.String("tacos"), jsontext.BeginArray} {
				if err := c.WriteToken(token); err != nil {
					return err
				}
			}
			for _, taco := range o.Size.Tacos {
				if err := c.WriteToken(jsontext.String(taco)); err != nil {
					return err
				}
			}
			return c.WriteToken(jsontext.EndArray)
		})
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(bytes.Clone(c.body.Bytes())))
		if err != nil {
			return err
		}
		r.Header["Content-Type"] = contentType
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		c.body.Reset()
		if _, err := c.body.ReadFrom(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %.100s: %w", answer.Status, c.body.Bytes(), err)
		}
		var status string
		c.Decoder.Reset(&c.body)
		if err := c.members(func(string) error { status, err = c.text(); return err }); err != nil {
			return err
		}
		put(c)
		return o.Size.Check(status)
	}, nil
}
