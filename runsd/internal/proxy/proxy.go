// Package proxy is runsd's HTTP server: it takes requests for names of services
// in the clear, on loopback, and sends them to the services' hosts over HTTPS with
// identity tokens.
//
//	server := proxy.NewServer(&proxy.Handler{Directory: dir, Tokens: cache, Pool: pool, ...})
//	server.Serve(listener)
package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amammay/otorun/internal/runhost"
	"github.com/amammay/otorun/runsd/internal/identity"
	"github.com/amammay/otorun/runsd/internal/services"
	"github.com/amammay/otorun/runsd/internal/upstream"
)

// ErrorHeader marks an answer that is runsd's own, not the service's. Its value
// says what went wrong: name, project, token, connect, timeout or answer.
const ErrorHeader = "Runsd-Error"

// maxReplay is the largest body that is read before it is sent, so that it can be
// sent again.
const maxReplay = 32 << 10

// A Handler passes requests on. Set its fields before the first.
type Handler struct {
	Directory *services.Directory
	Pool      *upstream.Pool
	Tokens    *identity.Cache
	// Static, if not empty, is a token used for all audiences in place of Tokens.
	Static string
	// Email asks for the service account's address, for tokens that don't say it.
	Email func(context.Context) (string, error)
	// Agent is put before the app's User-Agent; empty leaves that alone.
	Agent string
	// Other takes requests for other hosts, made to runsd as a proxy; nil refuses them.
	Other *PassThrough
	Log   *slog.Logger

	denied  sync.Map // target host -> time.Time of the last word about a 403
	tunnels *tunnels
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, maxReplay); return &b }}

// ServeHTTP passes one request on.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.Log.Enabled(r.Context(), slog.Level(-5)) {
		h.logged(w, r)
		return
	}
	h.serve(w, r)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		h.connect(w, r)
		return
	}
	if h.Other != nil && r.URL.Host != "" && !h.Directory.Is(r.Host) {
		h.Other.ServeHTTP(w, r)
		return
	}
	target, err := h.Directory.Lookup(r.Context(), r.Host)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if protocol := upgrade(r.Header); protocol != "" {
		h.upgrade(w, r, target)
		return
	}
	toService(r.Header, r.RemoteAddr, h.Agent)
	sent, err := h.authorize(r.Context(), r.Header, target)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.roundTrip(w, r, target, sent)
}

// A credential is what authorize put into a header.
type credential struct {
	name  string          // of the header; empty if nothing was put
	token *identity.Token // nil for a static one
}

// authorize gives header a token for target: as Authorization where the app left
// that free, else as X-Serverless-Authorization, which Cloud Run's front end looks
// at first. An app that brings a token of its own for the target keeps it.
func (h *Handler) authorize(ctx context.Context, header http.Header, target *services.Target) (credential, error) {
	if target.Audience == "" || len(header[xServerless]) > 0 && header[xServerless][0] != "" {
		return credential{}, nil
	}
	name := authorization
	if own := header[authorization]; len(own) > 0 && own[0] != "" {
		if isTokenFor(own[0], target) {
			return credential{}, nil
		}
		name = xServerless
	}
	if h.Static != "" {
		header[name] = []string{"Bearer " + h.Static}
		return credential{name: name}, nil
	}
	token, err := h.Tokens.Token(ctx, target.Audience)
	if err != nil {
		return credential{}, &tokenError{err}
	}
	header[name] = token.Bearer
	return credential{name: name, token: token}, nil
}

type tokenError struct{ error }

func (e *tokenError) Unwrap() error { return e.error }

// isTokenFor reports whether the value of an Authorization header is a Google
// identity token for target that has not expired. Whether it is genuine is for
// the front end to say.
func isTokenFor(value string, target *services.Target) bool {
	scheme, raw, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	t, err := identity.Parse(strings.TrimSpace(raw))
	if err != nil || t.Issuer != "https://accounts.google.com" && t.Issuer != "accounts.google.com" || !time.Now().Before(t.Expires) {
		return false
	}
	if t.Audience == target.Audience {
		return true
	}
	u, err := url.Parse(t.Audience)
	return err == nil && u.Scheme == "https" && strings.Trim(u.Path, "/") == "" && sameService(u.Host, target)
}

