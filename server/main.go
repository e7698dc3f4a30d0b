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
// What is eaten is kept in the file $TACO_DB, by default tacos.db in the folder
// otorun of the user's cache folder. On Cloud Run that is /tmp/tacos.db, which
// goes with the instance, and of which each instance has one of its own. With
// TACO_STORE=firestore it is kept in the Firestore of the project in
// $GOOGLE_CLOUD_PROJECT, or of the one that the credentials or the metadata
// server name; FIRESTORE_EMULATOR_HOST is honoured. An answer means that what was
// eaten is kept.
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

tacoserver answers POST /oto/TacoService.EatTaco and TacoService.ListEaters,
and GET /health.

environment:
  PORT        where to listen (default 8080; 0 takes a free port)
  TACO_STORE  what keeps what is eaten: bbolt, a file, or firestore (default bbolt)
  TACO_DB     the file (default otorun/tacos.db in the user's cache folder,
              /tmp/tacos.db on Cloud Run)
  GOOGLE_CLOUD_PROJECT
              the project whose Firestore it is (default: the credentials' or the
              metadata server's)
  FIRESTORE_EMULATOR_HOST
              HOST:PORT of a Firestore emulator
`,
}

func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	return program.Main(ctx, args, getenv, stderr)
}

func newHandler(_ context.Context, getenv func(string) string, log *slog.Logger) (http.Handler, error) {
	// It isn't closed: what was answered is kept, and what wasn't need not be.
	store, err := openStore(getenv, log)
	if err != nil {
		return nil, err
	}
	oto := otohttp.NewServer()
	oto.Logger = log
	server.RegisterTacoService(oto, tacoService{store})
	return oto, nil
}
