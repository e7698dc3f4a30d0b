package h2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amammay/otorun/runsd/internal/h2"
)

// door starts net/http's server of HTTP/2 and returns a connection to it.
func door(t *testing.T, cfg http.HTTP2Config, h http.HandlerFunc) *h2.Conn {
	t.Helper()
	_, c := startDoor(t, cfg, h)
	return c
}

func startDoor(t testing.TB, cfg http.HTTP2Config, h http.HandlerFunc) (*httptest.Server, *h2.Conn) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.HTTP2 = &cfg
	s.Config.MaxHeaderBytes = 1 << 20
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	nc, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := h2.NewConn(nc, h2.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

func request(ctx context.Context, method, path string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, "https://tacoserver"+path, nil)
	if err != nil {
		panic(err)
	}
	return req
}

// send is a RoundTrip for which a stream is reserved first.
func send(t *testing.T, c *h2.Conn, req *http.Request, body []byte) (*http.Response, error) {
	t.Helper()
	if !c.Reserve() {
		t.Fatal("no stream left")
	}
	return c.RoundTrip(req, body)
}

// read returns the whole of an answer's body.
func read(t *testing.T, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(b), err)
	}
	return string(b)
}

func TestRequestAsSent(t *testing.T) {
	c := door(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		keys := slices.Sorted(maps.Keys(r.Header))
		fmt.Fprintf(w, "%s %s %s %s %d %q %v", r.Method, r.Host, r.RequestURI, keys, r.ContentLength, body, err)
	})
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		body   string
		want   string
	}{
		{"bare", func(*http.Request) {}, "", `GET tacoserver /a%2Fb?q=%41 [] 0 "" <nil>`},
		{"bytes of the path", func(r *http.Request) { r.URL.Opaque = "//tacoserver//x/../%41?a;b" }, "", `GET tacoserver //x/../%41?a;b [] 0 "" <nil>`},
		{"another host", func(r *http.Request) { r.Host = "other" }, "", `GET other /a%2Fb?q=%41 [] 0 "" <nil>`},
		{"empty POST", func(r *http.Request) { r.Method = "POST" }, "", `POST tacoserver /a%2Fb?q=%41 [Content-Length] 0 "" <nil>`},
		{"body", func(r *http.Request) { r.Method = "PUT" }, "taco", `PUT tacoserver /a%2Fb?q=%41 [Content-Length] 4 "taco" <nil>`},
		{"of a connection", func(r *http.Request) {
			r.Header = http.Header{"Connection": {"x"}, "Keep-Alive": {"5"}, "Upgrade": {"y"}, "Transfer-Encoding": {"chunked"}, "Te": {"gzip"}, "Content-Length": {"7"}, "X-A": {"1", "2"}, "User-Agent": {""}}
		}, "", `GET tacoserver /a%2Fb?q=%41 [X-A] 0 "" <nil>`},
		{"te: trailers", func(r *http.Request) { r.Header.Set("Te", "trailers") }, "", `GET tacoserver /a%2Fb?q=%41 [Te] 0 "" <nil>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := request(t.Context(), "GET", "/a%2Fb?q=%41")
			tt.change(req)
			resp, err := send(t, c, req, []byte(tt.body))
			got := read(t, resp, err)
			if resp.StatusCode != 200 {
				got = fmt.Sprint(resp.StatusCode)
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	c := door(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Date"] = nil
		switch r.URL.Path {
		case "/plain":
			h.Add("Set-Cookie", "a")
			h.Add("Set-Cookie", "b")
			io.WriteString(w, "taco")
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/head":
			h.Set("Content-Length", "1000")
		case "/stream":
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			io.WriteString(w, "b")
		case "/trailers":
			h.Set("Trailer", "Grpc-Status, X-Never")
			io.WriteString(w, "body")
			h.Set("Grpc-Status", "0")
			h.Set(http.TrailerPrefix+"Unannounced", "yes")
		case "/big-header":
			h.Set("X-Big", big)
			w.WriteHeader(500)
		case "/hints":
			h.Set("Link", "x")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
			h.Del("Link")
			io.WriteString(w, "final")
		}
	})
	get := func(method, path string) (*http.Response, string) {
		t.Helper()
		resp, err := send(t, c, request(t.Context(), method, path), nil)
		return resp, read(t, resp, err)
	}
	if resp, body := get("GET", "/plain"); body != "taco" || resp.ContentLength != 4 || resp.Status != "200 OK" || resp.ProtoMajor != 2 || len(resp.Header["Set-Cookie"]) != 2 || resp.Header.Get("Content-Type") == "" {
		t.Errorf("plain: %q, %+v", body, resp)
	}
	if resp, body := get("GET", "/none"); body != "" || resp.StatusCode != 204 || resp.ContentLength != 0 {
		t.Errorf("204: %q, %+v", body, resp)
	}
	if resp, body := get("HEAD", "/head"); body != "" || resp.ContentLength != 1000 {
		t.Errorf("HEAD: %q, %+v", body, resp)
	}
	if resp, body := get("GET", "/stream"); body != "ab" || resp.ContentLength != -1 {
		t.Errorf("stream: %q, %+v", body, resp)
	}
	if resp, body := get("GET", "/trailers"); body != "body" || resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Unannounced") != "yes" || resp.Header["Trailer"] != nil {
		t.Errorf("trailers: %q, %v, header %v", body, resp.Trailer, resp.Header)
	}
	if resp, _ := get("GET", "/big-header"); resp.Header.Get("X-Big") != big || resp.StatusCode != 500 {
		t.Errorf("a header in several frames: %d bytes of %d", len(resp.Header.Get("X-Big")), len(big))
	}

	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, h.Get("Link")))
		return nil
	}})
	resp, err := send(t, c, request(ctx, "GET", "/hints"), nil)
	if body := read(t, resp, err); body != "final" || !slices.Equal(hints, []string{"103x", "102x"}) || resp.Header.Get("Link") != "" {
		t.Errorf("after %q: %q", hints, body)
	}
}

// TestBothWays: a request that streams is answered while it does, whatever its
// size; trailers follow.
func TestBothWays(t *testing.T) {
	for name, cfg := range map[string]http.HTTP2Config{
		"wide":   {},
		"narrow": {MaxReceiveBufferPerStream: 1 << 16, MaxReceiveBufferPerConnection: 1 << 16},
	} {
		t.Run(name, func(t *testing.T) {
			c := door(t, cfg, func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				buf := make([]byte, 10_000)
				for {
					n, err := r.Body.Read(buf)
					w.Write(buf[:n])
					w.(http.Flusher).Flush()
					if err != nil {
						break
					}
				}
				w.Header().Set(http.TrailerPrefix+"Said", r.Trailer.Get("Said"))
			})
			pr, pw := io.Pipe()
			req := request(t.Context(), "POST", "/")
			req.Body, req.ContentLength = pr, -1
			req.Trailer = http.Header{"Said": nil}
			resp, err := send(t, c, req, nil)
			if err == nil {
				_, err = pw.Write([]byte("ping"))
			}
			if err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 4)
			if _, err := io.ReadFull(resp.Body, buf); string(buf) != "ping" {
				t.Fatalf("%q, %v", buf, err)
			}
			sent := bytes.Repeat([]byte("0123456789"), 500_000)
			go func() {
				pw.Write(sent)
				req.Trailer["Said"] = []string{"bye"}
				pw.Close()
			}()
			if got := read(t, resp, nil); got != string(sent) {
				t.Errorf("%d bytes came back of %d", len(got), len(sent))
			}
			if got := resp.Trailer.Get("Said"); got != "bye" {
				t.Errorf("trailer %q, want bye", got)
			}
		})
	}
}

// TestBodyAtHandLargerThanTheWindow: what doesn't fit follows when it may.
func TestBodyAtHandLargerThanTheWindow(t *testing.T) {
	c := door(t, http.HTTP2Config{MaxReceiveBufferPerStream: 1 << 16}, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	resp, err := send(t, c, request(t.Context(), "POST", "/"), make([]byte, 1_000_000))
	if got := read(t, resp, err); got != "1000000 <nil>" {
		t.Error(got)
	}
}

// TestManyAtOnce: each gets its own answer.
func TestManyAtOnce(t *testing.T) {
	c := door(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Path", r.URL.Path)
		w.Write(b)
	})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			for j := range 20 {
				path := fmt.Sprintf("/%d/%d", i, j)
				if !c.Reserve() {
					t.Errorf("no stream for the %dth of 100", i)
					return
				}
				req := request(t.Context(), "POST", path)
				req.Header.Set("Traceparent", path)
				req.Header.Set("X-Some", fmt.Sprint(j))
				resp, err := c.RoundTrip(req, []byte(strings.Repeat(path, j)))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(b) != strings.Repeat(path, j) || resp.Header.Get("X-Path") != path || err != nil {
					t.Errorf("%s: %q of %s, %v", path, b, resp.Header.Get("X-Path"), err)
				}
			}
		})
	}
	wg.Wait()
	if n := c.Available(); n < 100 {
		t.Errorf("%d streams left at the end, want all", n)
	}
}

// TestSlowReader: an answer that nobody reads takes its window, and holds up no
// other.
func TestSlowReader(t *testing.T) {
	c := door(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/endless" {
			for r.Context().Err() == nil {
				w.Write(make([]byte, 1<<16))
			}
			return
		}
		io.WriteString(w, "quick")
	})
	var slow []*http.Response
	for range 20 { // more than the connection's window in all
		resp, err := send(t, c, request(t.Context(), "GET", "/endless"), nil)
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, resp)
	}
	resp, err := send(t, c, request(t.Context(), "GET", "/"), nil)
	if got := read(t, resp, err); got != "quick" {
		t.Error(got)
	}
	for _, resp := range slow {
		if n, err := io.CopyN(io.Discard, resp.Body, 2<<20); err != nil {
			t.Errorf("after %d bytes: %v", n, err)
		}
		resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("reading a closed body: %v", err)
		}
	}
}

// TestCancel: the end of a request's context, and of its body's reader, reach the
// other end.
func TestCancel(t *testing.T) {
	ended := make(chan bool)
	c := door(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/silent" {
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		ended <- true
	})
	begun, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the app went away")
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	if _, err := send(t, c, request(begun, "GET", "/silent"), nil); !errors.Is(err, why) {
		t.Errorf("before an answer: %v, want the cause", err)
	}
	<-ended

	reading, cancel := context.WithCancelCause(t.Context())
	resp, err := send(t, c, request(reading, "GET", "/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, why) {
		t.Errorf("while reading: %v, want the cause", err)
	}
	<-ended

	resp, err = send(t, c, request(t.Context(), "GET", "/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-ended

	pr, pw := io.Pipe()
	req := request(t.Context(), "POST", "/")
	req.Body, req.ContentLength = pr, -1
	if resp, err = send(t, c, req, nil); err != nil {
		t.Fatal(err)
	}
	pw.CloseWithError(errors.New("the app's end broke"))
	if _, err := io.ReadAll(resp.Body); err == nil || !strings.Contains(err.Error(), "the app's end broke") {
		t.Errorf("the request's body broke: %v", err)
	}
	<-ended
	if n := c.Available(); n < 100 {
		t.Errorf("%d streams left at the end, want all", n)
	}
}

// TestEarlyAnswer: a service may answer without reading the request.
func TestEarlyAnswer(t *testing.T) {
	c := door(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	})
	pr, pw := io.Pipe()
	req := request(t.Context(), "POST", "/")
	req.Body, req.ContentLength = pr, 1<<40
	go func() {
		for {
			if _, err := pw.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}()
	resp, err := send(t, c, req, nil)
	if got := read(t, resp, err); got != "too large\n" || resp.StatusCode != 413 {
		t.Errorf("%q, %+v", got, resp)
	}
	pr.Close()
}
