// Package tracecontext carries the trace a request belongs to from the request
// that came in to the requests that go out because of it.
//
//	if t, ok := tracecontext.FromHeader(r.Header); ok {
//		r = r.WithContext(tracecontext.NewContext(r.Context(), t))
//	}
//
// It reads the W3C's traceparent and, where that is missing or malformed,
// Google's older X-Cloud-Trace-Context. It makes no spans: both headers travel
// on as they came, so a caller and what it called are in one trace.
//
// It imports only the standard library.
package tracecontext

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The headers, as net/http spells its keys.
const (
	traceparent       = "Traceparent"
	tracestate        = "Tracestate"
	cloudTraceContext = "X-Cloud-Trace-Context"
)

// A Trace names the trace a request is part of.
type Trace struct {
	// ID is the trace, 32 lower-case hexadecimal digits.
	ID string
	// SpanID is the caller's span, 16 lower-case hexadecimal digits, or empty
	// when the header named none.
	SpanID string
	// Sampled says whether the caller records this trace.
	Sampled bool

	// What goes on: only headers that were well formed.
	traceparent string
	tracestate  []string
	cloudTrace  string
}

// FromHeader returns the trace that h names: by traceparent, else by
// X-Cloud-Trace-Context. A malformed or repeated header counts as missing.
func FromHeader(h http.Header) (Trace, bool) {
	var t Trace
	if v := h[cloudTraceContext]; len(v) == 1 {
		if ct, ok := parseCloudTraceContext(v[0]); ok {
			t = ct
			t.cloudTrace = v[0]
		}
	}
	if v := h[traceparent]; len(v) == 1 {
		if tp, ok := parseTraceparent(v[0]); ok {
			t.ID, t.SpanID, t.Sampled = tp.ID, tp.SpanID, tp.Sampled
			t.traceparent = v[0]
			// Without a valid traceparent, tracestate has no meaning.
			t.tracestate = slices.Clone(h[tracestate])
		}
	}
	return t, t.ID != ""
}

// SetHeader puts the headers t was read from on h, in place of those there.
// A zero Trace changes nothing.
func (t Trace) SetHeader(h http.Header) {
	if t.traceparent != "" {
		h[traceparent] = []string{t.traceparent}
	}
	if len(t.tracestate) > 0 {
		h[tracestate] = slices.Clone(t.tracestate)
	}
	if t.cloudTrace != "" {
		h[cloudTraceContext] = []string{t.cloudTrace}
	}
}

type contextKey struct{}

// NewContext returns a context that carries t.
func NewContext(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, contextKey{}, &t)
}

// FromContext returns the trace that ctx carries, if it carries one.
func FromContext(ctx context.Context) (Trace, bool) {
	if t, ok := ctx.Value(contextKey{}).(*Trace); ok {
		return *t, true
	}
	return Trace{}, false
}

// parseTraceparent reads "00-TRACEID-SPANID-FLAGS" as section 3.2 of W3C's Trace
// Context says: lower-case digits only, no id of zeros, version ff forbidden,
// and of a version newer than 00 only the fields that 00 has.
func parseTraceparent(s string) (Trace, bool) {
	const length = len("00-") + 32 + len("-") + 16 + len("-00")
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return Trace{}, false
	}
	version, id, span, flags := s[:2], s[3:35], s[36:52], s[53:55]
	switch {
	case !isLowerHex(version) || version == "ff",
		version == "00" && len(s) > length,
		len(s) > length && s[length] != '-',
		!isLowerHex(id) || isZeros(id),
		!isLowerHex(span) || isZeros(span),
		!isLowerHex(flags):
		return Trace{}, false
	}
	bits, _ := strconv.ParseUint(flags, 16, 8)
	return Trace{ID: id, SpanID: span, Sampled: bits&1 == 1}, true
}

// parseCloudTraceContext reads "TRACE/SPAN;o=OPTIONS", where the span, a decimal
// number, and the options may be missing.
func parseCloudTraceContext(s string) (Trace, bool) {
	s, options, hasOptions := strings.Cut(s, ";")
	id, span, hasSpan := strings.Cut(s, "/")
	id = strings.ToLower(id)
	if len(id) != 32 || !isLowerHex(id) || isZeros(id) {
		return Trace{}, false
	}
	t := Trace{ID: id}
	if hasSpan {
		n, err := strconv.ParseUint(span, 10, 64)
		if err != nil || span[0] == '+' {
			return Trace{}, false
		}
		if n != 0 { // 0 is the root: no span
			hex := strconv.FormatUint(n, 16)
			t.SpanID = strings.Repeat("0", 16-len(hex)) + hex
		}
	}
	if hasOptions {
		o, ok := strings.CutPrefix(options, "o=")
		bits, err := strconv.ParseUint(o, 10, 8)
		if !ok || err != nil {
			return Trace{}, false
		}
		t.Sampled = bits&1 == 1
	}
	return t, true
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZeros(s string) bool { return strings.Trim(s, "0") == "" }
