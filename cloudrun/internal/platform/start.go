package platform

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/amammay/otorun/cloudrun/internal/autoscale"
	"github.com/amammay/otorun/cloudrun/internal/frontdoor"
	"github.com/amammay/otorun/cloudrun/internal/identity"
	"github.com/amammay/otorun/cloudrun/internal/instance"
	"github.com/amammay/otorun/cloudrun/internal/logs"
	"github.com/amammay/otorun/cloudrun/internal/metadata"
)

// start starts an instance of a revision.
func (p *Platform) start(ctx context.Context, service string, r *revision) (autoscale.Instance, error) {
	id := instance.NewID()
	if r.Template.Handler != nil {
		return newInProcess(id, r), nil
	}
	account, ok := p.Directory.Account(r.Account)
	if !ok {
		return nil, fmt.Errorf("the service account %s is gone", r.Account)
	}
	server := metadata.New(metadata.Instance{
		ProjectID:     p.ProjectID,
		ProjectNumber: p.ProjectNumber,
		Region:        p.Region,
		ID:            id,
		Account:       identity.Subject{ID: account.ID, Email: account.Email},
	}, p.Issuer)
	p.mu.Lock()
	server.SetFaults(p.faults[service]...)
	p.mu.Unlock()
	source := logs.Source{Service: service, Revision: r.Name, Instance: id}
	toOut, toErr := source, source
	toOut.Stream, toErr.Stream = "stdout", "stderr"
	stdout, stderr := p.Logs.Writer(toOut, "DEFAULT"), p.Logs.Writer(toErr, "DEFAULT")
	spec := r.Template.Container
	spec.Service, spec.Revision, spec.CABundle = service, r.Name, p.bundle
	if r.Template.Secrets != nil {
		env, files, err := r.Template.Secrets()
		if err != nil {
			return nil, err
		}
		spec.Env, spec.Files = slices.Concat(spec.Env, env), slices.Concat(spec.Files, files)
	}
	i, err := instance.Start(ctx, id, spec, instance.Doors{
		Metadata: server,
		DNS: func(packets net.PacketConn, l net.Listener) {
			go func() { _ = p.names.ServeUDP(packets) }()
			_ = p.names.ServeTCP(l)
		},
		HTTP:  func(l net.Listener) { _ = p.Door.Serve(l) },
		HTTPS: func(l net.Listener) { _ = p.Door.ServeTLS(l) },
	}, stdout, stderr)
	if err != nil {
		return nil, err
	}
	p.Log.Debug("instance started", "service", service, "revision", r.Name, "instance", id)
	go func() {
		<-i.Done()
		stdout.Close()
		stderr.Close()
		if why := i.Unhealthy(); why != "" {
			p.Logs.Append(source, "ERROR", why)
		}
		p.Log.Debug("instance ended", "service", service, "revision", r.Name, "instance", id, "exit", i.Exit())
	}()
	transport := frontdoor.NewTransport(i.Dial, r.Template.HTTP2)
	return &contained{Instance: i, metadata: server, way: frontdoor.Instance{ID: id, Revision: r.Name, Transport: transport}}, nil
}

// contained is an instance in a container.
type contained struct {
	*instance.Instance
	way      frontdoor.Instance
	metadata *metadata.Server
}

// SetMetadataFaults has the metadata server of a service's instances, those that
// run and those that start, get things wrong; without faults it is well again.
func (p *Platform) SetMetadataFaults(service string, faults ...metadata.Fault) {
	p.mu.Lock()
	p.faults[service] = faults
	p.mu.Unlock()
	for _, i := range p.Instances(service) {
		if c, ok := i.(*contained); ok {
			c.metadata.SetFaults(faults...)
		}
	}
}

func (c *contained) door() frontdoor.Instance { return c.way }

// inProcess is an instance that is a handler in this process.
type inProcess struct {
	way    frontdoor.Instance
	server *http.Server
	done   chan struct{}
	stop   sync.Once
}

func newInProcess(id string, r *revision) *inProcess {
	l := newPipeListener()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	i := &inProcess{server: &http.Server{Handler: r.Template.Handler, Protocols: &protocols}, done: make(chan struct{})}
	i.way = frontdoor.Instance{ID: id, Revision: r.Name, Transport: frontdoor.NewTransport(l.dial, r.Template.HTTP2)}
	go func() {
		_ = i.server.Serve(l)
	}()
	return i
}

func (i *inProcess) door() frontdoor.Instance { return i.way }
func (i *inProcess) Done() <-chan struct{}    { return i.done }

// Stop ends the handler's server at once: it is called when no request runs, or
// when those that do are to be cut off.
func (i *inProcess) Stop() { i.Kill() }

func (i *inProcess) Kill() {
	i.stop.Do(func() {
		i.server.Close()
		close(i.done)
	})
}

// pipeListener is a listener whose connections are made in this process.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, fmt.Errorf("the instance has ended: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "in this process" }
