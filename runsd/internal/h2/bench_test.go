package h2_test

import (
	"io"
	"net/http"
	"testing"
)

// BenchmarkBodies measures large bodies, 32 MiB each way, beside net/http's client.
func BenchmarkBodies(b *testing.B) {
	const size = 32 << 20
	s, c := startDoor(b, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			io.Copy(io.Discard, r.Body)
			return
		}
		piece := make([]byte, 32<<10)
		for range size / len(piece) {
			w.Write(piece)
		}
	})
	for name, roundTrip := range map[string]func(*http.Request) (*http.Response, error){
		"h2": func(r *http.Request) (*http.Response, error) {
			c.Reserve()
			return c.RoundTrip(r, nil)
		},
		"net/http": s.Client().Transport.RoundTrip,
	} {
		for _, method := range []string{"GET", "PUT"} {
			b.Run(method+"/"+name, func(b *testing.B) {
				b.SetBytes(size)
				for b.Loop() {
					req, _ := http.NewRequestWithContext(b.Context(), method, s.URL, nil)
					if method == "PUT" {
						req.Body, req.ContentLength = io.NopCloser(io.LimitReader(zeros{}, size)), size
					}
					resp, err := roundTrip(req)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						b.Fatal(err)
					}
					resp.Body.Close()
				}
			})
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
