package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/iam"
)

// registrySurface is the API of Artifact Registry's repositories. What is in them
// is asked of the registry itself.
// https://docs.cloud.google.com/artifact-registry/docs/reference/rest
func (s *Server) registrySurface() *surface {
	const (
		location     = "v1/projects/{project}/locations/{location}"
		repositories = location + "/repositories"
		repository   = repositories + "/{repository}"
	)
	return &surface{name: "artifactregistry.googleapis.com", routes: []route{
		{http.MethodPost, repositories, "artifactregistry.repositories.create", s.createRepository},
		{http.MethodGet, repositories, "artifactregistry.repositories.get", s.listRepositories},
		{http.MethodGet, repository, "artifactregistry.repositories.get", s.ofRepository(func(_ *call, _ string, r object) (any, error) { return r, nil })},
		{http.MethodPatch, repository, "artifactregistry.repositories.create", s.ofRepository(s.patchRepository)},
		{http.MethodDelete, repository, "artifactregistry.repositories.create", s.ofRepository(s.deleteRepository)},
		{http.MethodGet, repository + ":getIamPolicy", "artifactregistry.repositories.get", s.ofRepository(func(_ *call, name string, _ object) (any, error) { return s.getPolicy(name) })},
		{http.MethodPost, repository + ":setIamPolicy", "artifactregistry.repositories.setIamPolicy", s.ofRepository(func(c *call, name string, _ object) (any, error) { return s.setPolicy(c, name) })},
	}}
}

// repositoryName is a repository's full name, which policies know it by too.
func (s *Server) repositoryName(location, repository string) string {
	return s.directory.Project() + "/locations/" + location + "/repositories/" + repository
}

// HasRepository says whether the project has a repository, to be pushed to as
// LOCATION-docker.pkg.dev/PROJECT/REPOSITORY.
func (s *Server) HasRepository(location, repository string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repositories[s.repositoryName(location, repository)] != nil
}

func (s *Server) ofRepository(handle func(c *call, name string, r object) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		name := s.repositoryName(c.params["location"], c.params["repository"])
		s.mu.Lock()
		r := s.repositories[name]
		s.mu.Unlock()
		if r == nil {
			return nil, notFound("Requested entity was not found: %s", name)
		}
		return handle(c, name, r)
	}
}

func (s *Server) createRepository(c *call) (any, error) {
	id := c.URL.Query().Get("repositoryId")
	if !isResourceID(id) {
		return nil, invalid("repository id %q: want lower-case letters, digits and hyphens, a letter first, at most 63", id)
	}
	r := object{}
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if f := r["format"]; f != "DOCKER" {
		return nil, unsupported("a repository of format %v isn't emulated: DOCKER is", f)
	}
	if m := r["mode"]; m != nil && m != "" && m != "MODE_UNSPECIFIED" && m != "STANDARD_REPOSITORY" {
		return nil, unsupported("a repository of mode %v isn't emulated: STANDARD_REPOSITORY is", m)
	}
	name := s.repositoryName(c.params["location"], id)
	now := timestamp(time.Now())
	r["name"], r["mode"], r["createTime"], r["updateTime"] = name, "STANDARD_REPOSITORY", now, now
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.repositories[name] != nil {
		return nil, exists("the repository already exists")
	}
	s.repositories[name] = r
	return s.registryOperation(c, r), nil
}

// registryOperation is one that is done.
func (s *Server) registryOperation(c *call, response object) object {
	return object{
		"name":     s.directory.Project() + "/locations/" + c.params["location"] + "/operations/" + newUID(),
		"done":     true,
		"response": response,
	}
}

func (s *Server) listRepositories(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := s.repositoryName(c.params["location"], "")
	all := []object{}
	for _, name := range slices.Sorted(maps.Keys(s.repositories)) {
		if c.params["location"] == "-" || len(name) > len(prefix) && name[:len(prefix)] == prefix {
			all = append(all, s.repositories[name])
		}
	}
	return object{"repositories": all}, nil
}

func (s *Server) patchRepository(c *call, name string, r object) (any, error) {
	var change object
	if err := c.decode(&change); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r = maps.Clone(r)
	for _, key := range []string{"description", "labels"} {
		if v, ok := change[key]; ok {
			r[key] = v
		}
	}
	r["updateTime"] = timestamp(time.Now())
	s.repositories[name] = r
	return r, nil
}

func (s *Server) deleteRepository(c *call, name string, _ object) (any, error) {
	s.mu.Lock()
	delete(s.repositories, name)
	s.mu.Unlock()
	s.directory.DeletePolicy(name)
	if s.OnRepositoryDeleted != nil {
		s.OnRepositoryDeleted(c.params["location"], c.params["repository"])
	}
	return s.registryOperation(c, object{}), nil
}

// ImageAccess is what someone wants with an image.
type ImageAccess struct {
	// Token is the access token shown, if any. Trusted says that none is needed.
	Token   string
	Trusted bool
	// Host and Path are where the image is: us-central1-docker.pkg.dev,
	// PROJECT/REPOSITORY/IMAGE. Without a path someone only logs in.
	Host, Path string
	// Write is a push.
	Write bool
}

// MayUseImages says why an image may not be pushed or pulled; nil says that it may.
func (s *Server) MayUseImages(a ImageAccess) error {
	who := iam.Principal{Kind: iam.User, Email: strings.ToLower(s.Developer)}
	if a.Token != "" || !a.Trusted {
		var err error
		if who, err = s.bearer(a.Token); err != nil {
			return err
		}
	}
	if a.Path == "" {
		return nil
	}
	project, rest, _ := strings.Cut(a.Path, "/")
	if project != s.project {
		return denied("project %q isn't the local platform's, %s", project, s.project)
	}
	permission := "artifactregistry.repositories.downloadArtifacts"
	if a.Write {
		permission = "artifactregistry.repositories.uploadArtifacts"
	}
	location, ok := strings.CutSuffix(a.Host, "-docker.pkg.dev")
	if !ok { // gcr.io has no repositories
		return s.permit(who, permission)
	}
	repository, _, _ := strings.Cut(rest, "/")
	if err := s.permit(who, permission, s.repositoryName(location, repository)); err != nil {
		return err
	}
	if !s.HasRepository(location, repository) {
		return notFound("Repository %q not found: gcloud artifacts repositories create %s --repository-format=docker --location=%s makes it", repository, repository, location)
	}
	return nil
}
