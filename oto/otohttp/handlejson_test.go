package otohttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pacedotdev/oto/otohttp"
	"github.com/pacedotdev/oto/otojson"
)

// Code for JSON as oto generates it.

var eatTacoRequestKeys = []string{"name", "tacos"}

func decodeEatTacoRequest(d *otojson.Decoder, r *eatTacoRequest) {
	for more := d.Object(); more; more = d.MoreMembers() {
		switch d.Key(eatTacoRequestKeys) {
		case "name":
			d.String(&r.Name)
		case "tacos":
			d.Strings(&r.Tacos)
		default:
			d.Skip()
		}
	}
}

func encodeEatTacoRequest(e *otojson.Encoder, r *eatTacoRequest) {
	e.Object()
	e.Key(`"name":`)
	e.String(r.Name)
	e.Key(`"tacos":`)
	e.Strings(r.Tacos)
	e.EndObject()
}

// generatedServer returns a quiet server with TacoService.Echo.
func generatedServer(call func(context.Context, eatTacoRequest) (*eatTacoRequest, error)) *otohttp.Server {
	server := otohttp.NewServer()
	server.Logger = slog.New(slog.DiscardHandler)
	otohttp.HandleJSON(server, "TacoService", "Echo", decodeEatTacoRequest, nil, encodeEatTacoRequest, call)
	return server
}

// With generated code every call is answered as without: the same status, headers
// and body, whatever is sent.
func TestHandleJSONAnswersAsHandle(t *testing.T) {
	t.Parallel()
	call := func(_ context.Context, request eatTacoRequest) (*eatTacoRequest, error) {
		switch request.Name {
		case "nobody":
			return nil, nil
		case "denied":
			return nil, otohttp.Errorf(otohttp.PermissionDenied, "not %s", request.Name)
		case "plain":
			return nil, errors.New("plain")
		case "panic":
			panic("for the test")
		}
		return &request, nil
	}
	byHand := otohttp.NewServer()
	byHand.Logger = slog.New(slog.DiscardHandler)
	otohttp.Handle(byHand, "TacoService", "Echo", call)
	generated := generatedServer(call)
	byHand.MaxBodyBytes, generated.MaxBodyBytes = 1<<20, 1<<20
	urls := []string{listen(t, byHand), listen(t, generated)}

	long := `{"name":"` + strings.Repeat("a <b> ä", 30_000) + `","tacos":["x"]}`
	tooLong := `{"name":"` + strings.Repeat("x", 2<<20) + `"}`
	packed := map[string]string{"Content-Encoding": "gzip"}
	accepts := map[string]string{"Accept-Encoding": "gzip"}
	for name, req := range map[string]request{
		"small":                    {body: sammy},
		"null":                     {body: `null`},
		"null fields":              {body: `{"name":null,"tacos":null}`},
		"other case, unknown":      {body: ` {"NAME":"x","what":[{"a":1}],"tacos":[]} `},
		"escapes":                  {body: `{"name":"\u00e4\ud83c\udf2e\"","tacos":["<&>","` + "\xff" + `"]}`},
		"twice":                    {body: `{"tacos":["a","b"],"tacos":["c"]}`},
		"empty":                    {body: ``},
		"white space":              {body: " \n"},
		"not JSON":                 {body: `{"name":"x",}`},
		"cut":                      {body: `{"name":"x`},
		"wrong type":               {body: `{"name":["x"]}`},
		"wrong type inside":        {body: `{"tacos":["x",1]}`},
		"more behind":              {body: `{} {}`},
		"type of the body":         {body: sammy, header: map[string]string{"Content-Type": "text/html"}},
		"coding of the body":       {body: sammy, header: map[string]string{"Content-Encoding": "br"}},
		"packed":                   {body: zip(t, sammy), header: packed},
		"packed, long":             {body: zip(t, long), header: packed},
		"said to be packed":        {body: sammy, header: packed},
		"long":                     {body: long},
		"long, answered packed":    {body: long, header: accepts},
		"long and wrong":           {body: long[:len(long)-1]},
		"too long":                 {body: tooLong},
		"too long unpacked":        {body: zip(t, tooLong), header: packed},
		"nil answer":               {body: `{"name":"nobody"}`},
		"error":                    {body: `{"name":"denied"}`},
		"plain error":              {body: `{"name":"plain"}`},
		"panic":                    {body: `{"name":"panic"}`},
		"another method than POST": {method: http.MethodPut, body: sammy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := do(t, urls[0]+"/oto/TacoService.Echo", req)
			got := do(t, urls[1]+"/oto/TacoService.Echo", req)
			want.header.Del("Date")
			got.header.Del("Date")
			if !reflect.DeepEqual(got, want) {
				t.Errorf("answer = %d %v %s\nwant     %d %v %s", got.status, got.header, abbreviated(got.body), want.status, want.header, abbreviated(want.body))
			}
		})
	}
}

