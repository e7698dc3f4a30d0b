package proxy_test

import (
	"io"
	"net/http"
	"testing"
)

// BenchmarkRequest is a small request through the proxy, app and service in the
// same process; for profiles. bench/runsd measures.
func BenchmarkRequest(b *testing.B) {
	for name, o := range map[string][]option{"h2": nil, "http1": {http1}} {
		b.Run(name, func(b *testing.B) {
			bed := newBed(b, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }, o...)
			bed.quiet()
			b.ReportAllocs()
			for b.Loop() {
				resp, err := bed.app.Get("http://hello/")
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}
