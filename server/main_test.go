package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/amammay/otorun/generated/server"
)

func TestEatTaco(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request server.EatTacoRequest
		want    string
	}{
		{name: "two tacos", request: server.EatTacoRequest{Name: "Sammy Sosa", Tacos: []string{"Chicken", "Chorizo"}}, want: "Sammy Sosa has consumed 2 tacos"},
		{name: "one taco", request: server.EatTacoRequest{Name: "Ana", Tacos: []string{"Carnitas"}}, want: "Ana has consumed 1 tacos"},
		{name: "a thousand tacos", request: server.EatTacoRequest{Name: "Ana", Tacos: make([]string, 1000)}, want: "Ana has consumed 1000 tacos"},
		{name: "a name that looks like a format", request: server.EatTacoRequest{Name: "%d 100%", Tacos: []string{"a"}}, want: "%d 100% has consumed 1 tacos"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			response, err := tacoService{}.EatTaco(t.Context(), tt.request)
			if err != nil || response.TacoConsumptionStatus != tt.want {
				t.Errorf("EatTaco(%+v) = %+v, %v, want %q", tt.request, response, err, tt.want)
			}
		})
	}
}

func TestOnTheWire(t *testing.T) {
	h, err := newHandler(t.Context(), func(string) string { return "" }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, method, path, body string
		wantStatus               int
		want                     string
	}{
		{name: "eaten", body: `{"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}`, wantStatus: 200, want: `{"tacoConsumptionStatus":"Sammy Sosa has consumed 2 tacos"}`},
		{name: "no name", body: `{"tacos":["Chicken"]}`, wantStatus: 400, want: `{"error":"EatTacoRequest.Name is required","code":"invalid_argument"}`},
		{name: "empty list", body: `{"name":"Ana","tacos":[]}`, wantStatus: 400, want: `{"error":"EatTacoRequest.Tacos is required","code":"invalid_argument"}`},
		{name: "neither", body: `{}`, wantStatus: 400, want: `{"error":"EatTacoRequest.Name is required; EatTacoRequest.Tacos is required","code":"invalid_argument"}`},
		{name: "wrong verb", method: http.MethodGet, wantStatus: 405},
		{name: "unknown path", path: "/oto/TacoService.Throw", wantStatus: 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			method, path := http.MethodPost, "/oto/TacoService.EatTaco"
			if tt.method != "" {
				method = tt.method
			}
			if tt.path != "" {
				path = tt.path
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(tt.body)))
			if w.Code != tt.wantStatus || tt.want != "" && w.Body.String() != tt.want {
				t.Errorf("%s %s %s = %d %s, want %d %s", method, path, tt.body, w.Code, w.Body, tt.wantStatus, tt.want)
			}
		})
	}
}

func TestFailuresAreInTheProgramsLog(t *testing.T) {
	var log bytes.Buffer
	h, err := newHandler(t.Context(), func(string) string { return "" }, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/oto/TacoService.EatTaco", strings.NewReader("{")))
	if !strings.Contains(log.String(), "call failed") {
		t.Errorf("logged %q, want the call that failed", &log)
	}
}

func TestDefaultPort(t *testing.T) {
	if program.DefaultPort != 8080 {
		t.Errorf("default port %d, want 8080", program.DefaultPort)
	}
}

func TestHelp(t *testing.T) {
	var stderr bytes.Buffer
	if status := run(t.Context(), []string{"-h"}, func(string) string { return "" }, &stderr); status != 0 || !strings.HasPrefix(stderr.String(), "usage: tacoserver") {
		t.Errorf("run(-h) = %d, %q", status, &stderr)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	getenv := func(key string) string { return map[string]string{"PORT": "0"}[key] }
	if status := run(ctx, nil, getenv, io.Discard); status != 0 {
		t.Errorf("run with a context that is done = %d, want 0", status)
	}
}
