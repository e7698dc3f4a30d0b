package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A cloud is what a container on Cloud Run finds around it, as far as runsd can
// tell: a metadata server, a resolver, a front door, and a public web server.
type cloud struct {
	mu       sync.Mutex
	metadata map[string]int // calls by path
	dns      map[string]int // queries by "NAME TYPE TRANSPORT"
	requests []*http.Request
	conns    int // TLS
	status   int // of the metadata server, if not 200
	delay    time.Duration
	silent   bool // the resolver
	service  http.Handler
	caFile   string
}

func (c *cloud) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// serve makes h the service behind the front door.
func (c *cloud) serve(h http.Handler) { c.set(func() { c.service = h }) }

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{metadata: map[string]int{}, dns: map[string]int{}}
	serve := func(ip, port string, h http.Handler, cfg *tls.Config) {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, port))
		must(t, "listen", err)
		s := &http.Server{Handler: h, TLSConfig: cfg, ErrorLog: log.New(io.Discard, "", 0)}
		s.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew && cfg != nil {
				c.set(func() { c.conns++ })
			}
		}
		if cfg != nil {
			go s.ServeTLS(l, "", "")
		} else {
			go s.Serve(l)
		}
		t.Cleanup(func() { s.Close() })
	}
	serve(metadataIP, "80", http.HandlerFunc(c.serveMetadata), nil)
	serve(doorIP, "443", http.HandlerFunc(c.serveDoor), c.certificate(t))
	serve(publicIP, "80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "public %s %s agent=%q authorization=%q\n", r.Host, r.RequestURI, r.UserAgent(), r.Header.Get("Authorization"))
	}), nil)

	pc, err := net.ListenPacket("udp", metadataIP+":53")
	must(t, "listen", err)
	tl, err := net.Listen("tcp", metadataIP+":53")
	must(t, "listen", err)
	t.Cleanup(func() { pc.Close(); tl.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if r := c.resolve(buf[:n], "udp"); r != nil {
				pc.WriteTo(r, from)
			}
		}
	}()
	go func() {
		for {
			conn, err := tl.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var length [2]byte
				for {
					if _, err := io.ReadFull(conn, length[:]); err != nil {
						return
					}
					q := make([]byte, binary.BigEndian.Uint16(length[:]))
					if _, err := io.ReadFull(conn, q); err != nil {
						return
					}
					r := c.resolve(q, "tcp")
					conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...))
				}
			}()
		}
	}()
	return c
}

func (c *cloud) certificate(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, "key", err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "front door of a test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"*.us-central1.run.app", "*.us-east1.run.app", "*.a.run.app"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, "certificate", err)
	dir, err := os.MkdirTemp("", "runsd-ca-")
	must(t, "CA", err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	c.caFile = filepath.Join(dir, "ca.pem")
	must(t, "CA", os.WriteFile(c.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2", "http/1.1"}}
}

const callerEmail = "caller@example.iam.gserviceaccount.com"

func (c *cloud) serveMetadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	path := strings.TrimPrefix(r.URL.Path, "/computeMetadata/v1/")
	var status int
	var delay time.Duration
	c.set(func() { c.metadata[path]++; status, delay = c.status, c.delay })
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case r.URL.Path == "/":
	case status != 0:
		http.Error(w, "as told", status)
	case r.Header.Get("Metadata-Flavor") != "Google" || r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "no Metadata-Flavor", http.StatusForbidden)
	case path == "instance/region":
		io.WriteString(w, "projects/123456789012/regions/us-central1")
	case path == "instance/service-accounts/default/email":
		io.WriteString(w, callerEmail)
	case path == "project/project-id":
		io.WriteString(w, "taco-project")
	case path == "instance/service-accounts/default/identity":
		now := time.Now()
		claims := fmt.Sprintf(`{"iss":"https://accounts.google.com","aud":%q,"email":%q,"iat":%d,"exp":%d}`, r.URL.Query().Get("audience"), callerEmail, now.Unix(), now.Add(time.Hour).Unix())
		io.WriteString(w, "e30."+base64.RawURLEncoding.EncodeToString([]byte(claims))+".c2VjcmV0LXNpZw")
	default:
		http.NotFound(w, r)
	}
}

// serveDoor is the front end: who brings no token for the host isn't let in.
func (c *cloud) serveDoor(w http.ResponseWriter, r *http.Request) {
	var service http.Handler
	c.set(func() { c.requests = append(c.requests, r.Clone(context.Background())); service = c.service })
	token := r.Header.Get("X-Serverless-Authorization")
	if token == "" {
		token = r.Header.Get("Authorization")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if !strings.Contains(string(claims), `"aud":"https://`+r.Host+`"`) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if service != nil {
		service.ServeHTTP(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "service %s %s agent=%q body=%q\n", r.Host, r.RequestURI, r.UserAgent(), body)
}

// resolve is Cloud Run's resolver: public names, and SERVFAIL under google.internal.
func (c *cloud) resolve(query []byte, transport string) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	name := strings.ToLower(q.Name.String())
	var silent bool
	c.set(func() {
		c.dns[fmt.Sprintf("%s %s %s", name, strings.TrimPrefix(q.Type.String(), "Type"), transport)]++
		silent = c.silent
	})
	if silent {
		return nil
	}
	reply := dnsmessage.Header{ID: h.ID, Response: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true}
	var ips []string
	switch {
	case strings.HasSuffix(name, ".run.app."):
		ips = []string{doorIP}
	case name == "www.example.com." || name == "www.gstatic.com.":
		ips = []string{publicIP}
	case name == "big.example.com.":
		if reply.Truncated = transport == "udp"; !reply.Truncated {
			for i := range 100 {
				ips = append(ips, fmt.Sprintf("198.51.100.%d", i+1))
			}
		}
	case strings.HasSuffix(name, ".google.internal."):
		reply.RCode = dnsmessage.RCodeServerFailure
	default:
		reply.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, reply)
	b.EnableCompression()
	b.StartQuestions()
	b.Question(q)
	b.StartAnswers()
	if q.Type == dnsmessage.TypeA {
		for _, ip := range ips {
			b.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, dnsmessage.AResource{A: [4]byte(net.ParseIP(ip).To4())})
		}
	}
	msg, err := b.Finish()
	if err != nil {
		return nil
	}
	return msg
}

func (c *cloud) last() *http.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.requests) == 0 {
		return &http.Request{Header: http.Header{}}
	}
	return c.requests[len(c.requests)-1]
}

// asked returns how many of the resolver's queries were for names that match.
func (c *cloud) asked(match func(name string) bool) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, v := range c.dns {
		if match(k) {
			n += v
		}
	}
	return n
}

func reverseProxy(target string) http.Handler {
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	return httputil.NewSingleHostReverseProxy(u)
}
