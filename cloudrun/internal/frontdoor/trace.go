package frontdoor

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
)

const (
	traceparent = "Traceparent"
	cloudTrace  = "X-Cloud-Trace-Context"
)

// A trace is what a request belongs to: that of its caller, or a new one. The
// span is the front door's own, new in either case.
type trace struct {
	id      string // 32 digits
	span    uint64
	sampled bool
}

// traceOf continues the trace of traceparent, else that of X-Cloud-Trace-Context,
// else begins one.
func traceOf(h http.Header) trace {
	t := trace{span: rand.Uint64() | 1} // never 0, which is no span
	if v := h[traceparent]; len(v) == 1 && t.fromTraceparent(v[0]) {
		return t
	}
	if v := h[cloudTrace]; len(v) == 1 && t.fromCloudTrace(v[0]) {
		return t
	}
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()|1)
	t.id, t.sampled = hex.EncodeToString(id[:]), true
	return t
}

// fromTraceparent reads VERSION-ID-SPAN-FLAGS, https://www.w3.org/TR/trace-context/.
func (t *trace) fromTraceparent(s string) bool {
	p := strings.Split(s, "-")
	if len(p) < 4 || !hexDigits(p[0], 2) || p[0] == "ff" || !isID(p[1], 32) || !isID(p[2], 16) || !hexDigits(p[3], 2) || p[0] == "00" && len(p) > 4 {
		return false
	}
	flags, _ := strconv.ParseUint(p[3], 16, 8)
	t.id, t.sampled = p[1], flags&1 == 1
	return true
}

// fromCloudTrace reads ID[/SPAN][;o=OPTIONS].
func (t *trace) fromCloudTrace(s string) bool {
	s, options, _ := strings.Cut(s, ";")
	id, _, _ := strings.Cut(s, "/")
	id = strings.ToLower(id)
	if !isID(id, 32) {
		return false
	}
	t.id, t.sampled = id, options == "o=1"
	return true
}

// set puts both headers on a request. A tracestate stays as it came.
func (t *trace) set(h http.Header) {
	span := t.spanID()
	flags := "-00"
	if t.sampled {
		flags = "-01"
	}
	h[traceparent] = []string{"00-" + t.id + "-" + span + flags}
	h[cloudTrace] = []string{t.id + "/" + strconv.FormatUint(t.span, 10) + t.options()}
}

func (t *trace) answerHeader() string { return t.id + t.options() }

func (t *trace) spanID() string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], t.span)
	return hex.EncodeToString(b[:])
}

func (t *trace) options() string {
	if t.sampled {
		return ";o=1"
	}
	return ";o=0"
}

func isID(s string, n int) bool { return hexDigits(s, n) && strings.Trim(s, "0") != "" }

func hexDigits(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range n {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
