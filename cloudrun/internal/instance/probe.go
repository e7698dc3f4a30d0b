package instance

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Probe is a check of a container's health, as Cloud Run has them. The zero Probe
// asks whether the port takes connections, and has Cloud Run's defaults for a
// startup probe that isn't given.
//
// https://docs.cloud.google.com/run/docs/configuring/healthchecks
type Probe struct {
	// Path is asked for by GET with Header, and is well with 200 to 399.
	Path   string
	Header http.Header
	// GRPC asks the health service of gRPC about Service instead.
	GRPC    bool
	Service string
	// Port is the container's own if zero.
	Port int
	// Delay is waited for before the first check, Period between two, and Timeout
	// for the answer to one.
	Delay, Period, Timeout time.Duration
	// Failures in a row make the container a failed one.
	Failures int
}

// withDefaults are those of the startup probe that every container has.
func (p Probe) withDefaults() Probe {
	p.Period = cmp.Or(p.Period, defaultStartupTimeout)
	p.Failures = max(p.Failures, 1)
	p.Timeout = cmp.Or(p.Timeout, p.Period)
	return p
}

func (p Probe) String() string {
	switch {
	case p.GRPC:
		return "GRPC"
	case p.Path != "":
		return "HTTP"
	}
	return "TCP"
}

// errNotListening says that a probe found nobody at its port.
var errNotListening = errors.New("nothing listens on all addresses at port")

// check asks once.
func (i *Instance) check(ctx context.Context, p Probe) error {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	port := cmp.Or(p.Port, i.port)
	conn, err := i.dial(ctx, port)
	if err != nil {
		return fmt.Errorf("%w %d: %w", errNotListening, port, err)
	}
	defer conn.Close()
	switch {
	case p.GRPC:
		return checkGRPC(ctx, conn, p.Service)
	case p.Path != "":
		return checkHTTP(ctx, conn, p)
	}
	return nil
}

func checkHTTP(ctx context.Context, conn net.Conn, p Probe) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ownAddr.String()+p.Path, nil)
	if err != nil {
		return err
	}
	for key, values := range p.Header {
		r.Header[key] = values
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	r.Header.Set("User-Agent", "GoogleHC/1.0")
	r.Close = true
	if err := r.Write(conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("GET %s: %s", p.Path, resp.Status)
	}
	return nil
}

func checkGRPC(ctx context.Context, conn net.Conn, service string) error {
	client, err := grpc.NewClient("passthrough:///container",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return conn, nil }))
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := grpc_health_v1.NewHealthClient(client).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return fmt.Errorf("gRPC health of %q: %w", service, err)
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("gRPC health of %q: %s", service, answer.Status)
	}
	return nil
}

// waitToStart returns when the startup probe has success. A port that isn't open
// yet is looked at again at once, so that a container starts as fast as it can;
// what answers is asked again after the probe's period only.
func (i *Instance) waitToStart(ctx context.Context, p Probe, last *tail) error {
	limit := p.Delay + time.Duration(p.Failures)*p.Period
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	fail := func(reason string) error {
		return &StartupError{Port: i.port, Reason: reason, Log: last.lines()}
	}
	wait := func(pause time.Duration) bool {
		select {
		case <-i.done:
		case <-ctx.Done():
		case <-time.After(pause):
			return true
		}
		return false
	}
	var failure error
	failures := 0
	going := p.Delay == 0 || wait(p.Delay)
	for quick := time.Millisecond; going; {
		err := i.check(ctx, p)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || failure == nil { // the last one that time didn't cut short
			failure = err
		}
		pause := quick
		if errors.Is(err, errNotListening) {
			quick = min(2*quick, 20*time.Millisecond)
		} else {
			if failures++; failures >= p.Failures {
				break
			}
			pause = p.Period
		}
		going = wait(pause)
	}
	select {
	case <-i.done:
		return fail("it ended with " + i.exit.String())
	default:
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return fail(fmt.Sprintf("within %v its startup probe had no success: %v", limit, failure))
}

// keepAlive runs the liveness probe until the instance ends, and kills an
// instance that fails it.
func (i *Instance) keepAlive(p Probe) {
	pause := p.Delay
	for failures := 0; ; pause = p.Period {
		select {
		case <-i.done:
			return
		case <-time.After(pause):
		}
		err := i.check(context.Background(), p)
		if err == nil {
			failures = 0
			continue
		}
		if failures++; failures < p.Failures {
			continue
		}
		select {
		case <-i.done: // which is why it doesn't answer
			return
		default:
		}
		i.mu.Lock()
		i.unhealthy = fmt.Sprintf("LIVENESS %s probe failed %d times consecutively on port %d: %v: the instance is shut down", p, failures, cmp.Or(p.Port, i.port), err)
		i.mu.Unlock()
		i.container.Kill()
		return
	}
}

// Unhealthy says why the instance was killed, if its liveness probe failed. It is
// to be asked when Done is closed.
func (i *Instance) Unhealthy() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.unhealthy
}
