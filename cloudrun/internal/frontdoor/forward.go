package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/amammay/otorun/cloudrun/internal/iam"
)

// A call is one request for a service, from the check to the last byte.
type call struct {
	door       *Door
	service    *Service
	tag        string
	start      time.Time
	trace      trace
	in         *http.Request
	answer     answer
	body       *body
	credential credential
	caller     iam.Principal
	instance   Instance
	tries      int          // that failed
	unsent     *unsentError // of the last
	refusal    Refusal
}

var (
	errTimeout        = errors.New("the request reached the maximum request timeout")
	errAnswerTooLarge = errors.New("the answer is too large")
)

// forward gets an instance and passes the request on: to another if the first
// turns out to be gone before it has seen anything of the request, and never to
// two.
func (c *call) forward() {
	r := c.in
	websocket := isWebSocket(r.Header)
	ctx := r.Context()
	// A container learns that its client went over HTTP/2 and WebSockets only,
	// https://docs.cloud.google.com/run/docs/troubleshooting.
	if !c.service.HTTP2 && !websocket {
		ctx = context.WithoutCancel(ctx)
		c.answer.goOn = true
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.service.timeout(), errTimeout)
	defer cancel()
	defer context.AfterFunc(c.door.ctx, cancel)()

	release := func() {}
	defer func() { release() }()
	for ; ; c.tries++ {
		if c.unsent == nil || c.unsent.gone {
			var err error
			if c.instance, release, err = c.door.cfg.Backend.Acquire(ctx, Call{Service: c.service, Tag: c.tag, Request: r}); err != nil {
				release = func() {}
				c.refuse(c.noInstance(ctx, err))
				return
			}
		}
		c.unsent = nil
		c.try(r.WithContext(ctx))
		if c.unsent == nil {
			return
		}
		c.door.log.Debug("request not taken", "service", c.service.Name, "instance", short(c.instance.ID), "error", c.unsent, "trace", c.trace.id)
		if c.unsent.gone {
			if c.instance.Gone != nil {
				c.instance.Gone()
			}
			release()
		}
	}
}

// maxTries is how often a request that no container has seen is tried: enough for
// several instances that end at once, and an end with those that do so whenever
// they are started.
const maxTries = 10

// try passes the request on to the instance and its answer to the client; or sets
// c.unsent, and does neither.
func (c *call) try(r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		// The server closes it when there will be no more tries.
		c.body = &body{ReadCloser: io.NopCloser(r.Body), left: -1}
		if !c.service.HTTP2 {
			c.body.left = c.door.cfg.MaxBody
		}
		r.Body = c.body
	}
	proxy := httputil.ReverseProxy{
		Rewrite:        c.rewrite,
		Transport:      c.instance.Transport,
		ModifyResponse: c.modify,
		ErrorHandler:   c.failed,
		BufferPool:     buffers,
		ErrorLog:       quiet,
	}
	proxy.ServeHTTP(&c.answer, r)
}

// rewrite makes the request that the container gets.
func (c *call) rewrite(p *httputil.ProxyRequest) {
	out, in := p.Out, p.In
	out.URL = &url.URL{
		Scheme:   "http",
		Host:     "instance",
		Path:     in.URL.Path,
		RawPath:  decodeUnreserved(in.URL.RawPath),
		RawQuery: in.URL.RawQuery, // as it came, also what Go can't parse
	}
	out.Host = in.Host
	h := out.Header
	ip := remoteIP(in)
	forwardedFor := ip
	if prior := in.Header["X-Forwarded-For"]; len(prior) > 0 {
		forwardedFor = strings.Join(prior, ", ") + ", " + ip
	}
	h["X-Forwarded-For"] = []string{forwardedFor}
	// A container on Cloud Run never sees plain HTTP; one that redirects it to
	// HTTPS would send http://SERVICE.localhost in a ring.
	h["X-Forwarded-Proto"] = []string{"https"}
	if strings.Contains(ip, ":") {
		ip = "[" + ip + "]"
	}
	h["Forwarded"] = []string{`for="` + ip + `";proto=https`}
	c.trace.set(h)
	c.credential.passOn(h)
	if h.Get("Upgrade") != "" && !isWebSocket(in.Header) {
		h.Del("Upgrade")
		h.Del("Connection")
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // else Go adds its own
	}
}

