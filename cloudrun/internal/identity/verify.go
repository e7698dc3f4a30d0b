package identity

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// SignatureRemoved stands in place of the signature in a token that Cloud Run has
// checked and passes on to the container.
const SignatureRemoved = "SIGNATURE_REMOVED_BY_GOOGLE"

// A Reason is the check that a token failed.
type Reason string

// The reasons, in the order of the checks.
const (
	NoToken          Reason = "no token"
	SeveralTokens    Reason = "several tokens"
	AccessToken      Reason = "access token instead of an identity token"
	Malformed        Reason = "malformed token"
	NoSignature      Reason = "token whose signature was removed"
	UnknownKey       Reason = "unknown key"
	BadSignature     Reason = "bad signature"
	UnknownIssuer    Reason = "unknown issuer"
	Expired          Reason = "expired token"
	NotYetValid      Reason = "token not yet valid"
	WrongAudience    Reason = "wrong audience"
	UnknownPrincipal Reason = "unknown principal"
)

// An Error says which check a token failed. Its text never has the token in it.
type Error struct {
	Reason Reason
	// Detail says more, or is empty.
	Detail string
	// Audience is what a token with the wrong audience was for, and Accepted what
	// it could have been for.
	Audience string
	Accepted []string
}

func (e *Error) Error() string {
	switch {
	case e.Reason == WrongAudience:
		return fmt.Sprintf("%s %.200q: accepted are %s", e.Reason, e.Audience, strings.Join(e.Accepted, ", "))
	case e.Detail != "":
		return string(e.Reason) + ": " + e.Detail
	}
	return string(e.Reason)
}

// ReasonOf returns why a token was refused, or "" if err isn't about a token.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// Verify checks a token's form, signature, issuer, times and audience, in that
// order, and returns its claims. The error is an [*Error].
func (i *Issuer) Verify(token string, audiences ...string) (*Claims, error) {
	c, err := i.Authenticate(token)
	if err != nil {
		return nil, err
	}
	if err := c.CheckAudience(audiences...); err != nil {
		return nil, err
	}
	return c, nil
}

// maxVerified bounds the tokens whose signature is remembered: 0.3 kB each.
const maxVerified = 4096

// Authenticate is [Issuer.Verify] for any audience. The claims are shared: they
// must not be changed.
//
// A signature is computed once a token: what was good is remembered by the
// token's hash until it expires. The times are checked at every call.
func (i *Issuer) Authenticate(token string) (*Claims, error) {
	sum := sha256.Sum256([]byte(token))
	i.mu.RLock()
	c, ok := i.verified[sum]
	i.mu.RUnlock()
	if !ok {
		var err error
		if c, err = i.parse(token); err != nil {
			return nil, err
		}
	}
	now := i.now().Unix()
	if now >= c.Expires {
		i.mu.Lock()
		delete(i.verified, sum)
		i.mu.Unlock()
		at := time.Unix(c.Expires, 0).UTC()
		return nil, &Error{Reason: Expired, Detail: fmt.Sprintf("at %s, %s ago", at.Format(time.RFC3339), time.Duration(now-c.Expires)*time.Second)}
	}
	if start := max(c.IssuedAt, c.NotBefore); now < start {
		at := time.Unix(start, 0).UTC()
		return nil, &Error{Reason: NotYetValid, Detail: fmt.Sprintf("from %s on, in %s", at.Format(time.RFC3339), time.Duration(start-now)*time.Second)}
	}
	if !ok {
		i.remember(sum, c, now)
	}
	return c, nil
}

func (i *Issuer) remember(sum [sha256.Size]byte, c *Claims, now int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.verified) >= maxVerified {
		for s, old := range i.verified {
			if now >= old.Expires {
				delete(i.verified, s)
			}
		}
		for s := range i.verified { // all alive: any one goes
			if len(i.verified) < maxVerified {
				break
			}
			delete(i.verified, s)
		}
	}
	i.verified[sum] = c
}

// CheckAudience reports whether the token is for one of audiences. A slash at the
// end of the token's audience is ignored, as Cloud Run does.
func (c *Claims) CheckAudience(audiences ...string) error {
	for _, a := range audiences {
		if c.Audience == a || strings.TrimSuffix(c.Audience, "/") == a {
			return nil
		}
	}
	return &Error{Reason: WrongAudience, Audience: c.Audience, Accepted: audiences}
}

// parse reads a token and checks its signature and its issuer.
func (i *Issuer) parse(token string) (*Claims, error) {
	if isAccessToken(token) {
		return nil, &Error{Reason: AccessToken, Detail: "it proves nothing about its bearer to this service"}
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, malformed("%d parts joined by dots, want the 3 of a JWT", len(parts))
	}
	if strings.ContainsAny(token, "\r\n") { // which Go's base64 skips
		return nil, malformed("it has line breaks")
	}
	var header struct {
		Alg, Kid string
	}
	if err := decode(parts[0], &header); err != nil {
		return nil, malformed("its header is %v", err)
	}
	var claims struct {
		Claims
		// As pointers, so that a token without them is told from one with zero.
		IssuedAt *int64 `json:"iat"`
		Expires  *int64 `json:"exp"`
	}
	if err := decode(parts[1], &claims); err != nil {
		return nil, malformed("its claims are %v", err)
	}
	if parts[2] == SignatureRemoved {
		return nil, &Error{Reason: NoSignature, Detail: "Cloud Run takes it from the tokens it passes on to a container, so they can't be used again"}
	}
	if header.Alg != "RS256" {
		return nil, malformed("it is signed with %.20q, want RS256", header.Alg)
	}
	if header.Kid != i.keyID {
		return nil, &Error{Reason: UnknownKey, Detail: fmt.Sprintf("key %.80q of issuer %.80q isn't of this run, whose issuer is %s", header.Kid, claims.Issuer, i.Name())}
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		return nil, malformed("its signature is not base64url")
	}
	sum := sha256.Sum256([]byte(token[:len(parts[0])+1+len(parts[1])]))
	if rsa.VerifyPKCS1v15(&i.key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return nil, &Error{Reason: BadSignature, Detail: "it was changed after it was signed, or cut"}
	}
	if claims.Issuer != i.Name() {
		return nil, &Error{Reason: UnknownIssuer, Detail: fmt.Sprintf("%.80q, want %s", claims.Issuer, i.Name())}
	}
	if claims.Expires == nil || claims.IssuedAt == nil || claims.Subject == "" {
		return nil, malformed("it lacks exp, iat or sub")
	}
	c := claims.Claims
	c.Expires, c.IssuedAt = *claims.Expires, *claims.IssuedAt
	return &c, nil
}

func malformed(format string, args ...any) error {
	return &Error{Reason: Malformed, Detail: fmt.Sprintf(format, args...)}
}

// decode reads one part of a token. Its errors quote nothing of it.
func decode(part string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return errors.New("not base64url")
	}
	if !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) || json.Unmarshal(b, v) != nil {
		return errors.New("not a JSON object of the right types")
	}
	return nil
}
