// Package httpservice runs an http.Handler as Cloud Run wants a service to be
// run: on the port in $PORT, with timeouts and a log line a request, and so that
// SIGTERM ends it without losing a request.
//
//	var program = httpservice.Program{Name: "tacoserver", DefaultPort: 8080, Handler: newHandler}
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
//		defer stop()
//		os.Exit(program.Main(ctx, os.Args[1:], os.Getenv, os.Stderr))
//	}
//
// It is what tacoserver and tacoclient share, and knows neither.
package httpservice

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/amammay/otorun/internal/cloudlog"
)

// A Program is a command that serves one handler.
type Program struct {
	// Name begins the lines the program writes for a person.
	Name string
	// Usage is what -h prints.
	Usage string
	// DefaultPort is where the program listens when $PORT does not say.
	DefaultPort int
	// Handler makes what is served, once, before the first request. GET /health
	// never reaches it. ctx ends when the program is told to end.
	Handler func(ctx context.Context, getenv func(string) string, log *slog.Logger) (http.Handler, error)
}

// Main serves until ctx is done and returns the exit status: 0 when it ended
// because of ctx and every request has its answer, 2 for arguments (there are
// none to give), 1 for everything else, with one line on stderr that says what.
func (p Program) Main(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	onCloudRun := cloudlog.OnCloudRun(getenv)
	log := cloudlog.New(stderr, cloudlog.Config{JSON: onCloudRun, ProjectID: cloudlog.ProjectID(getenv)})
	fail := func(status int, err error) int {
		if onCloudRun {
			log.Error(err.Error())
		} else {
			fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		}
		return status
	}

	fs := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		io.WriteString(stderr, p.Usage)
		return 0
	case err != nil:
		return fail(2, fmt.Errorf("%w: see %s -h", err, p.Name))
	case fs.NArg() > 0:
		return fail(2, fmt.Errorf("no arguments expected, got %q: see %s -h", fs.Arg(0), p.Name))
	}

	port, err := portFrom(getenv, p.DefaultPort)
	if err != nil {
		return fail(1, err)
	}
	// The port is opened first: what is wrong with it shows at once, and
	// requests that come while the handler is being made wait for it.
	ln, err := listen(port)
	if err != nil {
		return fail(1, err)
	}
	handler, err := p.Handler(ctx, getenv, log)
	if err != nil {
		ln.Close()
		return fail(1, err)
	}
	log.Info(p.Name+" listening", "url", fmt.Sprintf("http://localhost:%d", ln.Addr().(*net.TCPAddr).Port))
	if err := serve(ctx, ln, handler, log, cloudRun); err != nil {
		return fail(1, err)
	}
	log.Info(p.Name+" ended", "cause", context.Cause(ctx))
	return 0
}

// portFrom returns the port in $PORT, or standard if that is empty. 0 stands
// for any free port.
func portFrom(getenv func(string) string, standard int) (int, error) {
	s := getenv("PORT")
	if s == "" {
		return standard, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("PORT=%q is no port: set it to a number up to 65535, or unset it for %d", s, standard)
	}
	return int(n), nil
}

// listen opens port on every address, as Cloud Run asks for.
func listen(port int) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // such a listener takes no filter: see refuseNew
	ln, err := lc.Listen(context.Background(), "tcp", ":"+strconv.Itoa(port))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on port %d: another program has it: end that one, or set PORT to another port", port)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on port %d: permission denied: set PORT to a port from 1024 up", port)
	}
	return ln, err
}

// newServer returns the http.Server around h. Its timeouts keep a slow or dead
// peer from holding a connection for ever; they leave room for 32 MiB, Cloud
// Run's largest request, over a slow line.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      120 * time.Second,
		// Longer than any of our callers keeps an idle connection: the one who
		// closes it must be the one who might write to it, or a request is lost.
		IdleTimeout: 620 * time.Second,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