// modify changes the container's answer.
func (c *call) modify(resp *http.Response) error {
	if resp.StatusCode == http.StatusSwitchingProtocols { // sent past the ResponseWriter
		c.answer.status = resp.StatusCode
	}
	hasBody := c.in.Method != http.MethodHead && resp.StatusCode != http.StatusNotModified
	if !c.service.HTTP2 && hasBody && resp.ContentLength > c.door.cfg.MaxBody {
		return errAnswerTooLarge
	}
	delete(resp.Header, "Server") // ours is set
	delete(resp.Header, cloudTrace)
	if len(resp.Header["Set-Cookie"]) > 0 {
		resp.Header["Cache-Control"] = private(resp.Header["Cache-Control"])
	}
	return nil
}

// private makes an answer with a cookie one that no shared cache keeps.
func private(cacheControl []string) []string {
	var kept []string
	for _, v := range cacheControl {
		for d := range strings.SplitSeq(v, ",") {
			d = strings.TrimSpace(d)
			name, _, _ := strings.Cut(strings.ToLower(d), "=")
			switch name {
			case "no-store", "private":
				return cacheControl
			case "", "public", "s-maxage":
			default:
				kept = append(kept, d)
			}
		}
	}
	return []string{strings.Join(append(kept, "private"), ", ")}
}

// failed answers when the container didn't. The headers haven't been sent.
func (c *call) failed(_ http.ResponseWriter, r *http.Request, err error) {
	ctx := r.Context()
	unsent, isUnsent := errors.AsType[*unsentError](err)
	switch {
	case errors.Is(context.Cause(ctx), errTimeout):
		c.refuse(c.timedOut())
	case c.body != nil && c.body.tooLarge.Load():
		c.refuse(c.tooLarge())
	case errors.Is(err, errAnswerTooLarge):
		c.refuse(Refusal{
			Status: http.StatusInternalServerError,
			Why:    fmt.Sprintf("response size was too large: over %d bytes in one piece", c.door.cfg.MaxBody),
			Fix:    "stream the answer, or gcloud run services update " + c.service.flags() + " --use-http2",
		})
	case c.in.Context().Err() != nil || c.body != nil && c.body.broken.Load():
		// The client went: nobody reads the answer. 499 is what the logs show.
		c.answer.gone = true
		c.answer.WriteHeader(499)
	case isUnsent && c.tries+1 < maxTries && (c.body == nil || c.body.abandon()):
		c.unsent = unsent
	default:
		c.refuse(Refusal{
			Status: http.StatusServiceUnavailable,
			Why: fmt.Sprintf("the request failed because either the HTTP response was malformed or connection to the instance had an error: instance %s of %s: %v",
				short(c.instance.ID), c.instance.Revision, err),
		})
	}
}

func (c *call) noInstance(ctx context.Context, err error) Refusal {
	f := Refusal{Why: "the request was aborted: " + err.Error()}
	switch {
	case errors.Is(err, ErrMaxInstances):
		f.Status = http.StatusTooManyRequests
		f.Fix = "gcloud run services update " + c.service.flags() + " --max-instances=MORE"
	case errors.Is(err, ErrStartup):
		f.Status = http.StatusServiceUnavailable
		f.Fix = "gcloud run services logs read " + c.service.flags()
	case errors.Is(context.Cause(ctx), errTimeout):
		return c.timedOut()
	default:
		f.Status = http.StatusInternalServerError
	}
	return f
}

func (c *call) timedOut() Refusal {
	return Refusal{
		Status: http.StatusGatewayTimeout,
		Why:    fmt.Sprintf("the request has been terminated because it has reached the maximum request timeout of %s", c.service.timeout()),
		Fix:    "gcloud run services update " + c.service.flags() + " --timeout=SECONDS",
	}
}

func (c *call) tooLarge() Refusal {
	return Refusal{
		Status: http.StatusRequestEntityTooLarge,
		Why:    fmt.Sprintf("the request is larger than %d bytes", c.door.cfg.MaxBody),
		Fix:    "gcloud run services update " + c.service.flags() + " --use-http2",
	}
}

func (c *call) refuse(f Refusal) {
	c.refusal = f
	c.door.refuse(&c.answer, c.in, &c.trace, f)
}

