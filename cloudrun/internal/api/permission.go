package api

import (
	"slices"
	"strings"

	"github.com/amammay/otorun/cloudrun/internal/iam"
)

// roles says, by permission, which roles have it besides owner. Source:
// https://docs.cloud.google.com/iam/docs/roles-permissions.
var roles = map[string][]string{
	"run.services.get":          {"viewer", "editor", "run.viewer", "run.developer", "run.admin"},
	"run.services.create":       {"editor", "run.developer", "run.admin"},
	"run.services.delete":       {"editor", "run.developer", "run.admin"},
	"run.services.getIamPolicy": {"viewer", "editor", "run.viewer", "run.developer", "run.admin"},
	"run.services.setIamPolicy": {"run.admin"},

	"iam.serviceAccounts.get":            {"viewer", "editor", "iam.serviceAccountViewer", "iam.serviceAccountAdmin"},
	"iam.serviceAccounts.create":         {"editor", "iam.serviceAccountAdmin", "iam.serviceAccountCreator"},
	"iam.serviceAccounts.delete":         {"editor", "iam.serviceAccountAdmin", "iam.serviceAccountDeleter"},
	"iam.serviceAccounts.setIamPolicy":   {"iam.serviceAccountAdmin"},
	"iam.serviceAccountKeys.create":      {"editor", "iam.serviceAccountKeyAdmin"},
	"iam.serviceAccounts.getAccessToken": {"iam.serviceAccountTokenCreator"},
	"iam.serviceAccounts.getOpenIdToken": {"iam.serviceAccountTokenCreator", "iam.serviceAccountOpenIdTokenCreator"},

	"resourcemanager.projects.get":          {"viewer", "editor", "browser"},
	"resourcemanager.projects.getIamPolicy": {"viewer", "editor", "browser", "iam.securityReviewer", "resourcemanager.projectIamAdmin"},
	"resourcemanager.projects.setIamPolicy": {"resourcemanager.projectIamAdmin"},

	"artifactregistry.repositories.get":          {"viewer", "editor", "artifactregistry.reader", "artifactregistry.writer", "artifactregistry.admin"},
	"artifactregistry.repositories.create":       {"editor", "artifactregistry.admin"},
	"artifactregistry.repositories.setIamPolicy": {"artifactregistry.admin"},

	"artifactregistry.repositories.downloadArtifacts": {"viewer", "editor", "artifactregistry.reader", "artifactregistry.writer", "artifactregistry.admin"},
	"artifactregistry.repositories.uploadArtifacts":   {"editor", "artifactregistry.writer", "artifactregistry.admin"},

	"secretmanager.secrets.get":          {"viewer", "editor", "secretmanager.viewer", "secretmanager.admin"},
	"secretmanager.secrets.create":       {"editor", "secretmanager.admin"},
	"secretmanager.versions.add":         {"editor", "secretmanager.secretVersionAdder", "secretmanager.secretVersionManager", "secretmanager.admin"},
	"secretmanager.versions.access":      {"secretmanager.secretAccessor", "secretmanager.admin"},
	"secretmanager.secrets.setIamPolicy": {"secretmanager.admin"},

	"datastore.databases.get":    {"viewer", "editor", "datastore.viewer", "datastore.user", "datastore.owner"},
	"datastore.databases.create": {"editor", "datastore.owner"},

	"serviceusage.services.get":    {"viewer", "editor", "serviceusage.serviceUsageViewer", "serviceusage.serviceUsageAdmin"},
	"serviceusage.services.enable": {"editor", "serviceusage.serviceUsageAdmin"},

	"logging.logEntries.list": {"viewer", "editor", "logging.viewer", "logging.admin"},
}

// permit refuses a caller who lacks a permission. The developer has all.
func (s *Server) permit(who iam.Principal, permission string, resources ...string) error {
	if permission == "" || s.mayAll(who) || s.has(who, permission, resources...) {
		return nil
	}
	on := s.directory.Project()
	if len(resources) > 0 {
		on = resources[len(resources)-1]
	}
	return denied("Permission '%s' denied on resource '%s' (or it may not exist): %s has none of the roles %s on it or on the project", permission, on, who, strings.Join(rolesWith(permission), ", "))
}

func (s *Server) mayAll(who iam.Principal) bool {
	return who.Kind == iam.User && who.Email == strings.ToLower(s.Developer)
}

// has says whether a principal has a permission on the project, or one of the
// resources.
func (s *Server) has(who iam.Principal, permission string, resources ...string) bool {
	return s.directory.HasRole(who, rolesWith(permission), append(resources, s.directory.Project())...)
}

func rolesWith(permission string) []string {
	with := []string{iam.Owner}
	for _, role := range roles[permission] {
		with = append(with, "roles/"+role)
	}
	return slices.Clip(with)
}

// resources are the names that policies know what a call is about by.
func (s *Server) resources(c *call) []string {
	switch {
	case c.params["service"] != "":
		return []string{s.directory.Service(s.Platform.Region, c.params["service"])}
	case c.params["secret"] != "":
		return []string{s.secretName(c.params["secret"])}
	case c.params["account"] != "":
		return []string{s.accountName(c.params["account"])}
	case c.params["repository"] != "":
		return []string{s.repositoryName(c.params["location"], c.params["repository"])}
	}
	return nil
}

// getPolicy and setPolicy are what every API does with the policy of a resource.
func (s *Server) getPolicy(resource string) (any, error) { return s.directory.Policy(resource), nil }

func (s *Server) setPolicy(c *call, resource string) (any, error) {
	var body struct {
		Policy     *iam.Policy `json:"policy"`
		UpdateMask string      `json:"updateMask"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Policy == nil {
		return nil, invalid("the request has no policy")
	}
	return s.directory.SetPolicy(resource, *body.Policy)
}

// testPermissions answers which of the permissions asked for the caller has.
func (s *Server) testPermissions(c *call, resources ...string) (any, error) {
	var body struct {
		Permissions []string `json:"permissions"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	body.Permissions = slices.DeleteFunc(body.Permissions, func(p string) bool { return s.permit(c.caller, p, resources...) != nil })
	return body, nil
}
