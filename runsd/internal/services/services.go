// Package services says what a name that an app dials stands for: which host
// serves it, and for which audience its identity tokens are.
//
//	target, err := dir.Lookup(ctx, "tacoserver")
//	target.Host     // tacoserver-123456789012.us-central1.run.app
//	target.Audience // https://tacoserver-123456789012.us-central1.run.app
package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amammay/otorun/internal/runhost"
	"github.com/amammay/otorun/runsd/internal/config"
	"github.com/amammay/otorun/runsd/internal/metadata"
)

var (
	// ErrNotService says that a host is no service's name.
	ErrNotService = errors.New("not the name of a Cloud Run service")
	// ErrProject says that the metadata server didn't tell project and region.
	ErrProject = errors.New("project and region of this container")
)

// projectLimit bounds a wait for the metadata server's word on the project.
const projectLimit = 10 * time.Second

// maxKept is how many dialed names are remembered with their targets.
const maxKept = 4096

// A Target is what a name stands for.
type Target struct {
	Service  runhost.Service // zero for a name mapped by hand
	Scheme   string          // https, or http for a name mapped by hand
	Host     string          // with a port only if it isn't the scheme's
	Audience string          // of identity tokens; empty sends none
	Aliases  []string        // hosts of the same service, Host among them
	Project  string          // the project's number, if known
}

// A Directory looks names up. Set its fields before the first call.
type Directory struct {
	Zone     string // run.internal
	Region   string // of bare names; empty asks Project
	Hash     string // of hash hosts; empty for deterministic ones
	Services []config.Service
	Project  func(context.Context) (metadata.Project, error)
	Log      *slog.Logger

	kept   sync.Map // dialed -> *Target
	size   atomic.Int32
	warned sync.Map // regions without a code

	mu      sync.Mutex
	project metadata.Project
	call    *projectCall
}

type projectCall struct {
	done    chan struct{}
	project metadata.Project
	err     error
}

// Is reports whether host, with or without a port, is a name that [Directory.Lookup]
// takes. It does no I/O. The metadata server and this machine itself aren't services.
func (d *Directory) Is(host string) bool {
	host = hostname(host)
	if _, ok := d.mapped(host); ok {
		return true
	}
	if reserved(host) {
		return false
	}
	_, err := runhost.ParseIn(host, d.Zone)
	return err == nil
}

func reserved(host string) bool {
	switch strings.ToLower(strings.TrimSuffix(host, ".")) {
	case "localhost", "metadata":
		return true
	}
	return false
}

// hostname returns host without its port.
func hostname(host string) string {
	if strings.IndexByte(host, ':') < 0 {
		return host
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return host
}

func (d *Directory) mapped(name string) (config.Service, bool) {
	if len(d.Services) == 0 {
		return config.Service{}, false
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	short := strings.TrimSuffix(name, "."+d.Zone)
	for i := range d.Services {
		// The last wins: flags come after the environment.
		s := d.Services[len(d.Services)-1-i]
		if s.Name == name || s.Name == short {
			return s, true
		}
	}
	return config.Service{}, false
}

// Lookup returns what host, with or without a port, stands for. The error wraps
// [ErrNotService], [runhost.ErrTooLong], or says why the metadata server didn't
// tell the project and region. What was found once is kept; errors aren't.
func (d *Directory) Lookup(ctx context.Context, host string) (*Target, error) {
	if t, ok := d.kept.Load(host); ok {
		return t.(*Target), nil
	}
	t, err := d.lookup(ctx, hostname(host))
	if err != nil {
		return nil, err
	}
	if d.size.Add(1) > maxKept {
		d.kept.Clear()
		d.size.Store(1)
	}
	d.kept.Store(host, t)
	return t, nil
}

func (d *Directory) lookup(ctx context.Context, name string) (*Target, error) {
	if s, ok := d.mapped(name); ok {
		return &Target{Scheme: s.URL.Scheme, Host: s.URL.Host, Audience: s.Audience, Aliases: []string{s.URL.Host}}, nil
	}
	if reserved(name) {
		return nil, fmt.Errorf("%q: %w", name, ErrNotService)
	}
	svc, err := runhost.ParseIn(name, d.Zone)
	if err != nil {
		return nil, fmt.Errorf("%q: %w: want SVC, SVC.REGION or SVC.REGION.%s, or map it with -service", name, ErrNotService, d.Zone)
	}
	if svc.Region == "" {
		if svc.Region = d.Region; svc.Region == "" {
			p, err := d.askProject(ctx)
			if err != nil {
				return nil, err
			}
			svc.Region = p.Region
		}
	}

	var hashHost string
	if d.Hash != "" {
		var err error
		hashHost, err = svc.Hash(d.Hash)
		if errors.Is(err, runhost.ErrUnknownRegion) {
			if _, warned := d.warned.LoadOrStore(svc.Region, true); !warned {
				d.Log.Warn("no code known for this region, taking its deterministic hosts; the project's hash isn't used there", "region", svc.Region)
			}
		}
	}
	// With a hash host in hand the project's number is worth no wait: it only adds an alias.
	number := ""
	if hashHost == "" {
		p, err := d.askProject(ctx)
		if err != nil {
			return nil, err
		}
		number = p.Number
	} else if p := d.knownProject(); p.Number != "" {
		number = p.Number
	}

	t := &Target{Service: svc, Scheme: "https", Project: number}
	deterministic := ""
	if number != "" {
		deterministic, err = svc.Deterministic(number)
	}
	if hashHost != "" {
		t.Aliases = append(t.Aliases, hashHost)
	}
	if deterministic != "" {
		t.Aliases = append(t.Aliases, deterministic)
	}
	if len(t.Aliases) == 0 {
		if d.Hash == "" {
			return nil, fmt.Errorf("%w; a project's hash in CLOUD_RUN_PROJECT_HASH may leave room, or map the name with -service", err)
		}
		return nil, fmt.Errorf("%w, in both forms; map the name with -service", err)
	}
	t.Host = t.Aliases[0]
	t.Audience = "https://" + t.Host
	return t, nil
}

func (d *Directory) knownProject() metadata.Project {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.project
}

// askProject returns the project and region of this container, asking the
// metadata server once for all callers that wait. Failures aren't kept.
func (d *Directory) askProject(ctx context.Context) (metadata.Project, error) {
	d.mu.Lock()
	if d.project.Number != "" {
		defer d.mu.Unlock()
		return d.project, nil
	}
	running := d.call
	if running == nil {
		running = &projectCall{done: make(chan struct{})}
		d.call = running
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), projectLimit)
			defer cancel()
			running.project, running.err = d.Project(ctx)
			d.mu.Lock()
			d.call = nil
			if running.err == nil {
				d.project = running.project
			} else {
				running.err = fmt.Errorf("%w: %w", ErrProject, running.err)
			}
			d.mu.Unlock()
			close(running.done)
		}()
	}
	d.mu.Unlock()
	select {
	case <-running.done:
		return running.project, running.err
	case <-ctx.Done():
		return metadata.Project{}, fmt.Errorf("%w: %w", ErrProject, context.Cause(ctx))
	}
}

// Prepare asks for what bare names will need, so that the first request finds it
// known. It returns at once if nothing needs asking.
func (d *Directory) Prepare(ctx context.Context) error {
	if d.Region != "" && d.Hash != "" {
		return nil
	}
	p, err := d.askProject(ctx)
	if err == nil {
		d.Log.Log(ctx, slog.Level(-3), "project and region of this container", "project", p.Number, "region", p.Region)
	}
	return err
}
