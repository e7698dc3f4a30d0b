package otohttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/pacedotdev/oto/otohttp"
)

// encoder answers every request with status and v.
func encoder(status int, v any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := otohttp.Encode(w, r, status, v); err != nil {
			_ = otohttp.WriteError(w, r, err)
		}
	}
}

func TestEncodeValues(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		v    any
		want string
	}{
		{name: "nil", v: nil, want: `null`},
		{name: "nil pointer", v: (*eatTacoResponse)(nil), want: `null`},
		{name: "nil slice", v: []string(nil), want: `null`},
		{name: "empty slice", v: []string{}, want: `[]`},
		{name: "struct", v: eatTacoResponse{"done"}, want: `{"tacoConsumptionStatus":"done"}`},
		{name: "HTML", v: "<a href='?b&c'>", want: `"\u003ca href='?b\u0026c'\u003e"`},
		{name: "line separators", v: "\u2028\u2029", want: `"\u2028\u2029"`},
		{name: "raw", v: json.RawMessage("{ \"a\" : 1 }\n"), want: `{"a":1}`},
		{name: "newline in a string", v: "a\n", want: `"a\n"`},
		{name: "large number", v: int64(math.MaxInt64), want: `9223372036854775807`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := do(t, listen(t, encoder(http.StatusOK, tt.v)), request{})
			wantReply(t, got, http.StatusOK, tt.want)
			for name, want := range map[string]string{
				"Content-Type": "application/json; charset=utf-8", "Content-Length": strconv.Itoa(len(tt.want)),
				"Content-Encoding": "", "Vary": "",
			} {
				if value := got.header.Get(name); value != want {
					t.Errorf("%s = %q, want %q", name, value, want)
				}
			}
		})
	}
}

func TestEncodeGzip(t *testing.T) {
	t.Parallel()
	const from = 1024 // the size from which on answers are packed
	sizes := []int{from - 1, from, from + 1, 2047, 2048, 100_000}
	accepts := map[string]bool{"": false, "identity": false, "gzip;q=0": false, "br": false, "gzip": true, "br, *;q=0.1": true}
	for _, size := range sizes {
		v := strings.Repeat("x", size-len(`""`))
		url := listen(t, encoder(http.StatusCreated, v))
		for accept, accepted := range accepts {
			t.Run(fmt.Sprintf("%d %s", size, accept), func(t *testing.T) {
				t.Parallel()
				req := request{header: map[string]string{}}
				if accept != "" {
					req.header["Accept-Encoding"] = accept
				}
				got := do(t, url, req)
				wantEncoding, wantVary := "", ""
				if size >= from {
					wantVary = "Accept-Encoding"
					if accepted {
						wantEncoding = "gzip"
					}
				}
				body := got.body
				if wantEncoding == "gzip" {
					body = unzip(t, body)
				}
				wantReply(t, reply{got.status, got.header, body}, http.StatusCreated, strconv.Quote(v))
				if encoding := got.header.Get("Content-Encoding"); encoding != wantEncoding {
					t.Errorf("Content-Encoding = %q, want %q", encoding, wantEncoding)
				}
				if vary := got.header.Get("Vary"); vary != wantVary {
					t.Errorf("Vary = %q, want %q", vary, wantVary)
				}
				if length := got.header.Get("Content-Length"); length != strconv.Itoa(len(got.body)) {
					t.Errorf("Content-Length = %q, want %d", length, len(got.body))
				}
			})
		}
	}
}

func TestEncodeGzipOfErrors(t *testing.T) {
	t.Parallel()
	message := strings.Repeat("x", 2000)
	url := listen(t, tacoServer(func(context.Context, eatTacoRequest) (*eatTacoResponse, error) {
		return nil, otohttp.Errorf(otohttp.NotFound, "%s", message)
	}))
	got := do(t, url+"/oto/TacoService.EatTaco", request{header: map[string]string{"Accept-Encoding": "gzip"}, body: sammy})
	got.body = unzip(t, got.body)
	wantReply(t, got, 404, `{"error":"`+message+`","code":"not_found"}`)
}

func TestEncodeKeepsHeaders(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		header       http.Header
		wantVary     []string
		wantEncoding []string
	}{
		{name: "no Vary", wantVary: []string{"Accept-Encoding"}, wantEncoding: []string{"gzip"}},
		{name: "other Vary", header: http.Header{"Vary": {"Origin"}}, wantVary: []string{"Origin", "Accept-Encoding"}, wantEncoding: []string{"gzip"}},
		{name: "same Vary", header: http.Header{"Vary": {"Origin, accept-encoding"}}, wantVary: []string{"Origin, accept-encoding"}, wantEncoding: []string{"gzip"}},
		{name: "Vary on all", header: http.Header{"Vary": {"*"}}, wantVary: []string{"*"}, wantEncoding: []string{"gzip"}},
		{name: "Content-Encoding of another's", header: http.Header{"Content-Encoding": {"br"}}, wantEncoding: []string{"br"}},
		{name: "wrong Content-Type and Content-Length", header: http.Header{"Content-Type": {"text/html"}, "Content-Length": {"7"}},
			wantVary: []string{"Accept-Encoding"}, wantEncoding: []string{"gzip"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				maps.Copy(w.Header(), tt.header)
				encoder(http.StatusOK, strings.Repeat("x", 5000))(w, r)
			}))
			got := do(t, url, request{header: map[string]string{"Accept-Encoding": "gzip"}})
			if vary := got.header["Vary"]; fmt.Sprint(vary) != fmt.Sprint(tt.wantVary) {
				t.Errorf("Vary = %q, want %q", vary, tt.wantVary)
			}
			if encoding := got.header["Content-Encoding"]; fmt.Sprint(encoding) != fmt.Sprint(tt.wantEncoding) {
				t.Errorf("Content-Encoding = %q, want %q", encoding, tt.wantEncoding)
			}
			if got, want := got.header.Get("Content-Type"), "application/json; charset=utf-8"; got != want {
				t.Errorf("Content-Type = %q, want %q", got, want)
			}
		})
	}
}

