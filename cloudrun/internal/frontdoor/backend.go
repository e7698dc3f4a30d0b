package frontdoor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"
)

// A Backend has the services and their instances. Its methods are called by many
// goroutines at once.
type Backend interface {
	// Service returns the service at an address; false means that there is none,
	// or no such tag. The Service must not change any more.
	Service(Address) (*Service, bool)
	// Acquire waits until an instance has room for the call and takes it; release
	// gives it back, and is called once, after the last byte. The error wraps
	// [ErrMaxInstances], [ErrNoInstance] or [ErrStartup] where it is one of them;
	// its text is shown to the caller.
	Acquire(context.Context, Call) (inst Instance, release func(), err error)
}

// An Address is what a host says of the service it names.
type Address struct {
	Service string
	// Region is empty in SERVICE.localhost: the run's own.
	Region string
	// Tag is that of a revision, or empty.
	Tag string
}

func (a Address) String() string {
	var b strings.Builder
	b.WriteString(a.Service)
	if a.Region != "" {
		b.WriteString(" in " + a.Region)
	}
	if a.Tag != "" {
		b.WriteString(" with the tag " + a.Tag)
	}
	return b.String()
}

// A Service is what the front door needs to know of one.
type Service struct {
	Name, Region string
	// Revision is the one that takes the request, if the backend has several.
	Revision string
	// CustomAudiences are accepted besides the service's run.app URLs.
	CustomAudiences []string
	// InvokerCheckDisabled lets everyone in, as --no-invoker-iam-check does.
	InvokerCheckDisabled bool
	// DefaultURLDisabled takes the run.app hosts away, as --no-default-url does.
	DefaultURLDisabled bool
	// InternalOnly is any ingress setting but "all".
	InternalOnly bool
	// HTTP2 says that the container speaks HTTP/2 without TLS (--use-http2): its
	// bodies have no limit, and it learns when a client goes.
	HTTP2 bool
	// Timeout is the longest a request may take; 0 means 300 s.
	Timeout time.Duration
}

// flags name the service in a gcloud command.
func (s *Service) flags() string { return s.Name + " --region=" + s.Region }

func (s *Service) timeout() time.Duration {
	if s.Timeout > 0 {
		return s.Timeout
	}
	return defaultTimeout
}

// A Call is a request that may pass and needs an instance.
type Call struct {
	Service *Service
	Tag     string
	// Request is the caller's; its body must not be read.
	Request *http.Request
}

// An Instance is a container that takes requests.
type Instance struct {
	ID, Revision string
	// Transport passes a request on to the container's port, whatever its URL's
	// host. See [NewTransport].
	Transport http.RoundTripper
}

// What Acquire reports.
var (
	// ErrMaxInstances says that all instances are busy and no more are allowed: 429.
	ErrMaxInstances = errors.New("no available instance: the maximum number of instances is reached")
	// ErrNoInstance says that instances couldn't be had fast enough: 500.
	ErrNoInstance = errors.New("no available instance: it couldn't be started fast enough")
	// ErrStartup says that the container didn't start: 503.
	ErrStartup = errors.New("the container failed to start and listen on its port")
)

// NewTransport returns a transport to one instance, which dial reaches: HTTP/1.1,
// or HTTP/2 without TLS.
func NewTransport(dial func(context.Context) (net.Conn, error), http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression:  true, // what the client asked for is passed on
		MaxIdleConnsPerHost: 1000, // Cloud Run's highest concurrency
		// Shorter than the 5 s after which Node.js closes idle connections: a
		// request that meets such a close would be answered 503.
		IdleConnTimeout:       2 * time.Second,
		ExpectContinueTimeout: time.Second,
		Protocols:             new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetUnencryptedHTTP2(http2)
	return t
}
