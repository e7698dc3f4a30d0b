// Package platform is a Cloud Run on this machine: one project in one region,
// whose services run in sandboxes behind a front door that asks IAM.
//
//	p, err := platform.New(platform.Config{})
//	defer p.Close()
//	err = p.Deploy(ctx, platform.Service{Name: "tacoserver", Account: sa.Email, Template: template})
//	http.Serve(listener, p.Door)
//
// It joins what the packages beside it do: identity and iam say who may call,
// frontdoor lets calls in, autoscale says how many instances there are, instance
// runs each, metadata and dns answer inside of it, logs keeps what it writes.
package platform

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/autoscale"
	"github.com/amammay/otorun/cloudrun/internal/ca"
	"github.com/amammay/otorun/cloudrun/internal/dns"
	"github.com/amammay/otorun/cloudrun/internal/frontdoor"
	"github.com/amammay/otorun/cloudrun/internal/iam"
	"github.com/amammay/otorun/cloudrun/internal/identity"
	"github.com/amammay/otorun/cloudrun/internal/instance"
	"github.com/amammay/otorun/cloudrun/internal/logs"
	"github.com/amammay/otorun/cloudrun/internal/metadata"
	"github.com/amammay/otorun/cloudrun/internal/sandbox"
	"github.com/amammay/otorun/internal/runhost"
)

// Config says which project it is. Its zero fields have defaults.
type Config struct {
	// ProjectID is the project's name: local-project.
	ProjectID string
	// ProjectNumber is in the deterministic URLs: 123456789012.
	ProjectNumber string
	// ProjectHash is in the hash URLs: ten letters and digits.
	ProjectHash string
	// Region is where all services are: us-central1.
	Region string
	// Log is told what the platform does and refuses.
	Log *slog.Logger
	// Clock is the time that tokens live by.
	Clock *identity.Clock
	// Key signs the tokens; one is made if it is nil.
	Key *rsa.PrivateKey
}

// Platform is a running platform.
type Platform struct {
	Config
	// Directory says who there is and who may invoke what.
	Directory *iam.Directory
	// Issuer makes and checks tokens.
	Issuer *identity.Issuer
	// Authority makes the certificates of run.app hosts.
	Authority *ca.Authority
	// Door takes requests for services.
	Door *frontdoor.Door
	// Logs has what the containers wrote, and Requests the requests for services:
	// in a store of its own, as they are many.
	Logs, Requests *logs.Store
	// APIs returns what answers for a host of Google's APIs, or nil. It may be nil,
	// and is to be set before anything is served.
	APIs func(host string) http.Handler

	bundle []byte
	names  *dns.Server
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // revisions that drain

	mu       sync.Mutex
	closed   bool
	deploys  int
	services map[string]*service
	faults   map[string][]metadata.Fault // by service
}

