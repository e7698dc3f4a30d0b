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
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/amammay/otorun/runsd/internal/services"
)

// PassThrough takes requests for hosts that aren't services' when runsd is the
// app's HTTP proxy. It leaves them as they are, adds no token, and goes by the
// proxy that the app had before, if it had one.
type PassThrough struct {
	proxy   func(*url.URL) (*url.URL, error)
	reverse *httputil.ReverseProxy
	log     *slog.Logger
}

// NewPassThrough returns a PassThrough that goes by the proxy that byEnv names
// for a URL, such as [ProxyFromEnvironment].
func NewPassThrough(byEnv func(*url.URL) (*url.URL, error), log *slog.Logger) *PassThrough {
	p := &PassThrough{log: log}
	p.proxy = func(u *url.URL) (*url.URL, error) {
		if metadataHost(u.Hostname()) {
			return nil, nil // another workload's proxy would hand out its identity
		}
		return byEnv(u)
	}
	p.reverse = &httputil.ReverseProxy{
		Transport: &http.Transport{
			Proxy:               func(r *http.Request) (*url.URL, error) { return p.proxy(r.URL) },
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 100, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
		},
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.Level(-2)),
		Rewrite: func(pr *httputil.ProxyRequest) {
			// These httputil takes away.
			for _, name := range []string{"Forwarded", xForwardedFor, "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if v, ok := pr.In.Header[name]; ok {
					pr.Out.Header[name] = v
				}
			}
			if _, ok := pr.Out.Header[userAgent]; !ok {
				pr.Out.Header[userAgent] = nil
			}
			pr.Out.Host = pr.In.Host
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // httputil drops what it can't parse
			if t := requestTarget(pr.In); !strings.HasPrefix(t, "//") && pr.In.URL.Scheme == "http" {
				if via, _ := p.proxy(pr.In.URL); via == nil {
					pr.Out.URL.Opaque, pr.Out.URL.RawQuery, pr.Out.URL.ForceQuery = t, "", false
				}
			}
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { p.fail(w, r, err) },
	}
	return p
}

// ProxyFromEnvironment is what HTTP_PROXY and NO_PROXY of this process say; the
// app's own are others.
func ProxyFromEnvironment(u *url.URL) (*url.URL, error) {
	return http.ProxyFromEnvironment(&http.Request{URL: u})
}

func metadataHost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "metadata" || host == "metadata.google.internal" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLinkLocalUnicast()
}

func (p *PassThrough) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.log.Log(r.Context(), slog.Level(-5), "not a service's, passed through", "method", r.Method, "host", r.Host)
	p.reverse.ServeHTTP(w, r)
}

func (p *PassThrough) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(r.Context().Err(), context.Canceled) {
		panic(http.ErrAbortHandler)
	}
	status, kind := http.StatusBadGateway, "connect"
	if timeout(err) {
		status, kind = http.StatusGatewayTimeout, "timeout"
	}
	w.Header().Set(ErrorHeader, kind)
	http.Error(w, fmt.Sprintf("runsd: %s isn't a service, passed through: %v", r.Host, err), status)
}

// dial opens a tunnel to addr, by the app's former proxy if that takes it.
func (p *PassThrough) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	// A client that sends CONNECT here took HTTP_PROXY for all it does.
	via, err := p.proxy(&url.URL{Scheme: "http", Host: addr})
	if err != nil {
		return nil, err
	}
	if via == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	proxyAddr := via.Host
	if via.Port() == "" {
		proxyAddr = net.JoinHostPort(via.Hostname(), "80")
	}
	conn, err := d.DialContext(ctx, "tcp", proxyAddr)
	if err != nil {
		return nil, err
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if via.User != nil {
		password, _ := via.User.Password()
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(via.User.Username(), password)
		req.Header["Proxy-Authorization"] = r.Header[authorization]
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if err := req.Write(conn); err != nil {
		conn.Close()
		return nil, err
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("proxy %s: CONNECT %s: %s", via.Host, addr, resp.Status)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return &prefixedConn{Conn: conn, r: br}, nil
}

// prefixedConn is a connection part of which a buffer has read already.
type prefixedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *prefixedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *prefixedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// connect answers CONNECT: for a service's name with the proxy itself, for
// another host with a tunnel to it.
func (h *Handler) connect(w http.ResponseWriter, r *http.Request) {
	service := h.Directory.Is(r.Host)
	if !service && h.Other == nil {
		h.fail(w, r, fmt.Errorf("CONNECT %s: %w", r.Host, services.ErrNotService))
		return
	}
	var up net.Conn
	if !service {
		var err error
		if up, err = h.Other.dial(r.Context(), r.Host); err != nil {
			h.Other.fail(w, r, err)
			return
		}
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		if up != nil {
			up.Close()
		}
		h.fail(w, r, fmt.Errorf("CONNECT %s over %s: %w", r.Host, r.Proto, err))
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		conn.Close()
		return
	}
	down := &prefixedConn{Conn: conn, r: rw.Reader}
	if service {
		h.tunnels.serve(context.Background(), down)
		return
	}
	go pipe(up, down)
	pipe(down, up)
	up.Close()
	conn.Close()
}

// pipe copies until the end of from, and passes that end on.
func pipe(to, from net.Conn) {
	io.Copy(to, from)
	if w, ok := to.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
}
