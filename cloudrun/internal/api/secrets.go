package api

import (
	"encoding/base64"
	"hash/crc32"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/iam"
)

// secretSurface is Secret Manager.
// https://docs.cloud.google.com/secret-manager/docs/reference/rest
func (s *Server) secretSurface() *surface {
	const (
		secrets  = "v1/projects/{project}/secrets"
		one      = secrets + "/{secret}"
		versions = one + "/versions"
		version  = versions + "/{version}"
		read     = "secretmanager.secrets.get"
		write    = "secretmanager.secrets.create"
		add      = "secretmanager.versions.add"
	)
	state := func(to string) func(*call) (any, error) {
		return s.ofVersion(func(_ *call, v *secretVersion) (any, error) {
			if v.State == destroyed && to != destroyed {
				return nil, &Error{http.StatusBadRequest, "FAILED_PRECONDITION", "the version is destroyed"}
			}
			if v.State = to; to == destroyed {
				v.Data = nil
			}
			return v.json(), nil
		})
	}
	return &surface{name: "secretmanager.googleapis.com", routes: []route{
		{http.MethodPost, secrets, write, s.createSecret},
		{http.MethodGet, secrets, read, s.listSecrets},
		{http.MethodGet, one, read, s.ofSecret(func(_ *call, x *secret) (any, error) { return x.Object, nil })},
		{http.MethodPatch, one, write, s.ofSecret(patchSecret)},
		{http.MethodDelete, one, write, s.ofSecret(func(c *call, x *secret) (any, error) {
			delete(s.secrets, c.params["secret"])
			s.directory.DeletePolicy(x.name())
			return object{}, nil
		})},
		{http.MethodPost, one + ":addVersion", add, s.ofSecret(s.addVersion)},
		{http.MethodGet, one + ":getIamPolicy", read, s.ofSecret(func(_ *call, x *secret) (any, error) { return s.getPolicy(x.name()) })},
		{http.MethodPost, one + ":setIamPolicy", "secretmanager.secrets.setIamPolicy", s.ofSecret(func(c *call, x *secret) (any, error) { return s.setPolicy(c, x.name()) })},
		{http.MethodGet, versions, read, s.ofSecret(func(_ *call, x *secret) (any, error) {
			all := []object{}
			for _, v := range slices.Backward(x.Versions) {
				all = append(all, v.json())
			}
			return object{"versions": all, "totalSize": len(all)}, nil
		})},
		{http.MethodGet, version, read, s.ofVersion(func(_ *call, v *secretVersion) (any, error) { return v.json(), nil })},
		{http.MethodGet, version + ":access", "secretmanager.versions.access", s.ofVersion(func(_ *call, v *secretVersion) (any, error) {
			data, err := v.access()
			if err != nil {
				return nil, err
			}
			return object{"name": v.Name, "payload": object{
				"data":       base64.StdEncoding.EncodeToString(data),
				"dataCrc32c": strconv.FormatUint(uint64(checksum(data)), 10),
			}}, nil
		})},
		{http.MethodPost, version + ":enable", add, state(enabled)},
		{http.MethodPost, version + ":disable", add, state("DISABLED")},
		{http.MethodPost, version + ":destroy", add, state(destroyed)},
	}}
}

const (
	enabled   = "ENABLED"
	destroyed = "DESTROYED"
	// maxSecret is Secret Manager's limit of a version.
	maxSecret = 64 << 10
)

// A secret has versions, the oldest first. The server's lock guards it.
type secret struct {
	Object   object
	Versions []*secretVersion
}

type secretVersion struct {
	Name  string
	State string
	Made  time.Time
	Data  []byte
}

func (x *secret) name() string { return x.Object["name"].(string) }

func (v *secretVersion) json() object {
	return object{
		"name":       v.Name,
		"createTime": timestamp(v.Made),
		"state":      v.State,
		"etag":       `"` + strconv.FormatInt(v.Made.UnixNano(), 36) + v.State[:1] + `"`,
		// gcloud compares its checksum only where this says that it was looked at.
		"clientSpecifiedPayloadChecksum": true,
		"replicationStatus":              object{"automatic": object{}},
	}
}

// access returns what a version has.
func (v *secretVersion) access() ([]byte, error) {
	if v.State != enabled {
		return nil, &Error{http.StatusBadRequest, "FAILED_PRECONDITION", "Secret Version [" + v.Name + "] is in " + v.State + " state."}
	}
	return v.Data, nil
}

