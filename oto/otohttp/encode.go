package otohttp

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Header values that every answer shares. Nobody writes to the values of a
// header: adding to one of these makes a copy, since they are full.
var (
	contentTypeJSON     = []string{"application/json; charset=utf-8"}
	contentEncodingGzip = []string{"gzip"}
	varyAcceptEncoding  = []string{"Accept-Encoding"}
)

// contentLengthFrom is the size from which on an answer's length is set here:
// below, net/http counts it, at less cost.
const contentLengthFrom = 2 << 10

// Encode answers r with status and v as JSON: nil as null, <, > and & escaped,
// no newline at the end. An answer of 1 KiB or more is packed with gzip if the
// client accepts that. Statuses that allow no body are answered without one, as
// is a HEAD request.
//
// If v can't be encoded nothing has been written, and the error has the code
// [Internal] and the reason as its cause. If the answer can't be sent the error
// has the code [Canceled].
func Encode(w http.ResponseWriter, r *http.Request, status int, v any) error {
	if status < 100 || status > 999 {
		return Errorf(Internal, "encode response").WithCause(invalidStatusError(status))
	}
	body := getBuffer()
	err := marshal(body, v)
	if err == nil {
		err = send(w, r, status, body)
	}
	putBuffer(body)
	return err
}

// invalidStatusError is a status that net/http would panic on.
type invalidStatusError int

func (e invalidStatusError) Error() string {
	return "HTTP status " + strconv.Itoa(int(e)) + ", want 100 to 999"
}

// send answers r with body, packed or not.
func send(w http.ResponseWriter, r *http.Request, status int, body *buffer) error {
	if !allowsBody(status) {
		w.WriteHeader(status)
		return nil
	}
	header := w.Header()
	if len(body.data) >= gzipFrom && len(header["Content-Encoding"]) == 0 {
		// The client's Accept-Encoding decides, so a cache has to ask for it too,
		// even if this time the answer goes out as it is.
		addVary(header)
		if acceptsGzip(r.Header["Accept-Encoding"]) {
			if err := pack(body); err != nil {
				return Errorf(Internal, "encode response").WithCause(err)
			}
			header["Content-Encoding"] = contentEncodingGzip
		}
	}
	if len(header) > 0 {
		delete(header, "Content-Length")
	}
	header["Content-Type"] = contentTypeJSON
	if len(body.data) >= contentLengthFrom || r.Method == http.MethodHead {
		header["Content-Length"] = []string{strconv.Itoa(len(body.data))}
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := w.Write(body.data); err != nil {
		return Errorf(Canceled, "send response").WithCause(err)
	}
	return nil
}

// allowsBody reports whether an answer with status may have a body (RFC 9110,
// section 15). 205 may not either, though net/http would let it.
func allowsBody(status int) bool {
	switch status {
	case http.StatusNoContent, http.StatusResetContent, http.StatusNotModified:
		return false
	}
	return status >= 200
}

// addVary makes the Vary header name Accept-Encoding.
func addVary(header http.Header) {
	vary := header["Vary"]
	if len(vary) == 0 {
		header["Vary"] = varyAcceptEncoding
		return
	}
	for _, line := range vary {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Accept-Encoding") {
				return
			}
		}
	}
	header["Vary"] = append(slices.Clip(vary), "Accept-Encoding")
}
