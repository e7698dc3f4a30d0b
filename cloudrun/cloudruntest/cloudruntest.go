// Package cloudruntest runs a Go developer's services on a local Cloud Run inside
// go test: private, each with a service account, called by whom IAM lets in.
//
//	run := cloudruntest.Start(t,
//		cloudruntest.Service{Name: "orders", Handler: ordersHandler, Invokers: []string{"shop"}},
//		cloudruntest.Service{Name: "shop", Package: "./shop", Invokers: []string{"user:ana@example.com"}},
//	)
//	resp, err := run.Client("ana@example.com").Get("http://shop/")
//
// Nothing listens on a fixed port and nothing is shared between runs, so tests
// may run in parallel. All is gone at the end of the test, also when it fails or
// its process is killed.
//
// Services with a Package or a Command run in sandboxes, which only Linux has;
// Start skips the test, with the reason, where there are none. Services with a
// Handler run in the test's process, everywhere.
package cloudruntest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/build"
	"github.com/amammay/otorun/cloudrun/internal/iam"
	"github.com/amammay/otorun/cloudrun/internal/identity"
	"github.com/amammay/otorun/cloudrun/internal/instance"
	"github.com/amammay/otorun/cloudrun/internal/logs"
	"github.com/amammay/otorun/cloudrun/internal/metadata"
	"github.com/amammay/otorun/cloudrun/internal/platform"
	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

// Service is a service to deploy. One of Package, Command and Handler says what it
// is.
type Service struct {
	// Name is what it is called by, as in http://NAME/. It runs as a service
	// account of its own.
	Name string
	// Package is a command of the module under test to build, such as ./shop.
	Package string
	// Command is a static Linux program, built already.
	Command string
	// Handler serves in the test's process.
	Handler http.Handler
	// Runsd says that a Command or Package is started by runsd, and finds other
	// services by name. It is the path of a runsd that is built already, or
	// BuildRunsd.
	Runsd string
	// Args and Env are the program's arguments and environment.
	Args, Env []string
	// StartupPath, if set, is asked for by GET to tell whether it has started.
	StartupPath string
	// Doors are addresses outside, HOST:PORT, that the program may connect to.
	Doors []string
	// Invokers are who may call it: services of the run by name, or members as
	// IAM has them, such as user:ana@example.com or allUsers.
	Invokers []string
	// UID is the user the program runs as; 65532, which is no root, if zero.
	// Root is to run it as root.
	UID  int
	Root bool
	// Tag gives the revision a URL of its own, and NoTraffic leaves the service's
	// requests to the one before it.
	Tag       string
	NoTraffic bool
	// Concurrency, MinInstances, MaxInstances, IdleAfter and Timeout are as on
	// Cloud Run: 80, 0, 100, 15 minutes and 300 s where they are zero.
	Concurrency, MinInstances, MaxInstances int
	IdleAfter, Timeout                      time.Duration
}

// BuildRunsd is a Service's Runsd that is built from this module.
const BuildRunsd = "github.com/amammay/otorun/runsd"

const nonroot = 65532

// Run is a running platform with services.
type Run struct {
	t        testing.TB
	platform *platform.Platform
	clock    *identity.Clock
	secure   net.Listener // of the front door, for clients of the test
	bin      string
	clients  []*http.Transport
}

