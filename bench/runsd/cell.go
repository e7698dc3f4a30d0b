package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/amammay/otorun/bench/internal/selfsigned"
)

// roles are what this binary is when it starts itself anew.
var roles = map[string]func(args []string) error{"cell": cell, "front": front, "tuned": tuned}

const (
	metadataIP = "169.254.169.254"
	doorIP     = "203.0.113.10" // TEST-NET-3, RFC 5737
	host       = "tacoserver-123456789012.us-central1.run.app"
)

// cell is the process in the namespaces: it starts front door and contender,
// makes the load, and prints a Result.
func cell(args []string) error {
	var c Cell
	if err := json.Unmarshal([]byte(args[0]), &c); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for i, ip := range []string{"127.0.0.1", metadataIP, doorIP} {
		name, mask := "lo", "255.0.0.0"
		if i > 0 {
			name, mask = fmt.Sprintf("lo:%d", i), "255.255.255.255"
		}
		if err := setAddr(name, ip, mask); err != nil {
			return fmt.Errorf("add %s: %w", ip, err)
		}
	}
	dir := os.Getenv("BENCH_DIR")
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+metadataIP+"\n"), 0o644); err != nil {
		return err
	}
	if err := syscall.Mount(resolv, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind resolv.conf: %w", err)
	}

	ca := filepath.Join(dir, "ca.pem")
	door := exec.Command("/proc/self/exe", "front", c.Upstream, ca)
	door.Stderr = os.Stderr
	if err := door.Start(); err != nil {
		return err
	}
	defer end(door)
	if err := ready(doorIP + ":443"); err != nil {
		return err
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "SSL_CERT_FILE=" + ca, "K_SERVICE=bench", "PORT=8080", "CLOUD_RUN_PROJECT_HASH=", "BENCH_TOKEN=" + token("https://"+host)}
	var proxy *exec.Cmd
	switch c.Contender {
	case "direct":
	case "tuned":
		proxy = exec.Command("/proc/self/exe", "tuned")
	case "runsd", "other":
		bin := os.Getenv("BENCH_RUNSD")
		if c.Contender == "other" {
			bin = os.Getenv("BENCH_OTHER")
			env = append(env, "CLOUD_RUN_PROJECT_HASH=dpyb4duzqq")
		}
		proxy = exec.Command(bin, "--", "sleep", "1000")
	case "nginx":
		conf := filepath.Join(dir, "nginx.conf")
		if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, dir, dir, dir, dir, dir, doorIP, host, host, token("https://"+host)), 0o644); err != nil {
			return err
		}
		proxy = exec.Command("nginx", "-c", conf)
	}
	if proxy != nil {
		proxy.Env = env
		proxy.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := proxy.Start(); err != nil {
			return err
		}
		defer func() { syscall.Kill(-proxy.Process.Pid, syscall.SIGKILL); proxy.Wait() }()
		if err := ready("127.0.0.1:80"); err != nil {
			return err
		}
	}

	r, err := load(c, ca, func() float64 {
		if proxy == nil {
			return 0
		}
		return cpu(proxy.Process.Pid)
	})
	if err != nil {
		return err
	}
	if proxy != nil {
		r.RSS = rss(proxy.Process.Pid)
	}
	resp, err := http.Get("http://" + metadataIP + "/counters")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var counters [2]int
	if err := json.NewDecoder(resp.Body).Decode(&counters); err != nil {
		return err
	}
	r.TLS, r.Metadata = counters[0], counters[1]
	return json.NewEncoder(os.Stdout).Encode(r)
}

