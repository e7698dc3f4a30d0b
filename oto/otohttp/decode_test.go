package otohttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pacedotdev/oto/otohttp"
)

// everything is a request with a field of each kind.
type everything struct {
	Text     string            `json:"text"`
	Number   int               `json:"number"`
	Small    int8              `json:"small"`
	Unsigned uint16            `json:"unsigned"`
	Natural  uint              `json:"natural"`
	Stringer fmt.Stringer      `json:"stringer"`
	Real     float64           `json:"real"`
	Yes      bool              `json:"yes"`
	Bytes    []byte            `json:"bytes"`
	List     []string          `json:"list"`
	Pair     [2]int            `json:"pair"`
	Labels   map[string]string `json:"labels"`
	Pointer  *bool             `json:"pointer"`
	When     time.Time         `json:"when"`
	Tacos    []struct {
		Filling struct {
			Count int `json:"count"`
		} `json:"filling"`
	} `json:"tacos"`
}

func TestDecodeBody(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`[`, 20_000) + strings.Repeat(`]`, 20_000)
	tests := []struct {
		name    string
		body    string
		wantErr string // what follows "request body: "; "" is a body that is accepted
	}{
		{name: "object", body: `{"text":"a"}`},
		{name: "empty object", body: `{}`},
		{name: "null", body: `null`},
		{name: "null field", body: `{"text":null,"list":null}`},
		{name: "unknown field", body: `{"txet":1,"text":"a"}`},
		{name: "other case", body: `{"TEXT":"a"}`},
		{name: "whitespace around", body: " \n{}\t\r\n"},
		{name: "empty", body: ``, wantErr: `empty, want JSON`},
		{name: "whitespace", body: " \n", wantErr: `empty, want JSON`},
		{name: "not JSON", body: `taco`, wantErr: `not JSON: invalid character 'a' in literal true (expecting 'r') (at byte 2)`},
		{name: "form", body: `text=a`, wantErr: `not JSON: invalid character 'e' in literal true (expecting 'r') (at byte 2)`},
		{name: "cut", body: `{"text":"a`, wantErr: `not JSON: unexpected end of JSON input (at byte 10)`},
		{name: "trailing object", body: `{}{}`, wantErr: `not JSON: invalid character '{' after top-level value (at byte 3)`},
		{name: "trailing bracket", body: `{}]`, wantErr: `not JSON: invalid character ']' after top-level value (at byte 3)`},
		{name: "deep", body: deep, wantErr: `not JSON: invalid character '[' exceeded max depth (at byte 10001)`},
		{name: "array for the request", body: `[]`, wantErr: `want object, got array (at byte 1)`},
		{name: "string for the request", body: `"a"`, wantErr: `want object, got string (at byte 3)`},
		{name: "number for string", body: `{"text":1}`, wantErr: `text: want string, got number (at byte 9)`},
		{name: "string for integer", body: `{"number":"1"}`, wantErr: `number: want integer, got string (at byte 13)`},
		{name: "fraction for integer", body: `{"number":1.5}`, wantErr: `number: want integer, got number 1.5 (at byte 13)`},
		{name: "integer too large", body: `{"small":300}`, wantErr: `small: want integer of 8 bits, got number 300 (at byte 12)`},
		{name: "negative", body: `{"unsigned":-1}`, wantErr: `unsigned: want integer of 16 bits not below 0, got number -1 (at byte 14)`},
		{name: "negative natural", body: `{"natural":-1}`, wantErr: `natural: want integer not below 0, got number -1 (at byte 13)`},
		{name: "interface", body: `{"stringer":"a"}`, wantErr: `stringer: want fmt.Stringer, got string (at byte 15)`},
		{name: "very long number", body: `{"number":` + strings.Repeat("1", 100_000) + `}`,
			wantErr: `number: want integer, got number ` + strings.Repeat("1", 193) + `… (at byte 100010)`},
		{name: "bool for number", body: `{"real":true}`, wantErr: `real: want number, got bool (at byte 12)`},
		{name: "string for bool", body: `{"yes":"true"}`, wantErr: `yes: want bool, got string (at byte 13)`},
		{name: "string for pointer", body: `{"pointer":"true"}`, wantErr: `pointer: want bool, got string (at byte 17)`},
		{name: "array for bytes", body: `{"bytes":1}`, wantErr: `bytes: want string of base64, got number (at byte 10)`},
		{name: "bytes not base64", body: `{"bytes":"?"}`, wantErr: `illegal base64 data at input byte 0`},
		{name: "string for list", body: `{"list":"Chicken"}`, wantErr: `list: want array, got string (at byte 17)`},
		{name: "number in list", body: `{"list":["a",1]}`, wantErr: `list: want string, got number (at byte 14)`},
		{name: "string for array", body: `{"pair":"a"}`, wantErr: `pair: want array, got string (at byte 11)`},
		{name: "array for map", body: `{"labels":[]}`, wantErr: `labels: want object, got array (at byte 11)`},
		{name: "string for time", body: `{"when":"noon"}`,
			wantErr: `parsing time "noon" as "2006-01-02T15:04:05Z07:00": cannot parse "noon" as "2006"`},
		{name: "nested", body: `{"tacos":[{"filling":{"count":"two"}}]}`,
			wantErr: `tacos.filling.count: want integer, got string (at byte 35)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var v everything
			err := otohttp.Decode(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body)), &v)
			if tt.wantErr == "" {
				if err != nil {
					t.Errorf("Decode(%q) = %v", tt.body, err)
				}
				return
			}
			wantError(t, err, otohttp.InvalidArgument, http.StatusBadRequest, "request body: "+tt.wantErr)
		})
	}
}

// wantError compares the code, the status and the message of the Error in err.
func wantError(t *testing.T, err error, code otohttp.Code, status int, message string) {
	t.Helper()
	e, ok := errors.AsType[*otohttp.Error](err)
	if !ok {
		t.Fatalf("error = %v, want an otohttp.Error", err)
	}
	if e.Code != code || e.HTTPStatus() != status || e.Message != message {
		t.Errorf("error = %s, %d, %s\nwant    %s, %d, %s", e.Code, e.HTTPStatus(), e.Message, code, status, message)
	}
}

func TestDecodeErrorKeepsTheOneOfJSON(t *testing.T) {
	t.Parallel()
	var v everything
	err := otohttp.Decode(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"text":1}`)), &v)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok || e.Field != "text" {
		t.Errorf("Decode = %v, want a json.UnmarshalTypeError in its tree", err)
	}
	err = otohttp.Decode(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{`)), &v)
	if _, ok := errors.AsType[*json.SyntaxError](err); !ok {
		t.Errorf("Decode = %v, want a json.SyntaxError in its tree", err)
	}
}

func TestDecodeIntoWhatCannotBe(t *testing.T) {
	t.Parallel()
	for _, v := range []any{nil, everything{}, (*everything)(nil)} {
		err := otohttp.Decode(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{}`)), v)
		wantError(t, err, otohttp.Internal, 500, "decode request")
	}
}

