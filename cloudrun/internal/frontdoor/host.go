package frontdoor

import (
	"net"
	"strings"

	"github.com/amammay/otorun/internal/runhost"
)

// A site is what a host names.
type site struct {
	Address
	runApp bool   // by one of Cloud Run's own hosts
	why    string // it names no service of this run
}

// site reads a host in lower case: SERVICE-NUMBER.REGION.run.app,
// SERVICE-HASH-CODE.a.run.app or SERVICE[.REGION].localhost, each with an optional
// TAG--- before it.
func (d *Door) site(host string) (site, bool) {
	if name, ok := strings.CutSuffix(host, ".localhost"); ok {
		tag, rest := cutTag(name)
		svc, err := runhost.Parse(rest)
		if err != nil || strings.HasSuffix(rest, ".run.internal") {
			return site{why: "host " + quote(host) + " isn't of the form SERVICE.localhost"}, false
		}
		return site{Address: Address{Service: svc.Name, Region: svc.Region, Tag: tag}}, true
	}
	h, ok := runhost.ParseHost(host)
	switch {
	case !ok:
		return site{why: "host " + quote(host) + " isn't that of a service"}, false
	case h.Tag != "" && !runhost.IsServiceName(h.Tag):
		return site{why: "host " + quote(host) + " has a tag that can't be"}, false
	case h.Number != "" && h.Number != d.cfg.ProjectNumber:
		return site{why: "host " + quote(host) + " is of project " + h.Number + ", and this run is project " + d.cfg.ProjectNumber}, false
	case h.Hash != "" && (d.cfg.ProjectHash == "" || h.Hash != d.cfg.ProjectHash):
		return site{why: "host " + quote(host) + " is of a project with another hash than " + quote(d.cfg.ProjectHash)}, false
	case h.Region == "":
		return site{why: "host " + quote(host) + " has a region code that isn't Cloud Run's"}, false
	}
	return site{Address: Address{Service: h.Service, Region: h.Region, Tag: h.Tag}, runApp: true}, true
}

// cutTag takes TAG--- off a name. A tag is named as a service is.
func cutTag(name string) (tag, rest string) {
	tag, rest, ok := strings.Cut(name, "---")
	if !ok || !runhost.IsServiceName(tag) {
		return "", name
	}
	return tag, rest
}

// URLs returns the URLs of a service in the project: first that of the
// deterministic form, which it lacks when its name is too long, then that of the
// hash form.
func (d *Door) URLs(service, region string) []string {
	s := runhost.Service{Name: service, Region: region}
	urls := make([]string, 0, 4)
	if host, err := s.Deterministic(d.cfg.ProjectNumber); err == nil {
		urls = append(urls, "https://"+host)
	}
	if d.cfg.ProjectHash != "" {
		if host, err := s.Hash(d.cfg.ProjectHash); err == nil {
			urls = append(urls, "https://"+host)
		}
	}
	return urls
}

// hostname returns the host of a Host header in lower case, without port or final
// dot.
func hostname(hostport string) string {
	host := hostport
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		if h, _, err := net.SplitHostPort(hostport); err == nil {
			host = h
		}
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
