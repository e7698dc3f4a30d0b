package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func newAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCertificateIsTrusted(t *testing.T) {
	a := newAuthority(t)
	for _, host := range []string{
		"tacoserver-123456789012.us-central1.run.app",
		"TACOSERVER-dpyb4duzqq-uc.a.run.app.",
		"green---hello-1.us-east1.run.app",
		strings.Repeat("a", 63) + ".us-central1.run.app",
		"us-central1-run.googleapis.com",
		"us-central1-docker.pkg.dev",
		"metadata.google.internal",
		"localhost",
		"issuer-1.cloudrun.localhost",
		"127.0.0.1",
		"::1",
	} {
		c, err := a.Certificate(host)
		if err != nil {
			t.Error(err)
			continue
		}
		_, err = c.Leaf.Verify(x509.VerifyOptions{DNSName: strings.TrimSuffix(host, "."), Roots: a.Pool()})
		if err != nil {
			t.Errorf("%s: %v", host, err)
		}
		if again, _ := a.Certificate(host); again != c {
			t.Errorf("%s: another certificate the second time", host)
		}
	}
}

func TestCertificateOfAnothersHost(t *testing.T) {
	a := newAuthority(t)
	for _, host := range []string{"", ".", "example.com", "run.app.example.com", "notrun.app", "10.0.0.1", "a b.run.app", "*.run.app", "..run.app", "a..run.app"} {
		if _, err := a.Certificate(host); err == nil {
			t.Errorf("Certificate(%q) was made", host)
		}
	}
	// Not even with the key: who trusts the authority trusts it for its domains.
	c, err := a.make("example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: "example.com", Roots: a.Pool()}); err == nil {
		t.Error("a certificate for example.com is trusted")
	}
	if c, err = newAuthority(t).Certificate("a.run.app"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: "a.run.app", Roots: a.Pool()}); err == nil {
		t.Error("a certificate of another run is trusted")
	}
}

func TestTLSConfig(t *testing.T) {
	a := newAuthority(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", a.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.Proto)) })}
	go srv.Serve(l)
	defer srv.Close()
	for _, name := range []string{"a.run.app", "b.run.app", ""} {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: a.Pool(), ServerName: name, NextProtos: []string{"h2"}})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
			t.Errorf("%q: protocol %q, want h2", name, got)
		}
		conn.Close()
	}
	if _, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "example.com"}); err == nil {
		t.Error("it showed a certificate for example.com")
	}
}

func TestBundle(t *testing.T) {
	a := newAuthority(t)
	system := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(system, bytes.TrimSpace(newAuthority(t).PEM()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		files []string
		want  int
	}{
		{files: []string{"", filepath.Join(t.TempDir(), "none"), system}, want: 2},
		{files: nil, want: 1},
	} {
		b := a.bundle(tt.files)
		if got := bytes.Count(b, []byte("-----BEGIN CERTIFICATE-----\n")); got != tt.want || !bytes.HasSuffix(b, a.PEM()) {
			t.Errorf("bundle(%q) has %d certificates, want %d and the own one last", tt.files, got, tt.want)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(b) {
			t.Errorf("bundle(%q) isn't PEM", tt.files)
		}
	}
	if !bytes.Contains(a.Bundle(), a.PEM()) {
		t.Error("Bundle lacks the own certificate")
	}
}

func TestManyHostsAtOnce(t *testing.T) {
	a := newAuthority(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 50 {
				if _, err := a.Certificate("x" + strings.Repeat("y", (i+j)%20+1) + ".run.app"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzCovers(f *testing.F) {
	for _, s := range []string{"a.run.app", "example.com", "127.0.0.1", "::1", ".run.app", "a..run.app"} {
		f.Add(s)
	}
	a := newAuthority(f)
	f.Fuzz(func(t *testing.T, host string) {
		c, err := a.Certificate(host)
		if err != nil {
			return
		}
		name := strings.ToLower(strings.TrimSuffix(host, "."))
		if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: a.Pool()}); err != nil && len(name) < 200 && !strings.Contains(err.Error(), "is valid for") {
			t.Errorf("%q: %v", host, err)
		}
	})
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(); err != nil {
			b.Fatal(err)
		}
	}
}
