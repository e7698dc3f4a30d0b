package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/amammay/otorun/internal/runhost"
	"github.com/amammay/otorun/runsd/internal/services"
)

// Header names as net/http spells them: they index header maps directly.
const (
	authorization  = "Authorization"
	xServerless    = "X-Serverless-Authorization"
	xForwardedFor  = "X-Forwarded-For"
	userAgent      = "User-Agent"
	maxTrailerKeys = 64
)

// hopByHop are the headers of one connection, RFC 9110 section 7.6.1, and those
// of the upgrade to HTTP/2 that runsd passes over.
var hopByHop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings"}

// removeHopByHop removes what isn't to be passed on, and what Connection names.
func removeHopByHop(h http.Header) {
	for _, f := range h["Connection"] {
		for name := range strings.SplitSeq(f, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// toService turns the header of a request into that for a service, but for its
// credentials. remote is the address of the app's end of the connection.
func toService(h http.Header, remote, agent string) {
	trailers := slices.ContainsFunc(h["Te"], func(v string) bool {
		return strings.Contains(strings.ToLower(v), "trailers")
	})
	removeHopByHop(h)
	delete(h, "Expect") // the server answers it when the body is first read
	if trailers {
		h["Te"] = []string{"trailers"} // gRPC needs it
	}
	if ip, ok := strings.CutSuffix(remote, "]"); ok || remote != "" {
		if host, _, found := strings.Cut(strings.TrimPrefix(ip, "["), "]:"); found {
			ip = host
		} else if i := strings.LastIndexByte(ip, ':'); i >= 0 {
			ip = ip[:i]
		}
		switch prior := h[xForwardedFor]; {
		case len(prior) > 0:
			h[xForwardedFor] = []string{strings.Join(prior, ", ") + ", " + ip}
		case ip == "127.0.0.1":
			h[xForwardedFor] = forwardedForLoopback
		default:
			h[xForwardedFor] = []string{ip}
		}
	}
	if agent == "" {
		if h[userAgent] == nil {
			h[userAgent] = nil // else net/http adds its own
		}
		return
	}
	if own := h.Get(userAgent); own != "" {
		h[userAgent] = []string{agent + "; " + own}
	} else {
		h[userAgent] = []string{agent}
	}
}

var forwardedForLoopback = []string{"127.0.0.1"}

// fromService turns the header of a service's answer into that for the app, which
// called the service by the name dialed.
func fromService(h http.Header, target *services.Target, dialed string) {
	removeHopByHop(h)
	if v := h["Location"]; len(v) == 1 {
		if to, ok := rewriteLocation(v[0], target, dialed); ok {
			h["Location"] = []string{to}
		}
	}
	if v := h["Set-Cookie"]; len(v) > 0 {
		h["Set-Cookie"] = rewriteCookies(v, target)
	}
}

// rewriteLocation returns location with the name that the app used in place of
// the service's host, if it points there: the app would follow the host without a
// token.
func rewriteLocation(location string, target *services.Target, dialed string) (string, bool) {
	if !strings.HasPrefix(location, "http") && !strings.HasPrefix(location, "//") {
		return "", false
	}
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || !sameService(u.Host, target) {
		return "", false
	}
	// The rest stays byte for byte.
	_, rest, _ := strings.Cut(location, "//")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[i:]
	} else {
		rest = ""
	}
	return "http://" + dialed + rest, true
}

// sameService reports whether host is one of the target's: one it was mapped to,
// or another form of it that Cloud Run serves it under.
func sameService(host string, target *services.Target) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	if slices.Contains(target.Aliases, host) {
		return true
	}
	h, ok := runhost.ParseHost(host)
	return ok && h.Tag == "" && h.Service == target.Service.Name && h.Region == target.Service.Region && target.Service.Name != "" &&
		(h.Number == "" || target.Project == "" || h.Number == target.Project)
}

// rewriteCookies removes the Domain attribute that names the service's host: for
// the app the host is the name it dialed, and a cookie without the attribute is
// that host's.
func rewriteCookies(cookies []string, target *services.Target) []string {
	for i, c := range cookies {
		parts := strings.Split(c, ";")
		kept := parts[:0:0]
		for j, p := range parts {
			name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			if j > 0 && strings.EqualFold(name, "Domain") {
				domain := strings.ToLower(strings.TrimPrefix(strings.TrimSpace(value), "."))
				if slices.ContainsFunc(target.Aliases, func(a string) bool { return a == domain || strings.HasSuffix(a, "."+domain) }) {
					continue
				}
			}
			kept = append(kept, p)
		}
		if len(kept) != len(parts) {
			cookies = slices.Clone(cookies)
			cookies[i] = strings.Join(kept, ";")
		}
	}
	return cookies
}
