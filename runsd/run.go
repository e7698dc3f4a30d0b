package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/amammay/otorun/internal/cloudlog"
	"github.com/amammay/otorun/runsd/internal/config"
	"github.com/amammay/otorun/runsd/internal/dns"
	"github.com/amammay/otorun/runsd/internal/identity"
	"github.com/amammay/otorun/runsd/internal/metadata"
	"github.com/amammay/otorun/runsd/internal/proxy"
	"github.com/amammay/otorun/runsd/internal/services"
	"github.com/amammay/otorun/runsd/internal/supervise"
	"github.com/amammay/otorun/runsd/internal/upstream"
)

// run is runsd, but for the process's own end. It returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) int {
	signals := supervise.Signals()
	cfg, err := config.Parse(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, config.ErrFlags):
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "runsd: %v\n", err)
		return 1
	}
	if cfg.Version {
		fmt.Fprintln(os.Stdout, "runsd", versionString())
		return 0
	}
	log := cloudlog.New(stderr, cloudlog.Config{JSON: cfg.CloudRun, Level: slog.Level(-min(cfg.Verbosity, 9))}).With("by", "runsd")
	if cfg.Verbosity == 0 {
		log = cloudlog.New(stderr, cloudlog.Config{JSON: cfg.CloudRun}).With("by", "runsd")
	}
	fail := func(err error) int {
		log.ErrorContext(ctx, "runsd can't start: "+err.Error())
		return 1
	}

	app := supervise.App{
		Args: cfg.Args, Env: os.Environ(),
		Started:   func(pid int) { log.Log(ctx, slog.Level(-1), "app started", "pid", pid, "app", cfg.Args[0]) },
		Forwarded: func(s os.Signal) { log.Log(ctx, slog.Level(-2), "signal passed on", "signal", s.String()) },
	}
	if cfg.User != "" {
		if app.User, err = supervise.LookupUser(cfg.User); err != nil {
			return fail(err)
		}
		app.Env = app.User.Environ(app.Env)
	}

	switch {
	case !cfg.CloudRun && !cfg.Forced:
		log.Log(ctx, slog.Level(-1), "not on Cloud Run: only running the app; -mode=proxy or -mode=dns makes it so elsewhere")
	case cfg.SkipDNS && cfg.SkipProxy:
		log.Log(ctx, slog.Level(-1), "neither DNS nor HTTP server wanted: only running the app")
	default:
		e, err := open(cfg)
		if err != nil {
			return fail(err)
		}
		defer e.close(log)
		serve(ctx, cfg, e, log)
		log.InfoContext(ctx, "runsd: "+e.way, "reason", e.why)
		app.Env = e.environ(app.Env)
	}

	status, err := supervise.Run(app, signals)
	if err != nil {
		return fail(err)
	}
	log.Log(ctx, slog.Level(-1), "app ended", "status", status)
	return status
}

// serve starts what answers on e's sockets.
func serve(ctx context.Context, cfg config.Config, e *entry, log *slog.Logger) {
	meta := metadata.New(cfg.MetadataHost)
	directory := &services.Directory{
		Zone: cfg.Domain, Region: cfg.Region, Hash: cfg.ProjectHash, Services: cfg.Services, Project: meta.Project, Log: log,
	}
	go func() {
		if err := directory.Prepare(ctx); err != nil {
			log.WarnContext(ctx, "can't tell this container's project and region yet", "error", err)
		}
	}()

	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	dial := dialer.DialContext
	if len(e.dns) > 0 {
		forwarder := &dns.Forwarder{Servers: e.resolvers}
		server := &dns.Server{
			Local:   &dns.Local{Zone: cfg.Domain, Is: directory.Is, IPv6: e.ipv6},
			Forward: forwarder,
			Log:     log,
		}
		for _, s := range e.dns {
			go server.Serve(ctx, s.udp, s.tcp)
		}
		dialer.Resolver = forwarder.Resolver()
		dial = dialer.DialContext
	} else {
		dialer.Resolver = &net.Resolver{PreferGo: true}
		dial = dialer.DialContext
	}
	if len(e.http) == 0 {
		return
	}
	handler := &proxy.Handler{
		Directory: directory,
		Pool: upstream.New(upstream.Config{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dial(ctx, network, absolute(addr))
		}}),
		Tokens: &identity.Cache{Fetch: meta.IdentityToken, Failed: func(audience string, left time.Duration, err error) {
			log.WarnContext(ctx, "can't refresh an identity token, going on with the old one", "audience", audience, "left", left.Round(time.Second).String(), "error", err)
		}},
		Static: cfg.IDToken,
		Email:  meta.Email,
		Log:    log,
	}
	if !cfg.KeepUserAgent {
		handler.Agent = "runsd version=" + versionString()
	}
	if e.proxyMode {
		handler.Other = proxy.NewPassThrough(proxy.ProxyFromEnvironment, log)
	}
	server := proxy.NewServer(handler)
	for _, l := range e.http {
		go server.Serve(l)
	}
}

// absolute gives the name in addr a final dot, so that no search list is applied
// to it.
func absolute(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || net.ParseIP(host) != nil || strings.HasSuffix(host, ".") || !strings.Contains(host, ".") {
		return addr
	}
	return net.JoinHostPort(host+".", port)
}

// noProxy is what in proxy mode must not come to runsd: this machine and the
// metadata server, in the spellings that one client or another understands, and
// Google's APIs, as Google asks:
// https://docs.cloud.google.com/run/docs/troubleshooting.
var noProxy = []string{"localhost", "127.0.0.0/8", "127.0.0.1", "::1", "169.254.0.0/16", "169.254.169.254", "metadata", "metadata.google.internal", ".google.internal", ".googleapis.com"}

// proxyEnviron returns env with addr as its HTTP proxy. What the user excepted
// from proxies stays excepted, but a * is dropped: it would except the services.
func proxyEnviron(env []string, addr string) []string {
	var except []string
	for _, e := range env {
		if name, value, _ := strings.Cut(e, "="); strings.EqualFold(name, "NO_PROXY") {
			for part := range strings.SplitSeq(value, ",") {
				if part = strings.TrimSpace(part); part != "" && part != "*" && !slices.Contains(except, part) && !slices.Contains(noProxy, part) {
					except = append(except, part)
				}
			}
		}
	}
	url := "http://" + addr
	list := strings.Join(append(slices.Clone(noProxy), except...), ",")
	return supervise.SetEnv(env, "HTTP_PROXY="+url, "http_proxy="+url, "NO_PROXY="+list, "no_proxy="+list)
}

func denied(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, os.ErrNotExist)
}