func TestEncodeWithoutBody(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNoContent, http.StatusResetContent, http.StatusNotModified} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			failed := make(chan error, 1)
			url := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				failed <- otohttp.Encode(w, r, status, strings.Repeat("x", 5000))
			}))
			got := do(t, url, request{header: map[string]string{"Accept-Encoding": "gzip"}})
			wantReply(t, got, status, "")
			if err := <-failed; err != nil {
				t.Errorf("Encode = %v", err)
			}
			for _, name := range []string{"Content-Type", "Content-Encoding"} {
				if value := got.header.Get(name); value != "" {
					t.Errorf("%s = %q, want none", name, value)
				}
			}
		})
	}
}

func TestEncodeHead(t *testing.T) {
	t.Parallel()
	for size, wantVary := range map[int]string{100: "", 5000: "Accept-Encoding"} {
		recorder := httptest.NewRecorder()
		encoder(http.StatusOK, strings.Repeat("x", size-2))(recorder, httptest.NewRequest(http.MethodHead, "/", nil))
		header := recorder.Result().Header
		if recorder.Body.Len() != 0 || header.Get("Content-Length") != strconv.Itoa(size) || header.Get("Vary") != wantVary {
			t.Errorf("HEAD of %d bytes: %d bytes, header %v", size, recorder.Body.Len(), header)
		}
	}
}

func TestEncodeWhatCannotBe(t *testing.T) {
	t.Parallel()
	// The first of its fields could be sent; none of it may be.
	type half struct {
		Padding string   `json:"padding"`
		Channel chan int `json:"channel"`
	}
	server := tacoServer(eatTaco)
	log := logTo(server)
	otohttp.Handle(server, "TacoService", "Half", func(context.Context, eatTacoRequest) (*half, error) {
		return &half{Padding: strings.Repeat("x", 10_000)}, nil
	})
	got := do(t, listen(t, server)+"/oto/TacoService.Half", request{header: map[string]string{"Accept-Encoding": "gzip"}, body: sammy})
	wantReply(t, got, 500, `{"error":"encode response","code":"internal"}`)
	if want := "json: unsupported type: chan int"; !strings.Contains(log.String(), want) {
		t.Errorf("log = %q, want %q", log, want)
	}

	err := otohttp.Encode(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil), 200, math.NaN())
	if _, ok := errors.AsType[*json.UnsupportedValueError](err); !ok {
		t.Errorf("Encode(NaN) = %v, want a json.UnsupportedValueError in its tree", err)
	}
}

func TestEncodeWithWrongStatus(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, 99, 1000, -1} {
		recorder := httptest.NewRecorder()
		err := otohttp.Encode(recorder, httptest.NewRequest(http.MethodPost, "/", nil), status, nil)
		if want := fmt.Sprintf("encode response: HTTP status %d, want 100 to 999", status); err == nil || err.Error() != want {
			t.Errorf("Encode with status %d = %v, want %s", status, err, want)
		}
		if recorder.Body.Len() != 0 {
			t.Errorf("Encode with status %d wrote %q", status, recorder.Body)
		}
	}
}

// brokenWriter is a ResponseWriter whose client has gone.
type brokenWriter struct {
	http.ResponseWriter
	writes int
}

func (w *brokenWriter) Write([]byte) (int, error) {
	w.writes++
	return 0, io.ErrClosedPipe
}

func TestEncodeToClientThatHasGone(t *testing.T) {
	t.Parallel()
	server := tacoServer(eatTaco)
	log := logTo(server)
	var seen error
	answer := server.OnErr
	server.OnErr = func(w http.ResponseWriter, r *http.Request, err error) {
		seen = err
		answer(w, r, err)
	}
	recorder := httptest.NewRecorder()
	w := &brokenWriter{ResponseWriter: recorder}
	server.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/oto/TacoService.EatTaco", strings.NewReader(sammy)))
	if otohttp.CodeOf(seen) != otohttp.Canceled || !errors.Is(seen, io.ErrClosedPipe) {
		t.Errorf("OnErr got %v, want code canceled and the error of Write", seen)
	}
	if recorder.Code != http.StatusOK || w.writes != 1 || log.String() != "" {
		t.Errorf("status %d, %d writes, log %q; want 200, one and none", recorder.Code, w.writes, log)
	}
}

func TestErrorsToClientThatHasGone(t *testing.T) {
	t.Parallel()
	server := tacoServer(func(context.Context, eatTacoRequest) (*eatTacoResponse, error) {
		return nil, errors.New("no more tacos")
	})
	log := new(logBuffer)
	server.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for method, want := range map[string]string{
		http.MethodPost: `level=ERROR msg="otohttp: call failed"`,
		http.MethodGet:  `level=DEBUG msg="otohttp: answer not sent"`,
	} {
		w := &brokenWriter{ResponseWriter: httptest.NewRecorder()}
		server.ServeHTTP(w, httptest.NewRequest(method, "/oto/TacoService.EatTaco", strings.NewReader(sammy)))
		if w.writes != 1 || !strings.Contains(log.String(), want) {
			t.Errorf("%s: %d writes, log %q; want one and %s", method, w.writes, log, want)
		}
	}
}