func (h *Handler) roundTrip(w http.ResponseWriter, r *http.Request, target *services.Target, sent credential) {
	var body []byte
	var sending *appBody
	switch {
	case r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody:
	case r.ContentLength > 0 && r.ContentLength <= maxReplay:
		// Not from a pool: the transport may read it after it has returned.
		body = make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			panic(http.ErrAbortHandler) // the app's end of it is broken
		}
	default:
		if r.ProtoMajor == 1 {
			// Both ways at once; without it the server reads the body to its end first.
			http.NewResponseController(w).EnableFullDuplex()
		}
		sending = &appBody{ReadCloser: r.Body}
		r.Body = sending
		defer sending.end(w, r)
	}

	// Informational answers may come until the final one is written.
	info := informational{w: w}
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: info.relay})
	out := r.WithContext(ctx)
	out.URL = &url.URL{Scheme: target.Scheme, Host: target.Host, Opaque: "//" + target.Host + requestTarget(r)}
	out.Host = target.Host
	out.RequestURI = ""
	out.Close = false
	out.TransferEncoding = nil
	if sending == nil {
		out.Body = nil
	}

	resp, err := h.Pool.RoundTrip(out, body)
	if err == nil && resp.StatusCode == http.StatusUnauthorized && sent.token != nil && fromFrontEnd(resp) {
		resp, err = h.again(out, resp, body, sending != nil, target, sent)
	}
	info.stop()
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if resp.StatusCode == http.StatusForbidden && sent.name != "" && fromFrontEnd(resp) {
		h.sayDenied(target, sent)
	}
	h.answer(w, r, resp, target)
	if sending != nil && !sending.ended.Load() {
		flush(w)
	}
}

// moreLimit is how long an app that has had its answer may take to send more of
// its request before their connection is given up.
const moreLimit = 100 * time.Millisecond

// An appBody is the body of a request while it is passed on.
type appBody struct {
	io.ReadCloser
	ended atomic.Bool // no more of it comes
}

func (b *appBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended.Store(true)
	}
	return n, err
}

// end closes the body when the request has been answered. A goroutine of the
// transport may be reading it still, and to close it waits for that: an app that
// sends no more before it has all of the answer would wait for ever.
func (b *appBody) end(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && !b.ended.Load() {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(moreLimit))
	}
	b.ReadCloser.Close()
}

// requestTarget returns the path and query of r byte for byte.
func requestTarget(r *http.Request) string {
	uri := r.RequestURI
	if strings.HasPrefix(uri, "/") || uri == "*" {
		return uri
	}
	// Absolute form: after the authority.
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			if rest[i] == '?' {
				return "/" + rest[i:]
			}
			return rest[i:]
		}
	}
	return "/"
}

// again drops the token that the front end refused and sends the request once
// more with another, if it can.
func (h *Handler) again(out *http.Request, resp *http.Response, body []byte, streaming bool, target *services.Target, sent credential) (*http.Response, error) {
	if !h.Tokens.Drop(target.Audience, sent.token) {
		h.Log.Warn("the front end refused a fresh identity token; is the audience right?", "target", target.Host, "audience", target.Audience)
		return resp, nil
	}
	if streaming {
		return resp, nil
	}
	token, err := h.Tokens.Token(out.Context(), target.Audience)
	if err != nil {
		return resp, nil // the refusal says more
	}
	resp.Body.Close()
	h.Log.Log(out.Context(), slog.Level(-2), "the front end refused an identity token, trying another", "target", target.Host)
	// The first try's connection may look at the old ones still.
	out = out.WithContext(out.Context())
	out.Header = out.Header.Clone()
	out.Header[sent.name] = token.Bearer
	return h.Pool.RoundTrip(out, body)
}

// fromFrontEnd reports whether a 401 or 403 is Cloud Run's own page, not the
// service's answer: HTML, and for a 401 the reason in WWW-Authenticate. See
// https://docs.cloud.google.com/run/docs/troubleshooting.
func fromFrontEnd(resp *http.Response) bool {
	if !strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "text/html") {
		return false
	}
	return resp.StatusCode != http.StatusUnauthorized || strings.Contains(resp.Header.Get("Www-Authenticate"), "invalid_token")
}

