// Package logs keeps what containers write, as Cloud Logging does: a line that is
// a JSON object is taken apart into severity, message, trace and the rest, any
// other line is a message.
//
// The facts are Cloud Logging's:
// https://docs.cloud.google.com/logging/docs/structured-logging
package logs

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// Source says where an entry comes from.
type Source struct {
	Service  string
	Revision string
	Instance string
	// Stream is stdout, stderr or requests, if that is known.
	Stream string
}

// Entry is one line of a log.
type Entry struct {
	Source
	Time     time.Time
	Severity string
	Message  string
	// Trace and SpanID are of the request that the line belongs to.
	Trace  string
	SpanID string
	// Request is what the line says of an HTTP request, if it does.
	Request *Request
	// Fields are the others of the line's JSON.
	Fields map[string]any
	// JSON says that the line is an object, and Line is the line itself.
	JSON bool
	Line string

	unread bool // the line hasn't been taken apart
}

// Request is Cloud Logging's httpRequest.
type Request struct {
	RequestMethod string `json:"requestMethod"`
	RequestURL    string `json:"requestUrl"`
	Status        int    `json:"status"`
	RequestSize   string `json:"requestSize,omitempty"`
	ResponseSize  string `json:"responseSize,omitempty"`
	UserAgent     string `json:"userAgent,omitempty"`
	RemoteIP      string `json:"remoteIp,omitempty"`
	Latency       string `json:"latency,omitempty"`
	Protocol      string `json:"protocol,omitempty"`
}

// read takes the line apart.
func (e *Entry) read() {
	e.unread = false
	var fields map[string]json.RawMessage
	if len(e.Line) == 0 || e.Line[0] != '{' || json.Unmarshal([]byte(e.Line), &fields) != nil {
		return
	}
	e.Message, e.JSON = "", true
	text := func(into *string, keys ...string) {
		for _, key := range keys {
			if raw := fields[key]; *into == "" && len(raw) > 0 && raw[0] == '"' {
				json.Unmarshal(raw, into)
				delete(fields, key)
			}
		}
	}
	var at, named string
	text(&e.Message, "message", "msg")
	text(&e.Trace, "logging.googleapis.com/trace")
	text(&e.SpanID, "logging.googleapis.com/spanId")
	text(&named, "severity", "level")
	text(&at, "time", "timestamp")
	if named != "" {
		e.Severity = named
	}
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		e.Time = t
	}
	delete(fields, "logging.googleapis.com/trace_sampled")
	if raw, ok := fields["httpRequest"]; ok {
		request := new(Request)
		if json.Unmarshal(raw, request) == nil {
			e.Request = request
			delete(fields, "httpRequest")
		}
	}
	if len(fields) > 0 {
		e.Fields = make(map[string]any, len(fields))
	}
	for key, raw := range fields {
		var value any
		json.Unmarshal(raw, &value)
		e.Fields[key] = value
	}
}

// kept is how many entries a Store keeps.
const kept = 10_000

// Store keeps the newest entries and hands each on as it comes.
type Store struct {
	mu      sync.Mutex
	entries []Entry
	follow  map[int]func(Entry)
	next    int
}

// Append adds a line of a container. It is taken apart when somebody wants to see
// it: most lines of a service under load are dropped unseen.
func (s *Store) Append(source Source, severity, line string) {
	s.Add(Entry{Source: source, Time: time.Now(), Severity: severity, Message: line, Line: line, unread: true})
}

// Add adds an entry.
func (s *Store) Add(e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) >= 2*kept {
		s.entries = slices.Delete(s.entries, 0, kept)
	}
	if e.unread && len(s.follow) > 0 {
		e.read()
	}
	s.entries = append(s.entries, e)
	for _, key := range slices.Sorted(maps.Keys(s.follow)) {
		s.follow[key](e)
	}
}

// Entries returns the entries that match, oldest first; nil matches all.
func (s *Store) Entries(match func(Entry) bool) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Entry
	for i := range s.entries {
		if s.entries[i].unread {
			s.entries[i].read()
		}
		if match == nil || match(s.entries[i]) {
			found = append(found, s.entries[i])
		}
	}
	return found
}

// Follow has f called with each entry from now on, one at a time, until the
// returned function is called. f must not use the store.
func (s *Store) Follow(f func(Entry)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.follow == nil {
		s.follow = make(map[int]func(Entry))
	}
	key := s.next
	s.next++
	s.follow[key] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.follow, key)
	}
}

// maxLine is how long a line may be, as on Cloud Run: 256 KiB, after which it is
// cut.
const maxLine = 256 << 10

// Writer returns a writer of a container's stream. Each line becomes an entry; a
// last one without an end does when the writer is closed.
func (s *Store) Writer(source Source, severity string) io.WriteCloser {
	return &writer{store: s, source: source, severity: severity}
}

type writer struct {
	store    *Store
	source   Source
	severity string

	mu   sync.Mutex
	line []byte
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		if room := maxLine - len(w.line); len(part) > room {
			part = part[:max(room, 0)]
		}
		w.line = append(w.line, part...)
		if end < 0 {
			break
		}
		w.flush()
		p = p[end+1:]
	}
	return n, nil
}

func (w *writer) flush() {
	line := string(bytes.TrimSuffix(w.line, []byte("\r")))
	w.line = w.line[:0]
	w.store.Append(w.source, w.severity, line)
}

// Close makes an entry of what has no line end.
func (w *writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) > 0 {
		w.flush()
	}
	return nil
}
