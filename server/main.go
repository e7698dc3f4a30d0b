// Tacoserver keeps track of who eats which tacos.
//
//	$ go run ./server
//	$ curl --json '{"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}' localhost:8080/oto/TacoService.EatTaco
//	{"tacoConsumptionStatus":"Sammy Sosa has consumed 2 tacos"}
//
// It serves the TacoService of definitions/taco.go under /oto/ and answers
// GET /health. It listens on $PORT, 8080 if that is not set; 0 takes a free port,
// which the log names.
//
// The log goes to stderr: a line a request, on Cloud Run as JSON for Cloud
// Logging. SIGTERM and SIGINT let the requests that have begun finish; the exit
// status is then 0.
package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/amammay/otorun/generated/server"
	"github.com/amammay/otorun/internal/httpservice"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stderr))
}

var program = httpservice.Program{
	Name:        "tacoserver",
	DefaultPort: 8080,
	Handler:     newHandler,
	Usage: `usage: tacoserver

tacoserver answers POST /oto/TacoService.EatTaco and GET /health.

environment:
  PORT    where to listen (default 8080; 0 takes a free port)
`,
}

func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	return program.Main(ctx, args, getenv, stderr)
}

func newHandler(_ context.Context, _ func(string) string, log *slog.Logger) (http.Handler, error) {
	oto := otohttp.NewServer()
	oto.Logger = log
	server.RegisterTacoService(oto, tacoService{})
	return oto, nil
}