// sayDenied logs, at most once a minute for a target, who may not call what and
// the command that changes it.
func (h *Handler) sayDenied(target *services.Target, sent credential) {
	now := time.Now()
	if last, ok := h.denied.Swap(target.Host, now); ok && now.Sub(last.(time.Time)) < time.Minute {
		h.denied.Store(target.Host, last)
		return
	}
	token, email := sent.token, ""
	if token == nil {
		token, _ = identity.Parse(h.Static)
	}
	if token != nil {
		email = token.Email
	}
	go func() {
		if email == "" && h.Static == "" && h.Email != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			email, _ = h.Email(ctx)
		}
		member := "MEMBER"
		if email != "" {
			member = "serviceAccount:" + email
		}
		service := target.Service.Name
		if service == "" {
			service = "SERVICE"
		}
		command := "gcloud run services add-iam-policy-binding " + service
		if target.Service.Region != "" {
			command += " --region=" + target.Service.Region
		}
		if target.Project != "" {
			command += " --project=" + target.Project
		}
		command += " --member=" + member + " --role=roles/run.invoker"
		h.Log.Warn("403: the caller may not invoke the service", "caller", email, "target", target.Host, "audience", target.Audience, "grant", command)
	}()
}

// answer passes the service's answer on to the app.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, resp *http.Response, target *services.Target) {
	defer resp.Body.Close()
	fromService(resp.Header, target, r.Host)
	header := w.Header()
	for name, values := range resp.Header {
		header[name] = values
	}
	// What the service didn't say isn't added.
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil
	}
	if _, ok := header["Date"]; !ok {
		header["Date"] = nil
	}
	announced := len(resp.Trailer)
	if announced > 0 {
		names := make([]string, 0, announced)
		for name := range resp.Trailer {
			names = append(names, name)
		}
		header["Trailer"] = []string{strings.Join(names, ", ")}
		if r.ProtoMajor == 1 {
			delete(header, "Content-Length") // HTTP/1.1 has trailers after chunks only
		}
	}
	w.WriteHeader(resp.StatusCode)
	if announced > 0 {
		flush(w) // so that the body is chunked and trailers have a place
	}

	if err := copyBody(w, resp, announced > 0); err != nil {
		if r.Context().Err() == nil {
			h.Log.Log(r.Context(), slog.Level(-1), "answer cut short", "target", target.Host, "error", err)
		}
		panic(http.ErrAbortHandler) // the app must see that it is cut
	}
	for name, values := range resp.Trailer {
		if announced != len(resp.Trailer) {
			name = http.TrailerPrefix + name
		}
		header[name] = values
	}
}

