// Package api answers the Google Cloud APIs that gcloud calls, for the platform
// on this machine: Cloud Run (v1), IAM, its tokens, Resource Manager, Artifact
// Registry, Secret Manager, Service Usage and Logging.
//
//	server, err := api.New(api.Config{Platform: p, Images: images, Developer: "developer@example.com", RefreshToken: secret})
//	p.APIs = server.Host
//
// There is a file an API. Each has a table of routes: a method, a path, the
// permission that the caller needs, and a function that returns what is answered
// as JSON or an [Error]. What isn't emulated is refused with 400 and a message,
// never with 5xx, which gcloud would try again for half a minute.
//
// What was seen of gcloud's requests, and what of it is a belief about Google's
// answers, is listed in cloudrun/FIDELITY.md.
package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/ca"
	"github.com/amammay/otorun/cloudrun/internal/iam"
	"github.com/amammay/otorun/cloudrun/internal/platform"
	"github.com/amammay/otorun/internal/runhost"
)

// Config says what a Server needs. Those without which it can't work are Platform, Images,
// Developer and RefreshToken.
type Config struct {
	Platform *platform.Platform
	// Images has what is deployed.
	Images Images
	// Developer is the email of the person at this machine, who may do all, and
	// RefreshToken what gcloud gets tokens for that person with.
	Developer, RefreshToken string
	// OnRepositoryDeleted, if set, is told of a repository whose images may go.
	OnRepositoryDeleted func(location, repository string)
	// Outside are addresses outside, host:port, that containers may connect to.
	Outside []string
	// Firestore is the address of the emulator that is every database of Firestore, as
	// containers reach it, or "" if there is none.
	Firestore string
	// StateDir is a folder where all is kept for a later run; "" keeps nothing.
	StateDir string
	// Log is told what is deployed and refused.
	Log *slog.Logger
}

// A Server answers for the hosts of the APIs. Its methods may be called by many
// goroutines at once.
type Server struct {
	Config
	directory *iam.Directory
	project   string // its id
	hosts     map[string]*surface
	ctx       context.Context
	cancel    context.CancelFunc
	work      sync.WaitGroup // deployments under way
	patience  time.Duration

	mu           sync.Mutex
	services     map[string]*service
	operations   map[string]*service // by id
	keys         map[string]*accountKey
	secrets      map[string]*secret
	repositories map[string]object
	databases    map[string]object // of Firestore, by id
	apis         map[string]bool   // by name; false is disabled
	written      []byte            // the state as it is kept
}

// New returns a server with what was kept in the state folder, if there is one.
// Close is to be called before the platform is closed.
func New(config Config) (*Server, error) {
	s := &Server{
		Config:       config,
		directory:    config.Platform.Directory,
		project:      config.Platform.ProjectID,
		patience:     patience,
		services:     make(map[string]*service),
		operations:   make(map[string]*service),
		keys:         make(map[string]*accountKey),
		secrets:      make(map[string]*secret),
		repositories: make(map[string]object),
		databases:    make(map[string]object),
		apis:         make(map[string]bool),
	}
	s.Log = cmp.Or(s.Log, slog.New(slog.DiscardHandler))
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.hosts = make(map[string]*surface)
	for _, f := range []*surface{
		s.runSurface(), s.iamSurface(), s.credentialsSurface(), s.tokenSurface(), s.resourceManagerSurface(),
		s.registrySurface(), s.secretSurface(), s.serviceUsageSurface(), s.loggingSurface(), s.firestoreSurface(),
	} {
		s.hosts[f.name] = f
	}
	if _, err := s.directory.EnsureUser(s.Developer); err != nil {
		return nil, err
	}
	if err := s.restore(); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends what is being deployed.
func (s *Server) Close() {
	s.cancel()
	s.work.Wait()
}

// Host returns what answers for a host of Google's, in lower case and without
// port: an API, or who refuses to be one. It returns nil for others.
func (s *Server) Host(host string) http.Handler {
	name := host
	if region, ok := strings.CutSuffix(host, "-"+runHost); ok && runhost.IsRegion(region) {
		name = runHost
	}
	if f, ok := s.hosts[name]; ok {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, f, host) })
	}
	if net.ParseIP(host) != nil || !ca.Covers(host) || strings.HasSuffix(host, "."+runhost.Domain) || strings.HasSuffix(host, "localhost") {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Log.Warn("refused: this host of Google isn't emulated", "host", host, "method", r.Method, "path", r.URL.Path)
		refuse(w, r, unsupported("%s is a host of Google that the local platform does not emulate, and nothing meant for it is sent to the real one", host))
	})
}

// A surface is an API: the host it is at and what it does there.
type surface struct {
	name   string
	routes []route
	// open says that callers need no access token.
	open bool
}

