// Package templates_test holds what the templates promise of the code they make,
// by way of the committed generated/.
package templates_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/amammay/otorun/generated/client"
	"github.com/amammay/otorun/generated/server"
)

// tacoService is a service as its authors write it against oto.
type tacoService struct {
	server.TacoService // for the methods that aren't called here
	eat                func(ctx context.Context, request server.EatTacoRequest) (*server.EatTacoResponse, error)
}

func (s *tacoService) EatTaco(ctx context.Context, request server.EatTacoRequest) (*server.EatTacoResponse, error) {
	if s.eat != nil {
		return s.eat(ctx, request)
	}
	return &server.EatTacoResponse{TacoConsumptionStatus: fmt.Sprintf("%s has consumed %d tacos", request.Name, len(request.Tacos))}, nil
}

// serve starts a server of the service and returns the URL its services are below.
func serve(t *testing.T, service *tacoService) string {
	t.Helper()
	oto := otohttp.NewServer()
	server.RegisterTacoService(oto, service)
	s := httptest.NewServer(oto)
	t.Cleanup(s.Close)
	return s.URL + "/oto/"
}

var sammy = client.EatTacoRequest{Name: "Sammy Sosa", Tacos: []string{"Chicken", "Chorizo"}}

// The code in this test is written against the original oto, to the letter.
func TestCodeWrittenForTheOriginal(t *testing.T) {
	oto := otohttp.NewServer()
	server.RegisterTacoService(oto, &tacoService{})
	httpServer := httptest.NewServer(oto)
	defer httpServer.Close()

	c := client.New(httpServer.URL + "/oto/")
	var debug []string
	c.Debug = func(s string) { debug = append(debug, s) }
	tacos := client.NewTacoService(c)
	response, err := tacos.EatTaco(context.Background(), client.EatTacoRequest{
		Name:  "Sammy Sosa",
		Tacos: []string{"Chicken", "Chorizo"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "Sammy Sosa has consumed 2 tacos"; response.TacoConsumptionStatus != want {
		t.Errorf("status %q, want %q", response.TacoConsumptionStatus, want)
	}
	want := []string{
		"POST " + httpServer.URL + "/oto/TacoService.EatTaco",
		`>> {"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}`,
	}
	if strings.Join(debug, "\n") != strings.Join(want, "\n") {
		t.Errorf("debug %q, want %q", debug, want)
	}
}

func TestZeroClientAndBaseWithoutSlash(t *testing.T) {
	base := serve(t, &tacoService{})
	c := &client.Client{RemoteHost: strings.TrimSuffix(base, "/")}
	response, err := client.NewTacoService(c).EatTaco(t.Context(), sammy)
	if err != nil || response.TacoConsumptionStatus != "Sammy Sosa has consumed 2 tacos" {
		t.Errorf("EatTaco = %+v, %v", response, err)
	}
}

// wantError calls a service that must fail with an [client.Error].
func wantError(t *testing.T, service *client.TacoService) *client.Error {
	t.Helper()
	response, err := service.EatTaco(t.Context(), sammy)
	e, ok := errors.AsType[*client.Error](fmt.Errorf("wrapped: %w", err))
	if !ok || response != nil {
		t.Fatalf("EatTaco = %+v, %v, want an Error", response, err)
	}
	if e.Service != "TacoService" || e.Method != "EatTaco" {
		t.Errorf("error of %s.%s", e.Service, e.Method)
	}
	return e
}

func TestErrorOfTheService(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		status int
		code   string
		text   string
	}{
		{name: "typed", err: otohttp.Errorf(otohttp.InvalidArgument, "EatTacoRequest.Name is required"),
			status: 400, code: "invalid_argument", text: "EatTacoRequest.Name is required"},
		{name: "untyped", err: errors.New("out of salsa"), status: 500, text: "out of salsa"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := serve(t, &tacoService{eat: func(context.Context, server.EatTacoRequest) (*server.EatTacoResponse, error) {
				return nil, tt.err
			}})
			e := wantError(t, client.NewTacoService(client.New(base)))
			if e.StatusCode != tt.status || e.Code != tt.code || e.Message != tt.text || e.Error() != tt.text {
				t.Errorf("error %#v, want status %d, code %q, text %q", e, tt.status, tt.code, tt.text)
			}
		})
	}
}

func TestErrorInTheAnswer(t *testing.T) {
	base := serve(t, &tacoService{eat: func(context.Context, server.EatTacoRequest) (*server.EatTacoResponse, error) {
		return &server.EatTacoResponse{Error: "not today"}, nil
	}})
	if e := wantError(t, client.NewTacoService(client.New(base))); e.StatusCode != 200 || e.Error() != "not today" {
		t.Errorf("error %#v", e)
	}
}

func TestBeforeRequest(t *testing.T) {
	var got atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.Header.Get("Traceparent") + " " + r.Header.Get("Content-Type"))
		io.WriteString(w, "{}")
	}))
	t.Cleanup(s.Close)
	c := client.New(s.URL)
	c.BeforeRequest = func(r *http.Request) error {
		r.Header.Set("Traceparent", "00-abc")
		return nil
	}
	if _, err := client.NewTacoService(c).EatTaco(t.Context(), sammy); err != nil {
		t.Fatal(err)
	}
	if want := "00-abc application/json; charset=utf-8"; got.Load() != want {
		t.Errorf("server got %q, want %q", got.Load(), want)
	}
	refused := errors.New("refused")
	c.BeforeRequest = func(*http.Request) error { return refused }
	got.Store("nothing")
	if _, err := client.NewTacoService(c).EatTaco(t.Context(), sammy); err != refused || got.Load() != "nothing" {
		t.Errorf("EatTaco = %v after %v was sent, want the hook's own error and no request", err, got.Load())
	}
}

// countingListener counts the connections it accepts.
type countingListener struct {
	net.Listener
	accepted *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return conn, err
}

// 80 callers at once make 10,000 calls over at most 80 connections.
func TestConnectionsAreReused(t *testing.T) {
	const calls, callers = 10_000, 80
	oto := otohttp.NewServer()
	server.RegisterTacoService(oto, &tacoService{})
	s := httptest.NewUnstartedServer(oto)
	accepted := new(atomic.Int64)
	s.Listener = countingListener{s.Listener, accepted}
	s.Start()
	t.Cleanup(s.Close)
	service := client.NewTacoService(client.New(s.URL + "/oto/"))
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for next.Add(1) <= calls {
				if _, err := service.EatTaco(t.Context(), sammy); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if failed.Load() > 0 || accepted.Load() > callers {
		t.Errorf("%d calls failed, %d connections opened, want none and at most %d", failed.Load(), accepted.Load(), callers)
	}
}
