package otohttp

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// DefaultBasepath is where a Server's routes are unless it is told otherwise.
const DefaultBasepath = "/oto/"

// DefaultMaxBodyBytes is how long a request's body may be unless a Server says
// otherwise: 32 MiB, Cloud Run's own limit.
const DefaultMaxBodyBytes = 32 << 20

// A Server is an [http.Handler] that answers POST Basepath + "Service.Method"
// with what was registered for that method. The whole path of the request has to
// match, so a Server is mounted without [http.StripPrefix].
//
// The zero Server is ready for use. Register may be called while the Server
// serves; the fields are to be set before.
type Server struct {
	// Basepath is the path before "Service.Method". It holds for every route,
	// whether registered before or after it is set. Slashes at either end may be
	// left out; "/" means no path at all, and "" means DefaultBasepath.
	Basepath string

	// NotFound answers requests that no route matches. If nil,
	// [http.NotFound] does.
	NotFound http.Handler

	// OnErr answers a call that failed with err. It is set by NewServer, or else
	// by the first Register, to a function that answers with [WriteError] and
	// logs errors of status 500 and above with their cause (the others at debug
	// level).
	OnErr func(w http.ResponseWriter, r *http.Request, err error)

	// MaxBodyBytes is how many bytes of a request's body [Decode] reads, both as
	// it is sent and as it is once unpacked; a longer one is answered with 413.
	// Zero means DefaultMaxBodyBytes, and less than zero no limit.
	MaxBodyBytes int64

	// CopyStrings gives each string of a request memory of its own. Otherwise they
	// are parts of one copy of the body, which is the faster the more there are,
	// and a service that keeps one of them, in a map say, keeps the whole body in
	// memory: it has to [strings.Clone] what it keeps, or to set this.
	CopyStrings bool

	// Logger is where panics, and the default OnErr's errors, go. If nil,
	// [slog.Default] is.
	Logger *slog.Logger

	registering sync.Mutex
	handlers    map[string]http.HandlerFunc // by "Service.Method"
	routes      atomic.Pointer[routes]      // the same by path; nil before the first request and after a Register
}

// routes are a Server's handlers by the paths that they have below a base.
type routes struct {
	base   string
	byPath map[string]http.HandlerFunc
}

// NewServer returns a Server with every field at its default.
func NewServer() *Server {
	s := &Server{Basepath: DefaultBasepath, NotFound: http.NotFoundHandler()}
	s.OnErr = s.answerAndLog
	return s
}

// Register makes h answer calls of service.method, instead of what answered them
// before. It panics if h is nil.
func (s *Server) Register(service, method string, h http.HandlerFunc) {
	if h == nil {
		panic("otohttp: register " + service + "." + method + ": nil handler")
	}
	s.register(service, method, func(w http.ResponseWriter, r *http.Request) {
		tracked := &answer{ResponseWriter: w}
		defer s.recoverPanic(tracked, r)
		h(tracked, r)
	})
}

// register is Register for a handler that recovers from its panics itself.
func (s *Server) register(service, method string, h http.HandlerFunc) {
	s.registering.Lock()
	defer s.registering.Unlock()
	// fail calls the field as it is. The first handler is reached only through
	// routes made after this, so it sees it.
	if s.OnErr == nil {
		s.OnErr = s.answerAndLog
	}
	if s.handlers == nil {
		s.handlers = make(map[string]http.HandlerFunc)
	}
	s.handlers[service+"."+method] = h
	s.routes.Store(nil)
}

// ServeHTTP answers r by the handler registered for its path. A known path with
// another method than POST is answered with 405. A panic of the handler is
// logged with its stack and answered with a 500 that does not tell the panic's
// text; if an answer has begun by then, the connection is cut instead, so that
// the client doesn't take a part for the whole.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler, ok := s.route(r.URL.Path)
	if !ok {
		if s.NotFound == nil {
			http.NotFound(w, r)
			return
		}
		s.NotFound.ServeHTTP(w, r)
		return
	}
	if r.Method != http.MethodPost {
		s.methodNotAllowed(w, r)
		return
	}
	if s.MaxBodyBytes != 0 && r.Body != nil {
		r = limitBody(w, r, s.bodyLimit())
	}
	handler(w, r)
}

// bodyLimit is how many bytes of a body are read.
func (s *Server) bodyLimit() int64 {
	switch {
	case s.MaxBodyBytes == 0:
		return DefaultMaxBodyBytes
	case s.MaxBodyBytes < 0:
		return math.MaxInt64
	}
	return s.MaxBodyBytes
}

// route returns the handler for the path of a request.
func (s *Server) route(path string) (http.HandlerFunc, bool) {
	routes := s.routes.Load()
	if routes == nil || routes.base != s.Basepath {
		routes = s.newRoutes()
	}
	handler, ok := routes.byPath[path]
	return handler, ok
}

// newRoutes finds the path of each handler.
func (s *Server) newRoutes() *routes {
	s.registering.Lock()
	defer s.registering.Unlock()
	base := s.Basepath
	if base == "" {
		base = DefaultBasepath
	}
	if base = strings.Trim(base, "/"); base != "" {
		base += "/"
	}
	paths := &routes{base: s.Basepath, byPath: make(map[string]http.HandlerFunc, len(s.handlers))}
	for name, handler := range s.handlers {
		paths.byPath["/"+base+name] = handler
	}
	s.routes.Store(paths)
	return paths
}

// methodNotAllowed answers a request for a known route that isn't a POST. Like
// NotFound it passes OnErr by: no call has failed, none was made.
func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	err := Errorf(Unimplemented, "%s %s: method not allowed, want POST", clip(r.Method), r.URL.Path)
	err.Status = http.StatusMethodNotAllowed
	w.Header()["Allow"] = allowPost
	if err := WriteError(w, r, err); err != nil {
		s.logger().DebugContext(r.Context(), "otohttp: answer not sent", "error", err)
	}
}

var allowPost = []string{http.MethodPost}

// fail hands err to OnErr.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if s.OnErr == nil {
		s.answerAndLog(w, r, err)
		return
	}
	s.OnErr(w, r, err)
}

// answerAndLog is the default OnErr.
func (s *Server) answerAndLog(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	level := slog.LevelDebug
	if e.HTTPStatus() >= 500 {
		level = slog.LevelError
	}
	ctx := r.Context()
	// What a panic left is in the log already, with its stack.
	if _, panicked := errors.AsType[*panicError](err); !panicked {
		s.logCall(ctx, level, "otohttp: call failed", r,
			slog.Int("status", e.HTTPStatus()), slog.String("code", string(e.Code)), slog.Any("error", err))
	}
	if err := WriteError(w, r, err); err != nil {
		s.logCall(ctx, slog.LevelDebug, "otohttp: answer not sent", r, slog.Any("error", err))
	}
}

func (s *Server) logCall(ctx context.Context, level slog.Level, message string, r *http.Request, attrs ...slog.Attr) {
	logger := s.logger()
	if !logger.Enabled(ctx, level) {
		return
	}
	logger.LogAttrs(ctx, level, message, append([]slog.Attr{slog.String("path", r.URL.Path)}, attrs...)...)
}

func (s *Server) logger() *slog.Logger {
	if s.Logger != nil {
		return s.Logger
	}
	return slog.Default()
}