// A long body that ends before its length is refused, with a length and without.
func TestHandleJSONBodyCutOff(t *testing.T) {
	t.Parallel()
	var failed error
	server := generatedServer(func(_ context.Context, request eatTacoRequest) (*eatTacoRequest, error) {
		t.Errorf("called with %d tacos", len(request.Tacos))
		return nil, nil
	})
	server.OnErr = func(w http.ResponseWriter, r *http.Request, err error) { failed = err }
	for _, length := range []int64{-1, 200_000} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/oto/TacoService.Echo",
			io.MultiReader(strings.NewReader(`{"name":"`+strings.Repeat("x", 150_000)), errReader{}))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = length
		failed = nil
		server.ServeHTTP(&discard{http.Header{}}, r)
		wantError(t, failed, otohttp.InvalidArgument, http.StatusBadRequest, "request body: ends before its length")
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A call's memory is the next call's, of whatever kind and however it ended; nothing
// of the one is seen in the other.
func TestHandleJSONCallsShareNothing(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	kept := make(map[string]eatTacoRequest) // as a service may, by what was sent
	url := listen(t, generatedServer(func(_ context.Context, request eatTacoRequest) (*eatTacoRequest, error) {
		switch request.Name {
		case "denied":
			return &request, otohttp.Errorf(otohttp.PermissionDenied, "not %s", request.Name)
		case "panic":
			panic("for the test")
		}
		mu.Lock()
		defer mu.Unlock()
		kept[fmt.Sprint(request)] = request
		return &request, nil
	})) + "/oto/TacoService.Echo"
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for i := range 30 {
				name := fmt.Sprintf("caller %d, %d", caller, i)
				own := `{"name":"` + name + `","tacos":["` + strings.Repeat(name, i*i*10+1) + `"]}`
				for _, c := range []struct {
					body, want string
					status     int
				}{
					{own, own, 200},
					{`{}`, `{"name":"","tacos":null}`, 200},
					{`{"name":"` + name + `"}`, `{"name":"` + name + `","tacos":null}`, 200},
					{`{"name":"denied"}`, `{"error":"not denied","code":"permission_denied"}`, 403},
					{`{"name":"panic"}`, `{"error":"internal error","code":"internal"}`, 500},
					{`{"tacos":["` + name + `",1]}`, `{"error":"request body: tacos: want string, got number (at byte ` + strconv.Itoa(len(`{"tacos":["`+name+`",1`)) + `)","code":"invalid_argument"}`, 400},
					{`null`, `{"name":"","tacos":null}`, 200},
				} {
					if got := do(t, url, request{body: c.body}); got.status != c.status || got.body != c.want {
						t.Errorf("%s is answered with %d %s, want %d %s", abbreviated(c.body), got.status, abbreviated(got.body), c.status, abbreviated(c.want))
					}
				}
			}
		})
	}
	callers.Wait()
	for as, request := range kept {
		if now := fmt.Sprint(request); now != as {
			t.Errorf("what the service kept has become %s, from %s", abbreviated(now), abbreviated(as))
		}
	}
	if want := 8*30*2 + 1; len(kept) != want {
		t.Errorf("%d different requests were answered, want %d", len(kept), want)
	}
}