// careless decodes itself, and says nothing of the type that it wants.
type careless struct{}

func (*careless) UnmarshalJSON([]byte) error { return &json.UnmarshalTypeError{Value: "taco"} }

func TestDecodeIntoWhatDecodesItself(t *testing.T) {
	t.Parallel()
	err := otohttp.Decode(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{}`)), new(careless))
	wantError(t, err, otohttp.InvalidArgument, 400, "request body: want another type, got taco (at byte 0)")
}

func TestDecodeWithoutBody(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]io.ReadCloser{"nil": nil, "NoBody": http.NoBody} {
		r := httptest.NewRequest(http.MethodPost, "/oto/TacoService.EatTaco", nil)
		r.Body = body
		recorder := httptest.NewRecorder()
		server := tacoServer(eatTaco)
		server.MaxBodyBytes = 10
		server.ServeHTTP(recorder, r)
		if recorder.Code != 400 || !strings.Contains(recorder.Body.String(), "empty") {
			t.Errorf("body %s: answer = %d %s, want 400", name, recorder.Code, recorder.Body)
		}
	}
}

func TestDecodeContentType(t *testing.T) {
	t.Parallel()
	tests := []struct {
		contentType string
		accepted    bool
	}{
		{"", true},
		{"application/json", true},
		{"application/json; charset=utf-8", true},
		{"application/json;charset=latin1;a=b", true},
		{"Application/JSON", true},
		{" application/json ; charset", true},
		{"text/plain", true},
		{"text/plain;charset=UTF-8", true},
		{"TEXT/PLAIN", true},
		{"application/vnd.taco+json", true},
		{"application/problem+JSON; v=1", true},
		{"; charset=utf-8", true},
		{"+json", false},
		{"application/jsonp", false},
		{"application/x-www-form-urlencoded", false},
		{"multipart/form-data; boundary=x", false},
		{"text/html", false},
		{"application/xml; a=application/json", false},
		{"json", false},
	}
	url := listen(t, tacoServer(eatTaco)) + "/oto/TacoService.EatTaco"
	for _, tt := range tests {
		t.Run(tt.contentType, func(t *testing.T) {
			t.Parallel()
			got := do(t, url, request{header: map[string]string{"Content-Type": tt.contentType}, body: sammy})
			if tt.accepted {
				wantReply(t, got, http.StatusOK, sammySays)
				return
			}
			wantReply(t, got, http.StatusUnsupportedMediaType, fmt.Sprintf(
				`{"error":"request body: Content-Type is \"%s\", want application/json","code":"invalid_argument"}`, tt.contentType))
		})
	}
}

func TestDecodeContentEncoding(t *testing.T) {
	t.Parallel()
	packed := zip(t, sammy)
	const bad = `{"error":"request body: %s","code":"invalid_argument"}`
	unsupported := func(coding string) string {
		return fmt.Sprintf(bad, `Content-Encoding is \"`+coding+`\", want gzip or none`)
	}
	tests := []struct {
		name       string
		coding     string
		body       string
		wantStatus int
		wantBody   string
	}{
		{name: "gzip", coding: "gzip", body: packed, wantStatus: 200, wantBody: sammySays},
		{name: "other case", coding: "GZip", body: packed, wantStatus: 200, wantBody: sammySays},
		{name: "x-gzip", coding: "x-gzip", body: packed, wantStatus: 200, wantBody: sammySays},
		{name: "two members", coding: "gzip", body: zip(t, sammy[:10]) + zip(t, sammy[10:]), wantStatus: 200, wantBody: sammySays},
		{name: "identity", coding: "identity", body: sammy, wantStatus: 200, wantBody: sammySays},
		{name: "gzip and identity", coding: "gzip, identity", body: packed, wantStatus: 200, wantBody: sammySays},
		{name: "gzip twice", coding: "gzip, gzip", body: zip(t, packed), wantStatus: 415, wantBody: unsupported("gzip, gzip")},
		{name: "br", coding: "br", body: sammy, wantStatus: 415, wantBody: unsupported("br")},
		{name: "deflate", coding: "deflate, gzip", body: packed, wantStatus: 415, wantBody: unsupported("deflate, gzip")},
		{name: "not packed", coding: "gzip", body: sammy, wantStatus: 400, wantBody: fmt.Sprintf(bad, "unpack: gzip: invalid header")},
		{name: "header alone", coding: "gzip", body: packed[:5], wantStatus: 400, wantBody: fmt.Sprintf(bad, "unpack: unexpected EOF")},
		{name: "cut", coding: "gzip", body: packed[:len(packed)-9], wantStatus: 400, wantBody: fmt.Sprintf(bad, "unpack: unexpected EOF")},
		{name: "wrong checksum", coding: "gzip", body: packed[:len(packed)-8] + "\xff\xff" + packed[len(packed)-6:],
			wantStatus: 400, wantBody: fmt.Sprintf(bad, "unpack: gzip: invalid checksum")},
		{name: "garbage inside", coding: "gzip", body: packed[:10] + "\xff\xff\xff" + packed[13:],
			wantStatus: 400, wantBody: fmt.Sprintf(bad, "unpack: flate: corrupt input before offset 1")},
		{name: "garbage after", coding: "gzip", body: packed + "0123456789", wantStatus: 400, wantBody: fmt.Sprintf(bad, "unpack: gzip: invalid header")},
		{name: "empty", coding: "gzip", body: "", wantStatus: 400, wantBody: fmt.Sprintf(bad, "empty, want JSON")},
		{name: "empty inside", coding: "gzip", body: zip(t, ""), wantStatus: 400, wantBody: fmt.Sprintf(bad, "empty, want JSON")},
	}
	url := listen(t, tacoServer(eatTaco)) + "/oto/TacoService.EatTaco"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := do(t, url, request{header: map[string]string{"Content-Encoding": tt.coding}, body: tt.body})
			wantReply(t, got, tt.wantStatus, tt.wantBody)
			wantAccept := ""
			if tt.wantStatus == http.StatusUnsupportedMediaType {
				wantAccept = "gzip"
			}
			if accept := got.header.Get("Accept-Encoding"); accept != wantAccept {
				t.Errorf("Accept-Encoding = %q, want %q", accept, wantAccept)
			}
		})
	}
}