// report calls OnRequest.
func (c *call) report() {
	r := c.in
	q := Request{
		Start:      c.start,
		Latency:    time.Since(c.start),
		Service:    c.service,
		Revision:   c.instance.Revision,
		Instance:   c.instance.ID,
		Caller:     c.caller,
		Method:     r.Method,
		URL:        "http://" + r.Host + r.URL.RequestURI(),
		Proto:      r.Proto,
		Status:     c.answer.status,
		Sent:       c.answer.sent,
		UserAgent:  r.UserAgent(),
		RemoteIP:   remoteIP(r),
		TraceID:    c.trace.id,
		SpanID:     c.trace.spanID(),
		Sampled:    c.trace.sampled,
		Why:        c.refusal.Why,
		Fix:        c.refusal.Fix,
		ClientGone: c.answer.gone,
	}
	if r.TLS != nil {
		q.URL = "https" + q.URL[len("http"):]
	}
	if c.body != nil {
		q.Received = c.body.read.Load()
	}
	c.door.cfg.OnRequest(q)
}

// An answer is the client's ResponseWriter, with an eye on what goes through it.
type answer struct {
	http.ResponseWriter
	// goOn says that the container isn't to notice that the client went: what it
	// still writes is dropped.
	goOn   bool
	gone   bool
	status int
	sent   int64
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.gone && a.goOn {
		return len(p), nil
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	if err != nil {
		a.gone = true
		if a.goOn {
			return len(p), nil
		}
	}
	return n, err
}

// FlushError is what [http.ResponseController] flushes with.
func (a *answer) FlushError() error {
	if a.gone && a.goOn {
		return nil
	}
	err := http.NewResponseController(a.ResponseWriter).Flush()
	if err != nil && a.goOn && !errors.Is(err, http.ErrNotSupported) {
		a.gone = true
		return nil
	}
	return err
}

// Unwrap lets [http.ResponseController] take the connection over.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// A body is a request's, with its limit and what went wrong. The transport may
// read it in a goroutine that outlives the request.
type body struct {
	io.ReadCloser
	left     int64 // below 0: no limit
	read     atomic.Int64
	tooLarge atomic.Bool
	broken   atomic.Bool // by the client
	state    atomic.Int32
}

// States of a body.
const (
	unread = iota
	begun
	abandoned
)

// abandon ends a body for a transport, unless it has begun to read.
func (b *body) abandon() bool { return b.state.CompareAndSwap(unread, abandoned) }

func (b *body) Read(p []byte) (int, error) {
	if !b.state.CompareAndSwap(unread, begun) && b.state.Load() == abandoned {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.tooLarge.Load() {
		return 0, errors.New("the request is too large")
	}
	if b.left >= 0 && int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	if b.left >= 0 {
		if b.left -= int64(n); b.left < 0 {
			b.tooLarge.Store(true)
			return 0, errors.New("the request is too large")
		}
	}
	if err != nil && err != io.EOF {
		b.broken.Store(true)
	}
	return n, err
}

func isWebSocket(h http.Header) bool {
	return len(h["Upgrade"]) == 1 && strings.EqualFold(h["Upgrade"][0], "websocket") && httpguts.HeaderValuesContainsToken(h["Connection"], "upgrade")
}

// decodeUnreserved decodes what needn't be escaped in a path, such as %41, as
// Cloud Run does before a container sees it.
func decodeUnreserved(raw string) string {
	if !strings.Contains(raw, "%") {
		return raw
	}
	b := []byte(raw)
	out := b[:0]
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if c, ok := unhex(b[i+1], b[i+2]); ok && isUnreserved(c) {
				out = append(out, c)
				i += 2
				continue
			}
		}
		out = append(out, b[i])
	}
	return string(out)
}

func unhex(hi, lo byte) (byte, bool) {
	const digits = "0123456789abcdef"
	h, l := strings.IndexByte(digits, hi|0x20), strings.IndexByte(digits, lo|0x20)
	return byte(h<<4 | l), h >= 0 && l >= 0
}

// isUnreserved is RFC 3986 section 2.3.
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || slices.Contains([]byte("-._~"), c)
}

func short(id string) string {
	const length = 12
	if len(id) > length {
		return id[:length] + "..."
	}
	return id
}

// quiet is for what ReverseProxy logs: the door says it itself.
var quiet = log.New(io.Discard, "", 0)

var buffers = &bufferPool{sync.Pool{New: func() any { return new([32 << 10]byte) }}}

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte  { return p.pool.Get().(*[32 << 10]byte)[:] }
func (p *bufferPool) Put(b []byte) { p.pool.Put((*[32 << 10]byte)(b)) }
