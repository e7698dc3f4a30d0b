package cloudlog

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/amammay/otorun/internal/tracecontext"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

func withTrace(ctx context.Context) context.Context {
	t, _ := tracecontext.FromHeader(http.Header{"Traceparent": {"00-" + traceID + "-" + spanID + "-01"}})
	return tracecontext.NewContext(ctx, t)
}

// jsonLogger returns a logger and a func that reads the one line it wrote.
func jsonLogger(t *testing.T, cfg Config) (*slog.Logger, func() map[string]any) {
	t.Helper()
	cfg.JSON = true
	var b bytes.Buffer
	return New(&b, cfg), func() map[string]any {
		t.Helper()
		defer b.Reset()
		if strings.Count(b.String(), "\n") != 1 || !strings.HasSuffix(b.String(), "\n") {
			t.Fatalf("wrote %q, want one line", b.String())
		}
		var m map[string]any
		if err := json.Unmarshal(b.Bytes(), &m); err != nil {
			t.Fatalf("wrote %q: %v", b.String(), err)
		}
		return m
	}
}

// TestHandlerKeepsSlogsRules runs the standard library's own checks.
func TestHandlerKeepsSlogsRules(t *testing.T) {
	var b bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		b.Reset()
		return newJSONHandler(&b, Config{})
	}, func(t *testing.T) map[string]any {
		var m map[string]any
		if err := json.Unmarshal(b.Bytes(), &m); err != nil {
			t.Fatalf("wrote %q: %v", b.String(), err)
		}
		for cloud, its := range map[string]string{"severity": slog.LevelKey, "message": slog.MessageKey} {
			m[its] = m[cloud]
			delete(m, cloud)
		}
		return m
	})
}

func TestTraceFields(t *testing.T) {
	project := "my-proj"
	log, line := jsonLogger(t, Config{ProjectID: func() string { return project }})
	ctx := withTrace(t.Context())

	// The fields stay at the top, whatever groups are open.
	log.WithGroup("g").With("a", 1).InfoContext(ctx, "hello", "b", 2)
	want := map[string]any{
		"logging.googleapis.com/trace":         "projects/my-proj/traces/" + traceID,
		"logging.googleapis.com/spanId":        spanID,
		"logging.googleapis.com/trace_sampled": true,
		"severity":                             "INFO",
		"message":                              "hello",
		"g":                                    map[string]any{"a": 1.0, "b": 2.0},
	}
	got := line()
	if _, err := time.Parse(time.RFC3339Nano, got["time"].(string)); err != nil {
		t.Error(err)
	}
	delete(got, "time")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("wrote %v, want %v", got, want)
	}

	project = "" // not known yet
	log.InfoContext(ctx, "hello")
	if got := line()["logging.googleapis.com/trace"]; got != traceID {
		t.Errorf("trace without a project = %v, want %v", got, traceID)
	}

	log.Info("hello")
	if got, ok := line()["logging.googleapis.com/trace"]; ok {
		t.Errorf("trace of a record without one = %v, want none", got)
	}
}

func TestSeverity(t *testing.T) {
	log, line := jsonLogger(t, Config{Level: slog.LevelDebug})
	for level, want := range map[slog.Level]string{
		slog.LevelDebug:     "DEBUG",
		slog.LevelInfo:      "INFO",
		LevelNotice:         "NOTICE",
		slog.LevelWarn:      "WARNING",
		slog.LevelError:     "ERROR",
		slog.LevelError + 4: "CRITICAL",
	} {
		log.Log(t.Context(), level, "m")
		if got := line()["severity"]; got != want {
			t.Errorf("severity of %v = %v, want %v", level, got, want)
		}
	}
}

func TestSourceLocationFromWarningsUp(t *testing.T) {
	log, line := jsonLogger(t, Config{})
	log.Info("m")
	if got, ok := line()["logging.googleapis.com/sourceLocation"]; ok {
		t.Errorf("source of Info = %v, want none", got)
	}
	log.Warn("m")
	got, _ := line()["logging.googleapis.com/sourceLocation"].(map[string]any)
	file, _ := got["file"].(string)
	function, _ := got["function"].(string)
	if _, ok := got["line"].(string); !ok || !strings.HasSuffix(file, "cloudlog_test.go") || !strings.Contains(function, "TestSourceLocation") {
		t.Errorf("source of Warn = %v", got)
	}
}

