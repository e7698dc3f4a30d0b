package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/amammay/otorun/cloudrun/internal/autoscale"
	"github.com/amammay/otorun/cloudrun/internal/frontdoor"
	"github.com/amammay/otorun/internal/runhost"
)

// Revision is one version of a service. It doesn't change.
type Revision struct {
	Name string
	// Account is the email of the service account that it runs as.
	Account  string
	Template Template
}

// Target says which requests of a service a revision gets: a share of all, those
// for a tag, or both.
type Target struct {
	Revision string
	Percent  int
	Tag      string
}

// Settings are what a service has besides its revisions.
type Settings struct {
	// CustomAudiences are accepted in tokens besides the service's URLs.
	CustomAudiences []string
	// InvokerCheckDisabled lets everybody in.
	InvokerCheckDisabled bool
	// DefaultURLDisabled takes the run.app hosts away.
	DefaultURLDisabled bool
	// InternalOnly is any ingress setting but "all".
	InternalOnly bool
}

var errNoRevision = errors.New("there is no such revision")

// service is a deployed service.
type service struct {
	name      string
	revisions map[string]*revision
	targets   []Target
}

// serves says whether requests without a tag go anywhere.
func (s *service) serves() bool {
	return slices.ContainsFunc(s.targets, func(t Target) bool { return t.Percent > 0 })
}

// reachable says whether any URL leads to a revision.
func (s *service) reachable(name string) bool {
	return slices.ContainsFunc(s.targets, func(t Target) bool { return t.Revision == name })
}

// revision is a Revision with its instances: a pool while a URL leads to it, and
// none otherwise. Its site is replaced, never changed.
type revision struct {
	Revision
	pool *autoscale.Pool
	site *frontdoor.Service
}

// AddRevision adds a revision to a service, which is made if there is none. No
// request goes to it before [Platform.Route] says so.
func (p *Platform) AddRevision(name string, r Revision) error {
	account, ok := p.Directory.Account(r.Account)
	if !ok {
		return fmt.Errorf("there is no service account %q: gcloud iam service-accounts create makes one", r.Account)
	}
	r.Account = account.Email
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	svc := p.services[name]
	if svc == nil {
		svc = &service{name: name, revisions: make(map[string]*revision)}
		p.services[name] = svc
	}
	if svc.revisions[r.Name] != nil {
		return fmt.Errorf("service %s has a revision %s", name, r.Name)
	}
	svc.revisions[r.Name] = &revision{Revision: r}
	return nil
}

var errClosed = errors.New("the platform is closed")

// StartRevision returns when an instance of a revision runs, which it does until
// [Platform.Route] is called next and leads nothing to it, or
// [Platform.RemoveRevision]. The error has an [instance.StartupError] if the
// container is to blame.
func (p *Platform) StartRevision(ctx context.Context, service, name string) error {
	p.mu.Lock()
	svc := p.services[service]
	if svc == nil || svc.revisions[name] == nil {
		p.mu.Unlock()
		return fmt.Errorf("start revision %s of %s: %w", name, service, errNoRevision)
	}
	r := svc.revisions[name]
	p.open(svc, r)
	pool := r.pool
	p.mu.Unlock()
	err := pool.Ready(ctx)
	if start, ok := errors.AsType[*autoscale.StartError](err); ok {
		return start.Cause
	}
	return err
}

// open gives a revision a pool. It is called with the lock held.
func (p *Platform) open(svc *service, r *revision) {
	if r.pool != nil {
		return
	}
	r.pool = autoscale.New(autoscale.Config{
		Start:       func(ctx context.Context) (autoscale.Instance, error) { return p.start(ctx, svc.name, r) },
		Concurrency: r.Template.Concurrency,
		Min:         r.Template.MinInstances,
		Max:         r.Template.MaxInstances,
		IdleAfter:   r.Template.IdleAfter,
		Log:         p.Log.With("service", svc.name, "revision", r.Name),
	})
}

// drain ends a revision's instances in the background: its requests may take as
// long as their timeout, unless the platform is closed. It is called with the lock
// held.
func (p *Platform) drain(r *revision) {
	if pool := r.pool; pool != nil {
		r.pool = nil
		p.work.Go(func() { pool.Drain(p.ctx) })
	}
}

// Route says where a service's requests go from now on. A revision that none go
// to any more ends those that it has, and then its instances. On an error nothing is
// changed.
func (p *Platform) Route(service string, settings Settings, targets []Target) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	svc := p.services[service]
	if svc == nil {
		return fmt.Errorf("there is no service %q", service)
	}
	return p.route(svc, settings, targets)
}

