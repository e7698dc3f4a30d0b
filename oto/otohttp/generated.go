package otohttp

import (
	"net/http"
	"strings"
	"sync"

	"github.com/pacedotdev/oto/otojson"
)

// generatedCall is the memory of a call of a generated handler, in one piece that
// the next call uses again.
type generatedCall[Request, Response any] struct {
	answer
	body    buffer // what is read, and then what is written
	request Request
	decoder otojson.Decoder
	encoder otojson.Encoder
}

// generatedCalls is a method's pool of them.
type generatedCalls[Request, Response any] struct{ sync.Pool }

func (p *generatedCalls[Request, Response]) get(w http.ResponseWriter) *generatedCall[Request, Response] {
	c, _ := p.Get().(*generatedCall[Request, Response])
	if c == nil {
		c = new(generatedCall[Request, Response])
	}
	c.ResponseWriter = w
	return c
}

// put gives back a call that has been answered. One that failed is left to the
// garbage collector: OnErr, which is the program's, has seen its answer.
func (p *generatedCalls[Request, Response]) put(c *generatedCall[Request, Response]) {
	var none Request
	c.answer = answer{}
	c.request = none
	c.decoder = otojson.Decoder{}
	c.encoder = otojson.Encoder{}
	c.body.empty()
	p.Put(c)
}

// read is Decode of the request, by generated code if there is some.
func (c *generatedCall[Request, _]) read(s *Server, r *http.Request, decode func(*otojson.Decoder, *Request)) error {
	if decode == nil {
		return Decode(r, &c.request)
	}
	if err := checkContentType(r.Header); err != nil {
		return err
	}
	text, err := readText(&c.body, r, s.bodyLimit())
	if err != nil {
		return err
	}
	if err := otojson.Unmarshal(&c.decoder, text, s.CopyStrings, &c.request, decode); err != nil {
		return malformed(err, strings.TrimSpace(text) == "")
	}
	return nil
}

// write is Encode of the response, by generated code if there is some.
func (c *generatedCall[_, Response]) write(r *http.Request, response *Response, encode func(*otojson.Encoder, *Response)) error {
	if encode == nil {
		return Encode(&c.answer, r, http.StatusOK, response)
	}
	var err error
	if c.body.data, err = otojson.Append(&c.encoder, c.body.data, response, encode); err != nil {
		return Errorf(Internal, "encode response").WithCause(err)
	}
	return send(&c.answer, r, http.StatusOK, &c.body)
}
