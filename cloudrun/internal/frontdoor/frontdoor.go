// Package frontdoor is what stands between a caller and the containers: it finds
// the service a host names, checks that the caller may invoke it, gets an
// instance and passes the request on, refusing what Cloud Run refuses and with
// the same answers.
//
//	door := frontdoor.New(frontdoor.Config{
//		ProjectNumber: "123456789012", ProjectHash: "dpyb4duzqq",
//		Backend: scaler, Issuer: issuer, Directory: directory, TLS: authority.TLSConfig(),
//	})
//	go door.ServeTLS(secure) // https://SERVICE-NUMBER.REGION.run.app
//	go door.Serve(plain)     // http://SERVICE.localhost, and redirects for run.app
//
// What it emulates, and from which source each piece is known, is listed in
// cloudrun/FIDELITY.md. What it adds: every refusal says why in the header
// X-Cloudrun-Why and in one line of the log, with the command that mends it.
// Neither ever shows a token.
//
// It makes no containers: those come from a [Backend].
package frontdoor

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/iam"
	"github.com/amammay/otorun/cloudrun/internal/identity"
)

// Limits of Cloud Run, https://docs.cloud.google.com/run/quotas and
// https://docs.cloud.google.com/run/docs/configuring/request-timeout.
const (
	maxBody        = 32 << 20 // of requests and unstreamed answers, unless the container speaks HTTP/2
	defaultTimeout = 300 * time.Second
	maxStreams     = 100 // of a client's HTTP/2 connection
)

// Config says what a Door needs. Backend, Issuer and Directory must be set.
type Config struct {
	// ProjectNumber and ProjectHash are in the project's hosts. Without a hash
	// there are only hosts of the deterministic form.
	ProjectNumber, ProjectHash string
	Backend                    Backend
	Issuer                     *identity.Issuer
	Directory                  *iam.Directory
	// TLS has the certificates for ServeTLS.
	TLS *tls.Config
	// Other returns what answers for a host that isn't of a service: the
	// issuer's, those of Google's APIs. Where it returns nil, or is nil, the page
	// that Google shows for unknown hosts does.
	Other func(host string) http.Handler
	// Log gets a line for each refusal; nil means none.
	Log *slog.Logger
	// OnRequest is called at the end of each request for a service, as Cloud Run
	// writes its request log. It must not block. Nil means no one asks.
	OnRequest func(Request)
	// MaxBody replaces the limit of 32 MiB in tests.
	MaxBody int64
}

// A Request is what there is to log of a request for a service.
type Request struct {
	Start           time.Time
	Latency         time.Duration
	Service         *Service
	Revision        string
	Instance        string
	Caller          iam.Principal
	Method, URL     string
	Proto           string
	Status          int
	Received, Sent  int64 // bytes of the bodies
	UserAgent       string
	RemoteIP        string
	TraceID, SpanID string
	Sampled         bool
	Why, Fix        string // of a refusal
	ClientGone      bool   // the client went before the answer's end
}

// A Door is the front door of a run's services. It is an [http.Handler] and, with
// Serve and ServeTLS, a server.
type Door struct {
	cfg   Config
	log   *slog.Logger
	srv   *http.Server
	ctx   context.Context // ends when the door is closed
	close context.CancelCauseFunc
}

var errClosed = errors.New("the front door was closed")

// New returns a door. It listens nowhere until Serve or ServeTLS is called.
func New(cfg Config) *Door {
	d := &Door{cfg: cfg, log: cfg.Log}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.cfg.MaxBody == 0 {
		d.cfg.MaxBody = maxBody
	}
	d.ctx, d.close = context.WithCancelCause(context.Background())
	d.srv = newServer(d)
	return d
}

// ServeHTTP answers one request. It counts as HTTPS if r.TLS is set, by whoever
// ended the TLS.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := hostname(r.Host)
	site, ok := d.site(host)
	if !ok && d.cfg.Other != nil {
		if other := d.cfg.Other(host); other != nil {
			other.ServeHTTP(w, r)
			return
		}
	}
	w.Header().Set("Server", server)
	switch {
	case r.Method == http.MethodTrace || r.Method == http.MethodConnect:
		d.refuse(w, r, nil, Refusal{Status: http.StatusMethodNotAllowed, Why: "Cloud Run doesn't deliver " + r.Method + " requests"})
		return
	case !ok:
		d.refuse(w, r, nil, Refusal{Status: http.StatusNotFound, Why: site.why})
		return
	case site.runApp && r.TLS == nil:
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		target := "https://" + host + r.URL.EscapedPath()
		if r.URL.RawQuery != "" {
			target += "?" + r.URL.RawQuery
		}
		http.Redirect(w, r, target, http.StatusFound)
		return
	}
	svc, ok := d.cfg.Backend.Service(site.Address)
	if !ok {
		d.refuse(w, r, nil, Refusal{
			Status: http.StatusNotFound,
			Why:    "no service is deployed as " + site.Address.String(),
			Fix:    "gcloud run services list",
		})
		return
	}
	c := &call{door: d, service: svc, tag: site.Tag, start: time.Now(), trace: traceOf(r.Header), in: r}
	c.answer.ResponseWriter = w
	if d.cfg.OnRequest != nil {
		defer c.report()
	}
	w.Header().Set("X-Cloud-Trace-Context", c.trace.answerHeader())
	c.serve(site)
}

// serve decides about a request for a service that exists.
func (c *call) serve(s site) {
	d, r, w := c.door, c.in, &c.answer
	switch {
	case s.runApp && c.service.DefaultURLDisabled:
		c.refuse(Refusal{
			Status: http.StatusNotFound,
			Why:    "the run.app URLs of service " + c.service.Name + " are disabled",
			Fix:    "gcloud run services update " + c.service.flags() + " --default-url",
		})
		return
	case c.service.InternalOnly:
		c.refuse(Refusal{
			Status: http.StatusNotFound,
			Why:    "service " + c.service.Name + " takes requests from its network only, and none here come from it",
			Fix:    "gcloud run services update " + c.service.flags() + " --ingress=all",
		})
		return
	case reserved(r.URL.Path):
		c.refuse(Refusal{Status: http.StatusNotFound, Why: "Cloud Run keeps the path " + quote(r.URL.Path) + " to itself, it never reaches a container: use another"})
		return
	case !c.service.HTTP2 && r.ContentLength > d.cfg.MaxBody:
		c.refuse(c.tooLarge())
		return
	}
	var refusal *Refusal
	if c.credential, c.caller, refusal = d.authorize(c.service, r.Header); refusal != nil {
		if refusal.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token" error_description="The access token could not be verified"`)
		}
		c.refuse(*refusal)
		return
	}
	c.forward()
}

// reserved reports whether the path is one of those that Cloud Run answers
// itself, https://cloud.google.com/run/docs/issues.
func reserved(path string) bool {
	return path == "/healthz" || path == "/eventlog" || strings.HasPrefix(path, "/_ah/")
}

func remoteIP(r *http.Request) string {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return ip
}
