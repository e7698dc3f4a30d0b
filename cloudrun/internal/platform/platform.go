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
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
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
	// Logs has what the containers wrote.
	Logs *logs.Store

	bundle []byte
	names  *dns.Server
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // revisions that drain
	killed context.Context
	kill   context.CancelFunc

	mu       sync.Mutex
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
		bundle:    authority.Bundle(),
		names:     &dns.Server{FrontDoor: instance.FrontDoorAddr, Zones: []string{runhost.Domain, "googleapis.com"}},
		services:  make(map[string]*service),
		faults:    make(map[string][]metadata.Fault),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.killed, p.kill = context.WithCancel(context.Background())
	p.Door = frontdoor.New(frontdoor.Config{
		ProjectNumber: config.ProjectNumber,
		ProjectHash:   config.ProjectHash,
		Backend:       p,
		Issuer:        issuer,
		Directory:     p.Directory,
		TLS:           authority.TLSConfig(),
		Other:         p.other,
		Log:           config.Log,
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
}

// service is a deployed service. Its revision and site are replaced, never
// changed.
type service struct {
	name       string
	generation int
	serving    *revision
	tags       map[string]*revision
	site       *frontdoor.Service
}

// reachable says whether any URL leads to a revision.
func (s *service) reachable(r *revision) bool {
	if s.serving == r {
		return true
	}
	for _, tagged := range s.tags {
		if tagged == r {
			return true
		}
	}
	return false
}

// revision is one version of a service.
type revision struct {
	name     string
	account  string
	template Template
	pool     *autoscale.Pool
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
	account, ok := p.Directory.Account(s.Account)
	if !ok {
		return fmt.Errorf("deploy %s: there is no service account %q: gcloud iam service-accounts create makes one", s.Name, s.Account)
	}
	p.mu.Lock()
	svc := p.services[s.Name]
	if svc == nil {
		svc = &service{name: s.Name, tags: make(map[string]*revision)}
		p.services[s.Name] = svc
	}
	svc.generation++
	r := &revision{
		name:     fmt.Sprintf("%s-%05d-%s", s.Name, svc.generation, suffix()),
		account:  account.Email,
		template: s.Template,
	}
	p.mu.Unlock()

	r.pool = autoscale.New(autoscale.Config{
		Start:       func(ctx context.Context) (autoscale.Instance, error) { return p.start(ctx, s.Name, r) },
		Concurrency: s.Template.Concurrency,
		Min:         s.Template.MinInstances,
		Max:         s.Template.MaxInstances,
		IdleAfter:   s.Template.IdleAfter,
		Log:         p.Log.With("service", s.Name, "revision", r.name),
	})
	_, release, err := r.pool.Acquire(ctx)
	if err != nil {
		p.drain(r)
		if start, ok := errors.AsType[*autoscale.StartError](err); ok {
			err = start.Cause
		}
		return fmt.Errorf("deploy %s: revision %s: %w", s.Name, r.name, err)
	}
	release()

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		p.drain(r)
		return errors.New("the platform is closed")
	}
	replaced := []*revision{svc.serving, svc.tags[s.Tag]}
	if s.Tag != "" {
		svc.tags[s.Tag] = r
	}
	if !s.NoTraffic || svc.serving == nil {
		svc.serving = r
	}
	for i, old := range replaced {
		if old != nil && !slices.Contains(replaced[:i], old) && !svc.reachable(old) {
			p.drain(old)
		}
	}
	svc.site = &frontdoor.Service{
		Name:                 s.Name,
		Region:               p.Region,
		CustomAudiences:      slices.Clone(s.CustomAudiences),
		InvokerCheckDisabled: s.InvokerCheckDisabled,
		HTTP2:                s.Template.HTTP2,
		Timeout:              s.Template.Timeout,
	}
	return nil
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

// drain ends a revision in the background: its requests may take as long as their
// timeout, unless the platform is closed.
func (p *Platform) drain(r *revision) {
	p.work.Go(func() { r.pool.Drain(p.ctx) })
}

// Close ends all instances and returns when they have ended.
func (p *Platform) Close() {
	p.mu.Lock()
	for _, svc := range p.services {
		ending := make(map[*revision]bool)
		if svc.serving != nil {
			ending[svc.serving] = true
		}
		for _, r := range svc.tags {
			ending[r] = true
		}
		svc.serving, svc.tags = nil, nil
		for r := range ending {
			p.drain(r)
		}
	}
	p.cancel()
	p.mu.Unlock()
	p.work.Wait()
	p.Door.Close()
	_ = p.names.Close()
}

// Kill has Close, which may be waiting in another goroutine, give the instances
// no more time to end.
func (p *Platform) Kill() { p.kill() }

// URL returns the service's first URL.
func (p *Platform) URL(name string) string {
	return p.Door.URLs(name, p.Region)[0]
}

// Names returns the names of the services that serve.
func (p *Platform) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for name, svc := range p.services {
		if svc.serving != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Instances returns the instances of a service that run.
func (p *Platform) Instances(name string) []Instance {
	r := p.revision(name, "")
	if r == nil {
		return nil
	}
	var all []Instance
	for _, i := range r.pool.Instances() {
		all = append(all, pooled{i.(Instance), r.pool})
	}
	return all
}

// pooled is an instance that gets no more requests when it is to end.
type pooled struct {
	Instance
	pool *autoscale.Pool
}

func (i pooled) Stop() {
	i.pool.Remove(i.Instance)
	i.Instance.Stop()
}

func (i pooled) Kill() {
	i.pool.Remove(i.Instance)
	i.Instance.Kill()
}

// revision returns the revision that serves a service's requests, or those for a
// tag.
func (p *Platform) revision(name, tag string) *revision {
	p.mu.Lock()
	defer p.mu.Unlock()
	svc := p.services[name]
	switch {
	case svc == nil:
		return nil
	case tag != "":
		return svc.tags[tag]
	}
	return svc.serving
}

// Service implements [frontdoor.Backend].
func (p *Platform) Service(a frontdoor.Address) (*frontdoor.Service, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	svc := p.services[a.Service]
	if svc == nil || svc.serving == nil || a.Region != "" && a.Region != p.Region {
		return nil, false
	}
	if a.Tag != "" && svc.tags[a.Tag] == nil {
		return nil, false
	}
	return svc.site, true
}

// Acquire implements [frontdoor.Backend].
func (p *Platform) Acquire(ctx context.Context, call frontdoor.Call) (frontdoor.Instance, func(), error) {
	for {
		r := p.revision(call.Service.Name, call.Tag)
		if r == nil {
			return frontdoor.Instance{}, nil, fmt.Errorf("%w: the platform is ending", frontdoor.ErrNoInstance)
		}
		i, release, err := r.pool.Acquire(ctx)
		switch start := (*autoscale.StartError)(nil); {
		case err == nil:
			way := i.(Instance).door()
			way.Gone = func() {
				if r.pool.Remove(i) {
					go i.Stop() // as a rule it has ended already
				}
			}
			return way, release, nil
		case errors.Is(err, autoscale.ErrClosed):
			continue // another revision has taken over
		case errors.Is(err, autoscale.ErrAtMax):
			return frontdoor.Instance{}, nil, frontdoor.ErrMaxInstances
		case errors.Is(err, autoscale.ErrTooSlow):
			return frontdoor.Instance{}, nil, frontdoor.ErrNoInstance
		case errors.As(err, &start):
			return frontdoor.Instance{}, nil, fmt.Errorf("%w: %w", frontdoor.ErrStartup, start.Cause)
		default:
			return frontdoor.Instance{}, nil, err
		}
	}
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
// keys of its tokens.
func (p *Platform) other(host string) http.Handler {
	if host == p.Issuer.Host() || host == certsHost {
		return p.Issuer
	}
	return nil
}

// Serves says whether a host, without port, is the platform's: of a service that
// there is, or could be, in its project, or with the keys of its tokens.
func (p *Platform) Serves(host string) bool {
	if p.other(host) != nil {
		return true
	}
	h, ok := runhost.ParseHost(host)
	return ok && (h.Number == p.ProjectNumber || h.Hash != "" && h.Hash == p.ProjectHash)
}
