package api

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/iam"
	"github.com/amammay/otorun/cloudrun/internal/identity"
)

// tokenURL is where gcloud and Google's libraries get tokens.
const tokenURL = "https://oauth2.googleapis.com/token"

// tokenSurface is Google's OAuth token endpoint: for the developer's refresh token
// and for assertions signed with the key of a service account.
// https://developers.google.com/identity/protocols/oauth2/service-account
func (s *Server) tokenSurface() *surface {
	return &surface{name: "oauth2.googleapis.com", open: true, routes: []route{
		{http.MethodPost, "token", "", s.token},
		{http.MethodPost, "revoke", "", func(*call) (any, error) { return object{}, nil }},
	}}
}

// grantRefused is the token endpoint's error.
func grantRefused(why string) *Error {
	return &Error{http.StatusBadRequest, "invalid_grant", why}
}

func (s *Server) token(c *call) (any, error) {
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, grantRefused("read the form: " + err.Error())
	}
	switch grant := form.Get("grant_type"); grant {
	case "refresh_token":
		if subtle.ConstantTimeCompare([]byte(form.Get("refresh_token")), []byte(s.RefreshToken)) != 1 {
			return nil, grantRefused(`the credentials aren't of this run of the local platform: eval "$(go run ./cloudrun env)" gives gcloud those that are`)
		}
		developer, err := s.directory.EnsureUser(s.Developer)
		if err != nil {
			return nil, err
		}
		answer := s.accessToken(developer)
		answer["scope"] = "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/cloud-platform"
		answer["id_token"], err = s.Platform.Issuer.UserToken(subject(developer))
		return answer, err
	case "urn:ietf:params:oauth:grant-type:jwt-bearer":
		return s.assertion(form.Get("assertion"))
	default:
		return nil, &Error{http.StatusBadRequest, "unsupported_grant_type", "the local platform doesn't know the grant type " + strconv.Quote(grant)}
	}
}

func subject(p iam.Principal) identity.Subject { return identity.Subject{ID: p.ID, Email: p.Email} }

func (s *Server) accessToken(p iam.Principal) object {
	token, expires := s.Platform.Issuer.AccessToken(subject(p))
	return object{"access_token": token, "expires_in": int(expires.Sub(s.Platform.Issuer.Now()).Seconds()), "token_type": "Bearer"}
}

// assertion answers a JWT that a service account's key has signed.
func (s *Server) assertion(jwt string) (any, error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil, grantRefused("the assertion isn't a JWT")
	}
	var header struct{ Alg, Kid string }
	var claims struct {
		Iss            string `json:"iss"`
		Aud            string `json:"aud"`
		Exp            int64  `json:"exp"`
		Iat            int64  `json:"iat"`
		Scope          string `json:"scope"`
		TargetAudience string `json:"target_audience"`
	}
	for part, into := range map[string]any{parts[0]: &header, parts[1]: &claims} {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			return nil, grantRefused("the assertion isn't a JWT: " + err.Error())
		}
	}
	account, ok := s.directory.Account(claims.Iss)
	if !ok {
		return nil, grantRefused("Invalid grant: account not found: " + claims.Iss)
	}
	s.mu.Lock()
	key := s.keys[header.Kid]
	s.mu.Unlock()
	if key == nil || key.Account != account.ID {
		return nil, grantRefused("Invalid JWT Signature: " + account.Email + " has no key " + strconv.Quote(header.Kid) + " here: gcloud iam service-accounts keys create makes one")
	}
	public, err := x509.ParsePKIXPublicKey(key.Public)
	if err != nil {
		return nil, err
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsaKey, ok := public.(*rsa.PublicKey); !ok || err != nil || header.Alg != "RS256" || rsa.VerifyPKCS1v15(rsaKey, crypto.SHA256, sum[:], signature) != nil {
		return nil, grantRefused("Invalid JWT Signature.")
	}
	now := s.Platform.Issuer.Now()
	const skew = 5 * time.Minute
	if at := time.Unix(claims.Exp, 0); !now.Before(at.Add(skew)) || at.Sub(now) > time.Hour+skew {
		return nil, grantRefused("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.")
	}
	if claims.Aud != tokenURL {
		return nil, grantRefused("Invalid JWT: its aud is " + strconv.Quote(claims.Aud) + ", want " + tokenURL)
	}
	if claims.TargetAudience != "" {
		token, err := s.Platform.Issuer.IdentityToken(subject(account.Principal), claims.TargetAudience)
		return object{"id_token": token}, err
	}
	if claims.Scope == "" {
		return nil, &Error{http.StatusBadRequest, "invalid_scope", "the assertion has neither scope nor target_audience"}
	}
	return s.accessToken(account.Principal), nil
}

// credentialsSurface is the API that makes tokens of service accounts for others.
// https://docs.cloud.google.com/iam/docs/reference/credentials/rest
func (s *Server) credentialsSurface() *surface {
	const account = "v1/projects/{project}/serviceAccounts/{account}"
	return &surface{name: "iamcredentials.googleapis.com", routes: []route{
		{http.MethodPost, account + ":generateAccessToken", "iam.serviceAccounts.getAccessToken", s.ofAccount(s.generateAccessToken)},
		{http.MethodPost, account + ":generateIdToken", "iam.serviceAccounts.getOpenIdToken", s.ofAccount(s.generateIDToken)},
	}}
}

func (s *Server) generateAccessToken(c *call, a iam.Account) (any, error) {
	var body struct {
		Delegates []string `json:"delegates"`
		Scope     []string `json:"scope"`
		Lifetime  string   `json:"lifetime"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if len(body.Scope) == 0 {
		return nil, invalid("scope is required")
	}
	if len(body.Delegates) > 0 {
		return nil, unsupported("chains of delegates aren't emulated")
	}
	if d, err := time.ParseDuration(body.Lifetime); body.Lifetime != "" && (err != nil || d <= 0 || d > identity.Lifetime) {
		return nil, invalid("lifetime %q: want at most 3600s", body.Lifetime)
	}
	token, expires := s.Platform.Issuer.AccessToken(subject(a.Principal))
	return object{"accessToken": token, "expireTime": expires.UTC().Format(time.RFC3339)}, nil
}

func (s *Server) generateIDToken(c *call, a iam.Account) (any, error) {
	var body struct {
		Audience     string   `json:"audience"`
		Delegates    []string `json:"delegates"`
		IncludeEmail bool     `json:"includeEmail"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Audience == "" {
		return nil, invalid("audience is required")
	}
	if len(body.Delegates) > 0 {
		return nil, unsupported("chains of delegates aren't emulated")
	}
	who := subject(a.Principal)
	if !body.IncludeEmail {
		who.Email = ""
	}
	token, err := s.Platform.Issuer.IdentityToken(who, body.Audience)
	return object{"token": token}, err
}