// A route is one method of an API. The pattern's segments are literal or {NAME},
// and the last may end in :VERB.
type route struct {
	method, pattern string
	// permission is what the caller needs on the project or on what resource
	// returns; "" is none.
	permission string
	handle     func(*call) (any, error)
}

// A call is a request to an API.
type call struct {
	*http.Request
	host   string
	params map[string]string
	caller iam.Principal
	body   []byte // read before anything is locked
}

// maxRequest is more than any request of these APIs needs.
const maxRequest = 4 << 20

// decode reads the request's JSON; without a body it reads an empty object.
func (c *call) decode(into any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return invalid("the request's JSON: %v", err)
	}
	return nil
}

// serve answers a request to an API.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, f *surface, host string) {
	answer, err := s.answer(r, f, host)
	if err != nil {
		e := errorOf(err)
		if e.Code != http.StatusNotFound && e.Code != http.StatusConflict { // which scripts ask for
			s.Log.Info("API call refused", "host", host, "method", r.Method, "path", r.URL.Path, "status", e.Code, "why", e.Message)
		}
		refuse(w, r, e)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	json.NewEncoder(w).Encode(answer)
}

func (s *Server) answer(r *http.Request, f *surface, host string) (any, error) {
	c := &call{Request: r, host: host}
	rt, err := f.find(c)
	if err != nil {
		return nil, err
	}
	if !f.open {
		if c.caller, err = s.authenticate(r); err != nil {
			return nil, err
		}
	}
	if p, ok := c.params["project"]; ok && p != "-" && p != s.project && p != s.Platform.ProjectNumber {
		return nil, denied("Permission denied on resource project %s (or it may not exist): the local platform has one project, %s", p, s.project)
	}
	if s.disabled(f.name) {
		return nil, denied("%s API has not been used in project %s before or it is disabled. Enable it by: gcloud services enable %s", f.name, s.project, f.name)
	}
	if err := s.permit(c.caller, rt.permission, s.resources(c)...); err != nil {
		return nil, err
	}
	if c.body, err = io.ReadAll(io.LimitReader(r.Body, maxRequest+1)); err != nil {
		return nil, invalid("read the request: %v", err)
	}
	if len(c.body) > maxRequest {
		return nil, invalid("the request is larger than %d bytes", maxRequest)
	}
	answer, err := rt.handle(c)
	if r.Method != http.MethodGet {
		s.save()
	}
	return answer, err
}

// authenticate returns whose access token a request has.
func (s *Server) authenticate(r *http.Request) (iam.Principal, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		token = ""
	}
	return s.bearer(strings.TrimSpace(token))
}

// bearer returns whose access token it is.
func (s *Server) bearer(token string) (iam.Principal, error) {
	refused := func(why string) (iam.Principal, error) {
		return iam.Principal{}, &Error{http.StatusUnauthorized, "UNAUTHENTICATED", why + `: eval "$(go run ./cloudrun env)" gives gcloud a token of the local platform`}
	}
	if token == "" {
		return refused("the request has no access token")
	}
	subject, err := s.Platform.Issuer.Access(token)
	if err != nil {
		return refused(err.Error())
	}
	who, ok := s.directory.Principal(subject.ID)
	if !ok {
		return refused("the account " + subject.Email + " was deleted")
	}
	return who, nil
}

// find returns the route of a request and fills in the call's parameters.
func (f *surface) find(c *call) (route, error) {
	path := strings.Split(strings.Trim(c.URL.Path, "/"), "/")
	var methods []string
	for _, rt := range f.routes {
		params, ok := match(rt.pattern, path)
		switch {
		case !ok:
		case rt.method == c.Method:
			c.params = params
			return rt, nil
		default:
			methods = append(methods, rt.method)
		}
	}
	if len(methods) > 0 {
		return route{}, unsupported("%s %s of %s isn't emulated by the local platform: %s is", c.Method, c.URL.Path, c.host, strings.Join(slices.Compact(methods), ", "))
	}
	return route{}, unsupported("%s %s of %s isn't emulated by the local platform", c.Method, c.URL.Path, c.host)
}

// match takes a path apart by a pattern.
func match(pattern string, path []string) (map[string]string, bool) {
	segments := strings.Split(strings.Trim(pattern, "/"), "/")
	if len(segments) != len(path) {
		return nil, false
	}
	params := make(map[string]string)
	for i, segment := range segments {
		value := path[i]
		if i == len(segments)-1 {
			var verb, want string
			segment, want, _ = strings.Cut(segment, ":")
			if at := strings.LastIndex(value, ":"); at >= 0 {
				value, verb = value[:at], value[at+1:]
			}
			if verb != want {
				return nil, false
			}
		}
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			if value == "" {
				return nil, false
			}
			params[strings.TrimSuffix(name, "}")] = value
		} else if segment != value {
			return nil, false
		}
	}
	return params, true
}

// An object is a resource as its JSON has it: what isn't known here is kept.
type object = map[string]any

// timestamp is a time as Google's JSON has it.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
