package otohttp

import (
	"net/http"
	"strings"

	"github.com/pacedotdev/oto/otojson"
)

// generatedCall is the memory of a call of a generated handler, in one piece.
type generatedCall[Request, Response any] struct {
	answer
	request Request
	decoder otojson.Decoder
	encoder otojson.Encoder
}

// read is Decode of the request, by generated code if there is some.
func (c *generatedCall[Request, _]) read(s *Server, r *http.Request, decode func(*otojson.Decoder, *Request)) error {
	if decode == nil {
		return Decode(r, &c.request)
	}
	if err := checkContentType(r.Header); err != nil {
		return err
	}
	text, err := readText(r, s.bodyLimit())
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
	body := getBuffer()
	var err error
	if body.data, err = otojson.Append(&c.encoder, body.data, response, encode); err != nil {
		err = Errorf(Internal, "encode response").WithCause(err)
	} else {
		err = send(&c.answer, r, http.StatusOK, body)
	}
	putBuffer(body)
	return err
}
