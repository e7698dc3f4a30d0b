// Package ca is the certificate authority of a run: it makes the certificates
// that the front door shows for run.app hosts, on demand, and the PEM that
// programs are told to trust.
//
//	authority, err := ca.New()
//	cfg := authority.TLSConfig()
//	os.WriteFile("ca.pem", authority.PEM(), 0o644)
//
// Its key is made at each start and never leaves the process. Who trusts it by
// mistake and for ever risks little: it is limited to the domains in [Domains],
// and expires in days.
//
// It imports only the standard library.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// lifetime is long enough for a run that is left alone.
const lifetime = 30 * 24 * time.Hour

// maxLeaves bounds the certificates that are kept, 2 kB each.
const maxLeaves = 1024

// Domains returns the domains, each with all under it, that the authority may
// name: Cloud Run's, and those of the Google APIs that gcloud calls.
func Domains() []string {
	return []string{"run.app", "googleapis.com", "google.internal", "pkg.dev", "gcr.io", "localhost"}
}

// An Authority makes certificates. Its methods may be called by many goroutines
// at once.
type Authority struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	pem     []byte
	leafKey *ecdsa.PrivateKey // of all leaves: they are one server's

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// New returns an authority with a new key.
func New() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of the certificate authority: %w", err)
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of the certificates: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("key of the certificate authority: %w", err)
	}
	id := sha256.Sum256(public)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:                serial(),
		Subject:                     pkix.Name{CommonName: "cloudrun local " + hex.EncodeToString(id[:4]), Organization: []string{"Cloud Run on this machine: trust for one run only"}},
		NotBefore:                   now.Add(-time.Hour),
		NotAfter:                    now.Add(lifetime),
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true,
		KeyUsage:                    x509.KeyUsageCertSign,
		SubjectKeyId:                id[:20],
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         Domains(),
		PermittedIPRanges:           loopback(),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return &Authority{
		cert:    cert,
		key:     key,
		pem:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		leafKey: leafKey,
		leaves:  make(map[string]*tls.Certificate),
	}, nil
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() []byte { return slices.Clone(a.pem) }

// Pool returns a pool with the authority's certificate alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Bundle returns the system's roots, if they are in a file of one of the usual
// names, and the authority's certificate: for programs that take one file in
// place of the system's.
func (a *Authority) Bundle() []byte {
	return a.bundle(append([]string{os.Getenv("SSL_CERT_FILE")}, systemFiles...))
}

// systemFiles are where Linux distributions and macOS keep their roots.
var systemFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

func (a *Authority) bundle(files []string) []byte {
	for _, f := range files {
		if f == "" {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil || len(b) == 0 {
			continue
		}
		if b[len(b)-1] != '\n' {
			b = append(b, '\n')
		}
		return append(b, a.pem...)
	}
	return a.PEM()
}

// TLSConfig returns a server's configuration with a certificate for every host
// that is asked for, for HTTP/2 and HTTP/1.1.
func (a *Authority) TLSConfig() *tls.Config {
	return &tls.Config{
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := hello.ServerName
			if name == "" && hello.Conn != nil { // dialed by address
				name, _, _ = net.SplitHostPort(hello.Conn.LocalAddr().String())
			}
			return a.Certificate(name)
		},
		NextProtos: []string{"h2", "http/1.1"},
	}
}

// Certificate returns a certificate for a host of one of the [Domains] or a
// loopback address, the same one each time. It fails for another host.
func (a *Authority) Certificate(host string) (*tls.Certificate, error) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !Covers(host) {
		return nil, fmt.Errorf("certificate for %.100q: not a host of the local run", host)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.leaves[host]; ok {
		return c, nil
	}
	c, err := a.make(host)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", host, err)
	}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves)
	}
	a.leaves[host] = c
	return c, nil
}

// Covers reports whether the authority makes certificates for host.
func Covers(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	if len(host) > 253 || strings.HasPrefix(host, ".") || strings.Contains(host, "..") ||
		strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return false
	}
	return slices.ContainsFunc(Domains(), func(d string) bool { return host == d || strings.HasSuffix(host, "."+d) })
}

func (a *Authority) make(host string) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: serial(),
		NotBefore:    a.cert.NotBefore,
		NotAfter:     a.cert.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(host) <= 64 { // the limit of a common name, RFC 5280 appendix A
		template.Subject.CommonName = host
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.leafKey.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leafKey, Leaf: leaf}, nil
}

func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f // positive
	b[0] |= 0x40 // and not zero
	return new(big.Int).SetBytes(b)
}

func loopback() []*net.IPNet {
	return []*net.IPNet{
		{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
		{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
	}
}
