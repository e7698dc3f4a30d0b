package otohttp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pacedotdev/oto/otohttp"
)

// discard is a ResponseWriter that costs nothing, so that what is measured is
// this package and the codec.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// body is a request's body that is read again and again.
type body struct{ strings.Reader }

func (*body) Close() error { return nil }

func benchmark(b *testing.B, server *otohttp.Server, text, acceptEncoding string) {
	var in body
	r := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/oto/TacoService.EatTaco"}, Body: &in, ContentLength: int64(len(text)),
		Header: http.Header{"Content-Type": {"application/json"}, "Accept-Encoding": {acceptEncoding}},
	}
	w := &discard{http.Header{}}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(text)
		clear(w.header)
		server.ServeHTTP(w, r)
	}
}

// manyTacos is a request with 1,000 strings, about 20 KB.
func manyTacos() string {
	tacos := make([]string, 1000)
	for i := range tacos {
		tacos[i] = fmt.Sprintf(`"Chicken taco %04d"`, i)
	}
	return `{"name":"Sammy Sosa","tacos":[` + strings.Join(tacos, ",") + `]}`
}

// echo answers with the request.
func echo() *otohttp.Server {
	server := otohttp.NewServer()
	otohttp.Handle(server, "TacoService", "EatTaco", func(_ context.Context, request eatTacoRequest) (*eatTacoRequest, error) {
		return &request, nil
	})
	return server
}

func BenchmarkSmall(b *testing.B) { benchmark(b, tacoServer(eatTaco), sammy, "gzip") }

// BenchmarkSmallNoCodec is what is left of BenchmarkSmall without JSON: a handler
// that reads the body and writes a constant.
func BenchmarkSmallNoCodec(b *testing.B) {
	server := otohttp.NewServer()
	server.Register("TacoService", "EatTaco", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, sammySays)
	})
	benchmark(b, server, sammy, "gzip")
}

func BenchmarkSmallWithLimit(b *testing.B) {
	server := tacoServer(eatTaco)
	server.MaxBodyBytes = 1 << 20
	benchmark(b, server, sammy, "gzip")
}

func BenchmarkThousandIn(b *testing.B)      { benchmark(b, tacoServer(eatTaco), manyTacos(), "gzip") }
func BenchmarkThousandInOut(b *testing.B)   { benchmark(b, echo(), manyTacos(), "identity") }
func BenchmarkThousandOutGzip(b *testing.B) { benchmark(b, echo(), manyTacos(), "gzip") }

func BenchmarkEncodeGzip(b *testing.B) {
	r := &http.Request{Method: http.MethodPost, Header: http.Header{"Accept-Encoding": {"gzip, deflate, br"}}}
	w := &discard{http.Header{}}
	v := strings.Repeat("Chicken, Chorizo; ", 1100)
	b.SetBytes(int64(len(v)))
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		if err := otohttp.Encode(w, r, http.StatusOK, v); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkListener goes through net/http and the loopback.
func BenchmarkListener(b *testing.B) {
	target := listen(b, tacoServer(eatTaco)) + "/oto/TacoService.EatTaco"
	for b.Loop() {
		if got := do(b, target, request{body: sammy}); got.status != http.StatusOK {
			b.Fatal(got.status)
		}
	}
}
