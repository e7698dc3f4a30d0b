package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/amammay/otorun/runsd/internal/config"
	"github.com/amammay/otorun/runsd/internal/resolvconf"
)

// An entry is the way by which the app's requests reach runsd: sockets that are
// bound, and a resolv.conf that names them.
type entry struct {
	way, why  string // for a person
	proxyMode bool
	ipv6      bool
	dns       []dnsSockets
	http      []net.Listener
	resolvers []netip.AddrPort // for public names

	path       string // of the resolv.conf that was rewritten, if any
	was, wrote []byte
}

type dnsSockets struct {
	udp net.PacketConn
	tcp net.Listener
}

// open binds all sockets, then rewrites resolv.conf. Nothing is left behind when
// it fails.
func open(cfg config.Config) (*entry, error) {
	appTakesPort := !cfg.SkipProxy && cfg.AppPort == strconv.Itoa(cfg.HTTPProxyPort)
	switch cfg.Mode {
	case config.ModeProxy:
		return openProxy(cfg, "as asked by -mode=proxy")
	case config.ModeDNS:
		if appTakesPort {
			return nil, fmt.Errorf("PORT=%s: the app would listen where the proxy has to; let the service listen on another port, or use -mode=proxy", cfg.AppPort)
		}
		return openDNS(cfg, "as asked by -mode=dns")
	}
	if appTakesPort {
		return openProxy(cfg, "PORT="+cfg.AppPort+" is the app's, where the HTTP server would have to be")
	}
	e, err := openDNS(cfg, "ports and resolv.conf are runsd's to take")
	if err != nil && denied(err) && !cfg.SkipProxy {
		return openProxy(cfg, err.Error())
	}
	return e, err
}

// openDNS takes the DNS port, the HTTP port and resolv.conf.
func openDNS(cfg config.Config, why string) (_ *entry, err error) {
	e := &entry{why: why, ipv6: hasIPv6()}
	defer func() {
		if err != nil {
			e.closeSockets()
		}
	}()
	hosts := []string{"127.0.0.1"}
	if e.ipv6 {
		hosts = append(hosts, "::1")
	}
	if !cfg.SkipDNS {
		was, err := os.ReadFile(cfg.ResolvConf)
		if err != nil {
			return nil, fmt.Errorf("resolvers: %w", err)
		}
		if err := resolvconf.Writable(cfg.ResolvConf); err != nil {
			return nil, fmt.Errorf("rewrite resolv.conf: %w", err)
		}
		e.resolvers = cfg.Nameservers
		if len(e.resolvers) == 0 {
			for _, a := range resolvconf.Parse(was).Nameservers {
				if own := a.IsLoopback() && cfg.DNSPort == 53 && (a.String() == "127.0.0.1" || a.String() == "::1"); !own {
					e.resolvers = append(e.resolvers, netip.AddrPortFrom(a, 53))
				}
			}
		}
		if len(e.resolvers) == 0 {
			return nil, fmt.Errorf("resolvers: %s names none that isn't runsd itself; name one with -nameserver, e.g. -nameserver=169.254.169.254", cfg.ResolvConf)
		}
		for _, host := range hosts {
			addr := net.JoinHostPort(host, strconv.Itoa(cfg.DNSPort))
			udp, err := net.ListenPacket("udp", addr)
			if err != nil {
				return nil, taken("DNS", addr, "-dns_port", err)
			}
			tcp, err := net.Listen("tcp", addr)
			if err != nil {
				udp.Close()
				return nil, taken("DNS", addr, "-dns_port", err)
			}
			e.dns = append(e.dns, dnsSockets{udp, tcp})
		}
		e.was = was
	}
	if !cfg.SkipProxy {
		for _, host := range hosts {
			addr := net.JoinHostPort(host, strconv.Itoa(cfg.HTTPProxyPort))
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return nil, taken("HTTP", addr, "-http_proxy_port", err)
			}
			e.http = append(e.http, l)
		}
	}
	if !cfg.SkipDNS {
		var servers []netip.Addr
		for _, host := range hosts {
			servers = append(servers, netip.MustParseAddr(host))
		}
		e.path, e.wrote = cfg.ResolvConf, resolvconf.Rewrite(e.was, servers, cfg.Domain, cfg.Ndots)
		if err := resolvconf.Write(e.path, e.wrote); err != nil {
			return nil, fmt.Errorf("rewrite resolv.conf: %w", errors.Join(err, resolvconf.Write(e.path, e.was)))
		}
	}
	switch {
	case cfg.SkipDNS:
		e.way = fmt.Sprintf("HTTP on port %d, resolv.conf left alone", cfg.HTTPProxyPort)
	case cfg.SkipProxy:
		e.way = "services' names resolve by resolv.conf, no HTTP server"
	default:
		e.way = "services' names resolve by resolv.conf for every program in this container"
	}
	return e, nil
}

// openProxy takes a loopback port that nobody else uses.
func openProxy(cfg config.Config, why string) (*entry, error) {
	if cfg.SkipProxy {
		return nil, fmt.Errorf("-skip_http_proxy leaves nothing of -mode=proxy")
	}
	port := 0
	if cfg.PortSet {
		port = cfg.HTTPProxyPort
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, taken("HTTP", addr, "-http_proxy_port", err)
	}
	return &entry{
		way: "the app's HTTP_PROXY is " + l.Addr().String() + ": programs that follow it reach services by name", why: why,
		proxyMode: true, http: []net.Listener{l},
	}, nil
}

func taken(what, addr, flagName string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen for %s on %s: address already in use; end what listens there, or use -mode=proxy or %s", what, addr, flagName)
	}
	return fmt.Errorf("listen for %s: %w", what, err)
}

// hasIPv6 reports whether this machine has ::1.
func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// environ returns the app's environment.
func (e *entry) environ(env []string) []string {
	if e.proxyMode {
		return proxyEnviron(env, e.http[0].Addr().String())
	}
	return env
}

// close puts resolv.conf back and closes the sockets, in this order.
func (e *entry) close(log *slog.Logger) {
	if e.path != "" {
		if err := resolvconf.Restore(e.path, e.wrote, e.was); err != nil {
			log.Warn("can't put resolv.conf back", "file", e.path, "error", err)
		}
	}
	e.closeSockets()
}

func (e *entry) closeSockets() {
	for _, s := range e.dns {
		s.udp.Close()
		s.tcp.Close()
	}
	for _, l := range e.http {
		l.Close()
	}
}
