// Tacoclient is the service in front: it answers with what tacoserver says of
// the tacos it was told about.
//
//	$ go run ./server &
//	$ go run ./client &
//	$ curl localhost:8081
//	Sammy Sosa has consumed 2 tacos
//	$ curl 'localhost:8081/?name=Ana&taco=Al+pastor&taco=Carnitas'
//	Ana has consumed 2 tacos
//	$ curl localhost:8081/eaters
//	2	Ana
//	2	Sammy Sosa
//
// A browser gets a page there, with a chart of who has eaten how much and a form
// to eat. The list takes ?limit and ?format=json; if it goes on, the answer's Link
// header says where.
//
// On Google Cloud it calls http://tacoserver/oto/, elsewhere
// http://localhost:8080/oto/; $TACO_HOST, a host or a URL, overrides both. It
// listens on $PORT, 8081 if that is not set; 0 takes a free port, which the log
// names. It answers GET /health by itself.
//
// What tacoserver refuses as invalid is status 400 here too. A tacoserver that
// can't be reached or fails is 502, one that says it can't answer now is 503, one
// that has no room left 507, one that takes longer than $TACO_TIMEOUT, 10s if that
// is not set, is 504; the log has the cause.
//
// The log goes to stderr: a line a request, on Cloud Run as JSON for Cloud
// Logging. SIGTERM and SIGINT let the requests that have begun finish; the exit
// status is then 0.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cloud.google.com/go/compute/metadata"

	"github.com/amammay/otorun/generated/client"
	"github.com/amammay/otorun/internal/httpservice"
	"github.com/amammay/otorun/internal/tracecontext"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stderr))
}

var program = httpservice.Program{
	Name:        "tacoclient",
	DefaultPort: 8081,
	Handler:     newHandler,
	Usage: `usage: tacoclient

tacoclient answers GET /?name=NAME&taco=TACO&taco=..., to a browser with a page,
GET /eaters?limit=N&format=json and GET /health.

environment:
  PORT          where to listen (default 8081; 0 takes a free port)
  TACO_HOST     where tacoserver is, a host or a URL, e.g. localhost:9090
                (default http://tacoserver/oto/ on Google Cloud,
                http://localhost:8080/oto/ elsewhere)
  TACO_TIMEOUT  how long tacoserver may take for an answer (default 10s)
`,
}

func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	return program.Main(ctx, args, getenv, stderr)
}

// defaultTimeout covers a cold start of tacoserver, and ends before the 300 s
// after which Cloud Run would answer for us, without a reason.
const defaultTimeout = 10 * time.Second

func newHandler(ctx context.Context, getenv func(string) string, log *slog.Logger) (http.Handler, error) {
	timeout, err := timeoutFrom(getenv)
	if err != nil {
		return nil, err
	}
	base, err := tacoBase(ctx, getenv, metadata.OnGCEWithContext)
	if err != nil {
		return nil, err
	}
	log.Info("calling tacoserver", "url", base)

	c := client.New(base)
	c.BeforeRequest = func(r *http.Request) error {
		if t, ok := tracecontext.FromContext(r.Context()); ok {
			t.SetHeader(r.Header)
		}
		return nil
	}
	h := &handler{taco: client.NewTacoService(c), timeout: timeout, log: log, origins: http.NewCrossOriginProtection()}
	return h.routes(), nil
}

func timeoutFrom(getenv func(string) string) (time.Duration, error) {
	s := getenv("TACO_TIMEOUT")
	if s == "" {
		return defaultTimeout, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("TACO_TIMEOUT=%q is no time to wait: set it to one like 500ms or 10s", s)
	}
	return d, nil
}
