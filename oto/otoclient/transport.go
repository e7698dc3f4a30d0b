package otoclient

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"
)

// Limits of both ways to a host.
const (
	maxConns    = 80
	idleTimeout = 90 * time.Second
	// maxHead is what the head of an answer may have, with the heads of the 1xx
	// before it: net/http's own limit.
	maxHead = 10 << 20
)

var dialer = net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}

// shared sends what all clients send, so that they use one set of connections.
var shared = &transport{
	conns: newPool(dialer.DialContext),
	std: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxConnsPerHost:     maxConns,
		MaxIdleConnsPerHost: maxConns,
		IdleConnTimeout:     idleTimeout,
	},
}

// transport sends what is plain over its own connections, and the rest over
// net/http's.
type transport struct {
	conns *pool
	std   *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	b, ok := r.Body.(*body)
	if !ok {
		return t.std.RoundTrip(r)
	}
	if b.Len() < len(b.data) || r.ContentLength != int64(len(b.data)) || traced(r.Context()) {
		return t.viaStd(r, b)
	}
	by, ok := t.route(r)
	if !ok {
		return t.viaStd(r, b)
	}
	defer b.Close()
	w := wires.Get().(*buffer)
	w.data = appendHead(w.data, r, by.proxy)
	deadline, _ := r.Context().Deadline()
	answer, err := t.conns.send(r.Context(), deadline, by, w, b.data)
	if err != nil {
		return nil, err
	}
	answer.Request = r
	return answer, nil
}

// post sends a request with body to a direct target.
func (t *transport) post(ctx context.Context, deadline time.Time, to *target, body []byte) (*http.Response, error) {
	w := wires.Get().(*buffer)
	w.data = append(w.data, to.head...)
	return t.conns.send(ctx, deadline, to.route, w, body)
}

// viaStd has net/http send r, whose body gets a type that it knows: others it
// sends apart from the head.
func (t *transport) viaStd(r *http.Request, b *body) (*http.Response, error) {
	known := r.WithContext(r.Context())
	known.Body = io.NopCloser(&b.Reader)
	known.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.data)), nil }
	answer, err := t.std.RoundTrip(known)
	if err != nil {
		return nil, err
	}
	answer.Request = r
	return answer, nil
}

// CloseIdleConnections closes the connections that carry no call.
func (t *transport) CloseIdleConnections() {
	t.conns.closeIdle()
	t.std.CloseIdleConnections()
}

// route is where a connection for a request leads.
type route struct {
	addr  string // that is dialled
	proxy bool   // a proxy is there, which has to be told of the host
}

// route returns that of r, and reports whether r can be sent on it over a connection
// of ours. A proxy that wants TLS or a password is left to net/http, and so is
// what is wrong with the variables that name it.
func (t *transport) route(r *http.Request) (route, bool) {
	if !available || !isPlain(r) {
		return route{}, false
	}
	switch proxy, err := t.std.Proxy(r); {
	case err != nil:
		return route{}, false
	case proxy == nil:
		return route{addr: address(r.URL)}, true
	default:
		plain := proxy.Scheme == "http" && proxy.User == nil && isPlainHost(proxy.Host)
		return route{addr: address(proxy), proxy: true}, plain
	}
}

// traced reports whether somebody wants to be told of each step of a request.
func traced(ctx context.Context) bool { return httptrace.ContextClientTrace(ctx) != nil }

// goesAsItIs reports whether http.Client would give r to its transport as it is, and
// return what comes of it as it is, unless that is a redirect.
func goesAsItIs(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL != nil && r.URL.Scheme == "http" && r.URL.User == nil && r.Header != nil && r.RequestURI == ""
}

// redirects reports whether http.Client may follow an answer of this status.
func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// resumed is a transport that has one answer already.
type resumed struct {
	answer *http.Response
	then   http.RoundTripper
}

func (t *resumed) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := t.answer
	if answer == nil {
		return t.then.RoundTrip(r)
	}
	t.answer, answer.Request = nil, r
	return answer, nil // r's body was closed when it was sent, or is ours
}

// ended says why ctx has ended, or that a connection's deadline, which is ctx's or
// the default one, has passed before ctx has seen it; any other err stays.
func ended(ctx context.Context, err error) error {
	if end := ctx.Err(); end != nil {
		if cause := context.Cause(ctx); !errors.Is(cause, end) {
			return causeError{cause, end}
		}
		return context.Cause(ctx)
	}
	if errors.Is(err, errDeadline) {
		return context.DeadlineExceeded
	}
	return err
}

// causeError is a context's cause, which is also found as its end.
type causeError struct{ cause, end error }

func (e causeError) Error() string   { return e.cause.Error() }
func (e causeError) Unwrap() []error { return []error{e.cause, e.end} }