// ofLength is a request body of n bytes.
func ofLength(n int) string {
	const around = `{"name":""}`
	return `{"name":"` + strings.Repeat("x", n-len(around)) + `"}`
}

func TestDecodeLimit(t *testing.T) {
	t.Parallel()
	const limit = 5000
	tooLong := fmt.Sprintf(`{"error":"request body: longer than %d bytes","code":"resource_exhausted"}`, limit)
	server := tacoServer(eatTaco)
	server.MaxBodyBytes = limit
	// Handlers may put readers of theirs around the body: the limit holds.
	server.Register("TacoService", "Wrapped", func(w http.ResponseWriter, r *http.Request) {
		r.Body = io.NopCloser(iotest.OneByteReader(r.Body))
		if err := otohttp.Decode(r, new(eatTacoRequest)); err != nil {
			server.OnErr(w, r, err)
			return
		}
		_ = otohttp.Encode(w, r, http.StatusOK, nil)
	})
	url := listen(t, server) + "/oto/TacoService."
	for _, method := range []string{"EatTaco", "Wrapped"} {
		for _, sent := range []string{"length", "chunks", "gzip"} {
			for size, wantStatus := range map[int]int{limit - 1: 200, limit: 200, limit + 1: 413, 4 * limit: 413} {
				t.Run(fmt.Sprint(method, "/", sent, "/", size), func(t *testing.T) {
					t.Parallel()
					body := ofLength(size)
					if sent == "gzip" {
						body = zip(t, body)
					}
					var reader io.Reader = strings.NewReader(body)
					if sent == "chunks" {
						reader = struct{ io.Reader }{reader} // of no known length
					}
					r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+method, reader)
					if err != nil {
						t.Fatal(err)
					}
					if sent == "gzip" {
						r.Header.Set("Content-Encoding", "gzip")
					}
					response, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					defer response.Body.Close()
					answer, err := io.ReadAll(response.Body)
					if err != nil {
						t.Fatal(err)
					}
					if response.StatusCode != wantStatus || wantStatus == 413 && string(answer) != tooLong {
						t.Errorf("answer = %d %s, want %d", response.StatusCode, abbreviated(string(answer)), wantStatus)
					}
				})
			}
		}
	}
}

