package otoclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pacedotdev/oto/otojson"
)

// call is one call, with the memory that the next one uses again.
type call struct {
	client          *Client
	service, method string

	request []byte // encoded
	shown   bool   // request is part of an http.Request, which others may keep

	statusCode  int
	status      string
	contentType string
	answer      buffer

	encoder otojson.Encoder
	decoder otojson.Decoder
}

var calls = sync.Pool{New: func() any { return new(call) }}

func newCall(client *Client, service, method string) *call {
	c := calls.Get().(*call)
	c.client, c.service, c.method = client, service, method
	return c
}

// free gives c back; nothing of it must be used any more. It isn't deferred: a
// call that fails or panics is left to the garbage collector.
func (c *call) free() {
	request := buffer{c.request}
	if c.shown {
		request.data = nil
	}
	request.empty()
	c.answer.empty()
	*c = call{request: request.data, answer: c.answer}
	calls.Put(c)
}

// failed returns the error of a call that failed of cause while doing.
func (c *call) failed(cause error, doing string) *Error {
	return &Error{
		Service: c.service, Method: c.method, StatusCode: c.statusCode,
		Message: doing + ": " + cause.Error(), Body: c.text(), cause: cause,
	}
}

// text returns the first part of the answer.
func (c *call) text() string {
	return strings.ToValidUTF8(string(c.answer.data[:min(len(c.answer.data), maxErrorText)]), "")
}

// noAnswer returns the error of an answer that isn't the service's; if it should
// be, cause says why not.
func (c *call) noAnswer(cause error) *Error {
	e := &Error{Service: c.service, Method: c.method, StatusCode: c.statusCode, Body: c.text(), cause: cause}
	e.Message = fmt.Sprintf("status %s, but no answer of the service: %s: %q", c.status, c.contentType, e.Body)
	return e
}

// send sends the request and reads the answer, which is then the service's and no
// error, as far as can be told before it is decoded.
func (c *call) send(ctx context.Context) error {
	to, err := lookUp(c.client.RemoteHost, c.service, c.method)
	if err != nil {
		return c.failed(err, "make request")
	}
	if debug := c.client.Debug; debug != nil {
		debug("POST " + to.text)
		debug(">> " + string(c.request))
	}
	httpClient := c.client.HTTPClient
	if httpClient == nil {
		httpClient = ownClient
	}
	deadline, ok := ctx.Deadline()
	ours := httpClient.Transport == shared && httpClient.Timeout == 0
	if !ok && ours {
		deadline = time.Now().Add(defaultTimeout)
	}
	hook, withClient := c.client.BeforeRequest, !ours || httpClient.Jar != nil
	var answer *http.Response
	if hook == nil && !withClient && to.direct && !traced(ctx) {
		answer, err = shared.post(ctx, deadline, to, c.request)
		if err != nil {
			return c.failed(&url.Error{Op: "Post", URL: to.text, Err: err}, "no answer")
		}
		if !redirects(answer.StatusCode) {
			return c.read(answer)
		}
	}
	if !ok && ours {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	c.shown = true
	r := to.newRequest(ctx, c.request, httpClient.Transport == shared)
	if hook != nil {
		if err := hook(r); err != nil {
			return err
		}
		if !withClient && goesAsItIs(r) {
			answer, err = shared.RoundTrip(r)
			if err != nil {
				return c.failed(&url.Error{Op: "Post", URL: r.URL.String(), Err: err}, "no answer")
			}
			if !redirects(answer.StatusCode) {
				return c.read(answer)
			}
		}
	}
	if answer != nil {
		// From here on it is for http.Client, which is given what has come.
		again := *httpClient
		again.Transport = &resumed{answer: answer, then: shared}
		httpClient = &again
	}
	answer, err = httpClient.Do(r)
	if err != nil {
		return c.failed(err, "no answer")
	}
	return c.read(answer)
}

// read reads an answer. It returns an error unless it looks as one of the service.
func (c *call) read(answer *http.Response) error {
	defer answer.Body.Close()
	c.statusCode, c.status, c.contentType = answer.StatusCode, answer.Status, answer.Header.Get("Content-Type")
	limit := c.client.MaxResponseBytes
	if limit <= 0 {
		limit = defaultMaxResponseBytes
	}
	limit = min(limit, math.MaxInt64-1) // one more is read, to see that there is more
	if err := c.answer.readAll(answer.Body, answer.ContentLength, limit); err == errTooLong {
		return &Error{
			Service: c.service, Method: c.method, StatusCode: c.statusCode, Body: c.text(),
			Message: fmt.Sprintf("answer of status %s is larger than %d bytes", c.status, limit),
		}
	} else if err != nil {
		return c.failed(err, "read answer of status "+c.status)
	}
	text := c.answer.data
	// A redirect that became a GET has called nothing, whatever it ended at.
	called := answer.Request == nil || answer.Request.Method == http.MethodPost
	success := called && c.statusCode >= 200 && c.statusCode < 300
	if !success || bytes.Contains(text, []byte(`"error"`)) {
		var said struct{ Error, Code string }
		if err := json.Unmarshal(text, &said); err == nil && said.Error != "" {
			return &Error{
				Service: c.service, Method: c.method, StatusCode: c.statusCode,
				Code: said.Code, Message: said.Error, service: true,
			}
		}
	}
	if !success {
		return c.noAnswer(nil)
	}
	return nil
}
