package otohttp_test

import (
	"context"
	"errors"
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

func TestServerRoutes(t *testing.T) {
	t.Parallel()
	const (
		notFound   = "404 page not found\n"
		notAllowed = `{"error":"%s /oto/TacoService.EatTaco: method not allowed, want POST","code":"unimplemented"}`
	)
	tests := []struct {
		name       string
		method     string
		path       string
		wantStatus int
		wantBody   string
	}{
		{name: "known", path: "/oto/TacoService.EatTaco", wantStatus: 200, wantBody: sammySays},
		{name: "query", path: "/oto/TacoService.EatTaco?a=/b", wantStatus: 200, wantBody: sammySays},
		{name: "escaped", path: "/oto/TacoService%2eEatTaco", wantStatus: 200, wantBody: sammySays},
		{name: "GET", method: "GET", path: "/oto/TacoService.EatTaco", wantStatus: 405, wantBody: fmt.Sprintf(notAllowed, "GET")},
		{name: "HEAD", method: "HEAD", path: "/oto/TacoService.EatTaco", wantStatus: 405},
		{name: "OPTIONS", method: "OPTIONS", path: "/oto/TacoService.EatTaco", wantStatus: 405, wantBody: fmt.Sprintf(notAllowed, "OPTIONS")},
		{name: "PUT", method: "PUT", path: "/oto/TacoService.EatTaco", wantStatus: 405, wantBody: fmt.Sprintf(notAllowed, "PUT")},
		{name: "lower case post", method: "post", path: "/oto/TacoService.EatTaco", wantStatus: 405, wantBody: fmt.Sprintf(notAllowed, "post")},
		{name: "unknown method of the service", path: "/oto/TacoService.Drink", wantStatus: 404, wantBody: notFound},
		{name: "GET of an unknown route", method: "GET", path: "/oto/TacoService.Drink", wantStatus: 404, wantBody: notFound},
		{name: "other case", path: "/oto/tacoservice.eattaco", wantStatus: 404, wantBody: notFound},
		{name: "slash after", path: "/oto/TacoService.EatTaco/", wantStatus: 404, wantBody: notFound},
		{name: "slash for dot", path: "/oto/TacoService/EatTaco", wantStatus: 404, wantBody: notFound},
		{name: "slash doubled", path: "/oto//TacoService.EatTaco", wantStatus: 404, wantBody: notFound},
		{name: "slash doubled in front", path: "//oto/TacoService.EatTaco", wantStatus: 404, wantBody: notFound},
		{name: "no base path", path: "/TacoService.EatTaco", wantStatus: 404, wantBody: notFound},
		{name: "base path run together", path: "/otoTacoService.EatTaco", wantStatus: 404, wantBody: notFound},
		{name: "base path alone", path: "/oto/", wantStatus: 404, wantBody: notFound},
		{name: "root", path: "/", wantStatus: 404, wantBody: notFound},
	}
	url := listen(t, tacoServer(eatTaco))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := do(t, url+tt.path, request{method: tt.method, body: sammy})
			wantReply(t, got, tt.wantStatus, tt.wantBody)
			wantAllow := ""
			if tt.wantStatus == http.StatusMethodNotAllowed {
				wantAllow = "POST"
			}
			if allow := got.header.Get("Allow"); allow != wantAllow {
				t.Errorf("Allow = %q, want %q", allow, wantAllow)
			}
		})
	}
}

func TestServerBasepath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		basepath string
		path     string
	}{
		{name: "default", basepath: "", path: "/oto/TacoService.EatTaco"},
		{name: "root", basepath: "/", path: "/TacoService.EatTaco"},
		{name: "both slashes", basepath: "/api/v1/", path: "/api/v1/TacoService.EatTaco"},
		{name: "no slash before", basepath: "api/v1/", path: "/api/v1/TacoService.EatTaco"},
		{name: "no slash after", basepath: "/api/v1", path: "/api/v1/TacoService.EatTaco"},
		{name: "no slashes", basepath: "api/v1", path: "/api/v1/TacoService.EatTaco"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := tacoServer(eatTaco)
			server.Basepath = tt.basepath // after the registration
			url := listen(t, server)
			wantReply(t, do(t, url+tt.path, request{body: sammy}), http.StatusOK, sammySays)
			if tt.path != "/oto/TacoService.EatTaco" {
				got := do(t, url+"/oto/TacoService.EatTaco", request{body: sammy})
				wantReply(t, got, http.StatusNotFound, "404 page not found\n")
			}
		})
	}
}

func TestServerPathWithoutSlash(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "*", "oto/TacoService.EatTaco"} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(sammy))
		r.URL.Path = path
		recorder := httptest.NewRecorder()
		tacoServer(eatTaco).ServeHTTP(recorder, r)
		if recorder.Code != http.StatusNotFound {
			t.Errorf("path %q: status = %d, want 404", path, recorder.Code)
		}
	}
}

func TestServerZero(t *testing.T) {
	t.Parallel()
	server := &otohttp.Server{Logger: slog.New(slog.DiscardHandler)}
	url := listen(t, server)
	wantReply(t, do(t, url+"/oto/TacoService.EatTaco", request{body: sammy}), 404, "404 page not found\n")

	otohttp.Handle(server, "TacoService", "EatTaco", eatTaco)
	wantReply(t, do(t, url+"/oto/TacoService.EatTaco", request{body: sammy}), 200, sammySays)

	// As the original's generated code does it: by the field.
	server.Register("TacoService", "Fail", func(w http.ResponseWriter, r *http.Request) {
		server.OnErr(w, r, errors.New("no more tacos"))
	})
	wantReply(t, do(t, url+"/oto/TacoService.Fail", request{body: sammy}), 500, `{"error":"no more tacos"}`)
}

