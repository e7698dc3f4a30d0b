package cloudlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/amammay/otorun/internal/tracecontext"
)

// A jsonHandler writes records as Cloud Logging's structured logs. The fields
// that Cloud Logging lifts out of the object stay at its top, whatever groups
// are open. slog.JSONHandler can't do that: it puts all that is added to a
// record into the open group.
type jsonHandler struct {
	mu      *sync.Mutex
	w       io.Writer
	level   slog.Leveler
	project func() string

	with    []byte   // the attributes of WithAttrs, written; groups in it are still open
	open    int      // how many groups are open in with
	pending []string // groups to open once there is something to put in
}

func newJSONHandler(w io.Writer, cfg Config) *jsonHandler {
	h := &jsonHandler{mu: new(sync.Mutex), w: w, level: cfg.Level, project: cfg.ProjectID}
	if h.level == nil {
		h.level = slog.LevelInfo
	}
	if h.project == nil {
		h.project = func() string { return "" }
	}
	return h
}

func (h *jsonHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *jsonHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h2 := *h
	h2.with = slices.Clone(h.with)
	if with, ok := h.appendAttrs(h2.with, attrs); ok {
		h2.with = with
		h2.open, h2.pending = h.open+len(h.pending), nil
	}
	return &h2
}

func (h *jsonHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	h2 := *h
	h2.pending = append(slices.Clone(h.pending), name)
	return &h2
}

func (h *jsonHandler) Handle(ctx context.Context, r slog.Record) error {
	bp := buffers.Get().(*[]byte)
	buf := (*bp)[:0]

	buf = append(buf, `{"severity":"`...)
	buf = append(buf, severity(r.Level)...)
	buf = append(buf, '"')
	if !r.Time.IsZero() {
		buf = append(buf, `,"time":"`...)
		buf = r.Time.UTC().AppendFormat(buf, time.RFC3339Nano)
		buf = append(buf, '"')
	}
	buf = append(buf, `,"message":`...)
	buf = appendString(buf, r.Message)
	if ctx != nil {
		if t, ok := tracecontext.FromContext(ctx); ok {
			buf = h.appendTrace(buf, t)
		}
	}
	// Looking up the line costs a microsecond: it is for what someone will
	// want to find in the source.
	if r.Level >= slog.LevelWarn && r.PC != 0 {
		buf = appendSource(buf, r.PC)
	}

	open := h.open
	if len(h.with) > 0 {
		buf = append(buf, ',')
		buf = append(buf, h.with...)
	}
	var few [8]slog.Attr
	attrs := few[:0]
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	if b, ok := h.appendAttrs(buf, attrs); ok {
		buf = b
		open += len(h.pending)
	}
	for range open {
		buf = append(buf, '}')
	}
	buf = append(buf, "}\n"...)

	h.mu.Lock()
	_, err := h.w.Write(buf)
	h.mu.Unlock()
	if cap(buf) <= 16<<10 { // one huge record must not stay in memory
		*bp = buf
		buffers.Put(bp)
	}
	return err
}

var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 1024)) }}

// severity names a level as Cloud Logging does.
func severity(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < LevelNotice:
		return "INFO"
	case l < slog.LevelWarn:
		return "NOTICE"
	case l < slog.LevelError:
		return "WARNING"
	case l < slog.LevelError+4:
		return "ERROR"
	default:
		return "CRITICAL"
	}
}

func (h *jsonHandler) appendTrace(buf []byte, t tracecontext.Trace) []byte {
	buf = append(buf, `,"logging.googleapis.com/trace":"`...)
	if p := h.project(); p != "" {
		buf = append(buf, "projects/"...)
		buf = appendText(buf, p)
		buf = append(buf, "/traces/"...)
	}
	buf = appendText(buf, t.ID)
	buf = append(buf, '"')
	if t.SpanID != "" {
		buf = append(buf, `,"logging.googleapis.com/spanId":`...)
		buf = appendString(buf, t.SpanID)
	}
	buf = append(buf, `,"logging.googleapis.com/trace_sampled":`...)
	return strconv.AppendBool(buf, t.Sampled)
}

func appendSource(buf []byte, pc uintptr) []byte {
	f, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	buf = append(buf, `,"logging.googleapis.com/sourceLocation":{"file":`...)
	buf = appendString(buf, f.File)
	buf = append(buf, `,"line":"`...) // Cloud Logging wants the number as text
	buf = strconv.AppendInt(buf, int64(f.Line), 10)
	buf = append(buf, `","function":`...)
	buf = appendString(buf, f.Function)
	return append(buf, '}')
}

