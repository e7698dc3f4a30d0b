package identity_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/api/idtoken"
	"google.golang.org/api/option"

	"github.com/amammay/otorun/cloudrun/internal/identity"
)

const audience = "https://tacoserver-123456789012.us-central1.run.app"

var caller = identity.Subject{ID: "104857600000000000001", Email: "tacoclient@my-proj.iam.gserviceaccount.com"}

// key is made once: a key a test would be most of the tests' time.
var key = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newIssuer(t testing.TB, now func() time.Time) *identity.Issuer {
	t.Helper()
	i, err := identity.New(identity.Config{Key: key(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func must(t testing.TB) func(string, error) string {
	return func(token string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
}

func TestClaimsOfAServiceAccount(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	i := newIssuer(t, func() time.Time { return now })
	token := must(t)(i.IdentityToken(caller, audience))
	got := payload(t, token)
	want := map[string]any{
		"iss": i.Name(), "aud": audience, "azp": caller.ID, "sub": caller.ID,
		"email": caller.Email, "email_verified": true, "iat": 1.8e9, "exp": 1.8e9 + 3600,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("claims %v, want %v", got, want)
	}
}

func TestClaimsOfAUser(t *testing.T) {
	i := newIssuer(t, nil)
	c, err := i.Verify(must(t)(i.UserToken(caller)), identity.GcloudClientID)
	if err != nil {
		t.Fatal(err)
	}
	if c.AuthorizedParty != identity.GcloudClientID || c.Subject != caller.ID || c.Email != caller.Email {
		t.Errorf("claims %+v", c)
	}
}

// TestIssuerIsNobodyElses: a verifier that pins Google's issuer, or looks for
// "google" in it, must refuse what is minted here.
func TestIssuerIsNobodyElses(t *testing.T) {
	a, b := newIssuer(t, nil), newIssuer(t, nil)
	if a.Name() == b.Name() {
		t.Errorf("two runs share the issuer %s", a.Name())
	}
	if strings.Contains(a.Name(), "google") || !strings.HasSuffix(a.Name(), ".localhost") {
		t.Errorf("issuer %s, want a name under .localhost without google in it", a.Name())
	}
}

func TestVerify(t *testing.T) {
	var clock identity.Clock
	i, other := newIssuer(t, clock.Now), newIssuer(t, clock.Now)
	good := must(t)(i.IdentityToken(caller, audience))
	header, claims, _ := cut(good)
	mint := func(change func(*identity.Claims)) string {
		c, err := i.Authenticate(good)
		if err != nil {
			t.Fatal(err)
		}
		d := *c
		change(&d)
		return must(t)(i.Mint(d))
	}
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	access, _ := i.AccessToken(caller)

	for _, tt := range []struct {
		name, token string
		want        identity.Reason
		inText      string
	}{
		{name: "good", token: good},
		{name: "slash at the end of the audience", token: mint(func(c *identity.Claims) { c.Audience += "/" })},
		{name: "access token of the run", token: access, want: identity.AccessToken},
		{name: "access token of Google", token: "ya29" + ".x", want: identity.AccessToken},
		{name: "empty", want: identity.Malformed},
		{name: "one part", token: "abc", want: identity.Malformed, inText: "1 parts"},
		{name: "header not JSON", token: enc("x") + "." + claims + ".x", want: identity.Malformed, inText: "header"},
		{name: "claims not JSON", token: header + "." + enc("[]") + ".x", want: identity.Malformed, inText: "claims"},
		{name: "signature not base64", token: header + "." + claims + ".a=b", want: identity.Malformed, inText: "signature"},
		{name: "passed on by a container", token: header + "." + claims + "." + identity.SignatureRemoved, want: identity.NoSignature},
		{name: "alg none", token: enc(`{"alg":"none"}`) + "." + claims + ".", want: identity.Malformed, inText: "RS256"},
		{name: "alg HS256", token: enc(`{"alg":"HS256","kid":"x"}`) + "." + claims + ".x", want: identity.Malformed, inText: "RS256"},
		{name: "another run", token: must(t)(other.IdentityToken(caller, audience)), want: identity.UnknownKey, inText: other.Name()},
		{name: "another's claims", token: header + "." + enc(`{"sub":"1","iat":1,"exp":9999999999}`) + ".AAAA", want: identity.BadSignature},
		{name: "issuer changed", token: mint(func(c *identity.Claims) { c.Issuer = "https://accounts.google.com" }), want: identity.UnknownIssuer},
		{name: "no subject", token: mint(func(c *identity.Claims) { c.Subject = "" }), want: identity.Malformed, inText: "sub"},
		{name: "expired", token: mint(func(c *identity.Claims) { c.Expires = clock.Now().Unix() - 5 }), want: identity.Expired},
		{name: "expires now", token: mint(func(c *identity.Claims) { c.Expires = clock.Now().Unix() }), want: identity.Expired},
		{name: "issued tomorrow", token: mint(func(c *identity.Claims) { c.IssuedAt += 86400; c.Expires += 86400 }), want: identity.NotYetValid},
		{name: "not before tomorrow", token: mint(func(c *identity.Claims) { c.NotBefore = c.IssuedAt + 86400 }), want: identity.NotYetValid},
		{name: "for another service", token: mint(func(c *identity.Claims) { c.Audience = "https://other.example" }), want: identity.WrongAudience, inText: audience},
		{name: "for a path of the service", token: mint(func(c *identity.Claims) { c.Audience += "/path" }), want: identity.WrongAudience},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // the second time from memory, where it may be
				c, err := i.Verify(tt.token, audience)
				if got := identity.ReasonOf(err); got != tt.want || (err == nil) != (tt.want == "") {
					t.Fatalf("Verify: %v (reason %q), want %q", err, got, tt.want)
				}
				if err == nil {
					if c.Subject != caller.ID {
						t.Errorf("claims %+v", c)
					}
					continue
				}
				if !strings.Contains(err.Error(), tt.inText) {
					t.Errorf("%q lacks %q", err, tt.inText)
				}
				if len(tt.token) > 8 && strings.Contains(err.Error(), tt.token[len(tt.token)-8:]) && tt.want != identity.NoSignature {
					t.Errorf("%q quotes the token", err)
				}
			}
		})
	}
}

// TestVerifyRemembersNoTime: what is remembered of a token is its signature; the
// clock is asked at every call.
func TestVerifyRemembersNoTime(t *testing.T) {
	var clock identity.Clock
	i := newIssuer(t, clock.Now)
	token := must(t)(i.IdentityToken(caller, audience))
	check := func(when string, want identity.Reason) {
		t.Helper()
		if _, err := i.Verify(token, audience); identity.ReasonOf(err) != want {
			t.Errorf("%s: %v, want %q", when, err, want)
		}
	}
	check("new", "")
	clock.Move(identity.Lifetime - time.Minute)
	check("a minute before the end", "")
	clock.Move(2 * time.Minute)
	check("a minute after it", identity.Expired)
	clock.Move(-identity.Lifetime)
	check("back in its time", "")
	clock.Move(-identity.Lifetime)
	check("before it was issued", identity.NotYetValid)
	if _, err := i.Verify(token, "https://other.example"); identity.ReasonOf(err) != identity.NotYetValid {
		t.Errorf("before it was issued, for another: %v", err)
	}
}

func TestAccessToken(t *testing.T) {
	var clock identity.Clock
	i, other := newIssuer(t, clock.Now), newIssuer(t, clock.Now)
	token, expires := i.AccessToken(caller)
	if d := expires.Sub(clock.Now()); d > time.Hour || d < time.Hour-time.Minute {
		t.Errorf("it expires in %v, want an hour", d)
	}
	if s, err := i.Access(token); s != caller || err != nil {
		t.Errorf("Access = %v, %v, want %v", s, err, caller)
	}
	if _, err := other.Access(token); identity.ReasonOf(err) != identity.BadSignature {
		t.Errorf("in another run: %v", err)
	}
	for _, bad := range []string{"", "x", "local-access-token.", "local-access-token.e30.e30", token[:len(token)-2]} {
		if _, err := i.Access(bad); err == nil {
			t.Errorf("Access(%q) accepted it", bad)
		}
	}
	clock.Move(identity.Lifetime)
	if _, err := i.Access(token); identity.ReasonOf(err) != identity.Expired {
		t.Errorf("after an hour: %v", err)
	}
}

func TestServeHTTP(t *testing.T) {
	i := newIssuer(t, nil)
	for _, tt := range []struct {
		method, path string
		status       int
		inBody       string
	}{
		{"GET", identity.CertsPath, 200, `"RS256"`},
		{"GET", identity.DiscoveryPath, 200, i.Name() + identity.CertsPath},
		{"GET", "/", 404, ""},
		{"POST", identity.CertsPath, 405, ""},
	} {
		w := httptest.NewRecorder()
		i.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.inBody) {
			t.Errorf("%s %s: %d %q", tt.method, tt.path, w.Code, w.Body)
		}
	}
	if !bytes.Contains(i.JWKS(), []byte(`"kty": "RSA"`)) || bytes.Contains(i.JWKS(), []byte(`"d"`)) {
		t.Errorf("JWKS %s", i.JWKS())
	}
}

// toIssuer sends every request to the issuer, as a machine does whose name
// server and roots are the emulator's.
type toIssuer struct{ *identity.Issuer }

func (i toIssuer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	return w.Result(), nil
}

// TestGooglesValidator: the library that services check tokens with.
func TestGooglesValidator(t *testing.T) {
	i := newIssuer(t, nil)
	v, err := idtoken.NewValidator(t.Context(), option.WithHTTPClient(&http.Client{Transport: toIssuer{i}}))
	if err != nil {
		t.Fatal(err)
	}
	validate := func(token, audience string) (*idtoken.Payload, error) {
		return v.Validate(context.WithoutCancel(t.Context()), token, audience)
	}
	token := must(t)(i.IdentityToken(caller, audience))
	p, err := validate(token, audience)
	if err != nil {
		t.Fatal(err)
	}
	if p.Subject != caller.ID || p.Claims["email"] != caller.Email || p.Claims["email_verified"] != true {
		t.Errorf("payload %+v", p)
	}
	if _, err := validate(token, "https://other.example"); err == nil || !strings.Contains(err.Error(), "audience") {
		t.Errorf("wrong audience: %v", err)
	}
	if _, err := validate(must(t)(newIssuer(t, nil).IdentityToken(caller, audience)), audience); err == nil {
		t.Error("a token of another run passed")
	}
	expired := must(t)(i.Mint(identity.Claims{Issuer: i.Name(), Audience: audience, Subject: "1", Expires: 1}))
	if _, err := validate(expired, audience); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
}

func TestManyTokensAtOnce(t *testing.T) {
	var clock identity.Clock
	i := newIssuer(t, clock.Now)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			token, err := i.IdentityToken(caller, audience)
			for range 50 {
				if err == nil {
					_, err = i.Verify(token, audience)
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func FuzzVerify(f *testing.F) {
	i := newIssuer(f, nil)
	good := must(f)(i.IdentityToken(caller, audience))
	for _, s := range []string{good, good + ".", "..", "a.b.c", "e30.e30.", "ya29" + "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, err := i.Verify(token, audience)
		if err == nil && (c.Subject != caller.ID || token != good) {
			t.Errorf("Verify(%q) accepted %+v", token, c)
		}
		if err != nil && identity.ReasonOf(err) == "" {
			t.Errorf("Verify(%q): %v has no reason", token, err)
		}
	})
}

func BenchmarkVerifyAgain(b *testing.B) {
	i := newIssuer(b, nil)
	token := must(b)(i.IdentityToken(caller, audience))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Verify(token, audience); err != nil {
			b.Fatal(err)
		}
	}
}

func cut(token string) (header, claims, signature string) {
	p := strings.SplitN(token, ".", 3)
	return p[0], p[1], p[2]
}

func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	_, claims, _ := cut(token)
	b, err := base64.RawURLEncoding.DecodeString(claims)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
