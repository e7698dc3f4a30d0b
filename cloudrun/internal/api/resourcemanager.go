package api

import "net/http"

// resourceManagerSurface is the API of projects: there is one.
// https://docs.cloud.google.com/resource-manager/reference/rest/v1/projects
func (s *Server) resourceManagerSurface() *surface {
	const project = "v1/projects/{project}"
	name := s.directory.Project()
	return &surface{name: "cloudresourcemanager.googleapis.com", routes: []route{
		{http.MethodGet, "v1/projects", "resourcemanager.projects.get", func(*call) (any, error) {
			return object{"projects": []object{s.projectJSON()}}, nil
		}},
		{http.MethodGet, project, "resourcemanager.projects.get", func(*call) (any, error) { return s.projectJSON(), nil }},
		{http.MethodPost, project + ":getIamPolicy", "resourcemanager.projects.getIamPolicy", func(*call) (any, error) { return s.getPolicy(name) }},
		{http.MethodPost, project + ":setIamPolicy", "resourcemanager.projects.setIamPolicy", func(c *call) (any, error) { return s.setPolicy(c, name) }},
		{http.MethodPost, project + ":testIamPermissions", "", func(c *call) (any, error) { return s.testPermissions(c) }},
	}}
}

func (s *Server) projectJSON() object {
	return object{
		"projectNumber":  s.Platform.ProjectNumber,
		"projectId":      s.project,
		"lifecycleState": "ACTIVE",
		"name":           s.project,
	}
}
