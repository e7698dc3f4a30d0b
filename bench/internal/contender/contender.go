// Package contender is what the programs that are measured have in common: each
// is started as a server or as a client, tells where it listens, and then does
// what it is told by lines of JSON on its standard input, one answer a line.
//
//	oto serve -size small                  {"addr":"127.0.0.1:40001"}
//	                                       -> {}  <- {"alloc":123,"conns":80}
//	oto call -to ... -size small -c 80     {}
//	                                       -> {"millis":500}  <- {"calls":20000,...}
//
// The end of its input ends it, so that none is left behind. Started by "oto service",
// a server is a service of Cloud Run instead: it serves at $PORT until it is ended.
package contender

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amammay/otorun/bench/internal/work"
)

// A Program has servers and clients, by variant.
type Program struct {
	Servers map[string]func(net.Listener, work.Size) error
	Clients map[string]func(Options) (Call, error)
}

// Call makes one call for a caller, who are numbered from 0, and checks its
// answer.
type Call func(ctx context.Context, caller int) error

// Options are what a client is started with.
type Options struct {
	To      string // http://HOST:PORT
	Callers int
	Gzip    bool // say that answers may be packed, where the client doesn't by itself
	Size    work.Size
}

// An Order says how much to call: for a time, or a number of times.
type Order struct {
	Millis int `json:"millis,omitempty"`
	Calls  int `json:"calls,omitempty"`
}

// A Load is what came of an Order.
type Load struct {
	Calls  int     `json:"calls"`
	Failed int     `json:"failed,omitempty"`
	Error  string  `json:"error,omitempty"` // of one that failed
	Rate   float64 `json:"rate"`            // calls a second
	P50    float64 `json:"p50"`             // us
	P99    float64 `json:"p99"`
}

// Stats are a server's since its start.
type Stats struct {
	Alloc uint64 `json:"alloc"` // bytes allocated
	Conns int64  `json:"conns"` // connections accepted
}

// Ready is a program's first line.
type Ready struct {
	Addr string `json:"addr,omitempty"`
}

// Most bounds what one Order can lead to.
const (
	mostCalls = 1_000_000
	mostTime  = time.Minute
)

// Main is a contender's main.
func (p Program) Main() {
	if err := p.run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(1)
	}
}

func (p Program) run(args []string) error {
	if len(args) == 0 {
		return errors.New("want serve, service or call")
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	variant := fs.String("variant", "", "`name` of the server or client")
	id := fs.String("size", "small", "`name` of the requests' size")
	var o Options
	fs.StringVar(&o.To, "to", "", "`URL` to call")
	fs.IntVar(&o.Callers, "c", 1, "`number` of callers")
	fs.BoolVar(&o.Gzip, "gzip", false, "accept answers that are packed")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	size, err := work.SizeOf(*id)
	if err != nil {
		return err
	}
	o.Size = size
	switch args[0] {
	case "serve", "service":
		start, ok := p.Servers[*variant]
		if !ok {
			return fmt.Errorf("no server %q here", *variant)
		}
		if args[0] == "serve" {
			return serve(start, size)
		}
		ln, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
		if err != nil {
			return err
		}
		return start(ln, size)
	case "call":
		start, ok := p.Clients[*variant]
		if !ok {
			return fmt.Errorf("no client %q here", *variant)
		}
		call, err := start(o)
		if err != nil {
			return err
		}
		return obey(Ready{}, func(order Order) any { return Measure(call, o.Callers, order) })
	}
	return fmt.Errorf("%s: want serve, service or call", args[0])
}

// obey says ready, and then answers each line with do's result.
func obey[In any](ready Ready, do func(In) any) error {
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(ready); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var order In
		if err := json.Unmarshal(in.Bytes(), &order); err != nil {
			return fmt.Errorf("%s: %w", in.Bytes(), err)
		}
		if err := out.Encode(do(order)); err != nil {
			return err
		}
	}
	return nil
}

func serve(start func(net.Listener, work.Size) error, size work.Size) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	counted := &countingListener{Listener: ln}
	go func() {
		if err := start(counted, size); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()
	return obey(Ready{Addr: ln.Addr().String()}, func(struct{}) any {
		sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
		metrics.Read(sample)
		return Stats{Alloc: sample[0].Value.Uint64(), Conns: counted.accepted.Load()}
	})
}

type countingListener struct {
	net.Listener
	accepted atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return conn, err
}

// Measure has callers call until the order is done; each calls once at least, or on
// a busy machine a short time would be over before anybody came to call.
func Measure(call Call, callers int, order Order) Load {
	calls, limit := order.Calls, time.Duration(order.Millis)*time.Millisecond
	if calls <= 0 {
		calls = mostCalls
	}
	if limit <= 0 {
		limit = mostTime
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit+mostTime)
	defer cancel()
	var (
		next   atomic.Int64
		mu     sync.Mutex
		took   []time.Duration
		result Load
		wg     sync.WaitGroup
	)
	begin := time.Now()
	for caller := range callers {
		wg.Go(func() {
			var mine []time.Duration
			var failed int
			var last error
			for next.Add(1) <= int64(calls) {
				start := time.Now()
				if len(mine) > 0 && start.Sub(begin) > limit {
					break
				}
				if err := call(ctx, caller); err != nil {
					failed++
					last = err
					if failed == 10 {
						break
					}
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			result.Failed += failed
			if last != nil {
				result.Error = last.Error()
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(begin)
	if result.Calls = len(took); result.Calls == 0 {
		return result
	}
	slices.Sort(took)
	micros := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	result.Rate = float64(len(took)) / elapsed.Seconds()
	result.P50, result.P99 = micros(took[len(took)/2]), micros(took[len(took)*99/100])
	return result
}

// HTTP serves a handler as every contender on net/http is served: by a Server
// without timeouts, whose cost is the same for all.
func HTTP(handler func(work.Size) http.Handler) func(net.Listener, work.Size) error {
	return func(ln net.Listener, size work.Size) error {
		s := &http.Server{Handler: handler(size), Protocols: new(http.Protocols)}
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true) // for those who speak it from the first byte on
		return s.Serve(ln)
	}
}

// Transport is net/http's with as many idle connections as there are callers,
// which every client over HTTP/1.1 gets that has none of its own.
func Transport(o Options) *http.Transport {
	return &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: o.Callers, DisableCompression: !o.Gzip}
}

// H2C is net/http's transport for HTTP/2 without TLS.
func H2C() *http.Transport {
	t := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}
