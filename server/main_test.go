package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/amammay/otorun/generated/server"
	"github.com/amammay/otorun/server/internal/eaters"
)

// service is the service with a store of its own.
func service(t *testing.T) tacoService {
	t.Helper()
	s, err := openStore(env("TACO_DB", filepath.Join(t.TempDir(), "tacos.db")), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return tacoService{s}
}

func TestEatTaco(t *testing.T) {
	long := strings.Repeat("🌮", 100)
	s := service(t)
	for _, tt := range []struct {
		name    string
		request server.EatTacoRequest
		want    string
		wantErr string
	}{
		{name: "two tacos", request: server.EatTacoRequest{Name: "Sammy Sosa", Tacos: []string{"Chicken", "Chorizo"}}, want: "Sammy Sosa has consumed 2 tacos"},
		{name: "the same again", request: server.EatTacoRequest{Name: "Sammy Sosa", Tacos: []string{"Chicken", "Chorizo"}}, want: "Sammy Sosa has consumed 2 tacos"},
		{name: "one taco", request: server.EatTacoRequest{Name: "Ana", Tacos: []string{"Carnitas"}}, want: "Ana has consumed 1 tacos"},
		{name: "a thousand tacos", request: server.EatTacoRequest{Name: "Ana", Tacos: make([]string, 1000)}, want: "Ana has consumed 1000 tacos"},
		{name: "a name that looks like a format", request: server.EatTacoRequest{Name: "%d 100%", Tacos: []string{"a"}}, want: "%d 100% has consumed 1 tacos"},
		{name: "a name with space around it", request: server.EatTacoRequest{Name: " \t Ana B\u00a0\n", Tacos: []string{"a"}}, want: "Ana B has consumed 1 tacos"},
		{name: "a name of 100 characters", request: server.EatTacoRequest{Name: long, Tacos: []string{long}}, want: long + " has consumed 1 tacos"},
		{name: "an emoji of several parts", request: server.EatTacoRequest{Name: "👩‍👩‍👧‍👦", Tacos: []string{"a"}}, want: "👩‍👩‍👧‍👦 has consumed 1 tacos"},
		{name: "a name of space", request: server.EatTacoRequest{Name: " \n", Tacos: []string{"a"}}, wantErr: "EatTacoRequest.Name is required"},
		{name: "a name too long", request: server.EatTacoRequest{Name: long + "x", Tacos: []string{"a"}}, wantErr: "EatTacoRequest.Name has 101 characters, at most 100 are allowed"},
		{name: "a control character", request: server.EatTacoRequest{Name: "Ana\nEva", Tacos: []string{"a"}}, wantErr: "EatTacoRequest.Name has a control character, U+000A, which is not allowed"},
		{name: "a control character of two bytes", request: server.EatTacoRequest{Name: "Ana\u0085Eva", Tacos: []string{"a"}}, wantErr: "EatTacoRequest.Name has a control character, U+0085, which is not allowed"},
		{name: "a taco too long", request: server.EatTacoRequest{Name: "Ana", Tacos: []string{"a", long + "x"}}, wantErr: "EatTacoRequest.Tacos[1] has 101 characters, at most 100 are allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			response, err := s.EatTaco(t.Context(), tt.request)
			if tt.wantErr != "" {
				if err == nil || err.Error() != tt.wantErr || otohttp.CodeOf(err) != otohttp.InvalidArgument {
					t.Errorf("EatTaco(%+v) = %v (%v), want %s (invalid_argument)", tt.request, err, otohttp.CodeOf(err), tt.wantErr)
				}
				return
			}
			if err != nil || response.TacoConsumptionStatus != tt.want {
				t.Errorf("EatTaco(%+v) = %+v, %v, want %q", tt.request, response, err, tt.want)
			}
		})
	}
	response, err := s.ListEaters(t.Context(), server.ListEatersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range response.Eaters {
		got = append(got, e.Name)
	}
	// What was refused has changed nothing.
	if want := []string{"Ana", "Sammy Sosa", "%d 100%", "Ana B", long, "👩‍👩‍👧‍👦"}; !slices.Equal(got, want) {
		t.Errorf("eaters %q, want %q", got, want)
	}
}

func TestListEaters(t *testing.T) {
	s := service(t)
	for i := range 15 {
		if _, err := s.EatTaco(t.Context(), server.EatTacoRequest{Name: fmt.Sprintf("eater %02d", i), Tacos: make([]string, 20-i)}); err != nil {
			t.Fatal(err)
		}
	}
	page := func(limit int, token string) *server.ListEatersResponse {
		t.Helper()
		response, err := s.ListEaters(t.Context(), server.ListEatersRequest{Limit: limit, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	first := page(0, "")
	if len(first.Eaters) != 10 || first.NextPageToken == "" {
		t.Fatalf("%d eaters, token %q, want 10 and one", len(first.Eaters), first.NextPageToken)
	}
	e := first.Eaters[0]
	if e.Name != "eater 00" || e.Count != 20 || len(e.Tacos) != 20 || time.Since(e.LastMeal) > time.Minute || e.LastMeal.Location() != time.UTC {
		t.Errorf("first eater %+v", e)
	}
	rest := page(100, first.NextPageToken)
	if len(rest.Eaters) != 5 || rest.NextPageToken != "" || rest.Eaters[0].Name != "eater 10" {
		t.Errorf("second page %+v", rest)
	}
	if exact := page(15, ""); len(exact.Eaters) != 15 || exact.NextPageToken != "" {
		t.Errorf("a page of all: %d eaters, token %q", len(exact.Eaters), exact.NextPageToken)
	}
	if past := page(1, tokenOf(eaters.RankOf(1, "z"))); past.Eaters == nil || len(past.Eaters) != 0 {
		t.Errorf("past the end: %+v", past)
	}
	for _, tt := range []struct {
		request server.ListEatersRequest
		want    string
	}{
		{server.ListEatersRequest{PageToken: "!"}, "ListEatersRequest.PageToken is not a NextPageToken of ListEaters"},
		{server.ListEatersRequest{PageToken: "YQ"}, "ListEatersRequest.PageToken is not a NextPageToken of ListEaters"},
		{server.ListEatersRequest{PageToken: tokenOf("2147483645\xff")}, "ListEatersRequest.PageToken is not a NextPageToken of ListEaters"},
	} {
		_, err := s.ListEaters(t.Context(), tt.request)
		if err == nil || err.Error() != tt.want || otohttp.CodeOf(err) != otohttp.InvalidArgument {
			t.Errorf("ListEaters(%+v): %v, want %s", tt.request, err, tt.want)
		}
	}
}

// Those who have eaten the most there is fill pages that Cloud Run would not let
// through: they get smaller ones.
func TestListOfLargeEaters(t *testing.T) {
	s := service(t)
	tacos := slices.Repeat([]string{strings.Repeat("🌮", 100)}, 1000)
	const n = 30
	for i := range n {
		if _, err := s.EatTaco(t.Context(), server.EatTacoRequest{Name: fmt.Sprint(i), Tacos: tacos}); err != nil {
			t.Fatal(err)
		}
	}
	seen, pages, token := 0, 0, ""
	for {
		response, err := s.ListEaters(t.Context(), server.ListEatersRequest{Limit: 100, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(response)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > maxPageBytes+1<<20 {
			t.Errorf("a page of %d bytes", len(text))
		}
		seen += len(response.Eaters)
		pages++
		if token = response.NextPageToken; token == "" {
			break
		}
	}
	if seen != n || pages < 2 {
		t.Errorf("%d eaters on %d pages, want %d on several", seen, pages, n)
	}
}

// A failing store fails all calls with err.
type failingStore struct{ err error }

func (s failingStore) Put(context.Context, string, []string) error { return s.err }

func (s failingStore) List(context.Context, eaters.Rank, int) iter.Seq2[eaters.Eater, error] {
	return func(yield func(eaters.Eater, error) bool) {
		if yield(eaters.Eater{Name: "Ana"}, nil) {
			yield(eaters.Eater{}, s.err)
		}
	}
}

func TestFailingStore(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want otohttp.Code
	}{
		{err: fmt.Errorf("%w: no route", eaters.ErrUnavailable), want: otohttp.Unavailable},
		{err: fmt.Errorf("slow: %w", context.DeadlineExceeded), want: otohttp.DeadlineExceeded},
		{err: fmt.Errorf("gone: %w", context.Canceled), want: otohttp.Canceled},
		{err: &os.PathError{Op: "write", Path: "secret", Err: syscall.ENOSPC}, want: otohttp.ResourceExhausted},
		{err: errors.New("secret"), want: otohttp.Internal},
	} {
		s := tacoService{failingStore{tt.err}}
		_, eat := s.EatTaco(t.Context(), server.EatTacoRequest{Name: "Ana", Tacos: []string{"a"}})
		response, list := s.ListEaters(t.Context(), server.ListEatersRequest{})
		if response != nil {
			t.Errorf("%v: half a list: %+v", tt.err, response)
		}
		for _, err := range []error{eat, list} {
			e, ok := errors.AsType[*otohttp.Error](err)
			if !ok || e.Code != tt.want || !errors.Is(err, tt.err) || strings.Contains(e.Message, "secret") {
				t.Errorf("%v: the caller gets %v, want %s", tt.err, err, tt.want)
			}
		}
	}
}

func TestOpenStore(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CACHE_HOME", "")
	file := filepath.Join(dir, "my", "tacos.db")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		settings []string
		file     string
		logged   string
		wantErr  string
	}{
		{name: "by default", file: filepath.Join(cache, "otorun", "tacos.db")},
		{name: "TACO_DB", settings: []string{"TACO_DB", file}, file: file},
		{name: "by name", settings: []string{"TACO_STORE", "bbolt", "TACO_DB", filepath.Join(dir, "2.db")}, file: filepath.Join(dir, "2.db")},
		{name: "on Cloud Run", settings: []string{"K_SERVICE", "tacoserver"}, file: filepath.Join(dir, "tacos.db"), logged: "goes with it: set TACO_STORE=firestore"},
		{name: "Firestore", settings: []string{"TACO_STORE", "firestore", "GOOGLE_CLOUD_PROJECT", "p"}, logged: "in Firestore"},
		{name: "no such", settings: []string{"TACO_STORE", "mysql"}, wantErr: `TACO_STORE="mysql" is no store: set it to bbolt or firestore`},
		{name: "a folder", settings: []string{"TACO_DB", dir}, wantErr: "open " + dir + ": "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			s, err := openStore(env(tt.settings...), slog.New(slog.NewTextHandler(&log, nil)))
			if tt.wantErr != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.wantErr) {
					t.Errorf("openStore: %v, want %s", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s.(io.Closer).Close()
			if tt.file != "" {
				if _, err := os.Stat(tt.file); err != nil {
					t.Error(err)
				}
			}
			if !strings.Contains(log.String(), tt.logged) || strings.Contains(log.String(), "WARN") != (tt.name == "on Cloud Run") {
				t.Errorf("logged %q, want %q", &log, tt.logged)
			}
		})
	}
}

func TestOnTheWire(t *testing.T) {
	h, err := newHandler(t.Context(), env("TACO_DB", filepath.Join(t.TempDir(), "tacos.db")), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, method, path, body string
		wantStatus               int
		want                     string
	}{
		{name: "nobody yet", path: "/oto/TacoService.ListEaters", body: `{}`, wantStatus: 200, want: `{"eaters":[],"nextPageToken":""}`},
		{name: "eaten", body: `{"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}`, wantStatus: 200, want: `{"tacoConsumptionStatus":"Sammy Sosa has consumed 2 tacos"}`},
		{name: "listed", path: "/oto/TacoService.ListEaters", body: `{"limit":1}`, wantStatus: 200},
		{name: "a limit too high", path: "/oto/TacoService.ListEaters", body: `{"limit":101}`, wantStatus: 400, want: `{"error":"ListEatersRequest.Limit must be at most 100","code":"invalid_argument"}`},
		{name: "a limit below 0", path: "/oto/TacoService.ListEaters", body: `{"limit":-1}`, wantStatus: 400, want: `{"error":"ListEatersRequest.Limit must be at least 0","code":"invalid_argument"}`},
		{name: "too many tacos", body: `{"name":"Ana","tacos":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`, wantStatus: 400, want: `{"error":"EatTacoRequest.Tacos has 1001 tacos, at most 1000 are allowed","code":"invalid_argument"}`},
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
	h, err := newHandler(t.Context(), env("TACO_DB", filepath.Join(t.TempDir(), "tacos.db")), slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
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
	getenv := env("PORT", "0", "TACO_DB", filepath.Join(t.TempDir(), "tacos.db"))
	if status := run(ctx, nil, getenv, io.Discard); status != 0 {
		t.Errorf("run with a context that is done = %d, want 0", status)
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