// testKey signs the tokens of all runs of a process: to make one takes a while.
var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// Start starts a platform, deploys the services, and has both end with the test.
// A service that doesn't start fails the test with what it last wrote.
func Start(t testing.TB, services ...Service) *Run {
	t.Helper()
	if slices.ContainsFunc(services, func(s Service) bool { return s.Handler == nil }) {
		if err := sandbox.Available(); err != nil {
			t.Skipf("no sandboxes here: %v", err)
		}
	}
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	r := &Run{t: t, clock: new(identity.Clock)}
	own := new(logs.Store)
	r.platform, err = platform.New(platform.Config{
		Clock: r.clock, Key: key,
		Log: slog.New(slog.NewJSONHandler(own.Writer(logs.Source{Service: "cloudrun"}, "INFO"), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	own.Follow(func(e logs.Entry) { r.platform.Logs.Append(e.Source, e.Severity, e.Line) })
	if r.secure, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = r.platform.Door.ServeTLS(r.secure)
	}()
	t.Cleanup(func() {
		for _, transport := range r.clients {
			transport.CloseIdleConnections()
		}
		r.platform.Close()
		r.secure.Close()
		<-served
		if t.Failed() {
			r.dumpLogs()
		}
	})
	for _, s := range services {
		if _, err := r.platform.Directory.CreateServiceAccount(accountName(s.Name), ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range services {
		for _, invoker := range s.Invokers {
			r.Grant(s.Name, invoker)
		}
	}
	r.Deploy(services...)
	return r
}

// dumpLogs writes the end of the logs into the test's.
func (r *Run) dumpLogs() {
	const shown = 200
	entries := r.platform.Logs.Entries(nil)
	var text strings.Builder
	console := logs.NewConsole(&text, false)
	for _, e := range entries[max(0, len(entries)-shown):] {
		console.Print(e)
	}
	r.t.Logf("logs of the services, %d lines, at most %d of them:\n%s", len(entries), shown, text.String())
}

// Deploy makes a new revision of each service, which takes all requests from then
// on. New services need an account: they are to be given to Start.
func (r *Run) Deploy(services ...Service) {
	r.t.Helper()
	var deploys sync.WaitGroup
	errs := make([]error, len(services))
	for i, s := range services {
		template := platform.Template{
			Handler:      s.Handler,
			Concurrency:  s.Concurrency,
			MinInstances: s.MinInstances,
			MaxInstances: s.MaxInstances,
			IdleAfter:    s.IdleAfter,
			Timeout:      s.Timeout,
		}
		if s.Handler == nil {
			template.Container = r.container(s)
		}
		deploys.Go(func() {
			errs[i] = r.platform.Deploy(r.t.Context(), platform.Service{
				Name: s.Name, Account: r.account(s.Name), Tag: s.Tag, NoTraffic: s.NoTraffic, Template: template,
			})
		})
	}
	deploys.Wait()
	for _, err := range errs {
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// container is what runs a service's program.
func (r *Run) container(s Service) instance.Spec {
	r.t.Helper()
	command := s.Command
	if s.Package != "" {
		command = r.build(s.Package)
	}
	spec := instance.Spec{
		Args:    append([]string{"/app"}, s.Args...),
		Env:     s.Env,
		Files:   []sandbox.File{{Path: "/app", Source: command}},
		UID:     s.UID,
		GID:     s.UID,
		Outside: s.Doors,
	}
	if s.StartupPath != "" { // asked for often: a test doesn't wait for the next time
		const period = 10 * time.Millisecond
		spec.Startup = instance.Probe{Path: s.StartupPath, Period: period, Timeout: 10 * time.Second, Failures: int(240 * time.Second / period)}
	}
	if s.UID == 0 && !s.Root {
		spec.UID, spec.GID = nonroot, nonroot
	}
	if s.Runsd != "" {
		runsd := s.Runsd
		if runsd == BuildRunsd {
			runsd = r.build(runsd)
		}
		spec.Args = append([]string{"/runsd", "--"}, spec.Args...)
		spec.Files = append(spec.Files, sandbox.File{Path: "/runsd", Source: runsd})
	}
	return spec
}

// build builds a command of the module under test.
func (r *Run) build(pkg string) string {
	r.t.Helper()
	if r.bin == "" {
		r.bin = r.t.TempDir()
	}
	dir, err := exec.CommandContext(r.t.Context(), "go", "list", "-f", "{{.Dir}}", pkg).Output()
	if err != nil {
		r.t.Fatalf("find %s: %v", pkg, err)
	}
	out := filepath.Join(r.bin, path.Base(filepath.ToSlash(strings.TrimSpace(string(dir)))))
	if _, err := os.Stat(out); err == nil {
		return out
	}
	if err := build.Commands(r.t.Context(), ".", r.bin, pkg); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// account is the email of a service's account.
func (r *Run) account(service string) string {
	return accountName(service) + "@" + r.platform.ProjectID + ".iam.gserviceaccount.com"
}

// accountName is the service's own name, made to fit the 6 to 30 characters of an
// account's.
func accountName(service string) string {
	switch {
	case len(service) < 6:
		return service + "-service"
	case len(service) > 30:
		return strings.TrimRight(service[:30], "-")
	}
	return service
}

// member is an invoker as a policy has it; a user that is new is made known.
func (r *Run) member(invoker string) string {
	r.t.Helper()
	kind, email, ok := strings.Cut(invoker, ":")
	switch {
	case kind == "user" && ok:
		if _, err := r.platform.Directory.EnsureUser(email); err != nil {
			r.t.Fatal(err)
		}
	case !ok && invoker != iam.AllUsers && invoker != iam.AllAuthenticatedUsers:
		return "serviceAccount:" + r.account(invoker)
	}
	return invoker
}

func (r *Run) resource(service string) string {
	return r.platform.Directory.Service(r.platform.Region, service)
}

// Grant lets an invoker, as in Service.Invokers, call a service.
func (r *Run) Grant(service, invoker string) {
	r.t.Helper()
	if _, err := r.platform.Directory.AddBinding(r.resource(service), iam.Invoker, r.member(invoker)); err != nil {
		r.t.Fatal(err)
	}
}

// Revoke takes that away.
func (r *Run) Revoke(service, invoker string) {
	r.t.Helper()
	if _, err := r.platform.Directory.RemoveBinding(r.resource(service), iam.Invoker, r.member(invoker)); err != nil {
		r.t.Fatal(err)
	}
}

// principal returns the email of a caller: a service's account by the service's
// name, or a user, who is made known.
func (r *Run) principal(caller string) string {
	r.t.Helper()
	if !strings.Contains(caller, "@") {
		return r.account(caller)
	}
	if _, ok := r.platform.Directory.Principal(caller); !ok {
		if _, err := r.platform.Directory.EnsureUser(caller); err != nil {
			r.t.Fatal(err)
		}
	}
	return caller
}

// URL returns the URL of a service, https://NAME-NUMBER.REGION.run.app.
func (r *Run) URL(service string) string { return r.platform.URL(service) }

// Token returns an identity token of a caller, the name of a service or the email
// of a user, for an audience, a service's URL.
func (r *Run) Token(caller, audience string) string {
	r.t.Helper()
	token, err := r.platform.Token(r.principal(caller), audience)
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// Client returns a client that calls services as the caller does, the name of a
// service or the email of a user, or "" for one without a token. It takes both
// http://NAME/ and the services' URLs, and brings a token where the request has
// none.
func (r *Run) Client(caller string) *http.Client {
	r.t.Helper()
	as := ""
	if caller != "" {
		as = r.principal(caller)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, r.secure.Addr().String())
		},
		TLSClientConfig:     &tls.Config{RootCAs: r.platform.Authority.Pool()},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 100,
	}
	r.clients = append(r.clients, transport)
	return &http.Client{Transport: &callerTransport{run: r, as: as, next: transport, tokens: make(map[string]callerToken)}}
}

// callerTransport makes a request for a service by name one for its URL, with a
// token.
type callerTransport struct {
	run  *Run
	as   string
	next http.RoundTripper

	mu     sync.Mutex
	tokens map[string]callerToken // by audience
}

type callerToken struct {
	token string
	made  time.Time
}

func (c *callerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	if req.URL.Scheme == "http" && !strings.Contains(req.URL.Hostname(), ".") {
		req.URL.Scheme, req.URL.Host = "https", strings.TrimPrefix(c.run.URL(req.URL.Hostname()), "https://")
		req.Host = ""
	}
	if c.as != "" && req.Header.Get("Authorization") == "" {
		token, err := c.token("https://" + req.URL.Host)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return c.next.RoundTrip(req)
}

// token returns a token that has half of its life before it at least.
func (c *callerTransport) token(audience string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.run.clock.Now()
	if kept, ok := c.tokens[audience]; ok && now.Sub(kept.made).Abs() < identity.Lifetime/2 {
		return kept.token, nil
	}
	token, err := c.run.platform.Token(c.as, audience)
	if err == nil {
		c.tokens[audience] = callerToken{token: token, made: now}
	}
	return token, err
}

// Instances returns how many instances of a service run.
func (r *Run) Instances(service string) int { return len(r.platform.Instances(service)) }

// ScaleToZero ends all instances of a service, so that its next request starts
// one.
func (r *Run) ScaleToZero(service string) {
	var stops sync.WaitGroup
	for _, i := range r.platform.Instances(service) {
		stops.Go(func() {
			i.Stop()
			<-i.Done()
		})
	}
	stops.Wait()
	for r.Instances(service) > 0 { // the pool hears of it at its own time
		time.Sleep(time.Millisecond)
	}
}

// Kill kills an instance of a service, as running out of memory would. It reports
// false if there is none.
func (r *Run) Kill(service string) bool {
	instances := r.platform.Instances(service)
	if len(instances) == 0 {
		return false
	}
	instances[0].Kill()
	return true
}

// BreakMetadata has the metadata server of a service's instances answer every
// request with a status, such as 429 or 500, after a delay; HealMetadata ends it.
// A status of 0 only delays.
func (r *Run) BreakMetadata(service string, status int, delay time.Duration) {
	r.platform.SetMetadataFaults(service, metadata.Fault{Status: status, Delay: delay})
}

// HealMetadata has the metadata server answer as it should again.
func (r *Run) HealMetadata(service string) { r.platform.SetMetadataFaults(service) }

// MoveClock moves the time that tokens live by.
func (r *Run) MoveClock(d time.Duration) { r.clock.Move(d) }

// Log is one line of a service's log.
type Log struct {
	Service, Revision, Instance string
	Severity, Message           string
	// Trace is projects/PROJECT/traces/ID if the line belongs to a request.
	Trace string
	// Line is the line itself.
	Line string
}

// Logs returns what a service has written so far, oldest first; "cloudrun" is the
// platform itself, which tells what it refuses and why.
func (r *Run) Logs(service string) []Log {
	var all []Log
	for _, e := range r.platform.Logs.Entries(func(e logs.Entry) bool { return e.Service == service }) {
		all = append(all, Log{
			Service: e.Service, Revision: e.Revision, Instance: e.Instance,
			Severity: e.Severity, Message: e.Message, Trace: e.Trace, Line: e.Line,
		})
	}
	return all
}

// WaitForLog returns the first line of a service with text in it, once there is
// one; it fails the test after ten seconds.
func (r *Run) WaitForLog(service, text string) Log {
	r.t.Helper()
	arrived := make(chan struct{}, 1)
	stop := r.platform.Logs.Follow(func(logs.Entry) {
		select {
		case arrived <- struct{}{}:
		default:
		}
	})
	defer stop()
	timeout := time.After(10 * time.Second)
	for {
		for _, l := range r.Logs(service) {
			if strings.Contains(l.Line, text) {
				return l
			}
		}
		select {
		case <-arrived:
		case <-timeout:
			r.t.Fatalf("%s does not log %q", service, text)
		}
	}
}

// Why says whether a caller may invoke a service, in words, with the command that
// mends it if not.
func (r *Run) Why(caller, service string) (allowed bool, why string) {
	r.t.Helper()
	as := ""
	if caller != "" {
		as = r.principal(caller)
	}
	d, err := r.platform.Why(as, service)
	if err != nil {
		r.t.Fatal(err)
	}
	if d.Allowed {
		return true, d.Why
	}
	return false, fmt.Sprintf("%s; to mend it: %s", d.Why, d.Fix)
}

// Available says why there are no sandboxes on this machine, if there are none.
func Available() error { return sandbox.Available() }

// As returns the run with another test to fail, a subtest say.
func (r *Run) As(t testing.TB) *Run {
	other := *r
	other.t = t
	return &other
}