func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// ready waits until somebody listens at addr.
func ready(addr string) error {
	for range 2000 {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("nobody listens at %s", addr)
}

const nginxConf = `
daemon off; worker_processes auto; pid %s/nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f; uwsgi_temp_path %s/u; scgi_temp_path %s/s;
  upstream door { server %s:443; keepalive 1000; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:80 backlog=4096; keepalive_requests 100000000;
    location / {
      proxy_pass https://door; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host %s;
      proxy_ssl_server_name on; proxy_ssl_name %s; proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_set_header Authorization "Bearer %s";
    }
  }
}
`

// load makes the cell's requests, after as many for warming up as fill c's
// connections twice.
func load(c Cell, ca string, cpu func() float64) (Result, error) {
	target := "http://tacoserver/"
	tr := &http.Transport{MaxIdleConnsPerHost: c.C, DisableCompression: true}
	if c.Contender == "direct" {
		pool := x509.NewCertPool()
		pem, err := os.ReadFile(ca)
		if err != nil {
			return Result{}, err
		}
		pool.AppendCertsFromPEM(pem)
		target = "https://" + host + "/"
		tr.TLSClientConfig = &tls.Config{RootCAs: pool}
		tr.ForceAttemptHTTP2 = c.Upstream == "h2"
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", doorIP+":443")
		}
	} else {
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:80")
		}
	}
	client := &http.Client{Transport: tr}
	one := func() error {
		req, err := http.NewRequest("GET", target, nil)
		if err != nil {
			return err
		}
		if c.Contender == "direct" {
			req.Header.Set("Authorization", "Bearer x")
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || len(b) != 2 {
			return fmt.Errorf("%s %q: %v", resp.Status, b, err)
		}
		return nil
	}
	times := make([]time.Duration, c.N)
	var failed atomic.Int32
	var lastErr atomic.Value
	run := func(n int) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range c.C {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
					begin := time.Now()
					if err := one(); err != nil {
						failed.Add(1)
						lastErr.Store(err)
					}
					times[i] = time.Since(begin)
				}
			})
		}
		wg.Wait()
	}
	run(min(c.N, max(2*c.C, 200)))
	if err, ok := lastErr.Load().(error); ok {
		return Result{}, fmt.Errorf("warming up: %w", err)
	}
	before, begin := cpu(), time.Now()
	run(c.N)
	took := time.Since(begin)
	used := cpu() - before
	slices.Sort(times)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return Result{Rate: float64(c.N) / took.Seconds(), P50: ms(times[c.N/2]), P99: ms(times[c.N*99/100]), CPU: used * 1e6 / float64(c.N), Failed: int(failed.Load())}, nil
}

// family returns pid and its children, nginx's workers as a rule.
func family(pid int) []string {
	kids, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	return append(strings.Fields(string(kids)), fmt.Sprint(pid))
}

// cpu returns the seconds of CPU that pid and its children have used.
func cpu(pid int) float64 {
	var ticks float64
	for _, p := range family(pid) {
		stat, _ := os.ReadFile("/proc/" + p + "/stat")
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		var u, s float64
		fmt.Sscan(f[11], &u)
		fmt.Sscan(f[12], &s)
		ticks += u + s
	}
	return ticks / 100
}

// rss returns the resident megabytes of pid.
func rss(pid int) float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kb float64
	fmt.Sscan(rest, &kb)
	return kb / 1024
}

// front is the front door, the metadata server and the resolver.
func front(args []string) error {
	protocols, caFile := []string{"h2", "http/1.1"}, args[1]
	if args[0] == "http1" {
		protocols = protocols[1:]
	}
	cert, pem, err := selfsigned.New(host, "*.us-central1.run.app", "*.a.run.app")
	if err != nil {
		return err
	}
	if err := os.WriteFile(caFile, pem, 0o644); err != nil {
		return err
	}
	var conns, calls atomic.Int32
	metadata := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/counters" {
			json.NewEncoder(w).Encode([2]int32{conns.Load(), calls.Load()})
			return
		}
		calls.Add(1)
		switch path := strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/"); {
		case path == "instance/region":
			io.WriteString(w, "projects/123456789012/regions/us-central1")
		case path == "instance/zone":
			io.WriteString(w, "projects/123456789012/zones/us-central1-1")
		case strings.HasSuffix(path, "/identity"):
			io.WriteString(w, token(r.URL.Query().Get("audience")))
		default:
			http.NotFound(w, r)
		}
	})
	ml, err := net.Listen("tcp", metadataIP+":80")
	if err != nil {
		return err
	}
	go http.Serve(ml, metadata)
	pc, err := net.ListenPacket("udp", metadataIP+":53")
	if err != nil {
		return err
	}
	go resolve(pc)

	l, err := net.Listen("tcp", doorIP+":443")
	if err != nil {
		return err
	}
	answer := []byte("ok")
	s := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protocols},
		HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: 100}, // as Google's
		ErrorLog:  log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
				http.Error(w, "no token", http.StatusForbidden)
				return
			}
			w.Write(answer)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateActive { // not the probe that asks whether somebody listens
				return
			}
			if state == http.StateNew {
				conns.Add(1)
			}
		},
	}
	if len(protocols) == 1 {
		s.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	conns.Store(-1) // the probe
	return s.ServeTLS(l, "", "")
}

