// Package metadata asks Cloud Run's metadata server where this container runs
// and for identity tokens.
//
//	c := metadata.New(os.Getenv("GCE_METADATA_HOST"))
//	project, err := c.Project(ctx) // {Number: "123456789012", Region: "us-central1"}
//
// The server is reached by its address and never through a proxy: a proxy on
// another workload would hand out that workload's identity. Its paths are listed
// at https://docs.cloud.google.com/run/docs/container-contract#metadata-server.
package metadata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultHost is the metadata server's address: no name needs to resolve.
const DefaultHost = "169.254.169.254"

const (
	dialLimit    = 2 * time.Second
	attemptLimit = 5 * time.Second
	firstPause   = 100 * time.Millisecond
	maxAnswer    = 64 << 10
)

// A Client asks one metadata server.
type Client struct {
	host      string
	transport http.RoundTripper
}

// New returns a client of the server at host, a host or host:port;
// [DefaultHost] if it is empty.
func New(host string) *Client {
	return NewWithTransport(host, &http.Transport{
		Proxy:              nil,
		DialContext:        (&net.Dialer{Timeout: dialLimit}).DialContext,
		DisableCompression: true,
		MaxIdleConns:       2,
		IdleConnTimeout:    30 * time.Second,
	})
}

// NewWithTransport returns a client that reaches the server by transport.
func NewWithTransport(host string, transport http.RoundTripper) *Client {
	if host == "" {
		host = DefaultHost
	}
	return &Client{host: host, transport: transport}
}

// A StatusError is an answer other than 200.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("metadata server: %d %s", e.Status, http.StatusText(e.Status))
}

// A Project says where this container runs.
type Project struct{ Number, Region string }

// Project asks for the project's number and the region: one call on Cloud Run,
// which knows instance/region; on Compute Engine, which doesn't, the zone's.
func (c *Client) Project(ctx context.Context) (Project, error) {
	path, kind := "instance/region", "regions"
	answer, err := c.get(ctx, path)
	if e, ok := errors.AsType[*StatusError](err); ok && e.Status == http.StatusNotFound {
		path, kind = "instance/zone", "zones"
		answer, err = c.get(ctx, path)
	}
	if err != nil {
		return Project{}, err
	}
	// projects/NUMBER/regions/REGION, projects/NUMBER/zones/REGION-LETTER
	parts := strings.Split(strings.TrimSpace(answer), "/")
	if len(parts) != 4 || parts[0] != "projects" || parts[2] != kind {
		return Project{}, fmt.Errorf("metadata server: %s is %.60q, want projects/NUMBER/%s/NAME", path, answer, kind)
	}
	p := Project{Number: parts[1], Region: parts[3]}
	if kind == "zones" {
		if i := strings.LastIndexByte(p.Region, '-'); i > 0 {
			p.Region = p.Region[:i]
		}
	}
	return p, nil
}

// IdentityToken asks for a token of this container's service account for audience.
func (c *Client) IdentityToken(ctx context.Context, audience string) (string, error) {
	return c.get(ctx, "instance/service-accounts/default/identity?audience="+url.QueryEscape(audience))
}

// Email asks for the service account's address.
func (c *Client) Email(ctx context.Context) (string, error) {
	return c.get(ctx, "instance/service-accounts/default/email")
}

// get asks until it gets an answer, one that a further try wouldn't change, or
// ctx ends. 429 and 5xx are tried again after a pause that doubles.
func (c *Client) get(ctx context.Context, path string) (string, error) {
	pause := firstPause
	for {
		answer, err := c.try(ctx, path)
		if err == nil || !again(err) || ctx.Err() != nil {
			return answer, err
		}
		jitter := rand.N(pause)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause+jitter {
			return "", err // no time for another try: say what happened, not that time ran out
		}
		select {
		case <-time.After(pause + jitter):
		case <-ctx.Done():
			return "", err
		}
		pause = min(2*pause, 2*time.Second)
	}
}

func (c *Client) try(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.host+"/computeMetadata/v1/"+path, nil)
	if err != nil {
		return "", fmt.Errorf("metadata server %q: %w", c.host, err)
	}
	req.Header.Set("Metadata-Flavor", "Google")
	req.Header.Set("User-Agent", "runsd")
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("metadata server at %s: %w", c.host, err)
	}
	defer resp.Body.Close()
	// Read to the end, whatever the status: a connection that isn't read to its
	// end can't be used again, and one that isn't closed is lost.
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode != http.StatusOK {
		return "", &StatusError{Status: resp.StatusCode}
	}
	if err != nil {
		return "", fmt.Errorf("metadata server at %s: %w", c.host, err)
	}
	return strings.TrimSpace(string(body)), nil
}

func again(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return !ok || e.Status == http.StatusTooManyRequests || e.Status >= 500
}