func TestServerWithoutOnErr(t *testing.T) {
	t.Parallel()
	server := tacoServer(func(context.Context, eatTacoRequest) (*eatTacoResponse, error) {
		return nil, errors.New("no more tacos")
	})
	server.OnErr = nil
	wantReply(t, do(t, listen(t, server)+"/oto/TacoService.EatTaco", request{body: sammy}), 500, `{"error":"no more tacos"}`)
}

func TestNewServer(t *testing.T) {
	t.Parallel()
	server := otohttp.NewServer()
	if server.Basepath != "/oto/" || server.NotFound == nil || server.OnErr == nil {
		t.Errorf("NewServer() = %+v, want every field set", server)
	}
}

func TestServerNotFound(t *testing.T) {
	t.Parallel()
	server := tacoServer(eatTaco)
	server.NotFound = http.RedirectHandler("/docs", http.StatusSeeOther)
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/oto/", nil))
	if got := recorder.Header().Get("Location"); got != "/docs" {
		t.Errorf("Location = %q, want /docs", got)
	}
}

func TestServerRegisterAgain(t *testing.T) {
	t.Parallel()
	server := tacoServer(eatTaco)
	server.Register("TacoService", "EatTaco", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "second")
	})
	wantReply(t, do(t, listen(t, server)+"/oto/TacoService.EatTaco", request{}), 200, "second")
}

func TestServerRegisterNil(t *testing.T) {
	t.Parallel()
	defer func() {
		if got, want := fmt.Sprint(recover()), "otohttp: register TacoService.EatTaco: nil handler"; got != want {
			t.Errorf("Register panicked with %q, want %q", got, want)
		}
	}()
	new(otohttp.Server).Register("TacoService", "EatTaco", nil)
}

func TestServerRegisterWhileServing(t *testing.T) {
	t.Parallel()
	const routes = 50
	server := &otohttp.Server{Logger: slog.New(slog.DiscardHandler)}
	url := listen(t, server)
	var group sync.WaitGroup
	for i := range routes {
		registered := make(chan struct{})
		method := fmt.Sprint("Eat", i)
		group.Go(func() {
			server.Register("TacoService", method, func(w http.ResponseWriter, r *http.Request) {
				server.OnErr(w, r, otohttp.Errorf(otohttp.NotFound, "%s", method))
			})
			close(registered)
		})
		group.Go(func() {
			// Before, meanwhile or after: either of the two answers.
			got := do(t, url+"/oto/TacoService."+method, request{})
			if got.status != http.StatusNotFound {
				t.Errorf("%s: status = %d, want 404", method, got.status)
			}
			<-registered
			got = do(t, url+"/oto/TacoService."+method, request{})
			wantReply(t, got, 404, fmt.Sprintf(`{"error":%q,"code":"not_found"}`, method))
		})
	}
	group.Wait()
}

// The original's generated handlers decode, call and encode as this does.
func TestServerWithHandlersOfTheOriginal(t *testing.T) {
	t.Parallel()
	server := otohttp.NewServer()
	var seen error
	server.OnErr = func(w http.ResponseWriter, r *http.Request, err error) {
		seen = err
		_ = otohttp.WriteError(w, r, err)
	}
	server.Register("TacoService", "EatTaco", func(w http.ResponseWriter, r *http.Request) {
		var request eatTacoRequest
		if err := otohttp.Decode(r, &request); err != nil {
			server.OnErr(w, r, err)
			return
		}
		response, err := eatTaco(r.Context(), request)
		if err != nil {
			server.OnErr(w, r, err)
			return
		}
		if err := otohttp.Encode(w, r, http.StatusOK, response); err != nil {
			server.OnErr(w, r, err)
			return
		}
	})
	url := listen(t, server) + "/oto/TacoService.EatTaco"
	wantReply(t, do(t, url, request{body: sammy}), 200, sammySays)
	wantReply(t, do(t, url, request{}), 400, `{"error":"request body: empty, want JSON","code":"invalid_argument"}`)
	if otohttp.CodeOf(seen) != otohttp.InvalidArgument {
		t.Errorf("OnErr got %v, want the error of Decode", seen)
	}
}

func TestServerContextEndsWithTheClient(t *testing.T) {
	t.Parallel()
	entered, failed := make(chan struct{}), make(chan error, 1)
	server := tacoServer(func(ctx context.Context, _ eatTacoRequest) (*eatTacoResponse, error) {
		close(entered)
		<-ctx.Done()
		return nil, fmt.Errorf("eat: %w", ctx.Err())
	})
	answer := server.OnErr
	server.OnErr = func(w http.ResponseWriter, r *http.Request, err error) {
		answer(w, r, err)
		failed <- err
	}
	url := listen(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/oto/TacoService.EatTaco", strings.NewReader(sammy))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(r); !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v, want context.Canceled", err)
	}
	if err := <-failed; otohttp.CodeOf(err) != otohttp.Canceled {
		t.Errorf("OnErr got %v, want code canceled", err)
	}
}
