package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/api"
	"github.com/amammay/otorun/cloudrun/internal/build"
	"github.com/amammay/otorun/cloudrun/internal/control"
	"github.com/amammay/otorun/cloudrun/internal/gateway"
	"github.com/amammay/otorun/cloudrun/internal/iam"
	"github.com/amammay/otorun/cloudrun/internal/identity"
	"github.com/amammay/otorun/cloudrun/internal/image"
	"github.com/amammay/otorun/cloudrun/internal/logs"
	"github.com/amammay/otorun/cloudrun/internal/platform"
	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

// developer is who the person at this machine is to the platform.
const developer = "developer@example.com"

// nonroot is the user that the image's containers run as: distroless's.
const nonroot = 65532

// A deployed service is a command of this module, and who may invoke it.
type deployed struct {
	name    string
	command string
	// invoker is a member, or the name of the service whose account it is.
	invoker string
}

// pair is what up deploys.
var pair = []deployed{
	{name: "tacoserver", command: "./server", invoker: "tacoclient"},
	{name: "tacoclient", command: "./client", invoker: "user:" + developer},
}

// defaultAddr is where the platform listens if that is free and nothing else is
// said.
const defaultAddr = "127.0.0.1:9080"

func runUp(ctx context.Context, flags *flag.FlagSet, args []string, stdout, stderr io.Writer) error {
	addr := flags.String("addr", "", "`address` to listen on (default "+defaultAddr+", or a free port if that is taken)")
	empty := flags.Bool("empty", false, "build and deploy nothing")
	watch := flags.Bool("watch", false, "deploy anew when a source file changes")
	state := flags.String("state", "", "`folder` where services, images, accounts, policies and secrets are kept for the next run")
	project := flags.String("project", "", "`id` of the project (default local-project)")
	region := flags.String("region", "", "`region` of the services (default us-central1)")
	firestore := flags.Bool("firestore", false, "start the Firestore emulator of the installed SDK, and keep what is eaten in it")
	var doors list
	flags.Var(&doors, "door", "`HOST:PORT` outside that the services may connect to, a database say; may be given again")
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	if *empty && *watch {
		return fmt.Errorf("-empty builds nothing, and -watch builds what changes: give one of them: %w", errUsage)
	}
	if err := sandbox.Available(); err != nil {
		return err
	}
	l, err := listen(*addr)
	if err != nil {
		return err
	}
	u := &up{empty: *empty, watch: *watch, state: *state, doors: doors, stdout: stdout, console: logs.NewConsole(stdout, isTerminal(stdout)), listener: l}
	defer u.close()
	if *firestore {
		if err := u.startFirestore(ctx); err != nil {
			return err
		}
	}
	if err := u.start(ctx, platform.Config{ProjectID: *project, Region: *region}); err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C before all was up
		}
		return err
	}
	<-ctx.Done()
	fmt.Fprintln(stdout, "cloudrun: ending")
	return nil
}

// list is the values of a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// listen opens the platform's address.
func listen(addr string) (net.Listener, error) {
	if addr != "" {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w: choose another with -addr", addr, err)
		}
		if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
			l.Close()
			return nil, fmt.Errorf("listen on %s: the platform is for this machine alone: use 127.0.0.1", addr)
		}
		return l, nil
	}
	l, err := net.Listen("tcp", defaultAddr)
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	return l, err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// up is the platform with the pair on it.
type up struct {
	empty    bool
	watch    bool
	state    string
	doors    []string
	stdout   io.Writer
	console  *logs.Console
	listener net.Listener

	root     string // of the module
	dir      string // of this run
	kept     string // with images, of this run or of all
	platform *platform.Platform
	api      *api.Server
	programs *api.Programs
	registry *image.Store
	gateway  *gateway.Gateway
	builds   int
	work     sync.WaitGroup
	closers  []func()

	env       []string // of the pair
	firestore string   // the emulator's address, if there is one
}

// atClose has f called when the platform ends, the last one first.
func (u *up) atClose(f func()) { u.closers = append(u.closers, f) }

func (u *up) close() {
	for i := len(u.closers) - 1; i >= 0; i-- {
		u.closers[i]()
	}
	u.listener.Close()
}