func TestDecodeDefaultLimit(t *testing.T) {
	t.Parallel()
	// What is read but is not JSON from its second byte on fails fast.
	decode := func(size int) error {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("{", size)))
		return otohttp.Decode(r, new(struct{}))
	}
	wantError(t, decode(32<<20), otohttp.InvalidArgument, 400,
		"request body: not JSON: invalid character '{' looking for beginning of object key string (at byte 2)")
	wantError(t, decode(32<<20+1), otohttp.ResourceExhausted, 413, "request body: longer than 33554432 bytes")
}

// A body may be packed so that next to nothing comes out: the limit holds for
// what is sent, too.
func TestDecodeDefaultLimitOfWhatIsSent(t *testing.T) {
	t.Parallel()
	var empty bytes.Buffer
	w := gzip.NewWriter(&empty)
	w.Extra = make([]byte, math.MaxUint16)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	members := strings.Repeat(empty.String(), otohttp.DefaultMaxBodyBytes/empty.Len()+1)
	r := httptest.NewRequest(http.MethodPost, "/", struct{ io.Reader }{strings.NewReader(members + zip(t, "{}"))})
	r.Header.Set("Content-Encoding", "gzip")
	if err := otohttp.Decode(r, new(eatTacoRequest)); otohttp.CodeOf(err) != otohttp.ResourceExhausted {
		t.Errorf("Decode of %d bytes packed: %v, want %s", len(members), err, otohttp.ResourceExhausted)
	}
}

func TestServerWithoutLimit(t *testing.T) {
	t.Parallel()
	server := tacoServer(eatTaco)
	server.MaxBodyBytes = -1
	for _, header := range []map[string]string{nil, {"Content-Encoding": "gzip"}} {
		body := strings.Repeat("{", 33<<20)
		if header != nil {
			body = strings.Repeat(zip(t, body[:1<<20]), 33)
		}
		r := httptest.NewRequest(http.MethodPost, "/oto/TacoService.EatTaco", strings.NewReader(body))
		for name, value := range header {
			r.Header.Set(name, value)
		}
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, r)
		if recorder.Code != http.StatusBadRequest { // read, and not JSON
			t.Errorf("%v: answer = %d %s, want 400", header, recorder.Code, abbreviated(recorder.Body.String()))
		}
	}
}

