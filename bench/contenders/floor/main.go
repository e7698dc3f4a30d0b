// Floor is the least that a program on net/http can do: its server reads the body
// into a pooled buffer and answers with a constant, its client sends bytes made
// before and reads the answer. It stands beneath the others' figures, and is the
// server that all clients over HTTP/1.1 are measured with.
//
// It has a hop for each of the chain's as well: see hops.go.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/work"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "probe" {
		probe()
		return
	}
	contender.Program{
		Servers: map[string]func(net.Listener, work.Size) error{
			"floor": contender.HTTP(handler),
			"door":  door,
			"proxy": proxy,
			"front": front,
		},
		Clients: map[string]func(contender.Options) (contender.Call, error){"floor": client},
	}.Main()
}

type buffer struct{ data []byte }

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// Header values put into the map as they are: to set them costs more.
var (
	contentTypeJSON     = []string{"application/json"}
	contentTypeProtobuf = []string{"application/protobuf"}
	contentTypeProto    = []string{"application/proto"}
)

// handler answers every path, in protobuf if it is asked in it.
func handler(size work.Size) http.Handler {
	inJSON, inProtobuf := size.AnswerJSON(), size.AnswerProtobuf()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := buffers.Get().(*buffer)
		if n := int(r.ContentLength); n > cap(b.data) {
			b.data = make([]byte, n)
		} else {
			b.data = b.data[:max(n, 0)]
		}
		_, err := io.ReadFull(r.Body, b.data)
		buffers.Put(b)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, contentType := inJSON, contentTypeJSON
		if asked := r.Header["Content-Type"]; len(asked) == 1 {
			switch asked[0] {
			case contentTypeProtobuf[0]:
				answer, contentType = inProtobuf, contentTypeProtobuf
			case contentTypeProto[0]:
				answer, contentType = inProtobuf, contentTypeProto
			}
		}
		w.Header()["Content-Type"] = contentType
		w.Write(answer)
	})
}

// client posts the request, or gets BENCH_GET if that is set. With the certificates
// of BENCH_CA, the token BENCH_TOKEN and the address BENCH_DIAL, whatever the URL
// says, it goes through a front door. BENCH_FRESH has the last taco of each request
// be another one, so that there is always something new to keep.
func client(o contender.Options) (contender.Call, error) {
	transport := contender.Transport(o)
	if file := os.Getenv("BENCH_CA"); file != "" {
		roots, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(roots)
		transport.ForceAttemptHTTP2 = true
	}
	if addr := os.Getenv("BENCH_DIAL"); addr != "" {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	}
	url, method, body := o.To+work.Wires["floor"].Path, http.MethodPost, o.Size.JSON()
	if path := os.Getenv("BENCH_GET"); path != "" {
		url, method, body = o.To+path, http.MethodGet, nil
	}
	fresh := os.Getenv("BENCH_FRESH") != ""
	var n atomic.Int64
	header := http.Header{"Content-Type": contentTypeJSON}
	if token := os.Getenv("BENCH_TOKEN"); token != "" {
		header["Authorization"] = []string{"Bearer " + token}
	}
	client := &http.Client{Transport: transport}
	want := []byte(o.Size.Want())
	return func(ctx context.Context, _ int) error {
		url, body := url, body
		if fresh {
			size := o.Size
			size.Tacos = []string{size.Tacos[0], strconv.FormatInt(n.Add(1), 10)}
			if method == http.MethodGet {
				url += "?" + neturl.Values{"name": {size.Name}, "taco": size.Tacos}.Encode()
			} else {
				body = size.JSON()
			}
		}
		r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header = header
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK || !bytes.Contains(text, want) {
			return fmt.Errorf("%s %s: %s: %.100q", method, url, answer.Status, text)
		}
		return nil
	}, nil
}