// start builds, deploys and tells of the services.
func (u *up) start(ctx context.Context, config platform.Config) error {
	var err error
	if !u.empty {
		if u.root, err = moduleRoot(ctx); err != nil {
			return err
		}
	}
	var remove func()
	if u.dir, remove, err = control.NewDir(); err != nil {
		return err
	}
	u.atClose(remove)
	u.kept = u.dir
	if u.state != "" {
		u.kept = u.state
		if err := os.MkdirAll(u.kept, 0o700); err != nil {
			return fmt.Errorf("folder of the state: %w", err)
		}
		unlock, err := lock(u.kept)
		if err != nil {
			return err
		}
		u.atClose(unlock)
	}
	var bin string
	if !u.empty {
		fmt.Fprintln(u.stdout, "cloudrun: building runsd, tacoserver and tacoclient")
		if bin, err = u.build(ctx); err != nil {
			return err
		}
	}
	built := time.Now()

	logWriter := new(logs.Store)
	config.Log = slog.New(slog.NewJSONHandler(logWriter.Writer(logs.Source{Service: "cloudrun"}, "INFO"), nil))
	logWriter.Follow(u.console.Print)
	if u.platform, err = platform.New(config); err != nil {
		return err
	}
	u.atClose(func() { // the images go when nothing runs on them any more
		u.platform.Close()
		if u.registry != nil {
			if err := u.registry.Close(); err != nil {
				u.platform.Log.Error("unpacked images stay: " + err.Error())
			}
		}
	})
	u.platform.Logs.Follow(u.console.Print)
	if err := u.serve(); err != nil {
		return err
	}
	if !u.empty {
		if err := u.prepare(); err != nil {
			return err
		}
		if err := u.deploy(ctx, bin); err != nil {
			return err
		}
	}
	if u.watch {
		if err := u.follow(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(u.stdout, "cloudrun: up %v after the builds\n", time.Since(built).Round(time.Millisecond))
	io.WriteString(u.stdout, asked{u}.Overview())
	return nil
}

// prepare makes the accounts of the pair, and says who may invoke whom, but where a
// service is kept from an earlier run.
func (u *up) prepare() error {
	directory := u.platform.Directory
	for _, d := range pair {
		u.console.Name(d.name)
		if _, err := directory.CreateServiceAccount(d.name, "otorun "+d.name); err != nil && !errors.Is(err, iam.ErrExists) {
			return err
		}
	}
	for _, d := range pair {
		if u.api.HasService(d.name) {
			continue
		}
		if _, err := directory.AddBinding(directory.Service(u.platform.Region, d.name), iam.Invoker, u.member(d.invoker)); err != nil {
			return err
		}
	}
	return nil
}

// account is the email of a service's account.
func (u *up) account(service string) string {
	return service + "@" + u.platform.ProjectID + ".iam.gserviceaccount.com"
}

// member is an invoker as a policy has it.
func (u *up) member(invoker string) string {
	if strings.Contains(invoker, ":") {
		return invoker
	}
	return "serviceAccount:" + u.account(invoker)
}

// moduleRoot returns the folder of the module that the services are in.
func moduleRoot(ctx context.Context) (string, error) {
	text, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the services: the current folder is in no Go module (%w): run it in a clone of otorun", err)
	}
	root := strings.TrimSpace(string(text))
	for _, d := range pair {
		if _, err := os.Stat(filepath.Join(root, d.command)); err != nil {
			return "", fmt.Errorf("find the services: %w: run it in a clone of otorun", err)
		}
	}
	return root, nil
}

// build builds the commands into a folder of their own.
func (u *up) build(ctx context.Context) (bin string, err error) {
	u.builds++
	bin = filepath.Join(u.dir, fmt.Sprintf("bin-%d", u.builds))
	if err := os.Mkdir(bin, 0o755); err != nil {
		return "", err
	}
	return bin, build.Commands(ctx, u.root, bin, commands()...)
}

func commands() []string {
	all := []string{"./runsd"}
	for _, d := range pair {
		all = append(all, d.command)
	}
	return all
}

// deploy has each service run what was built, all at once.
func (u *up) deploy(ctx context.Context, bin string) error {
	var deploys sync.WaitGroup
	errs := make([]error, len(pair))
	for i, d := range pair {
		deploys.Go(func() {
			ref, err := u.programs.Add("localhost/otorun/"+filepath.Base(d.command), api.Image{
				Entrypoint: []string{"/runsd", "--", "/app"},
				UID:        nonroot,
				GID:        nonroot,
				Env:        u.env,
				Files: []sandbox.File{
					{Path: "/runsd", Source: filepath.Join(bin, "runsd")},
					{Path: "/app", Source: filepath.Join(bin, filepath.Base(d.command))},
				},
			})
			if err == nil {
				err = u.api.Deploy(ctx, api.Deployment{Name: d.name, Image: ref, Account: u.account(d.name)})
			}
			errs[i] = err
		})
	}
	deploys.Wait()
	return errors.Join(append(errs, os.RemoveAll(bin), u.prune())...)
}

// keptRevisions is how many revisions of a service of the pair are kept to go back
// to: with -watch there is one for each saved change.
const keptRevisions = 10

// prune forgets what was built for revisions that are too old.
func (u *up) prune() error {
	var images []string
	for _, d := range pair {
		images = u.api.Prune(d.name, keptRevisions)
	}
	return u.programs.Keep(images)
}

// serve opens the platform's address to this machine.
func (u *up) serve() error {
	p := u.platform
	run := control.Run{
		Addr:        u.listener.Addr().String(),
		Project:     p.ProjectID,
		Number:      p.ProjectNumber,
		Region:      p.Region,
		Developer:   developer,
		Dir:         u.dir,
		CA:          filepath.Join(u.dir, "ca.pem"),
		CABundle:    filepath.Join(u.dir, "ca-bundle.pem"),
		Gcloud:      filepath.Join(u.dir, "gcloud"),
		Docker:      filepath.Join(u.dir, "docker"),
		Credentials: filepath.Join(u.dir, "developer.json"),
	}
	refreshToken := "local-refresh-token." + rand.Text()
	credentials, err := json.Marshal(map[string]string{
		"type": "authorized_user", "client_id": identity.GcloudClientID, "client_secret": "none",
		"refresh_token": refreshToken, "account": developer,
	})
	if err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(run.CA, p.Authority.PEM(), 0o644),
		os.WriteFile(run.CABundle, p.Authority.Bundle(), 0o644),
		os.WriteFile(run.Credentials, credentials, 0o600),
		os.Mkdir(run.Gcloud, 0o700),
		os.Mkdir(run.Docker, 0o700),
	); err != nil {
		return err
	}
	if u.programs, err = api.NewPrograms(filepath.Join(u.kept, "programs")); err != nil {
		return err
	}
	if err := u.openRegistry(u.kept); err != nil {
		return err
	}
	if u.api, err = api.New(api.Config{
		Platform: p, Images: api.Several{u.programs, pushed{u.registry}}, OnRepositoryDeleted: u.repositoryDeleted,
		Developer: developer, RefreshToken: refreshToken, Outside: u.doors, Firestore: u.firestore, StateDir: u.state, Log: p.Log,
	}); err != nil {
		return err
	}
	u.atClose(u.api.Close)
	p.APIs = u.hosts
	if run, err = control.Publish(run); err != nil {
		return err
	}
	u.gateway = &gateway.Gateway{
		Local:       p.Door,
		Hosts:       p.Door,
		Ours:        p.Serves,
		Certificate: p.Authority.TLSConfig().GetCertificate,
		Control:     u.own(control.Handler(run, asked{u})),
		Log:         p.Log,
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := u.gateway.Serve(u.listener); err != nil {
			p.Log.Error("the platform's address is lost", "error", err)
		}
	}()
	u.atClose(func() {
		u.gateway.Close()
		<-served
	})
	return nil
}