// ownPointer is a type whose UnmarshalJSON leaves a pointer into itself.
type ownPointer struct {
	text [16]byte
	part []byte
}

func (p *ownPointer) UnmarshalJSON(b []byte) error {
	p.part = append(p.text[:0], b[1:len(b)-1]...)
	return nil
}

// A request with such a type is the service's to keep, as any other.
func TestRequestsWithPointersIntoThemselves(t *testing.T) {
	t.Parallel()
	type order struct{ Code ownPointer }
	decode := func(d *otojson.Decoder, r *order) {
		for more := d.Object(); more; more = d.MoreMembers() {
			if d.Key([]string{"Code"}) == "Code" {
				d.Any(&r.Code)
			}
		}
	}
	unexpected := func(d *otojson.Decoder, r *order) { d.Bool(new(bool)) } // which leaves all to encoding/json
	for name, decode := range map[string]func(*otojson.Decoder, *order){"by encoding/json": nil, "by a field": decode, "given up": unexpected} {
		var kept []order
		server := otohttp.NewServer()
		otohttp.HandleJSON(server, "Orders", "Order", decode, nil, func(e *otojson.Encoder, _ *order) { e.Null() },
			func(_ context.Context, r order) (*order, error) { kept = append(kept, r); return &r, nil })
		url := listen(t, server) + "/oto/Orders.Order"
		for i := range 10 {
			if got := do(t, url, request{body: fmt.Sprintf(`{"Code":"number %d"}`, i)}); got.status != http.StatusOK {
				t.Fatalf("%s: status %d: %s", name, got.status, got.body)
			}
		}
		for i, r := range kept {
			if want := fmt.Sprintf("number %d", i); string(r.Code.part) != want {
				t.Errorf("%s: %q is kept, want %q", name, r.Code.part, want)
			}
		}
	}
}

// The strings of a request are parts of its body, unless they are to be copied.
func TestServerCopyStrings(t *testing.T) {
	t.Parallel()
	for _, copied := range []bool{false, true} {
		var kept eatTacoRequest
		server := generatedServer(func(_ context.Context, request eatTacoRequest) (*eatTacoRequest, error) {
			kept = request
			return nil, nil
		})
		server.CopyStrings = copied
		do(t, listen(t, server)+"/oto/TacoService.Echo", request{body: sammy})
		apart := reflect.ValueOf(kept.Tacos[0]).Pointer() - reflect.ValueOf(kept.Name).Pointer()
		inBody := uintptr(strings.Index(sammy, kept.Tacos[0]) - strings.Index(sammy, kept.Name))
		if (apart != inBody) != copied {
			t.Errorf("CopyStrings %t: in memory the strings are %d bytes apart, in the body %d", copied, apart, inBody)
		}
	}
}

func TestServerBasepathChangesBetweenRequests(t *testing.T) {
	t.Parallel()
	server := tacoServer(eatTaco)
	for _, base := range []string{"/oto/", "/", "", "api/v1", "/x"} {
		server.Basepath = base
		path := "/" + strings.Trim(base, "/") + "/TacoService.EatTaco"
		switch base {
		case "/":
			path = "/TacoService.EatTaco"
		case "":
			path = "/oto/TacoService.EatTaco"
		}
		w := &recorded{discard: discard{http.Header{}}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(sammy))
		if err != nil {
			t.Fatal(err)
		}
		if server.ServeHTTP(w, r); w.status != http.StatusOK {
			t.Errorf("Basepath %q: %s is answered with %d", base, path, w.status)
		}
	}
}

// recorded is an answer of which only the status counts.
type recorded struct {
	discard
	status int
}

func (r *recorded) WriteHeader(status int) { r.status = status }
