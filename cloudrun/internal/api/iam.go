package api

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/iam"
)

// iamSurface is the API of service accounts, their keys and their policies.
// https://docs.cloud.google.com/iam/docs/reference/rest
func (s *Server) iamSurface() *surface {
	const (
		accounts = "v1/projects/{project}/serviceAccounts"
		account  = accounts + "/{account}"
	)
	return &surface{name: "iam.googleapis.com", routes: []route{
		{http.MethodPost, accounts, "iam.serviceAccounts.create", s.createAccount},
		{http.MethodGet, accounts, "iam.serviceAccounts.get", s.listAccounts},
		{http.MethodGet, account, "iam.serviceAccounts.get", func(c *call) (any, error) { return s.account(c.params["account"]) }},
		{http.MethodPatch, account, "iam.serviceAccounts.create", s.patchAccount},
		{http.MethodDelete, account, "iam.serviceAccounts.delete", s.deleteAccount},
		{http.MethodPost, account + ":getIamPolicy", "iam.serviceAccounts.get", s.ofAccount(func(c *call, a iam.Account) (any, error) {
			return s.getPolicy(s.accountName(a.Email))
		})},
		{http.MethodPost, account + ":setIamPolicy", "iam.serviceAccounts.setIamPolicy", s.ofAccount(func(c *call, a iam.Account) (any, error) {
			return s.setPolicy(c, s.accountName(a.Email))
		})},
		{http.MethodPost, account + ":testIamPermissions", "", s.ofAccount(func(c *call, a iam.Account) (any, error) {
			return s.testPermissions(c, s.accountName(a.Email))
		})},
		{http.MethodPost, account + "/keys", "iam.serviceAccountKeys.create", s.ofAccount(s.createKey)},
		{http.MethodGet, account + "/keys", "iam.serviceAccounts.get", s.ofAccount(s.listKeys)},
		{http.MethodDelete, account + "/keys/{key}", "iam.serviceAccountKeys.create", s.ofAccount(s.deleteKey)},
	}}
}

// accountName is how policies know a service account, by email or number.
func (s *Server) accountName(account string) string {
	if a, ok := s.directory.Account(account); ok {
		account = a.Email
	}
	return s.directory.Project() + "/serviceAccounts/" + account
}

func (s *Server) accountJSON(a iam.Account) object {
	return object{
		"name":           s.accountName(a.Email),
		"projectId":      s.project,
		"uniqueId":       a.ID,
		"email":          a.Email,
		"displayName":    a.DisplayName,
		"description":    a.Description,
		"etag":           "MDEwMjE5MjA=",
		"oauth2ClientId": a.ID,
	}
}

func (s *Server) account(name string) (any, error) {
	a, ok := s.directory.Account(name)
	if !ok {
		return nil, notFound("Unknown service account: %s", name)
	}
	return s.accountJSON(a), nil
}

// ofAccount is a route's function about a service account that there is.
func (s *Server) ofAccount(handle func(*call, iam.Account) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		a, ok := s.directory.Account(c.params["account"])
		if !ok {
			return nil, notFound("Unknown service account: %s", c.params["account"])
		}
		return handle(c, a)
	}
}