// version returns the one with a number, or the latest that isn't destroyed.
func (x *secret) version(number string) *secretVersion {
	for _, v := range slices.Backward(x.Versions) {
		if number == "latest" && v.State != destroyed || strings.HasSuffix(v.Name, "/versions/"+number) {
			return v
		}
	}
	return nil
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

// secretName is how policies know a secret. Secret Manager's own names have the
// project's number.
func (s *Server) secretName(id string) string {
	return "projects/" + s.Platform.ProjectNumber + "/secrets/" + id
}

// ofSecret is a route's function about a secret that there is. It runs with the
// lock held.
func (s *Server) ofSecret(handle func(*call, *secret) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		x := s.secrets[c.params["secret"]]
		if x == nil {
			return nil, notFound("Secret [%s] not found or has no versions.", s.secretName(c.params["secret"]))
		}
		return handle(c, x)
	}
}

func (s *Server) ofVersion(handle func(*call, *secretVersion) (any, error)) func(*call) (any, error) {
	return s.ofSecret(func(c *call, x *secret) (any, error) {
		v := x.version(c.params["version"])
		if v == nil {
			return nil, notFound("Secret Version [%s/versions/%s] not found.", x.name(), c.params["version"])
		}
		return handle(c, v)
	})
}

func (s *Server) createSecret(c *call) (any, error) {
	id := c.URL.Query().Get("secretId")
	if id == "" || len(id) > 255 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
		return nil, invalid("secret id %q: want letters, digits, underscores and hyphens, at most 255", id)
	}
	x := &secret{Object: object{}}
	if err := c.decode(&x.Object); err != nil {
		return nil, err
	}
	x.Object["name"], x.Object["createTime"] = s.secretName(id), timestamp(time.Now())
	if x.Object["replication"] == nil {
		x.Object["replication"] = object{"automatic": object{}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secrets[id] != nil {
		return nil, exists("Secret [%s] already exists.", s.secretName(id))
	}
	s.secrets[id] = x
	return x.Object, nil
}

func (s *Server) listSecrets(*call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []object{}
	for _, id := range sortedKeys(s.secrets) {
		all = append(all, s.secrets[id].Object)
	}
	return object{"secrets": all, "totalSize": len(all)}, nil
}

func patchSecret(c *call, x *secret) (any, error) {
	var change object
	if err := c.decode(&change); err != nil {
		return nil, err
	}
	next := maps.Clone(x.Object)
	for mask := range strings.SplitSeq(c.URL.Query().Get("updateMask"), ",") {
		switch mask {
		case "labels", "annotations":
			next[mask] = change[mask]
		default:
			return nil, unsupported("the field %q of a secret can't be changed", mask)
		}
	}
	x.Object = next
	return next, nil
}

func (s *Server) addVersion(c *call, x *secret) (any, error) {
	var body struct {
		Payload struct {
			Data   []byte `json:"data"`
			CRC32C string `json:"dataCrc32c"`
		} `json:"payload"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	data := body.Payload.Data
	if len(data) > maxSecret {
		return nil, invalid("a secret has at most %d bytes, this one %d", maxSecret, len(data))
	}
	if sum := body.Payload.CRC32C; sum != "" && sum != strconv.FormatUint(uint64(checksum(data)), 10) {
		return nil, invalid("the payload's CRC32C isn't %s: data corruption may have occurred", sum)
	}
	v := &secretVersion{
		Name:  x.name() + "/versions/" + strconv.Itoa(len(x.Versions)+1),
		State: enabled,
		Made:  time.Now(),
		Data:  data,
	}
	x.Versions = append(x.Versions, v)
	return v.json(), nil
}

// readSecret returns a secret's version as a revision that runs as account gets it.
func (s *Server) readSecret(account, id, version string) ([]byte, error) {
	a, ok := s.directory.Account(account)
	if !ok {
		return nil, notFound("Service account %s does not exist", account)
	}
	name := s.secretName(id)
	s.mu.Lock()
	x := s.secrets[id]
	var v *secretVersion
	if x != nil {
		v = x.version(version)
	}
	s.mu.Unlock()
	if v == nil {
		return nil, notFound("Secret %s/versions/%s was not found", name, version)
	}
	if !s.has(a.Principal, "secretmanager.versions.access", name) {
		return nil, denied("Permission denied on secret: %s/versions/%s for Revision service account %s. The service account used must be granted the 'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor) at the secret, project or higher level: gcloud secrets add-iam-policy-binding %s --member=%s --role=roles/secretmanager.secretAccessor",
			name, version, a.Email, id, iam.Principal(a.Principal).Member())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.access()
}
