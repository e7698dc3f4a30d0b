// Package identity is the issuer of a run's tokens: it mints the identity tokens
// that Google would, checks them, and publishes the key that others check them
// with.
//
//	issuer, err := identity.New(identity.Config{})
//	token, err := issuer.IdentityToken(subject, "https://tacoserver-123456789012.us-central1.run.app")
//	claims, err := issuer.Verify(token, "https://tacoserver-123456789012.us-central1.run.app")
//
// The tokens are worth nothing elsewhere: the key is made at each start and never
// leaves the process, and the issuer claim names a host that is nobody's.
//
// It imports only the standard library.
package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// Lifetime is how long a token lives: one hour, as Google's do.
const Lifetime = time.Hour

// GcloudClientID is the OAuth client id of gcloud. It is the audience of the
// tokens that `gcloud auth print-identity-token` prints for a user, and Cloud Run
// accepts it from users.
const GcloudClientID = "32555940559.apps.googleusercontent.com"

// issuerDomain is under .localhost, which RFC 6761 section 6.3 keeps from ever
// being anyone's. Google's issuer is https://accounts.google.com, so a verifier
// that compares, or only searches for "google", isn't fooled.
const issuerDomain = "cloudrun.localhost"

// A Subject is whom a token speaks for.
type Subject struct {
	// ID is the account's unique number, 21 digits.
	ID string
	// Email is the account's address.
	Email string
}

// Config says how an Issuer works. The zero Config is ready to use.
type Config struct {
	// Now is the clock; nil means time.Now. See [Clock].
	Now func() time.Time
	// Key signs the tokens; nil means that one is made, which takes about 0.1 s.
	// Tests that start many issuers share one.
	Key *rsa.PrivateKey
}

// An Issuer mints and checks the tokens of one run. Its methods may be called by
// many goroutines at once.
type Issuer struct {
	key    *rsa.PrivateKey
	keyID  string
	host   string
	now    func() time.Time
	header string // of every token, encoded
	jwks   []byte
	secret [32]byte // seals the access tokens

	mu       sync.RWMutex
	verified map[[sha256.Size]byte]*Claims // tokens with a good signature
}

// New returns an issuer with a new key, and with a name that no other run has.
func New(cfg Config) (*Issuer, error) {
	i := &Issuer{key: cfg.Key, now: cfg.Now, verified: make(map[[sha256.Size]byte]*Claims)}
	if i.now == nil {
		i.now = time.Now
	}
	if i.key == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, fmt.Errorf("key of the identity tokens: %w", err)
		}
		i.key = key
	}
	var run [4]byte
	rand.Read(run[:])
	rand.Read(i.secret[:])
	i.host = "issuer-" + hex.EncodeToString(run[:]) + "." + issuerDomain
	sum := sha256.Sum256(i.key.N.Bytes())
	i.keyID = "local-" + hex.EncodeToString(run[:]) + hex.EncodeToString(sum[:8])
	header, err := json.Marshal(map[string]string{"alg": "RS256", "kid": i.keyID, "typ": "JWT"})
	if err != nil {
		return nil, err
	}
	i.header = base64.RawURLEncoding.EncodeToString(header)
	i.jwks = jwks(i.keyID, &i.key.PublicKey)
	return i, nil
}

// Name returns the issuer claim of the tokens, a URL: [Issuer.ServeHTTP] answers
// there for who can reach it.
func (i *Issuer) Name() string { return "https://" + i.host }

// Host returns the host of [Issuer.Name].
func (i *Issuer) Host() string { return i.host }

// Now returns the time that tokens are minted and checked at.
func (i *Issuer) Now() time.Time { return i.now() }

// Claims are what an identity token says.
type Claims struct {
	Issuer          string `json:"iss"`
	Audience        string `json:"aud"`
	AuthorizedParty string `json:"azp,omitempty"`
	Subject         string `json:"sub"`
	Email           string `json:"email,omitempty"`
	EmailVerified   bool   `json:"email_verified,omitempty"`
	IssuedAt        int64  `json:"iat"`
	NotBefore       int64  `json:"nbf,omitempty"`
	Expires         int64  `json:"exp"`
}

// IdentityToken returns a token of the form that a service account gets from the
// metadata server: for any audience, good for an hour.
func (i *Issuer) IdentityToken(s Subject, audience string) (string, error) {
	return i.Mint(i.claims(s, audience))
}

// UserToken returns a token of the form that `gcloud auth print-identity-token`
// prints for a user: its audience is gcloud itself.
func (i *Issuer) UserToken(s Subject) (string, error) {
	c := i.claims(s, GcloudClientID)
	c.AuthorizedParty = GcloudClientID
	return i.Mint(c)
}

func (i *Issuer) claims(s Subject, audience string) Claims {
	now := i.now()
	return Claims{
		Issuer:          i.Name(),
		Audience:        audience,
		AuthorizedParty: s.ID,
		Subject:         s.ID,
		Email:           s.Email,
		EmailVerified:   s.Email != "",
		IssuedAt:        now.Unix(),
		Expires:         now.Add(Lifetime).Unix(),
	}
}

// Mint returns a token that says c, whatever c is: for tokens without an email,
// and for tests that need one expired or of another issuer.
func (i *Issuer) Mint(c Claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("mint a token: %w", err)
	}
	content := i.header + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(content))
	signature, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("mint a token: %w", err)
	}
	return content + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