// resolve answers every A query with the front door.
func resolve(pc net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := pc.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if n < 17 {
			continue
		}
		q := append([]byte(nil), buf[:n]...)
		end := 12
		for q[end] != 0 {
			end += int(q[end]) + 1
		}
		end += 5
		r := append([]byte(nil), q[:end]...)
		r[2], r[3] = 0x81, 0x80
		clear(r[6:12])
		if binary.BigEndian.Uint16(q[end-4:]) == 1 {
			r[7] = 1
			r = append(r, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
			r = append(r, net.ParseIP(doorIP).To4()...)
		}
		pc.WriteTo(r, from)
	}
}

func token(audience string) string {
	now := time.Now()
	claims := fmt.Sprintf(`{"iss":"https://accounts.google.com","aud":%q,"azp":"100000000000000000000","email":"caller@example.iam.gserviceaccount.com","email_verified":true,"iat":%d,"exp":%d,"sub":"100000000000000000000"}`, audience, now.Unix(), now.Add(time.Hour).Unix())
	sig := make([]byte, 256) // RS256's
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// tuned is what one gets with little effort that is well spent: httputil's proxy
// with an idle pool as large as the concurrency, a buffer pool and a cached token.
func tuned([]string) error {
	pem, err := os.ReadFile(os.Getenv("SSL_CERT_FILE"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	bearer := "Bearer " + os.Getenv("BENCH_TOKEN")
	door := &url.URL{Scheme: "https", Host: host}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(door)
			r.Out.Header.Set("Authorization", bearer)
		},
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConns: 1000, MaxIdleConnsPerHost: 1000,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", doorIP+":443")
			},
		},
		BufferPool: &buffers{},
	}
	return http.ListenAndServe("127.0.0.1:80", p)
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if v, ok := b.pool.Get().(*[]byte); ok {
		return *v
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }

// setAddr gives an interface, or an alias of it, an IPv4 address and puts it up:
// netdevice(7).
func setAddr(name, ip, mask string) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	ioctl := func(req uintptr, p unsafe.Pointer) error {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), req, uintptr(p)); errno != 0 {
			return errno
		}
		return nil
	}
	var addr struct {
		name   [16]byte
		family uint16
		port   uint16
		addr   [4]byte
		_      [16]byte
	}
	copy(addr.name[:15], name)
	addr.family = syscall.AF_INET
	copy(addr.addr[:], net.ParseIP(ip).To4())
	if err := ioctl(syscall.SIOCSIFADDR, unsafe.Pointer(&addr)); err != nil {
		return err
	}
	copy(addr.addr[:], net.ParseIP(mask).To4())
	if err := ioctl(syscall.SIOCSIFNETMASK, unsafe.Pointer(&addr)); err != nil {
		return err
	}
	var flags struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(flags.name[:15], "lo")
	flags.flags = syscall.IFF_UP | syscall.IFF_RUNNING | syscall.IFF_LOOPBACK
	return ioctl(syscall.SIOCSIFFLAGS, unsafe.Pointer(&flags))
}
