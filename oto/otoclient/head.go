package otoclient

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// isPlain reports whether r is a request that appendHead can write: a POST over
// http, with no more to it than a header. What is odd or wrong isn't plain: how
// that is sent, or refused, is net/http's to say.
func isPlain(r *http.Request) bool {
	if r.Method != http.MethodPost || r.Close || r.TransferEncoding != nil || r.Trailer != nil {
		return false
	}
	//lint:ignore SA1019 http.Client still sets it, for its Timeout.
	if r.Cancel != nil {
		return false
	}
	u := r.URL
	if u == nil || u.Scheme != "http" || u.Opaque != "" || !isPlainHost(u.Host) || r.Host != "" && !isPlainHost(r.Host) {
		return false
	}
	if strings.ContainsFunc(u.RawQuery, func(c rune) bool { return c <= ' ' || c >= 0x7f }) { // the path gets escaped
		return false
	}
	for name, values := range r.Header {
		if !isPlainName(name) {
			return false
		}
		for _, v := range values {
			if !isPlainValue(v) {
				return false
			}
		}
	}
	return true
}

// isPlainHost reports whether a host is one of letters, digits and what else is in
// names and addresses; those of other scripts, and zones, have to be rewritten.
func isPlainHost(host string) bool {
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '-', c == '_', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return host != "" && host[0] != ':'
}

// isPlainName reports whether the header's name is in canonical form and says
// nothing of how the request is sent, nor that it may be sent again.
func isPlainName(name string) bool {
	upper := true
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z' && upper, 'a' <= c && c <= 'z' && !upper, '0' <= c && c <= '9', c == '-':
		default:
			return false
		}
		upper = c == '-'
	}
	switch name {
	case "", "Connection", "Content-Length", "Expect", "Host", "Idempotency-Key", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "X-Idempotency-Key":
		return false
	}
	return true
}

// isPlainValue reports whether v is a header's value without control characters
// and blanks at its ends.
func isPlainValue(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' || v[i] == 0x7f {
			return false
		}
	}
	return v == "" || v[0] != ' ' && v[len(v)-1] != ' '
}

// appendHead appends the head of r, which is plain, up to the number of bytes in
// its body, as its host or a proxy takes it.
func appendHead(b []byte, r *http.Request, proxy bool) []byte {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	agent := "Go-http-client/1.1" // as net/http
	if set, ok := r.Header["User-Agent"]; ok {
		agent = strings.Join(set[:min(len(set), 1)], "")
	}
	b = append(b, "POST "...)
	if proxy {
		b = append(b, "http://"...)
		b = append(b, host...)
	}
	b = append(b, r.URL.RequestURI()...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	if agent != "" {
		b = append(b, "\r\nUser-Agent: "...)
		b = append(b, agent...)
	}
	for name, values := range r.Header {
		if name == "User-Agent" {
			continue
		}
		for _, v := range values {
			b = append(b, "\r\n"...)
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, v...)
		}
	}
	return append(b, "\r\nContent-Length: "...)
}

// address returns what to dial for u, whose host is plain.
func address(u *url.URL) string {
	port := u.Port()
	if port != "" && strings.Count(u.Host, ":") == 1 {
		return u.Host
	}
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