// asked answers the other commands.
type asked struct{ *up }

func (a asked) Token(as, audience string) (string, error) { return a.platform.Token(as, audience) }

func (a asked) Why(as, service string) (control.Decision, error) {
	d, err := a.platform.Why(as, service)
	return control.Decision{Allowed: d.Allowed, Why: d.Why, Fix: d.Fix}, err
}

// Overview says what runs and what to type.
func (a asked) Overview() string {
	p := a.platform
	var b strings.Builder
	names := p.Names()
	port := a.listener.Addr().(*net.TCPAddr).Port
	fmt.Fprintf(&b, "cloudrun: %d services in %s of %s, at http://%s\n", len(names), p.Region, p.ProjectID, a.listener.Addr())
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, name := range names {
		policy := p.Directory.Policy(p.Directory.Service(p.Region, name))
		var invokers []string
		for _, binding := range policy.Bindings {
			if binding.Role == iam.Invoker {
				invokers = append(invokers, binding.Members...)
			}
		}
		fmt.Fprintf(table, "  %s\t%s\tinvoker %s\n", name, p.URL(name), strings.Join(invokers, ", "))
	}
	table.Flush()
	b.WriteString("try:\n")
	if slices.Contains(names, "tacoclient") {
		fmt.Fprintf(&b, "  curl -H \"Authorization: Bearer $(go run ./cloudrun token)\" http://tacoclient.localhost:%d/\n", port)
	}
	b.WriteString("  eval \"$(go run ./cloudrun env)\"; gcloud run services list\n")
	return b.String()
}

// follow deploys anew when a source file changes from now on, until ctx is done.
func (u *up) follow(ctx context.Context) error {
	watcher, err := build.NewWatcher(ctx, u.root, commands()...)
	if err != nil {
		return err
	}
	u.atClose(u.work.Wait)
	u.work.Go(func() {
		if err := watcher.Run(ctx, func() { u.again(ctx) }); err != nil {
			u.platform.Log.Error("changes aren't followed any more", "error", err)
		}
	})
	return nil
}

// again builds and deploys what has changed. What is wrong is told, and what ran
// goes on.
func (u *up) again(ctx context.Context) {
	begun := time.Now()
	bin, err := u.build(ctx)
	if err == nil {
		err = u.deploy(ctx, bin)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		u.platform.Log.Error("not deployed: what ran goes on: " + err.Error())
	default:
		u.platform.Log.Info("deployed anew", "took", time.Since(begun).Round(time.Millisecond).String())
	}
}