// A limit of a handler around the Server is answered with 413 as well.
func TestDecodeLimitAround(t *testing.T) {
	t.Parallel()
	url := listen(t, http.MaxBytesHandler(tacoServer(eatTaco), 100)) + "/oto/TacoService.EatTaco"
	wantReply(t, do(t, url, request{body: ofLength(101)}), 413,
		`{"error":"request body: longer than 100 bytes","code":"resource_exhausted"}`)
}

// Not parallel: it measures what is allocated.
func TestDecodeMemory(t *testing.T) {
	tests := []struct {
		name   string
		length int64
		coding string
		body   string
		most   uint64 // bytes
	}{
		{name: "length that is not kept", length: 32 << 20, body: `{}`, most: 1 << 20},
		{name: "length beyond the limit", length: 1 << 40, body: `{}`, most: 1 << 20},
		{name: "gzip bomb", length: -1, coding: "gzip", body: strings.Repeat(zip(t, strings.Repeat(" ", 1<<20)), 1<<10), most: 64 << 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body))
			r.ContentLength = tt.length
			r.Header.Set("Content-Encoding", tt.coding)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := otohttp.Decode(r, new(everything))
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > tt.most {
				t.Errorf("Decode took %d bytes of memory, want at most %d", took, tt.most)
			}
			if tt.name != "length that is not kept" {
				wantError(t, err, otohttp.ResourceExhausted, 413, "request body: longer than 33554432 bytes")
			}
		})
	}
}

func TestDecodeReadErrors(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancelLate := context.WithDeadline(context.Background(), time.Time{})
	t.Cleanup(cancelLate)
	typed := otohttp.Errorf(otohttp.PermissionDenied, "the signature is wrong")
	tests := []struct {
		name        string
		ctx         context.Context
		err         error
		wantCode    otohttp.Code
		wantStatus  int
		wantMessage string
	}{
		{name: "cut", err: io.ErrUnexpectedEOF, wantCode: otohttp.InvalidArgument, wantStatus: 400, wantMessage: "request body: ends before its length"},
		{name: "timeout", err: &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, wantCode: otohttp.DeadlineExceeded, wantStatus: 408, wantMessage: "request body: not read in time"},
		{name: "deadline around", ctx: late, err: http.ErrBodyReadAfterClose, wantCode: otohttp.DeadlineExceeded, wantStatus: 408, wantMessage: "request body: not read in time"},
		{name: "gone", ctx: cancelled, err: net.ErrClosed, wantCode: otohttp.Canceled, wantStatus: 499, wantMessage: "request body: the client has gone"},
		{name: "typed", err: typed, wantCode: otohttp.PermissionDenied, wantStatus: 403, wantMessage: "the signature is wrong"},
		{name: "other", err: errors.New("read tcp 10.0.0.1:80: secret"), wantCode: otohttp.InvalidArgument, wantStatus: 400, wantMessage: "request body: not readable"},
	}
	for _, tt := range tests {
		for _, coding := range []string{"identity", "gzip"} {
			t.Run(tt.name+"/"+coding, func(t *testing.T) {
				t.Parallel()
				start := sammy
				if coding == "gzip" {
					start = zip(t, sammy)[:20]
				}
				r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader(start), iotest.ErrReader(tt.err)))
				if tt.ctx != nil {
					r = r.WithContext(tt.ctx)
				}
				r.Header.Set("Content-Encoding", coding)
				err := otohttp.Decode(r, new(eatTacoRequest))
				wantError(t, err, tt.wantCode, tt.wantStatus, tt.wantMessage)
				if !errors.Is(err, tt.err) {
					t.Errorf("errors.Is(%v, %v) = false", err, tt.err)
				}
			})
		}
	}
}

