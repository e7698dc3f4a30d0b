package frontdoor

import (
	"net/http"
	"strings"

	"github.com/amammay/otorun/cloudrun/internal/iam"
	"github.com/amammay/otorun/cloudrun/internal/identity"
)

const (
	authorization           = "Authorization"
	serverlessAuthorization = "X-Serverless-Authorization"
)

// A credential is the token that was checked, and where it came from.
type credential struct {
	header string // its key; empty if nothing was checked
	scheme string // as the caller wrote it
	token  string
}

// credentialOf returns the token that counts: the one in X-Serverless-Authorization
// if that is there, whatever Authorization says. It reports no credential as one
// without header.
func credentialOf(h http.Header) (credential, error) {
	key := serverlessAuthorization
	values, ok := h[key]
	if !ok {
		key = authorization
		values = h[key]
	}
	if len(values) == 0 || len(values) == 1 && strings.TrimSpace(values[0]) == "" {
		return credential{}, nil
	}
	c := credential{header: key}
	if len(values) > 1 {
		return c, &identity.Error{Reason: identity.SeveralTokens, Detail: "there is more than one " + key + " header"}
	}
	// No part of the header is shown: what seems a scheme may be a token.
	var found bool
	c.scheme, c.token, found = strings.Cut(strings.TrimSpace(values[0]), " ")
	switch {
	case strings.EqualFold(c.scheme, "bearer") && !found:
		return c, &identity.Error{Reason: identity.Malformed, Detail: key + ` is "Bearer" with nothing after it: the command that prints the token may have failed`}
	case !strings.EqualFold(c.scheme, "bearer"):
		return c, &identity.Error{Reason: identity.Malformed, Detail: key + " isn't of the form: Bearer TOKEN"}
	}
	c.token = strings.TrimSpace(c.token)
	if strings.ContainsAny(c.token, ", \t") {
		return c, &identity.Error{Reason: identity.SeveralTokens, Detail: key + " has more than one"}
	}
	return c, nil
}

// passOn puts the checked token on h without its signature, so that the container
// can read the claims and can't use the token.
func (c credential) passOn(h http.Header) {
	if c.header == "" {
		return
	}
	h[c.header] = []string{c.scheme + " " + c.token[:strings.LastIndexByte(c.token, '.')+1] + identity.SignatureRemoved}
}

// authorize is Cloud Run's invoker check. The credential is the one it checked: a
// public service's callers are asked for none.
func (d *Door) authorize(svc *Service, h http.Header) (credential, iam.Principal, *Refusal) {
	if svc.InvokerCheckDisabled {
		return credential{}, iam.Principal{}, nil
	}
	public := d.cfg.Directory.MayInvoke(iam.Principal{}, svc.Region, svc.Name)
	if public.Allowed {
		return credential{}, iam.Principal{}, nil
	}
	cred, err := credentialOf(h)
	if err != nil {
		return cred, iam.Principal{}, d.unverified(svc, iam.Principal{}, err)
	}
	if cred.header == "" {
		fix := strings.Replace(public.Fix, "URL", d.url(svc), 1)
		return cred, iam.Principal{}, &Refusal{Status: http.StatusForbidden, Reason: identity.NoToken, Why: public.Why, Fix: fix}
	}
	claims, err := d.cfg.Issuer.Authenticate(cred.token)
	if err != nil {
		return cred, iam.Principal{}, d.unverified(svc, iam.Principal{}, err)
	}
	who, known := d.cfg.Directory.Principal(claims.Subject)
	if err := claims.CheckAudience(d.audiences(svc, who)...); err != nil {
		return cred, who, d.unverified(svc, who, err)
	}
	if !known {
		return cred, who, &Refusal{
			Status: http.StatusForbidden,
			Reason: identity.UnknownPrincipal,
			Why:    "no account has the number " + quote(claims.Subject) + ", the token's sub: it was deleted",
			Fix:    "gcloud iam service-accounts list",
		}
	}
	if decision := d.cfg.Directory.MayInvoke(who, svc.Region, svc.Name); !decision.Allowed {
		return cred, who, &Refusal{Status: http.StatusForbidden, Why: decision.Why, Fix: decision.Fix}
	}
	return cred, who, nil
}

// Authorize says whether a request with these headers would be let in to a
// service, and why not; nil means that it would.
func (d *Door) Authorize(svc *Service, h http.Header) (iam.Principal, *Refusal) {
	_, who, refusal := d.authorize(svc, h)
	return who, refusal
}

// audiences returns what the token of a caller may be for.
func (d *Door) audiences(svc *Service, who iam.Principal) []string {
	a := append(d.URLs(svc.Name, svc.Region), svc.CustomAudiences...)
	if who.Kind == iam.User {
		a = append(a, identity.GcloudClientID)
	}
	return a
}

func (d *Door) url(svc *Service) string {
	if urls := d.URLs(svc.Name, svc.Region); len(urls) > 0 {
		return urls[0]
	}
	return "http://" + svc.Name + ".localhost"
}

// unverified is the answer to a token that failed a check.
func (d *Door) unverified(svc *Service, who iam.Principal, err error) *Refusal {
	r := &Refusal{Status: http.StatusUnauthorized, Reason: identity.ReasonOf(err), Why: err.Error(), Fix: "gcloud auth print-identity-token"}
	switch r.Reason {
	case identity.AccessToken:
		r.Fix = "gcloud auth print-identity-token, not print-access-token"
	case identity.UnknownKey, identity.UnknownIssuer:
		r.Fix = "go run ./cloudrun token -audience " + d.url(svc)
	case identity.NoSignature:
		r.Fix = "gcloud auth print-identity-token --impersonate-service-account=CALLER --audiences=" + d.url(svc)
	case identity.WrongAudience:
		account := who.Email
		if who.Kind != iam.ServiceAccount {
			account = "CALLER"
		}
		r.Fix = "gcloud auth print-identity-token --impersonate-service-account=" + account + " --audiences=" + d.url(svc)
	}
	return r
}
