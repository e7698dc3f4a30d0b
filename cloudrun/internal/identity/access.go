package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// accessPrefix marks the access tokens of a run. Google's start with "ya29.".
const accessPrefix = "local-access-token."

func isAccessToken(token string) bool {
	return strings.HasPrefix(token, accessPrefix) || strings.HasPrefix(token, "ya29.")
}

type access struct {
	Subject Subject
	Expires int64
}

// AccessToken returns an opaque token of s, good for an hour, of the kind that
// Google's APIs are called with. Only [Issuer.Access] can read it.
func (i *Issuer) AccessToken(s Subject) (token string, expires time.Time) {
	expires = i.now().Add(Lifetime)
	payload, err := json.Marshal(access{s, expires.Unix()})
	if err != nil {
		panic(err) // strings and a number
	}
	b := base64.RawURLEncoding
	return accessPrefix + b.EncodeToString(payload) + "." + b.EncodeToString(i.seal(payload)), expires
}

// Access returns whose access token it is. The error is an [*Error].
func (i *Issuer) Access(token string) (Subject, error) {
	rest, ok := strings.CutPrefix(token, accessPrefix)
	if !ok {
		return Subject{}, malformed("not an access token of a local run")
	}
	first, second, _ := strings.Cut(rest, ".")
	payload, err1 := base64.RawURLEncoding.DecodeString(first)
	seal, err2 := base64.RawURLEncoding.DecodeString(second)
	if err1 != nil || err2 != nil {
		return Subject{}, malformed("not an access token of a local run")
	}
	if !hmac.Equal(seal, i.seal(payload)) {
		return Subject{}, &Error{Reason: BadSignature, Detail: "the access token isn't of this run"}
	}
	var a access
	if err := json.Unmarshal(payload, &a); err != nil {
		return Subject{}, malformed("not an access token of a local run")
	}
	if i.now().Unix() >= a.Expires {
		return Subject{}, &Error{Reason: Expired, Detail: "the access token"}
	}
	return a.Subject, nil
}

func (i *Issuer) seal(payload []byte) []byte {
	h := hmac.New(sha256.New, i.secret[:])
	h.Write(payload)
	return h.Sum(nil)
}