// raw opens a connection to the server at url and sends text as it is.
func raw(t *testing.T, url, text string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestClientGoesAwayMidBody(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"length":       "Content-Length: 100\r\n\r\n{\"name\":",
		"chunks":       "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"name\":\r\n",
		"broken chunk": "Transfer-Encoding: chunked\r\n\r\nzzz\r\n",
	}
	for name, rest := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			called := false
			server := tacoServer(func(context.Context, eatTacoRequest) (*eatTacoResponse, error) {
				called = true
				return nil, nil
			})
			log := logTo(server)
			failed := make(chan error, 1)
			answer := server.OnErr
			server.OnErr = func(w http.ResponseWriter, r *http.Request, err error) {
				answer(w, r, err)
				failed <- err
			}
			conn := raw(t, listen(t, server), "POST /oto/TacoService.EatTaco HTTP/1.1\r\nHost: tacos\r\n"+rest)
			conn.Close()
			err := <-failed
			if e, ok := errors.AsType[*otohttp.Error](err); !ok || e.HTTPStatus() >= 500 {
				t.Errorf("OnErr got %v, want an error of the client's", err)
			}
			if called || log.String() != "" {
				t.Errorf("called = %t, log = %q, want neither", called, log)
			}
		})
	}
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	server := tacoServer(eatTaco)
	conn := raw(t, listen(t, server), fmt.Sprintf("POST /oto/TacoService.EatTaco HTTP/1.0\r\nContent-Length: %d\r\n\r\n", len(sammy)))
	for i := range len(sammy) {
		if _, err := io.WriteString(conn, sammy[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasSuffix(answer, []byte("\r\n\r\n"+sammySays)) {
		t.Errorf("answer = %q, %v, want %s", answer, err, sammySays)
	}
}

func TestBodyNotSentInTime(t *testing.T) {
	t.Parallel()
	server := tacoServer(eatTaco)
	server.Register("TacoService", "Late", func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
		server.OnErr(w, r, otohttp.Decode(r, new(eatTacoRequest)))
	})
	conn := raw(t, listen(t, server), "POST /oto/TacoService.Late HTTP/1.1\r\nHost: tacos\r\nContent-Length: 100\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 408 ")) || !bytes.Contains(answer, []byte(`"code":"deadline_exceeded"`)) {
		t.Errorf("answer = %q, %v, want 408 and code deadline_exceeded", answer, err)
	}
}

// A body that is refused for its length is refused before it is sent.
func TestTooLongIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{0, 1 << 20} {
		server := tacoServer(eatTaco)
		server.MaxBodyBytes = limit
		conn := raw(t, listen(t, server), "POST /oto/TacoService.EatTaco HTTP/1.1\r\nHost: tacos\r\nContent-Length: 99999999\r\n\r\n")
		start := make([]byte, len("HTTP/1.1 413 "))
		if _, err := io.ReadFull(conn, start); err != nil || string(start) != "HTTP/1.1 413 " {
			t.Errorf("limit %d: answer starts %q, %v, want 413", limit, start, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, body := range []string{sammy, ``, `null`, `{}{}`, `{"tacos":[1]}`, `{"name":`, "\xff", `[[[[`} {
		f.Add(body, "", "application/json")
		f.Add(zip(f, body), "gzip", "")
	}
	const limit = 4096
	f.Fuzz(func(t *testing.T, body, coding, contentType string) {
		var failure error
		server := &otohttp.Server{MaxBodyBytes: limit}
		var got eatTacoRequest
		server.Register("TacoService", "EatTaco", func(_ http.ResponseWriter, r *http.Request) { failure = otohttp.Decode(r, &got) })
		r := httptest.NewRequest(http.MethodPost, "/oto/TacoService.EatTaco", strings.NewReader(body))
		r.Header = http.Header{"Content-Encoding": {coding}, "Content-Type": {contentType}}
		server.ServeHTTP(httptest.NewRecorder(), r)

		if failure != nil {
			e, ok := errors.AsType[*otohttp.Error](failure)
			if !ok || e.HTTPStatus() < 400 || e.HTTPStatus() > 499 || e.Message == "" {
				t.Errorf("Decode = %v, want an Error of the client's", failure)
			}
		}
		if coding == "" && contentType == "" {
			var want eatTacoRequest
			wantErr := json.Unmarshal([]byte(body), &want)
			if len(body) > limit {
				wantErr = errors.New("too long")
			}
			if (failure == nil) != (wantErr == nil) {
				t.Errorf("Decode(%q) = %v, encoding/json says %v", body, failure, wantErr)
			}
			if failure == nil && !reflect.DeepEqual(got, want) {
				t.Errorf("Decode(%q) into %+v, encoding/json into %+v", body, got, want)
			}
		}
	})
}