// route is called with the lock held.
func (p *Platform) route(svc *service, settings Settings, targets []Target) error {
	if p.closed {
		return errClosed
	}
	total := 0
	for _, t := range targets {
		if svc.revisions[t.Revision] == nil {
			return fmt.Errorf("route %s to %s: %w", svc.name, t.Revision, errNoRevision)
		}
		total += t.Percent
	}
	if total != 100 && total != 0 {
		return fmt.Errorf("route %s: the shares are %d percent together", svc.name, total)
	}
	svc.targets = slices.Clone(targets)
	for _, r := range svc.revisions {
		if !svc.reachable(r.Name) {
			p.drain(r)
			continue
		}
		p.open(svc, r)
		r.site = &frontdoor.Service{
			Name:                 svc.name,
			Region:               p.Region,
			Revision:             r.Name,
			CustomAudiences:      slices.Clone(settings.CustomAudiences),
			InvokerCheckDisabled: settings.InvokerCheckDisabled,
			DefaultURLDisabled:   settings.DefaultURLDisabled,
			InternalOnly:         settings.InternalOnly,
			HTTP2:                r.Template.HTTP2,
			Timeout:              r.Template.Timeout,
		}
	}
	return nil
}

// RemoveRevision forgets a revision. Requests that it has end.
func (p *Platform) RemoveRevision(service, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	svc := p.services[service]
	if svc == nil || svc.revisions[name] == nil {
		return
	}
	p.drain(svc.revisions[name])
	delete(svc.revisions, name)
	svc.targets = slices.DeleteFunc(svc.targets, func(t Target) bool { return t.Revision == name })
	if len(svc.revisions) == 0 {
		delete(p.services, service)
	}
}

// Remove forgets a service. Requests that it has end.
func (p *Platform) Remove(service string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if svc := p.services[service]; svc != nil {
		delete(p.services, service)
		for _, r := range svc.revisions {
			p.drain(r)
		}
	}
}

// Names returns the names of the services that serve.
func (p *Platform) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for name, svc := range p.services {
		if svc.serves() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Instances returns the instances of a service that run, those of the revision
// with the largest share first.
func (p *Platform) Instances(service string) []Instance {
	p.mu.Lock()
	var pools []*autoscale.Pool
	if svc := p.services[service]; svc != nil {
		targets := slices.Clone(svc.targets)
		slices.SortStableFunc(targets, func(a, b Target) int { return cmp.Compare(b.Percent, a.Percent) })
		for _, t := range targets {
			if pool := svc.revisions[t.Revision].pool; !slices.Contains(pools, pool) {
				pools = append(pools, pool)
			}
		}
	}
	p.mu.Unlock()
	var all []Instance
	for _, pool := range pools {
		for _, i := range pool.Instances() {
			all = append(all, i.(Instance))
		}
	}
	return all
}

// choose returns the revision that takes a request for a service, by the shares,
// or for a tag. It is called with the lock held.
func (s *service) choose(tag string) *revision {
	if tag != "" {
		for _, t := range s.targets {
			if t.Tag == tag {
				return s.revisions[t.Revision]
			}
		}
		return nil
	}
	n := rand.IntN(100)
	for _, t := range s.targets {
		if n -= t.Percent; n < 0 {
			return s.revisions[t.Revision]
		}
	}
	return nil
}

// Service implements [frontdoor.Backend].
func (p *Platform) Service(a frontdoor.Address) (*frontdoor.Service, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	svc := p.services[a.Service]
	if svc == nil || a.Region != "" && a.Region != p.Region {
		return nil, false
	}
	r := svc.choose(a.Tag)
	if r == nil {
		return nil, false
	}
	return r.site, true
}

// Acquire implements [frontdoor.Backend].
func (p *Platform) Acquire(ctx context.Context, call frontdoor.Call) (frontdoor.Instance, func(), error) {
	revision := call.Service.Revision
	for {
		pool := p.pool(call.Service.Name, revision, call.Tag)
		if pool == nil {
			return frontdoor.Instance{}, nil, fmt.Errorf("%w: the service is gone, or the platform is ending", frontdoor.ErrNoInstance)
		}
		i, release, err := pool.Acquire(ctx)
		switch start := (*autoscale.StartError)(nil); {
		case err == nil:
			return i.(Instance).door(), release, nil
		case errors.Is(err, autoscale.ErrClosed):
			revision = "" // another has taken over
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

// pool returns the instances of a revision, or of one that takes over from it.
func (p *Platform) pool(service, name, tag string) *autoscale.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	svc := p.services[service]
	if svc == nil {
		return nil
	}
	if r := svc.revisions[name]; r != nil && svc.reachable(name) {
		return r.pool
	}
	if r := svc.choose(tag); r != nil {
		return r.pool
	}
	return nil
}

// Serves says whether a host, without port, is the platform's: of a service that
// there is, or could be, in its project, with the keys of its tokens, or of an API.
func (p *Platform) Serves(host string) bool {
	if p.other(host) != nil {
		return true
	}
	h, ok := runhost.ParseHost(host)
	return ok && (h.Number == p.ProjectNumber || h.Hash != "" && h.Hash == p.ProjectHash)
}