type panics struct{}

func (*panics) MarshalJSON() ([]byte, error) { panic("no") }
func (p *panics) Error() string              { return fmt.Sprint(*p) }

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func TestValues(t *testing.T) {
	log, line := jsonLogger(t, Config{})
	now := time.Date(2026, 11, 23, 20, 0, 0, 5, time.UTC)
	for _, tt := range []struct {
		name string
		in   any
		want any
	}{
		{name: "string", in: "tacos", want: "tacos"},
		{name: "controls and quotes", in: "a\"\\\n\r\t\x00\x1f{", want: "a\"\\\n\r\t\x00\x1f{"},
		{name: "markup", in: "<a&b>\u2028", want: "<a&b>\u2028"},
		{name: "not UTF-8", in: "a\xffb\xc3", want: "a\ufffdb\ufffd"},
		{name: "uint", in: uint64(math.MaxUint32), want: float64(math.MaxUint32)},
		{name: "negative", in: -7, want: -7.0},
		{name: "NaN", in: math.NaN(), want: "NaN"},
		{name: "infinity", in: math.Inf(-1), want: "-Inf"},
		{name: "bool", in: false, want: false},
		{name: "duration", in: 1500 * time.Millisecond, want: "1.5s"},
		{name: "time", in: now, want: "2026-11-23T20:00:00.000000005Z"},
		{name: "error", in: fmt.Errorf("dial: %w", io.EOF), want: "dial: EOF"},
		{name: "nil error pointer", in: (*nilError)(nil), want: "<nil>"},
		{name: "nil", in: nil, want: nil},
		{name: "struct", in: struct{ A []string }{[]string{"<b>"}}, want: map[string]any{"A": []any{"<b>"}}},
		{name: "no JSON for it", in: func() {}, want: "!ERROR: json: unsupported type: func()"},
		{name: "panics in MarshalJSON", in: &panics{}, want: "!PANIC: no"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log.Info("m", "v", tt.in, "after", 1)
			m := line()
			if got := m["v"]; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("logged %#v as %#v, want %#v", tt.in, got, tt.want)
			}
			if m["after"] != 1.0 {
				t.Errorf("the attribute after it is %v", m["after"])
			}
		})
	}
}

func TestAttributesCannotReplaceTheFields(t *testing.T) {
	log, line := jsonLogger(t, Config{})
	log.With("severity", "none").Info("m", "message", "other", slog.Group("", slog.String("time", "now")), slog.Group("g", "message", "mine"))
	m := line()
	if m["severity"] != "INFO" || m["message"] != "m" || m["severity_"] != "none" || m["message_"] != "other" || m["time_"] != "now" {
		t.Errorf("wrote %v", m)
	}
	if got := m["g"].(map[string]any)["message"]; got != "mine" {
		t.Errorf("in a group, message = %v, want mine", got)
	}
}

