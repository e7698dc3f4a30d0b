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
	body    *buffer // what is read, and then what is written; nil in between if it is large
	request Request
	decoder otojson.Decoder
	encoder otojson.Encoder
}

// keptInCall is the largest body that stays with its call.
const keptInCall = 4 << 10

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
// garbage collector: OnErr, which is the program's, has seen its answer. So is one of
// a foreign request, which the program's types have decoded: they may point into it.
func (p *generatedCalls[Request, Response]) put(c *generatedCall[Request, Response], foreign bool) {
	c.letGo()
	if foreign {
		return
	}
	var none Request
	c.answer = answer{}
	c.request = none
	c.decoder = otojson.Decoder{}
	c.encoder = otojson.Encoder{}
	p.Put(c)
}

// hold gives the call an empty body.
func (c *generatedCall[_, _]) hold() {
	if c.body == nil {
		c.body = getBuffer()
	}
}

// letGo empties the body, and gives it back if it is large: a service may take long,
// and others come meanwhile.
func (c *generatedCall[_, _]) letGo() {
	if c.body == nil {
		return
	}
	if cap(c.body.data) > keptInCall {
		putBuffer(c.body)
		c.body = nil
		return
	}
	c.body.data = c.body.data[:0]
}

// read is Decode of the request, by generated code if there is some.
func (c *generatedCall[Request, _]) read(s *Server, r *http.Request, decode func(*otojson.Decoder, *Request)) error {
	if decode == nil {
		return Decode(r, &c.request)
	}
	if err := checkContentType(r.Header); err != nil {
		return err
	}
	c.hold()
	text, err := readText(c.body, r, s.bodyLimit())
	c.letGo()
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
	c.hold()
	var err error
	if c.body.data, err = otojson.Append(&c.encoder, c.body.data, response, encode); err != nil {
		return Errorf(Internal, "encode response").WithCause(err)
	}
	return send(&c.answer, r, http.StatusOK, c.body)
}