// New returns a platform without services.
func New(config Config) (*Platform, error) {
	config.ProjectID = cmp.Or(config.ProjectID, "local-project")
	config.ProjectNumber = cmp.Or(config.ProjectNumber, "123456789012")
	config.ProjectHash = cmp.Or(config.ProjectHash, "localhash0")
	config.Region = cmp.Or(config.Region, "us-central1")
	if _, known := runhost.Code(config.Region); !known {
		return nil, fmt.Errorf("region %q is none of Cloud Run's: see https://docs.cloud.google.com/run/docs/locations", config.Region)
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Clock == nil {
		config.Clock = new(identity.Clock)
	}
	issuer, err := identity.New(identity.Config{Now: config.Clock.Now, Key: config.Key})
	if err != nil {
		return nil, err
	}
	authority, err := ca.New()
	if err != nil {
		return nil, err
	}
	p := &Platform{
		Config:    config,
		Directory: iam.New(config.ProjectID, config.ProjectNumber),
		Issuer:    issuer,
		Authority: authority,
		Logs:      new(logs.Store),
		Requests:  new(logs.Store),
		bundle:    authority.Bundle(),
		names:     &dns.Server{FrontDoor: instance.FrontDoorAddr, Zones: []string{runhost.Domain, "googleapis.com"}},
		services:  make(map[string]*service),
		faults:    make(map[string][]metadata.Fault),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.Door = frontdoor.New(frontdoor.Config{
		ProjectNumber: config.ProjectNumber,
		ProjectHash:   config.ProjectHash,
		Backend:       p,
		Issuer:        issuer,
		Directory:     p.Directory,
		TLS:           authority.TLSConfig(),
		Other:         p.other,
		Log:           config.Log,
		OnRequest:     p.logRequest,
	})
	return p, nil
}

// Service is what is deployed under a name.
type Service struct {
	Name string
	// Account is the email of the service account that it runs as.
	Account string
	// CustomAudiences are accepted in tokens besides the service's URLs.
	CustomAudiences []string
	// InvokerCheckDisabled lets everybody in.
	InvokerCheckDisabled bool
	// Tag, if set, gives the revision URLs of its own, TAG---NAME-..., and
	// NoTraffic leaves the service's requests to the revision before it.
	Tag       string
	NoTraffic bool
	Template  Template
}

// Template is what the instances of a revision are made by.
type Template struct {
	// Container is what to run. Its Service, Revision and CABundle are the
	// platform's to set.
	Container instance.Spec
	// Handler serves in this process, in place of a container.
	Handler http.Handler
	// Concurrency, MinInstances and MaxInstances are as in autoscale.Config.
	Concurrency, MinInstances, MaxInstances int
	// IdleAfter is how long an instance is kept without requests.
	IdleAfter time.Duration
	// Timeout is how long a request may take: 300 s if zero.
	Timeout time.Duration
	// HTTP2 says that the container speaks HTTP/2 without TLS.
	HTTP2 bool
	// Secrets returns what is read anew for each instance: more of its environment
	// and of its files. It may be nil.
	Secrets func() (env []string, files []sandbox.File, err error)
}

// Instance is a running instance of a service.
type Instance interface {
	autoscale.Instance
	// Kill ends the instance at once.
	Kill()

	door() frontdoor.Instance
}

// Deploy makes a new revision of a service, waits until an instance of it runs,
// sends it all requests from then on, and lets the revision before it end its
// own. On an error what was there goes on. The error has an
// [instance.StartupError] if the container is to blame.
func (p *Platform) Deploy(ctx context.Context, s Service) error {
	if s.Tag != "" && !runhost.IsServiceName(s.Tag) {
		return fmt.Errorf("deploy %s: a tag has lower-case letters, digits and hyphens, and starts with a letter: %q", s.Name, s.Tag)
	}
	if !runhost.IsServiceName(s.Name) {
		return fmt.Errorf("deploy %q: a service's name has lower-case letters, digits and hyphens, starts with a letter, ends with none, and is shorter than 50", s.Name)
	}
	p.mu.Lock()
	p.deploys++
	name := RevisionName(s.Name, p.deploys)
	p.mu.Unlock()
	if err := p.AddRevision(s.Name, Revision{Name: name, Account: s.Account, Template: s.Template}); err != nil {
		return fmt.Errorf("deploy %s: %w", s.Name, err)
	}
	if err := p.StartRevision(ctx, s.Name, name); err != nil {
		p.RemoveRevision(s.Name, name)
		return fmt.Errorf("deploy %s: revision %s: %w", s.Name, name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	svc := p.services[s.Name]
	if svc == nil {
		return fmt.Errorf("deploy %s: it was deleted meanwhile", s.Name)
	}
	takesAll := !s.NoTraffic || !svc.serves()
	var targets []Target
	for _, t := range svc.targets {
		if takesAll {
			t.Percent = 0
		}
		if t.Tag == s.Tag {
			t.Tag = ""
		}
		if t.Percent > 0 || t.Tag != "" {
			targets = append(targets, t)
		}
	}
	if takesAll || s.Tag != "" {
		t := Target{Revision: name, Tag: s.Tag}
		if takesAll {
			t.Percent = 100
		}
		targets = append(targets, t)
	}
	err := p.route(svc, Settings{CustomAudiences: s.CustomAudiences, InvokerCheckDisabled: s.InvokerCheckDisabled}, targets)
	for _, r := range svc.revisions {
		if r.pool == nil { // no URL leads to it any more
			delete(svc.revisions, r.Name)
		}
	}
	return err
}

// RevisionName returns a new name of a service's nth revision.
func RevisionName(service string, n int) string {
	return fmt.Sprintf("%s-%05d-%s", service, n, suffix())
}

// suffix is the random end of a revision's name: three letters, as Cloud Run's.
func suffix() string {
	const letters = "bcdfghjklmnpqrstvwxz"
	b := make([]byte, 3)
	rand.Read(b)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

// Close ends all instances and returns when they have ended.
func (p *Platform) Close() {
	p.mu.Lock()
	p.closed = true
	for name, svc := range p.services {
		delete(p.services, name)
		for _, r := range svc.revisions {
			p.drain(r)
		}
	}
	p.cancel()
	p.mu.Unlock()
	p.work.Wait()
	p.Door.Close()
	_ = p.names.Close()
}

// logRequest keeps a request as Cloud Run's own log has it.
func (p *Platform) logRequest(r frontdoor.Request) {
	severity := "INFO"
	switch {
	case r.Status >= 500:
		severity = "ERROR"
	case r.Status >= 400:
		severity = "WARNING"
	}
	p.Requests.Add(logs.Entry{
		Source:   logs.Source{Service: r.Service.Name, Revision: r.Revision, Instance: r.Instance, Stream: "requests"},
		Time:     r.Start,
		Severity: severity,
		Message:  r.Why,
		Trace:    "projects/" + p.ProjectID + "/traces/" + r.TraceID,
		SpanID:   r.SpanID,
		Request: &logs.Request{
			RequestMethod: r.Method, RequestURL: r.URL, Status: r.Status, UserAgent: r.UserAgent, RemoteIP: r.RemoteIP, Protocol: r.Proto,
			RequestSize: strconv.FormatInt(r.Received, 10), ResponseSize: strconv.FormatInt(r.Sent, 10),
			Latency: strconv.FormatFloat(r.Latency.Seconds(), 'f', 9, 64) + "s",
		},
	})
}

// URL returns the service's first URL.
func (p *Platform) URL(name string) string {
	return p.Door.URLs(name, p.Region)[0]
}

// Why says whether the principal named as, or nobody if that is empty, may invoke
// a service.
func (p *Platform) Why(as, name string) (iam.Decision, error) {
	if !slices.Contains(p.Names(), name) {
		return iam.Decision{}, fmt.Errorf("there is no service %q: there are %s", name, strings.Join(p.Names(), ", "))
	}
	var principal iam.Principal
	if as != "" {
		var ok bool
		if principal, ok = p.Directory.Principal(as); !ok {
			return iam.Decision{}, fmt.Errorf("there is no user or service account %q", as)
		}
	}
	return p.Directory.MayInvoke(principal, p.Region, name), nil
}

// Token returns an identity token of the principal named as for audience; for a
// user, and without an audience, it is the kind that gcloud prints.
func (p *Platform) Token(as, audience string) (string, error) {
	principal, ok := p.Directory.Principal(as)
	if !ok {
		return "", fmt.Errorf("there is no user or service account %q", as)
	}
	subject := identity.Subject{Email: principal.Email, ID: principal.ID}
	if audience == "" {
		if principal.Kind == iam.ServiceAccount {
			return "", fmt.Errorf("a token of the service account %s is for one service: name its URL as the audience", as)
		}
		return p.Issuer.UserToken(subject)
	}
	return p.Issuer.IdentityToken(subject, audience)
}

// certsHost is where Google's libraries look for the keys of identity tokens.
const certsHost = "www.googleapis.com"

// other answers for the platform's hosts that aren't of a service: those with the
// keys of its tokens, and Google's APIs.
func (p *Platform) other(host string) http.Handler {
	if host == p.Issuer.Host() || host == certsHost {
		return p.Issuer
	}
	if p.APIs == nil {
		return nil
	}
	return p.APIs(host)
}
