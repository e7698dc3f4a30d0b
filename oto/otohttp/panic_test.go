package otohttp_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pacedotdev/oto/otohttp"
)

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		value   any
		wantLog string
	}{
		{name: "text", value: "secret sauce", wantLog: `error="panic: secret sauce"`},
		{name: "error", value: fs.ErrPermission, wantLog: `error="panic: permission denied"`},
		{name: "typed error", value: otohttp.Errorf(otohttp.NotFound, "nobody"), wantLog: `error="panic: nobody"`},
		{name: "nil", value: nil, wantLog: `panic called with nil argument`},
		{name: "what can't be compared", value: []int{1}, wantLog: `error="panic: [1]"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := tacoServer(func(context.Context, eatTacoRequest) (*eatTacoResponse, error) { panic(tt.value) })
			log := logTo(server)
			url := listen(t, server)
			for range 2 { // it lives on
				got := do(t, url+"/oto/TacoService.EatTaco", request{body: sammy})
				wantReply(t, got, 500, `{"error":"internal error","code":"internal"}`)
			}
			if !strings.Contains(log.String(), tt.wantLog) || !strings.Contains(log.String(), "panic_test.go") {
				t.Errorf("log = %q, want %q and the stack", log, tt.wantLog)
			}
			if lines := strings.Count(log.String(), "\n"); lines != 2 {
				t.Errorf("log has %d lines for 2 panics:\n%s", lines, log)
			}
		})
	}
}

func TestPanicEndsInOnErr(t *testing.T) {
	t.Parallel()
	server := tacoServer(func(context.Context, eatTacoRequest) (*eatTacoResponse, error) { panic(fs.ErrPermission) })
	var seen error
	server.OnErr = func(w http.ResponseWriter, r *http.Request, err error) {
		seen = err
		w.WriteHeader(http.StatusTeapot)
	}
	got := do(t, listen(t, server)+"/oto/TacoService.EatTaco", request{body: sammy})
	wantReply(t, got, http.StatusTeapot, "")
	if otohttp.CodeOf(seen) != otohttp.Internal || !errors.Is(seen, fs.ErrPermission) {
		t.Errorf("OnErr got %v, want code internal and what the handler panicked with", seen)
	}
}

func TestPanicAfterTheAnswerBegan(t *testing.T) {
	t.Parallel()
	begin := map[string]func(w http.ResponseWriter){
		"Write":       func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"half":`) },
		"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(200); _ = http.NewResponseController(w).Flush() },
		"Flush":       func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"ReadFrom": func(w http.ResponseWriter) {
			_, _ = io.Copy(w, struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 8<<10))})
		},
	}
	for name, begin := range begin {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := otohttp.NewServer()
			log := logTo(server)
			server.Register("TacoService", "EatTaco", func(w http.ResponseWriter, _ *http.Request) {
				begin(w)
				panic("too late")
			})
			response, err := client.Post(listen(t, server)+"/oto/TacoService.EatTaco", "", strings.NewReader(sammy))
			if err == nil {
				_, err = io.ReadAll(response.Body)
				response.Body.Close()
			}
			if err == nil {
				t.Error("the client took a part for the whole")
			}
			if !strings.Contains(log.String(), "panic: too late") {
				t.Errorf("log = %q, want the panic", log)
			}
		})
	}
}

func TestPanicWithErrAbortHandler(t *testing.T) {
	t.Parallel()
	server := tacoServer(func(context.Context, eatTacoRequest) (*eatTacoResponse, error) { panic(http.ErrAbortHandler) })
	log := logTo(server)
	if _, err := client.Post(listen(t, server)+"/oto/TacoService.EatTaco", "", strings.NewReader(sammy)); err == nil {
		t.Error("the connection was not cut")
	}
	if log.String() != "" {
		t.Errorf("log = %q, want nothing", log)
	}
}

func TestHandlersReachTheConnection(t *testing.T) {
	t.Parallel()
	server := &otohttp.Server{Logger: slog.New(slog.DiscardHandler)}
	server.Register("TacoService", "Hijack", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhijacked")
		conn.Close()
	})
	server.Register("TacoService", "Hints", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		panic("the answer has not begun yet")
	})
	url := listen(t, server)
	wantReply(t, do(t, url+"/oto/TacoService.Hijack", request{}), 200, "hijacked")
	wantReply(t, do(t, url+"/oto/TacoService.Hints", request{}), 500, `{"error":"internal error","code":"internal"}`)
}

// A handler may put a writer of its own around the one it gets.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestWriteErrorAfterTheAnswerBegan(t *testing.T) {
	t.Parallel()
	server := otohttp.NewServer()
	server.Register("TacoService", "EatTaco", func(w http.ResponseWriter, r *http.Request) {
		w = wrapper{w}
		_, _ = io.WriteString(w, "an answer")
		server.OnErr(w, r, otohttp.Errorf(otohttp.Canceled, "too late"))
	})
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/oto/TacoService.EatTaco", nil))
	if got := recorder.Body.String(); got != "an answer" {
		t.Errorf("answer = %q, want %q", got, "an answer")
	}
}
