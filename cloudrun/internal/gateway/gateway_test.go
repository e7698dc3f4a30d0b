package gateway

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// start serves a gateway whose handlers say who they are and what they got. It
// returns its URL and a client that uses it as its proxy.
func start(t *testing.T) (string, *http.Client) {
	t.Helper()
	// The certificate of httptest's servers is for example.com.
	secure := httptest.NewUnstartedServer(nil)
	secure.StartTLS()
	secure.Close()
	certificate := secure.TLS.Certificates[0]
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())

	say := func(who string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s %s tls=%t %s", who, r.Method, r.Host, r.URL.Path, r.TLS != nil, body)
		})
	}
	g := &Gateway{
		Local:       say("local"),
		Hosts:       say("hosts"),
		Control:     say("control"),
		Ours:        func(host string) bool { return host == "example.com" || host == "svc-1.us-central1.run.app" },
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil },
		Log:         slog.New(slog.DiscardHandler),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		close(started)
		served <- g.Serve(l)
	}()
	<-started
	proxy := &url.URL{Scheme: "http", Host: l.Addr().String()}
	transport := &http.Transport{
		Proxy:             http.ProxyURL(proxy),
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	// An answer shows that it serves.
	if resp, err := http.Get(proxy.String()); err != nil {
		t.Fatal(err)
	} else {
		resp.Body.Close()
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		g.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return proxy.String(), &http.Client{Transport: transport}
}

// get returns the status and body of an answer.
func get(t *testing.T, client *http.Client, url, host string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	resp, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %d %s", resp.Proto, resp.StatusCode, body)
}

func TestAskedDirectly(t *testing.T) {
	base, _ := start(t)
	for _, tt := range []struct{ host, want string }{
		{host: "", want: "HTTP/1.1 200 control GET 127.0.0.1"},
		{host: "tacoclient.localhost:8000", want: "HTTP/1.1 200 local GET tacoclient.localhost:8000 /x tls=false"},
		{host: "TacoClient.LOCALHOST.", want: "HTTP/1.1 200 local"},
		{host: "svc-1.us-central1.run.app", want: "HTTP/1.1 200 hosts GET svc-1.us-central1.run.app /x tls=false"},
		{host: "elsewhere.example", want: "HTTP/1.1 200 control"},
	} {
		if got := get(t, http.DefaultClient, base+"/x", tt.host); !strings.HasPrefix(got, tt.want) {
			t.Errorf("host %q: %s, want %s", tt.host, got, tt.want)
		}
	}
}

func TestAsProxy(t *testing.T) {
	_, client := start(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "elsewhere %s %s", r.URL.Path, r.Header.Get("X-Forwarded-For"))
	}))
	defer elsewhere.Close()
	for _, tt := range []struct{ url, want string }{
		{url: "https://example.com/x", want: "HTTP/2.0 200 hosts GET example.com /x tls=true"},
		{url: "http://example.com/x", want: "HTTP/1.1 200 hosts GET example.com /x tls=false"},
		{url: "http://tacoclient.localhost/x", want: "HTTP/1.1 200 local GET tacoclient.localhost /x"},
		{url: "http://storage.googleapis.com/x", want: "HTTP/1.1 403 cloudrun: storage.googleapis.com is a host of Google Cloud"},
		{url: "https://other-1.us-central1.run.app/", want: "Forbidden"},
		{url: elsewhere.URL + "/y", want: "elsewhere /y "},
		{url: "http://127.0.0.1:1/", want: "502 cloudrun: pass GET on to 127.0.0.1:1"},
	} {
		if got := get(t, client, tt.url, ""); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s, want %s", tt.url, got, tt.want)
		}
	}
}

// A tunnel to another host carries its bytes untouched, both ways, to the end of
// each.
func TestTunnel(t *testing.T) {
	base, _ := start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		got, _ := io.ReadAll(conn) // to the caller's half close
		fmt.Fprintf(conn, "got %s", got)
	}()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The first bytes of the tunnel come along with the request.
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\nearly", l.Addr())
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("CONNECT: %v, %v", resp, err)
	}
	io.WriteString(conn, " and late")
	conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(r); err != nil || string(got) != "got early and late" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestTunnelToNowhere(t *testing.T) {
	_, client := start(t)
	if got := get(t, client, "https://127.0.0.1:1/", ""); !strings.Contains(got, "Bad Gateway") {
		t.Errorf("got %s", got)
	}
}

func TestIsGoogle(t *testing.T) {
	for host, want := range map[string]bool{
		"run.googleapis.com": true, "googleapis.com": true, "x-1.us-central1.run.app": true, "169.254.169.254": true,
		"us-docker.pkg.dev": true, "notgoogleapis.com": false, "example.com": false, "localhost": false,
	} {
		if got := IsGoogle(host); got != want {
			t.Errorf("IsGoogle(%q) = %t", host, got)
		}
	}
}