// appendAttrs opens the pending groups and writes attrs into them. It reports
// false, and its result is of no use, when there was nothing to write.
func (h *jsonHandler) appendAttrs(buf []byte, attrs []slog.Attr) ([]byte, bool) {
	for _, g := range h.pending {
		buf = appendKey(buf, g)
		buf = append(buf, '{')
	}
	start := len(buf)
	for _, a := range attrs {
		buf = appendAttr(buf, a, h.open+len(h.pending) == 0)
	}
	return buf, len(buf) > start
}

// appendAttr writes a after what is there. An empty attribute and a group
// without members leave no trace, as slog asks.
func appendAttr(buf []byte, a slog.Attr, top bool) []byte {
	a.Value = a.Value.Resolve()
	if a.Equal(slog.Attr{}) {
		return buf
	}
	if a.Value.Kind() == slog.KindGroup {
		if a.Key == "" {
			for _, m := range a.Value.Group() {
				buf = appendAttr(buf, m, top)
			}
			return buf
		}
		before := len(buf)
		buf = appendKey(buf, a.Key)
		buf = append(buf, '{')
		start := len(buf)
		for _, m := range a.Value.Group() {
			buf = appendAttr(buf, m, false)
		}
		if len(buf) == start {
			return buf[:before]
		}
		return append(buf, '}')
	}
	if top {
		switch a.Key {
		case "severity", "time", "message":
			a.Key += "_" // the handler has written its own
		}
	}
	buf = appendKey(buf, a.Key)
	return appendValue(buf, a.Value)
}

// appendKey writes a key, after a comma unless it is the first of its object or
// of the buffer.
func appendKey(buf []byte, key string) []byte {
	return append(appendString(appendComma(buf), key), ':')
}

// appendQuotedKey is appendKey for a key that is known, with its quotes and colon.
func appendQuotedKey(buf []byte, key string) []byte { return append(appendComma(buf), key...) }

func appendComma(buf []byte) []byte {
	if n := len(buf); n > 0 && buf[n-1] != '{' {
		buf = append(buf, ',')
	}
	return buf
}

func appendValue(buf []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindString:
		return appendString(buf, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(buf, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(buf, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(buf, v.Bool())
	case slog.KindFloat64:
		f := v.Float64()
		if math.IsNaN(f) || math.IsInf(f, 0) { // JSON has no such numbers
			return appendString(buf, strconv.FormatFloat(f, 'g', -1, 64))
		}
		return strconv.AppendFloat(buf, f, 'g', -1, 64)
	case slog.KindDuration:
		return appendString(buf, v.Duration().String())
	case slog.KindTime:
		buf = append(buf, '"')
		buf = v.Time().AppendFormat(buf, time.RFC3339Nano)
		return append(buf, '"')
	default:
		return appendAny(buf, v.Any())
	}
}

func appendAny(buf []byte, v any) (out []byte) {
	switch v := v.(type) {
	case HTTPRequest:
		return v.appendJSON(buf)
	case json.Marshaler:
		// It knows better, an error too.
	case error:
		return appendString(buf, fmt.Sprint(v)) // Sprint survives a nil pointer in v
	}
	defer func() {
		// A MarshalJSON that panics must not take the service with it.
		if p := recover(); p != nil {
			out = appendString(buf, fmt.Sprintf("!PANIC: %v", p))
		}
	}()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return appendString(buf, fmt.Sprintf("!ERROR: %v", err))
	}
	return append(buf, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// appendString writes s as a JSON string. Bytes that are not UTF-8 become the
// replacement character.
func appendString(buf []byte, s string) []byte {
	return append(appendText(append(buf, '"'), s), '"')
}

// plain are the bytes that mean themselves in a JSON string.
var plain = func() (plain [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return
}()

// appendText writes what is between the quotes of a JSON string.
func appendText(buf []byte, s string) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		if c := s[i]; c < utf8.RuneSelf {
			buf = append(buf, s[start:i]...)
			switch c {
			case '"', '\\':
				buf = append(buf, '\\', c)
			case '\n':
				buf = append(buf, `\n`...)
			case '\r':
				buf = append(buf, `\r`...)
			case '\t':
				buf = append(buf, `\t`...)
			default:
				buf = append(buf, `\u00`...)
				buf = append(buf, hex[c>>4], hex[c&0xf])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			buf = append(buf, s[start:i]...)
			buf = append(buf, "\ufffd"...)
			start = i + size
		}
		i += size
	}
	return append(buf, s[start:]...)
}
