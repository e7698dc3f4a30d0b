// Package config reads runsd's command line and environment into a Config.
//
//	cfg, err := config.Parse([]string{"-v=1", "--", "/app"}, os.Getenv, os.Stderr)
//
// Flag names and defaults are those of the original runsd, so that an ENTRYPOINT
// written for it keeps working; the flags of its logging library are accepted too,
// and only -v does anything.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Ways for the app's requests to reach the proxy.
const (
	ModeAuto  = "auto"  // ModeDNS where it can be had, else ModeProxy
	ModeDNS   = "dns"   // a DNS server and an HTTP server on loopback, resolv.conf rewritten
	ModeProxy = "proxy" // HTTP_PROXY in the app's environment
)

// Config is what the command line and the environment ask for.
type Config struct {
	Args    []string // the app and its arguments; empty only with Version
	Version bool     // print the version and end

	Mode          string           // ModeAuto, ModeDNS or ModeProxy
	Domain        string           // internal zone, lower case, without dots around it
	Ndots         int              // for resolv.conf
	Nameservers   []netip.AddrPort // resolvers instead of resolv.conf's
	ResolvConf    string           // file read and rewritten
	Region        string           // instead of the metadata server's
	ProjectHash   string           // in hash hosts; empty for deterministic hosts
	HTTPProxyPort int              // on loopback
	PortSet       bool             // HTTPProxyPort was asked for
	DNSPort       int              // on loopback
	SkipDNS       bool             // no DNS servers, resolv.conf left alone
	SkipProxy     bool             // no HTTP servers
	KeepUserAgent bool             // User-Agent passes unchanged
	User          string           // NAME|UID[:GID] of the app
	Services      []Service        // names mapped by hand
	Verbosity     int              // 0 says only what a person must know

	AppPort      string // PORT
	IDToken      string // CLOUD_RUN_ID_TOKEN: instead of the metadata server's tokens; a secret
	MetadataHost string // GCE_METADATA_HOST: host or host:port
	CloudRun     bool   // the environment is that of a Cloud Run service, job or worker pool
	Forced       bool   // a flag asks for discovery whether or not this is Cloud Run
}

// A Service is a name mapped by hand: to a service of another project, to a
// custom domain, or to a port of this machine.
type Service struct {
	Name     string // as dialed, lower case
	URL      *url.URL
	Audience string // of identity tokens; empty sends none
}

// ErrFlags says that the flags could not be parsed; usage is on stderr already.
var ErrFlags = errors.New("command line")

