package api

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"
)

// keyFile makes a key of an account, as gcloud does.
func (w *world) keyFile(email string) (id string, private *rsa.PrivateKey) {
	w.t.Helper()
	answer := w.do(200, "POST", "iam.googleapis.com", "/v1/projects/-/serviceAccounts/"+email+"/keys", `{"privateKeyType":"TYPE_GOOGLE_CREDENTIALS_FILE"}`)
	text, err := base64.StdEncoding.DecodeString(answer["privateKeyData"].(string))
	if err != nil {
		w.t.Fatal(err)
	}
	var file map[string]string
	if err := json.Unmarshal(text, &file); err != nil {
		w.t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(file["private_key"]))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		w.t.Fatal(err)
	}
	return file["private_key_id"], parsed.(*rsa.PrivateKey)
}

// assert signs claims.
func assert(t *testing.T, id string, private *rsa.PrivateKey, claims object) url.Values {
	t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	content := part(object{"alg": "RS256", "kid": id}) + "." + part(claims)
	sum := sha256.Sum256([]byte(content))
	signature, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"assertion":  {content + "." + base64.RawURLEncoding.EncodeToString(signature)},
	}
}

// A key of a service account gets its tokens, and nobody else's; each fault of an
// assertion is told.
func TestAssertion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	email, _ := w.account("caller")
	other, _ := w.account("another")
	id, private := w.keyFile(email)
	wrong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	claims := func(change object) object {
		c := object{"iss": email, "aud": tokenURL, "iat": now, "exp": now + 3600, "target_audience": "https://taco"}
		for key, v := range change {
			if c[key] = v; v == nil {
				delete(c, key)
			}
		}
		return c
	}
	answer := w.form(assert(t, id, private, claims(nil)), 200)
	if got, err := w.p.Issuer.Verify(answer["id_token"].(string), "https://taco"); err != nil || got.Email != email {
		t.Errorf("the identity token: %+v, %v", got, err)
	}
	answer = w.form(assert(t, id, private, claims(object{"target_audience": nil, "scope": "x"})), 200)
	if got, err := w.p.Issuer.Access(answer["access_token"].(string)); err != nil || got.Email != email {
		t.Errorf("the access token: %+v, %v", got, err)
	}
	for _, tt := range []struct {
		name string
		form url.Values
		want string
	}{
		{"another key", assert(t, id, wrong, claims(nil)), "Signature"},
		{"unknown key", assert(t, "other", private, claims(nil)), "has no key"},
		{"another's account", assert(t, id, private, claims(object{"iss": other})), "has no key"},
		{"no account", assert(t, id, private, claims(object{"iss": "nobody@example.com"})), "account not found"},
		{"expired", assert(t, id, private, claims(object{"exp": now - 3600})), "short-lived"},
		{"for too long", assert(t, id, private, claims(object{"exp": now + 86400})), "short-lived"},
		{"for elsewhere", assert(t, id, private, claims(object{"aud": "https://example.com"})), "aud"},
		{"for nothing", assert(t, id, private, claims(object{"target_audience": nil})), "neither scope"},
		{"no JWT", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {"a.b.c"}}, "JWT"},
		{"another grant", url.Values{"grant_type": {"password"}}, "grant type"},
		{"another's refresh token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"1//real"}}, "cloudrun env"},
	} {
		answer := w.form(tt.form, 400)
		if got, _ := answer["error_description"].(string); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %v has no %q", tt.name, answer, tt.want)
		}
	}
	w.do(200, "DELETE", "iam.googleapis.com", "/v1/projects/-/serviceAccounts/"+email+"/keys/"+id, "")
	w.form(assert(t, id, private, claims(nil)), 400)
}

// Who may make tokens of an account is said on the account.
func TestImpersonation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	target, _ := w.account("target")
	caller, token := w.account("caller")
	path := "/v1/projects/-/serviceAccounts/" + target + ":generateIdToken"
	const body = `{"audience":"https://taco","includeEmail":true}`
	if rec := w.send(token, "POST", "iamcredentials.googleapis.com", path, body); rec.Code != 403 || !strings.Contains(rec.Body.String(), "roles/iam.serviceAccountTokenCreator") {
		t.Errorf("without the role: %d %s", rec.Code, rec.Body)
	}
	w.do(200, "POST", "iam.googleapis.com", "/v1/projects/local-project/serviceAccounts/"+target+":setIamPolicy",
		`{"policy":{"bindings":[{"role":"roles/iam.serviceAccountTokenCreator","members":["serviceAccount:`+caller+`"]}]}}`)
	answer := w.read(w.send(token, "POST", "iamcredentials.googleapis.com", path, body), 200, path)
	if got, err := w.p.Issuer.Verify(answer["token"].(string), "https://taco"); err != nil || got.Email != target {
		t.Errorf("the token: %+v, %v", got, err)
	}
	answer = w.do(200, "POST", "iamcredentials.googleapis.com", path, `{"audience":"https://taco"}`)
	if got, err := w.p.Issuer.Verify(answer["token"].(string), "https://taco"); err != nil || got.Email != "" {
		t.Errorf("without email: %+v, %v", got, err)
	}
	w.refused(400, "POST", "iamcredentials.googleapis.com", path, `{}`)
	w.refused(404, "POST", "iamcredentials.googleapis.com", "/v1/projects/-/serviceAccounts/nobody@local-project.iam.gserviceaccount.com:generateIdToken", body)
}
