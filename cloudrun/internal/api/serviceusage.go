package api

import (
	"net/http"
	"strings"
)

// serviceUsageSurface is the API that turns APIs on and off. All are on until one
// is turned off.
// https://docs.cloud.google.com/service-usage/docs/reference/rest
func (s *Server) serviceUsageSurface() *surface {
	const (
		services = "v1/projects/{project}/services"
		api      = services + "/{api}"
	)
	return &surface{name: serviceUsage, routes: []route{
		{http.MethodGet, services, "serviceusage.services.get", s.listAPIs},
		{http.MethodPost, services + ":batchEnable", "serviceusage.services.enable", s.enableAPIs},
		{http.MethodGet, api, "serviceusage.services.get", func(c *call) (any, error) { return s.apiJSON(c.params["api"]) }},
		{http.MethodPost, api + ":enable", "serviceusage.services.enable", func(c *call) (any, error) { return s.setAPIs(true, c.params["api"]) }},
		{http.MethodPost, api + ":disable", "serviceusage.services.enable", func(c *call) (any, error) { return s.setAPIs(false, c.params["api"]) }},
		{http.MethodGet, "v1/operations/{operation}", "", func(c *call) (any, error) {
			return object{"name": "operations/" + c.params["operation"], "done": true}, nil
		}},
	}}
}

const serviceUsage = "serviceusage.googleapis.com"

// disabled says whether an API was turned off.
func (s *Server) disabled(api string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	on, set := s.apis[api]
	return set && !on
}

func (s *Server) apiJSON(api string) (any, error) {
	state := "ENABLED"
	if s.disabled(api) {
		state = "DISABLED"
	}
	return object{
		"name":   "projects/" + s.Platform.ProjectNumber + "/services/" + api,
		"config": object{"name": api},
		"state":  state,
		"parent": "projects/" + s.Platform.ProjectNumber,
	}, nil
}

func (s *Server) listAPIs(c *call) (any, error) {
	all := []any{}
	for _, surface := range sortedKeys(s.hosts) {
		if s.hosts[surface].open || s.disabled(surface) && strings.Contains(c.URL.Query().Get("filter"), "state:ENABLED") {
			continue
		}
		api, err := s.apiJSON(surface)
		if err != nil {
			return nil, err
		}
		all = append(all, api)
	}
	return object{"services": all}, nil
}

func (s *Server) enableAPIs(c *call) (any, error) {
	var body struct {
		ServiceIDs []string `json:"serviceIds"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return s.setAPIs(true, body.ServiceIDs...)
}

// setAPIs turns APIs on or off. One that isn't emulated may be turned on: that it
// isn't there is told to who calls it.
func (s *Server) setAPIs(on bool, apis ...string) (any, error) {
	for _, api := range apis {
		if !strings.HasSuffix(api, ".googleapis.com") {
			return nil, invalid("there is no service %q: want NAME.googleapis.com", api)
		}
		if !on && api == serviceUsage {
			return nil, invalid("%s can't be turned off: nothing could turn it on again", api)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, api := range apis {
		s.apis[api] = on
	}
	return object{"name": "operations/" + newUID(), "done": true, "response": object{}}, nil
}