// Parse reads args and the environment. The error is [flag.ErrHelp] after -h;
// usage and errors of the flag package are already on stderr then.
func Parse(args []string, getenv func(string) string, stderr io.Writer) (Config, error) {
	var cfg Config
	fs := flag.NewFlagSet("runsd", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, "usage: runsd [flags] -- APP [ARGS...]\n\n")
		fs.PrintDefaults()
	}
	fs.BoolVar(&cfg.Version, "version", false, "print the version and exit")
	fs.StringVar(&cfg.Mode, "mode", ModeAuto, "`way` the app's requests reach runsd: dns, proxy, or auto, which takes dns where ports and resolv.conf allow it")
	fs.StringVar(&cfg.Domain, "domain", "run.internal.", "internal `zone`, with or without the final dot")
	fs.IntVar(&cfg.Ndots, "ndots", 1, "`number` of dots from which a name is looked up as it is first, for resolv.conf")
	nameserver := fs.String("nameserver", "", "resolver `address`[,...] for public names instead of those in resolv.conf")
	fs.StringVar(&cfg.ResolvConf, "resolv_conf_file", "/etc/resolv.conf", "`file` to read resolvers from and to rewrite")
	fs.StringVar(&cfg.Region, "gcp_region", "", "`region` of bare names instead of the metadata server's, e.g. us-central1; also says that this is Cloud Run")
	fs.StringVar(&cfg.ProjectHash, "gcp_project_hash", "", "`hash` in the project's run.app URLs, e.g. dpyb4duzqq (env CLOUD_RUN_PROJECT_HASH)")
	fs.IntVar(&cfg.HTTPProxyPort, "http_proxy_port", 80, "loopback `port` of the HTTP server; in proxy mode a free one unless given")
	fs.IntVar(&cfg.DNSPort, "dns_port", 53, "loopback `port` of the DNS server")
	fs.BoolVar(&cfg.SkipDNS, "skip_dns_hijack", false, "no DNS server, resolv.conf left alone")
	fs.BoolVar(&cfg.SkipProxy, "skip_http_proxy", false, "no HTTP server")
	fs.BoolVar(&cfg.KeepUserAgent, "keep_user_agent", false, "leave the User-Agent header as the app sent it")
	fs.StringVar(&cfg.User, "user", "", "`NAME|UID[:GID]` to run the app as")
	var mapped []string
	fs.Func("service", "`NAME=URL[,audience=AUD]`: what a name stands for, repeatable (env RUNSD_SERVICES, separated by spaces)", func(s string) error {
		mapped = append(mapped, s)
		return nil
	})
	fs.IntVar(&cfg.Verbosity, "v", 0, "log `level`: 1 life cycle, 2 signals, 3 discovery, 4 negative DNS answers, 5 each query and request, 6 request headers by name")
	acceptKlog(fs)

	if err := fs.Parse(args); err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrFlags, err)
	}
	cfg.Args = fs.Args()
	cfg.PortSet = isSet(fs, "http_proxy_port")
	cfg.Forced = cfg.Region != "" || isSet(fs, "mode") && cfg.Mode != ModeAuto
	// Read after Parse, so that -h doesn't print what the environment holds.
	if cfg.ProjectHash == "" {
		cfg.ProjectHash = getenv("CLOUD_RUN_PROJECT_HASH")
	}
	cfg.IDToken = strings.TrimSpace(getenv("CLOUD_RUN_ID_TOKEN"))
	cfg.MetadataHost = getenv("GCE_METADATA_HOST")
	cfg.AppPort = getenv("PORT")
	for _, name := range []string{"K_SERVICE", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL"} {
		cfg.CloudRun = cfg.CloudRun || getenv(name) != ""
	}

	switch cfg.Mode {
	case ModeAuto, ModeDNS, ModeProxy:
	default:
		return Config{}, fmt.Errorf("-mode %q: want auto, dns or proxy", cfg.Mode)
	}
	cfg.Domain = strings.ToLower(strings.Trim(cfg.Domain, "."))
	if cfg.Domain == "" {
		return Config{}, fmt.Errorf("-domain: empty, want a zone such as run.internal")
	}
	if cfg.Ndots < 0 || cfg.Ndots > 15 {
		return Config{}, fmt.Errorf("-ndots %d: want 0 to 15", cfg.Ndots)
	}
	if cfg.HTTPProxyPort < 0 || cfg.HTTPProxyPort > 65535 || cfg.DNSPort < 0 || cfg.DNSPort > 65535 {
		return Config{}, fmt.Errorf("-http_proxy_port %d, -dns_port %d: want ports of at most 65535", cfg.HTTPProxyPort, cfg.DNSPort)
	}
	var err error
	if cfg.Nameservers, err = parseNameservers(*nameserver); err != nil {
		return Config{}, err
	}
	for _, s := range append(strings.Fields(getenv("RUNSD_SERVICES")), mapped...) {
		svc, err := parseService(s)
		if err != nil {
			return Config{}, err
		}
		cfg.Services = append(cfg.Services, svc)
	}
	if len(cfg.Args) == 0 && !cfg.Version {
		return Config{}, fmt.Errorf("no app to run: name it after --, e.g. runsd -- /app")
	}
	return cfg, nil
}

// acceptKlog defines the flags of the logging library that the original linked.
func acceptKlog(fs *flag.FlagSet) {
	for _, name := range []string{"logtostderr", "alsologtostderr", "add_dir_header", "skip_headers", "skip_log_headers", "one_output"} {
		fs.Bool(name, false, "accepted and ignored")
	}
	for _, name := range []string{"vmodule", "stderrthreshold", "log_dir", "log_file", "log_file_max_size", "log_backtrace_at"} {
		fs.String(name, "", "accepted and ignored")
	}
}

func isSet(fs *flag.FlagSet, name string) bool {
	set := false
	fs.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func parseNameservers(s string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if addr, err := netip.ParseAddr(part); err == nil {
			out = append(out, netip.AddrPortFrom(addr, 53))
			continue
		}
		ap, err := netip.ParseAddrPort(part)
		if err != nil {
			return nil, fmt.Errorf("-nameserver %q: want an IP address, e.g. 169.254.169.254", part)
		}
		out = append(out, ap)
	}
	return out, nil
}

// parseService reads NAME=URL[,audience=AUD]. Without an audience an https URL
// is its own; plain http gets tokens only when an audience asks for them, since
// a token in the clear is anybody's who listens.
func parseService(s string) (Service, error) {
	fail := func(why string) (Service, error) {
		return Service{}, fmt.Errorf("-service %q: %s: want NAME=URL[,audience=AUD], e.g. tacos=https://tacos-123456789012.us-east1.run.app", s, why)
	}
	name, rest, ok := strings.Cut(s, "=")
	name = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(name), "."))
	if !ok || name == "" || strings.ContainsAny(name, "/:@ ") {
		return fail("no name")
	}
	raw, audience, hasAudience := strings.Cut(rest, ",audience=")
	if hasAudience && audience == "" {
		return fail("empty audience")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return fail("not a URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return fail("not an http or https URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return fail("the URL has more than scheme, host and port")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return fail("no such port")
		}
	}
	u = &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
	if !hasAudience && u.Scheme == "https" {
		audience = u.String()
	}
	return Service{Name: name, URL: u, Audience: audience}, nil
}
