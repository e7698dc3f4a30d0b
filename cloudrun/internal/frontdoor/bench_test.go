package frontdoor_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/frontdoor"
)

// BenchmarkBesidePlainProxy measures the front door, checking an identity token
// each time, and a plain ReverseProxy to the same app, in turns: "ratio" is the
// door's rate over the proxy's, the median of the turns.
func BenchmarkBesidePlainProxy(b *testing.B) {
	for _, app := range []struct {
		name string
		size int
	}{{"small answer", 31}, {"64 kB answer", 64 << 10}} {
		b.Run(app.name, func(b *testing.B) {
			body := make([]byte, app.size)
			w := newWorld(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				w.Write(body)
			}), func(_ *world, cfg *frontdoor.Config) { cfg.OnRequest = nil })
			target, err := url.Parse(w.backend.app.URL)
			if err != nil {
				b.Fatal(err)
			}
			plain := &http.Server{Handler: &httputil.ReverseProxy{
				Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(target); p.SetXForwarded() },
				Transport: &http.Transport{MaxIdleConnsPerHost: 1000},
			}}
			l := listen(b)
			go plain.Serve(l)
			defer plain.Close()

			auth := "Bearer " + w.token(b, w.invoker.Principal, numberURL)
			const workers, round = 8, 400
			tr := &http.Transport{MaxIdleConnsPerHost: workers}
			defer tr.CloseIdleConnections()
			run := func(l net.Listener) time.Duration {
				start := time.Now()
				var wg sync.WaitGroup
				for range workers {
					wg.Go(func() {
						for range round / workers {
							req, _ := http.NewRequest("GET", "http://"+l.Addr().String()+"/", nil)
							req.Host = "tacoserver.localhost"
							req.Header.Set("Authorization", auth)
							resp, err := tr.RoundTrip(req)
							if err != nil {
								b.Error(err)
								return
							}
							io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
							if resp.StatusCode != 200 {
								b.Error(resp.Status)
							}
						}
					})
				}
				wg.Wait()
				return time.Since(start)
			}
			run(l)
			run(w.plain)
			var door, proxy time.Duration
			var ratios []float64
			for b.Loop() {
				var p, d time.Duration
				if len(ratios)%2 == 0 {
					p, d = run(l), run(w.plain)
				} else {
					d, p = run(w.plain), run(l)
				}
				proxy, door = proxy+p, door+d
				ratios = append(ratios, p.Seconds()/d.Seconds())
			}
			slices.Sort(ratios)
			n := float64(len(ratios) * round)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(n/door.Seconds(), "door-req/s")
			b.ReportMetric(n/proxy.Seconds(), "proxy-req/s")
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
		})
	}
}
