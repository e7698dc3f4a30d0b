package otohttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pacedotdev/oto/otohttp"
)

// What the tests call: the service of the definitions, by hand.

type eatTacoRequest struct {
	Name  string   `json:"name"`
	Tacos []string `json:"tacos"`
}

type eatTacoResponse struct {
	TacoConsumptionStatus string `json:"tacoConsumptionStatus"`
}

func eatTaco(_ context.Context, request eatTacoRequest) (*eatTacoResponse, error) {
	return &eatTacoResponse{fmt.Sprintf("%s has consumed %d tacos", request.Name, len(request.Tacos))}, nil
}

const (
	sammy     = `{"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}`
	sammySays = `{"tacoConsumptionStatus":"Sammy Sosa has consumed 2 tacos"}`
)

// tacoServer returns a quiet server with TacoService.EatTaco answered by call.
func tacoServer(call func(context.Context, eatTacoRequest) (*eatTacoResponse, error)) *otohttp.Server {
	server := otohttp.NewServer()
	server.Logger = slog.New(slog.DiscardHandler)
	otohttp.Handle(server, "TacoService", "EatTaco", call)
	return server
}

// listen serves handler on a port of its own and returns its URL.
func listen(t testing.TB, handler http.Handler) string {
	t.Helper()
	listener := httptest.NewServer(handler)
	t.Cleanup(listener.Close)
	return listener.URL
}

// request is one HTTP request; the zero fields are a POST without headers.
type request struct {
	method string
	header map[string]string
	body   string
}

// reply is what came back, its body as it was sent.
type reply struct {
	status int
	header http.Header
	body   string
}

// client sends what it is told and nothing more: no Accept-Encoding of its own.
var client = &http.Client{Transport: &http.Transport{DisableCompression: true}}

// do sends req to url.
func do(t testing.TB, url string, req request) reply {
	t.Helper()
	if req.method == "" {
		req.method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), req.method, url, strings.NewReader(req.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range req.header {
		r.Header.Set(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", req.method, url, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: read the answer: %v", req.method, url, err)
	}
	return reply{response.StatusCode, response.Header, string(body)}
}

// wantReply compares the status and the body of got.
func wantReply(t testing.TB, got reply, status int, body string) {
	t.Helper()
	if got.status != status || got.body != body {
		t.Errorf("answer = %d %s\nwant     %d %s", got.status, abbreviated(got.body), status, abbreviated(body))
	}
}

func abbreviated(s string) string {
	if len(s) > 300 {
		return fmt.Sprintf("%s… (%d bytes)", s[:300], len(s))
	}
	return s
}

func zip(t testing.TB, body string) string {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.String()
}

func unzip(t testing.TB, packed string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// logBuffer is a log that a server writes while a test reads it.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// logTo makes server log to the buffer it returns.
func logTo(server *otohttp.Server) *logBuffer {
	log := new(logBuffer)
	server.Logger = slog.New(slog.NewTextHandler(log, nil))
	return log
}

func TestHandle(t *testing.T) {
	t.Parallel()
	url := listen(t, tacoServer(eatTaco))
	got := do(t, url+"/oto/TacoService.EatTaco", request{body: sammy})
	wantReply(t, got, http.StatusOK, sammySays)
	if got, want := got.header.Get("Content-Type"), "application/json; charset=utf-8"; got != want {
		t.Errorf("Content-Type = %q, want %q", got, want)
	}
}

func TestHandleNilAnswerIsNull(t *testing.T) {
	t.Parallel()
	url := listen(t, tacoServer(func(context.Context, eatTacoRequest) (*eatTacoResponse, error) { return nil, nil }))
	wantReply(t, do(t, url+"/oto/TacoService.EatTaco", request{body: `{}`}), http.StatusOK, `null`)
}
