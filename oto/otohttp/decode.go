package otohttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
)

// Decode reads the JSON body of r into v. Fields that v lacks are ignored, names
// match whatever their case, and null leaves v as it is.
//
// The body may be packed with gzip. Its type may be JSON, text/plain, or not
// said. A body longer than the MaxBodyBytes of the Server that r came through
// (DefaultMaxBodyBytes without one) is refused, never cut.
//
// The error is an [Error] of code [InvalidArgument], or [ResourceExhausted] for a
// body that is too long, whose message tells the client what to mend. What
// encoding/json said is in its tree.
func Decode(r *http.Request, v any) error {
	if err := checkContentType(r.Header); err != nil {
		return err
	}
	body := getBuffer()
	err := readBody(body, r, bodyLimit(r))
	if err == nil {
		err = unmarshal(body.data, v)
	}
	putBuffer(body)
	return err
}

// checkContentType refuses a body that is not said to be JSON. Clients written
// without care send none or text/plain, so those pass.
func checkContentType(header http.Header) error {
	values := header["Content-Type"]
	if len(values) == 0 || values[0] == "application/json" || values[0] == contentTypeJSON[0] {
		return nil
	}
	mediaType, _, _ := strings.Cut(values[0], ";")
	mediaType = strings.TrimSpace(mediaType)
	switch {
	case mediaType == "",
		strings.EqualFold(mediaType, "application/json"),
		strings.EqualFold(mediaType, "text/plain"),
		len(mediaType) > len("+json") && strings.EqualFold(mediaType[len(mediaType)-len("+json"):], "+json"):
		return nil
	}
	err := Errorf(InvalidArgument, "request body: Content-Type is %q, want application/json", clip(values[0]))
	err.Status = http.StatusUnsupportedMediaType
	return err
}

// packedWithGzip reports whether the body is packed, and refuses codings other
// than gzip, applied once.
func packedWithGzip(header http.Header) (bool, error) {
	packed := false
	for _, line := range header["Content-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			coding = strings.TrimSpace(coding)
			switch {
			case coding == "" || strings.EqualFold(coding, "identity"):
			case !packed && isGzip(coding):
				packed = true
			default:
				err := Errorf(InvalidArgument, "request body: Content-Encoding is %q, want gzip or none", clip(line))
				err.Status = http.StatusUnsupportedMediaType
				err.acceptEncoding = "gzip"
				return false, err
			}
		}
	}
	return packed, nil
}

// readText returns the body of r, unpacked. It works in the empty buffer b.
func readText(b *buffer, r *http.Request, limit int64) (string, error) {
	if r.Body != nil && r.ContentLength > keepBuffer && len(r.Header["Content-Encoding"]) == 0 {
		return readLong(b, r, limit)
	}
	err := readBody(b, r, limit)
	return string(b.data), err
}

// readLong returns a long body, which is read into what becomes the text: to read it
// into a buffer that is too large for the pool and then copy all of it would take
// twice the memory.
func readLong(b *buffer, r *http.Request, limit int64) (string, error) {
	if r.ContentLength > limit {
		return "", tooLong(limit)
	}
	b.grow(keepBuffer)
	text, err := assemble(b.data[:keepBuffer], r.Body, r.ContentLength, limit)
	if err != nil {
		return "", readError(r.Context(), err, limit)
	}
	return text, nil
}

// readBody reads the body of r, unpacked, into the empty buffer b.
func readBody(b *buffer, r *http.Request, limit int64) error {
	packed, err := packedWithGzip(r.Header)
	if err != nil {
		return err
	}
	if r.Body == nil {
		return nil
	}
	if r.ContentLength > limit {
		return tooLong(limit)
	}
	if packed {
		err = unpack(b, http.MaxBytesReader(nil, r.Body, limit), limit)
	} else {
		err = b.readAll(r.Body, r.ContentLength, limit)
	}
	if err != nil {
		return readError(r.Context(), err, limit)
	}
	return nil
}

// readError tells the client why its body could not be read.
func readError(ctx context.Context, err error, limit int64) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err // from a reader that a handler put around the body
	}
	if maxBytes, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLong(maxBytes.Limit)
	}
	if _, ok := errors.AsType[*gzipError](err); ok {
		return Errorf(InvalidArgument, "request body: %w", err)
	}
	switch {
	case errors.Is(err, errTooLong):
		return tooLong(limit)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(ctx.Err(), context.DeadlineExceeded):
		// The server's ReadTimeout, or a handler's around it. The call has not been made: unlike for a
		// service that ran out of time, 408 and its repetition are right.
		e := Errorf(DeadlineExceeded, "request body: not read in time").WithCause(err)
		e.Status = http.StatusRequestTimeout
		return e
	case ctx.Err() != nil:
		return Errorf(Canceled, "request body: the client has gone").WithCause(err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Errorf(InvalidArgument, "request body: ends before its length").WithCause(err)
	}
	return Errorf(InvalidArgument, "request body: not readable").WithCause(err)
}

// tooLong is the error for a body of more than limit bytes.
func tooLong(limit int64) error {
	err := Errorf(ResourceExhausted, "request body: longer than %d bytes", limit)
	err.Status = http.StatusRequestEntityTooLarge
	return err
}

// limitKey is the key of the context's value that hands a Server's limit on to
// Decode, past whatever a handler puts around the body.
type limitKey struct{}

// limitBody returns r with a limit for Decode, and for handlers that read the
// body themselves. It is a copy of r: net/http looks at the body of its own request
// to decide how much of what is left unread it can do without.
func limitBody(w http.ResponseWriter, r *http.Request, limit int64) *http.Request {
	r = r.WithContext(context.WithValue(r.Context(), limitKey{}, limit))
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	return r
}

// bodyLimit is how many bytes of r's body Decode reads.
func bodyLimit(r *http.Request) int64 {
	if limit, ok := r.Context().Value(limitKey{}).(int64); ok {
		return limit
	}
	return DefaultMaxBodyBytes
}