func (s *Server) createAccount(c *call) (any, error) {
	var body struct {
		AccountID      string       `json:"accountId"`
		ServiceAccount accountTexts `json:"serviceAccount"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	a, err := s.directory.CreateServiceAccount(body.AccountID, "")
	if err != nil {
		if e := errorOf(err); e.Code == http.StatusConflict {
			return nil, exists("Service account %s already exists within project %s.", body.AccountID, s.directory.Project())
		}
		return nil, err
	}
	return s.setTexts(a.Email, body.ServiceAccount)
}

// accountTexts are what is said of a service account, and isn't looked at.
type accountTexts struct {
	DisplayName *string `json:"displayName"`
	Description *string `json:"description"`
}

func (s *Server) setTexts(name string, texts accountTexts) (any, error) {
	a, err := s.directory.SetTexts(name, texts.DisplayName, texts.Description)
	if err != nil {
		return nil, err
	}
	return s.accountJSON(a), nil
}

func (s *Server) listAccounts(*call) (any, error) {
	var all []object
	for _, a := range s.directory.Accounts() {
		all = append(all, s.accountJSON(a))
	}
	return object{"accounts": all}, nil
}

func (s *Server) patchAccount(c *call) (any, error) {
	var body struct {
		ServiceAccount accountTexts `json:"serviceAccount"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return s.setTexts(c.params["account"], body.ServiceAccount)
}

func (s *Server) deleteAccount(c *call) (any, error) {
	a, ok := s.directory.Account(c.params["account"])
	if !ok {
		return nil, notFound("Unknown service account: %s", c.params["account"])
	}
	name := s.accountName(a.Email)
	if err := s.directory.DeleteServiceAccount(a.Email); err != nil {
		return nil, err
	}
	s.directory.DeletePolicy(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, key := range s.keys {
		if key.Account == a.ID {
			delete(s.keys, id)
		}
	}
	return object{}, nil
}

// An accountKey is the public half of a service account's key.
type accountKey struct {
	Account string // its number
	Public  []byte // DER
	Made    time.Time
}

// createKey makes a key, of which only the caller gets the private half.
func (s *Server) createKey(c *call, a iam.Account) (any, error) {
	var body struct {
		PrivateKeyType string `json:"privateKeyType"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if t := body.PrivateKeyType; t != "" && t != "TYPE_GOOGLE_CREDENTIALS_FILE" {
		return nil, unsupported("a key of type %s isn't made: TYPE_GOOGLE_CREDENTIALS_FILE is, which is gcloud's --key-file-type=json", t)
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	random := make([]byte, 20)
	rand.Read(random)
	id := hex.EncodeToString(random)
	file, err := json.MarshalIndent(map[string]string{
		"type":                        "service_account",
		"project_id":                  s.project,
		"private_key_id":              id,
		"private_key":                 string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
		"client_email":                a.Email,
		"client_id":                   a.ID,
		"auth_uri":                    "https://accounts.google.com/o/oauth2/auth",
		"token_uri":                   tokenURL,
		"auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
		"universe_domain":             "googleapis.com",
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	key := &accountKey{Account: a.ID, Public: public, Made: time.Now()}
	s.mu.Lock()
	s.keys[id] = key
	s.mu.Unlock()
	answer := s.keyJSON(a, id, key)
	answer["privateKeyType"] = "TYPE_GOOGLE_CREDENTIALS_FILE"
	answer["privateKeyData"] = base64.StdEncoding.EncodeToString(append(file, '\n'))
	return answer, nil
}

func (s *Server) keyJSON(a iam.Account, id string, key *accountKey) object {
	return object{
		"name":            s.accountName(a.Email) + "/keys/" + id,
		"keyAlgorithm":    "KEY_ALG_RSA_2048",
		"keyOrigin":       "GOOGLE_PROVIDED",
		"keyType":         "USER_MANAGED",
		"validAfterTime":  key.Made.UTC().Format(time.RFC3339),
		"validBeforeTime": "9999-12-31T23:59:59Z",
	}
}

func (s *Server) listKeys(_ *call, a iam.Account) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := []object{}
	for id, key := range s.keys {
		if key.Account == a.ID {
			keys = append(keys, s.keyJSON(a, id, key))
		}
	}
	slices.SortFunc(keys, func(a, b object) int { return strings.Compare(fmt.Sprint(a["name"]), fmt.Sprint(b["name"])) })
	return object{"keys": keys}, nil
}

func (s *Server) deleteKey(c *call, a iam.Account) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := c.params["key"]
	if key := s.keys[id]; key == nil || key.Account != a.ID {
		return nil, notFound("Key %s of %s does not exist", id, a.Email)
	}
	delete(s.keys, id)
	return object{}, nil
}