func TestHTTPRequest(t *testing.T) {
	r := HTTPRequest{
		Method: "POST", URL: "/oto/TacoService.EatTaco", Status: 200, RequestSize: 55, ResponseSize: 59,
		UserAgent: "runsd version=1; Go-http-client/1.1", RemoteIP: "203.0.113.7", Latency: 1234567 * time.Nanosecond, Protocol: "HTTP/1.1",
	}
	log, line := jsonLogger(t, Config{})
	log.Info("m", HTTP(r))
	want := map[string]any{
		"requestMethod": "POST", "requestUrl": "/oto/TacoService.EatTaco", "status": 200.0, "requestSize": "55", "responseSize": "59",
		"userAgent": "runsd version=1; Go-http-client/1.1", "remoteIp": "203.0.113.7", "latency": "0.001234567s", "protocol": "HTTP/1.1",
	}
	if got := line()["httpRequest"]; !reflect.DeepEqual(got, want) {
		t.Errorf("httpRequest = %v, want %v", got, want)
	}

	var b bytes.Buffer
	New(&b, Config{}).Info("request", HTTP(r))
	if want := `httpRequest="POST /oto/TacoService.EatTaco 200 59B 1.235ms"`; !strings.Contains(b.String(), want) {
		t.Errorf("text is %q, want %q in it", b.String(), want)
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	log := New(&b, Config{})
	log.Debug("unseen")
	log.InfoContext(withTrace(t.Context()), "taco eaten", "name", "Sammy Sosa")
	got := b.String()
	_, err := time.Parse("time=15:04:05.000", strings.Fields(got)[0])
	if err != nil || !strings.HasSuffix(got, ` level=INFO msg="taco eaten" name="Sammy Sosa"`+"\n") {
		t.Errorf("wrote %q (%v)", got, err)
	}
}

func TestLinesOfManyGoroutinesStayWhole(t *testing.T) {
	var b bytes.Buffer
	log := New(&b, Config{JSON: true})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				log.With("w", 1).Info(strings.Repeat("m", 300), "a", 1, slog.Group("g", "b", 2))
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 1600 {
		t.Fatalf("%d lines, want 1600", len(lines))
	}
	for _, l := range lines {
		if !json.Valid([]byte(l)) {
			t.Fatalf("broken line %q", l)
		}
	}
}

func TestOnCloudRun(t *testing.T) {
	for _, name := range []string{"K_SERVICE", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL"} {
		if !OnCloudRun(env(name, "x")) {
			t.Errorf("OnCloudRun with %s = false", name)
		}
	}
	if OnCloudRun(env("PORT", "8080")) {
		t.Error("OnCloudRun with PORT alone = true")
	}
}

func TestProjectID(t *testing.T) {
	var asked http.Header
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header
		if r.URL.Path != "/computeMetadata/v1/project/project-id" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, "my-proj")
	}))
	defer metadata.Close()
	host := strings.TrimPrefix(metadata.URL, "http://")

	if got := ProjectID(env("GOOGLE_CLOUD_PROJECT", "from-env", "K_SERVICE", "s"))(); got != "from-env" {
		t.Errorf("with GOOGLE_CLOUD_PROJECT: %q", got)
	}
	if got := ProjectID(env("GCE_METADATA_HOST", host))(); got != "" {
		t.Errorf("off Cloud Run: %q, want nothing", got)
	}
	id := ProjectID(env("K_SERVICE", "s", "GCE_METADATA_HOST", host))
	for deadline := time.Now().Add(10 * time.Second); id() != "my-proj"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("from the metadata server: %q after 10 s", id())
		}
	}
	if asked.Get("Metadata-Flavor") != "Google" {
		t.Errorf("asked with %v, want Metadata-Flavor: Google", asked)
	}
}

func TestAskProjectIDRefusesOtherAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		body   string
	}{
		{name: "an error", status: 403, body: "my-proj"},
		{name: "a page", status: 200, body: "<html>hello"},
		{name: "nothing", status: 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			}))
			defer srv.Close()
			if id, err := askProjectID(strings.TrimPrefix(srv.URL, "http://")); err == nil {
				t.Errorf("askProjectID = %q, want an error", id)
			}
		})
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"\\\n\x00\xff\u2028😀")
	f.Fuzz(func(t *testing.T, s string) {
		got := appendString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("appendString(%q) = %q: %v", s, got, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); strings.ToValidUTF8(back, "?") != back || len([]rune(s)) != len([]rune(back)) {
			t.Fatalf("appendString(%q) = %q, want %q", s, back, want)
		}
	})
}

func BenchmarkRequestLine(b *testing.B) {
	log := New(io.Discard, Config{JSON: true, ProjectID: func() string { return "my-proj" }})
	ctx := withTrace(b.Context())
	r := HTTPRequest{Method: "POST", URL: "/oto/TacoService.EatTaco", Status: 200, RequestSize: 55, ResponseSize: 59, UserAgent: "Go-http-client/1.1", Latency: time.Millisecond, Protocol: "HTTP/1.1"}
	b.ReportAllocs()
	for b.Loop() {
		log.LogAttrs(ctx, slog.LevelInfo, "request from Go-http-client/1.1", HTTP(r))
	}
}

func env(pairs ...string) func(string) string {
	return func(key string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == key {
				return pairs[i+1]
			}
		}
		return ""
	}
}