// copyBody passes on what comes as it comes: it flushes after each piece but the
// last.
func copyBody(w http.ResponseWriter, resp *http.Response, flushed bool) error {
	if resp.ContentLength == 0 {
		return nil
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	if resp.ContentLength < 0 && !flushed {
		flush(w) // the header of a stream, before its first event
	}
	var copied int64
	for {
		n, err := resp.Body.Read(*buf)
		if n > 0 {
			if _, werr := w.Write((*buf)[:n]); werr != nil {
				return werr
			}
			copied += int64(n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if copied == resp.ContentLength {
			continue // only its end is left to read
		}
		flush(w)
	}
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// informational passes 1xx answers on until stopped.
type informational struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	done bool
}

func (i *informational) relay(code int, header textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.done || code == http.StatusContinue {
		return nil // 100 is the server's to send
	}
	h := i.w.Header()
	for name, values := range header {
		h[name] = values
	}
	i.w.WriteHeader(code)
	clear(h)
	return nil
}

func (i *informational) stop() {
	i.mu.Lock()
	i.done = true
	i.mu.Unlock()
}

// upgrade returns the protocol that a request asks to go over to. Going over to
// HTTP/2 in the clear is passed over, as RFC 9113 section 3.1 has it: the request
// is answered as it is.
func upgrade(h http.Header) string {
	if h["Upgrade"] == nil {
		return ""
	}
	for _, f := range h["Connection"] {
		for token := range strings.SplitSeq(f, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "Upgrade") {
				protocol := h.Get("Upgrade")
				if strings.HasPrefix(strings.ToLower(protocol), "h2c") {
					return ""
				}
				return protocol
			}
		}
	}
	return ""
}

// upgrade passes on a request to go over to another protocol, WebSocket as a
// rule, and what follows: httputil's proxy knows how.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request, target *services.Target) {
	header := r.Header.Clone()
	toService(header, r.RemoteAddr, h.Agent)
	if _, err := h.authorize(r.Context(), header, target); err != nil {
		h.fail(w, r, err)
		return
	}
	(&httputil.ReverseProxy{
		Transport: h.Pool.HTTP1(),
		ErrorLog:  slog.NewLogLogger(h.Log.Handler(), slog.Level(-2)),
		Rewrite: func(pr *httputil.ProxyRequest) {
			connection, upgrade := pr.Out.Header["Connection"], pr.Out.Header["Upgrade"]
			pr.Out.Header = header
			pr.Out.Header["Connection"], pr.Out.Header["Upgrade"] = connection, upgrade
			pr.Out.Host = target.Host
			pr.Out.URL = &url.URL{Scheme: target.Scheme, Host: target.Host, Opaque: requestTarget(r)}
			if strings.HasPrefix(pr.Out.URL.Opaque, "//") {
				pr.Out.URL.Opaque = "//" + target.Host + pr.Out.URL.Opaque
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			connection, upgrade := resp.Header["Connection"], resp.Header["Upgrade"]
			fromService(resp.Header, target, r.Host)
			if resp.StatusCode == http.StatusSwitchingProtocols {
				resp.Header["Connection"], resp.Header["Upgrade"] = connection, upgrade
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { h.fail(w, r, err) },
	}).ServeHTTP(w, r)
}

// fail answers for runsd itself: 502, 503 or 504, with a reason and [ErrorHeader].
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(r.Context().Err(), context.Canceled) {
		panic(http.ErrAbortHandler) // nobody is there to read it
	}
	status, kind := http.StatusBadGateway, "answer"
	var dial *upstream.DialError
	var op *net.OpError
	var token *tokenError
	switch {
	case errors.As(err, &token):
		status, kind = http.StatusServiceUnavailable, "token"
	case errors.Is(err, services.ErrNotService), errors.Is(err, runhost.ErrTooLong):
		kind = "name"
	case errors.Is(err, services.ErrProject):
		status, kind = http.StatusServiceUnavailable, "project"
	case errors.As(err, &dial), errors.As(err, &op) && op.Op == "dial":
		kind = "connect"
		if timeout(err) {
			status, kind = http.StatusGatewayTimeout, "timeout"
		}
	case timeout(err):
		status, kind = http.StatusGatewayTimeout, "timeout"
	}
	h.Log.Warn("request not passed on", "method", r.Method, "host", r.Host, "status", status, "reason", kind, "error", err)
	header := w.Header()
	clear(header)
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set(ErrorHeader, kind)
	if status == http.StatusServiceUnavailable {
		header.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, "runsd: %v\n", err)
}

func timeout(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// logged serves a request and logs it, at -v=5, with the names of its headers at
// -v=6. Values never are logged.
func (h *Handler) logged(w http.ResponseWriter, r *http.Request) {
	attrs := []any{"method", r.Method, "host", r.Host, "proto", r.Proto}
	if path, _, _ := strings.Cut(r.RequestURI, "?"); path != "" {
		attrs = append(attrs, "path", path)
	}
	if h.Log.Enabled(r.Context(), slog.Level(-6)) {
		names := make([]string, 0, len(r.Header))
		for name := range r.Header {
			names = append(names, name)
		}
		attrs = append(attrs, "headers", names)
	}
	start := time.Now()
	sw := &statusWriter{ResponseWriter: w}
	defer func() {
		attrs = append(attrs, "status", sw.status, "own", sw.Header().Get(ErrorHeader), "took", time.Since(start))
		h.Log.Log(r.Context(), slog.Level(-5), "request", attrs...)
	}()
	h.serve(sw, r)
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status < 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Flush()                      { flush(w.ResponseWriter) }
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
