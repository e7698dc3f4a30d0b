package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/selfsigned"
	"github.com/amammay/otorun/bench/internal/work"
)

// The hops hand on to BENCH_NEXT, a URL. Each is httputil's proxy or net/http's
// client with what costs nothing to set right: enough idle connections, and a
// pool of buffers.

// door ends TLS, and hands on over HTTP/1.1, with the headers that say where the
// request is from: a front door without its rules. It writes its certificate to
// BENCH_CERT.
func door(ln net.Listener, _ work.Size) error {
	cert, pem, err := selfsigned.New("127.0.0.1")
	if err != nil {
		return err
	}
	if err := os.WriteFile(os.Getenv("BENCH_CERT"), pem, 0o600); err != nil {
		return err
	}
	handler, err := reverse(&http.Transport{MaxIdleConnsPerHost: 1000, DisableCompression: true}, (*httputil.ProxyRequest).SetXForwarded)
	if err != nil {
		return err
	}
	s := &http.Server{
		Handler:   handler,
		ErrorLog:  log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
	}
	return s.ServeTLS(ln, "", "")
}

// proxy hands on over TLS, with the token BENCH_TOKEN: what stands for runsd.
func proxy(ln net.Listener, _ work.Size) error {
	roots, err := os.ReadFile(os.Getenv("BENCH_CA"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	token := []string{"Bearer " + os.Getenv("BENCH_TOKEN")}
	handler, err := reverse(&http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 1000, DisableCompression: true,
	}, func(r *httputil.ProxyRequest) { r.Out.Header["Authorization"] = token })
	if err != nil {
		return err
	}
	return http.Serve(ln, handler)
}

func reverse(transport *http.Transport, change func(*httputil.ProxyRequest)) (*httputil.ReverseProxy, error) {
	next, err := url.Parse(os.Getenv("BENCH_NEXT"))
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(next)
			change(r)
		},
		Transport:  transport,
		BufferPool: new(pool),
	}, nil
}

// pool lends what httputil copies with.
type pool struct{ sync.Pool }

func (p *pool) Get() []byte {
	if b, ok := p.Pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (p *pool) Put(b []byte) { p.Pool.Put(&b) }

// front asks next to eat, something else each time: what stands for tacoclient.
func front(ln net.Listener, size work.Size) error {
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1000, DisableCompression: true}}
	next := os.Getenv("BENCH_NEXT") + work.Wires["floor"].Path
	size.Tacos = []string{size.Tacos[0], "TACO"}
	begin, end, _ := bytes.Cut(size.JSON(), []byte("TACO"))
	var n atomic.Int64
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := strconv.AppendInt(bytes.Clone(begin), n.Add(1), 10)
		answer, err := client.Post(next, "application/json", bytes.NewReader(append(body, end...)))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		io.Copy(w, answer.Body)
	}))
}

// probe is the floor as a service of Cloud Run: what it is asked is answered with a
// constant, and GET /?to=URL&c=CALLERS&millis= makes it measure, as a client, what it
// sees from inside its container.
func probe() {
	size, err := work.SizeOf("small")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	constant := handler(size)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			constant.ServeHTTP(w, r)
			return
		}
		callers, _ := strconv.Atoi(r.FormValue("c"))
		millis, _ := strconv.Atoi(r.FormValue("millis"))
		if callers < 1 || millis < 1 {
			http.Error(w, "want ?to=URL&c=CALLERS&millis=MILLISECONDS", http.StatusBadRequest)
			return
		}
		call, err := client(contender.Options{To: r.FormValue("to"), Callers: callers, Size: size})
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		json.NewEncoder(w).Encode(contender.Measure(call, callers, contender.Order{Millis: millis}))
	})
	if err := http.ListenAndServe(":"+os.Getenv("PORT"), handler); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
