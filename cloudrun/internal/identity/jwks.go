package identity

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
)

// Where [Issuer.ServeHTTP] answers. The first is the path of Google's own keys,
// https://www.googleapis.com/oauth2/v3/certs, which Google's libraries ask for.
const (
	CertsPath     = "/oauth2/v3/certs"
	DiscoveryPath = "/.well-known/openid-configuration"
)

// JWKS returns the document of the public key that tokens are checked with.
func (i *Issuer) JWKS() []byte { return append([]byte(nil), i.jwks...) }

func jwks(keyID string, key *rsa.PublicKey) []byte {
	type jwk struct {
		Alg string `json:"alg"`
		E   string `json:"e"`
		Kid string `json:"kid"`
		Kty string `json:"kty"`
		N   string `json:"n"`
		Use string `json:"use"`
	}
	b, err := json.MarshalIndent(map[string][]jwk{"keys": {{
		Alg: "RS256",
		E:   base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		Kid: keyID,
		Kty: "RSA",
		N:   base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		Use: "sig",
	}}}, "", "  ")
	if err != nil {
		panic(err) // strings only
	}
	return b
}

// ServeHTTP answers for the keys and for the discovery document, and 404 for
// anything else.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "405 method not allowed", http.StatusMethodNotAllowed)
		return
	}
	var answer []byte
	switch r.URL.Path {
	case CertsPath:
		answer = i.jwks
	case DiscoveryPath:
		answer, _ = json.MarshalIndent(map[string]any{
			"issuer":                                i.Name(),
			"jwks_uri":                              i.Name() + CertsPath,
			"response_types_supported":              []string{"id_token"},
			"subject_types_supported":               []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
			"claims_supported":                      []string{"aud", "azp", "email", "email_verified", "exp", "iat", "iss", "sub"},
		}, "", "  ")
	default:
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=UTF-8")
	// Google's keys may be cached for hours; these end with the run.
	h.Set("Cache-Control", "public, max-age=300, must-revalidate")
	w.Write(answer)
}
