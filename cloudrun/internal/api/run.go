package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/amammay/otorun/internal/runhost"
)

// runHost is Cloud Run's; its regions are at REGION-run.googleapis.com.
const runHost = "run.googleapis.com"

// runSurface is Cloud Run's API, version 1: Knative's resources, with IAM and
// operations in Google's own style.
// https://docs.cloud.google.com/run/docs/reference/rest/v1
func (s *Server) runSurface() *surface {
	const (
		namespace = "apis/serving.knative.dev/v1/namespaces/{project}"
		services  = namespace + "/services"
		one       = services + "/{service}"
		revisions = namespace + "/revisions"
		location  = "v1/projects/{project}/locations/{location}"
		policy    = location + "/services/{service}"
		read      = "run.services.get"
		write     = "run.services.create"
		remove    = "run.services.delete"
	)
	in := s.inRegion
	return &surface{name: runHost, routes: []route{
		{http.MethodGet, services, read, in(s.listServices)},
		{http.MethodPost, services, write, in(s.createService)},
		{http.MethodGet, one, read, in(s.ofService(func(_ *call, svc *service) (any, error) { return s.serviceJSON(svc), nil }))},
		{http.MethodPut, one, write, in(s.replaceService)},
		{http.MethodDelete, one, remove, in(s.deleteService)},
		{http.MethodGet, revisions, read, in(s.listRevisions)},
		{http.MethodGet, revisions + "/{revision}", read, in(s.ofRevision(func(svc *service, r *revision) (any, error) { return s.revisionJSON(svc, r), nil }))},
		{http.MethodDelete, revisions + "/{revision}", remove, in(s.ofRevision(s.deleteRevision))},
		{http.MethodGet, "v1/projects/{project}/locations", "", s.listLocations},
		{http.MethodGet, location + "/services", read, in(s.listServices)},
		{http.MethodGet, policy + ":getIamPolicy", "run.services.getIamPolicy", in(s.ofPolicy(func(_ *call, name string) (any, error) { return s.getPolicy(name) }))},
		{http.MethodPost, policy + ":setIamPolicy", "run.services.setIamPolicy", in(s.ofPolicy(s.setPolicy))},
		// Asked before the service is made.
		{http.MethodPost, policy + ":testIamPermissions", "", in(func(c *call) (any, error) { return s.testPermissions(c, s.resources(c)...) })},
		{http.MethodPost, location + "/operations/{operation}:wait", "", in(s.waitOperation)},
		{http.MethodGet, location + "/operations/{operation}", "", in(s.waitOperation)},
	}}
}

// inRegion is a route's function that refuses other regions than the platform's.
func (s *Server) inRegion(handle func(*call) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		region, _ := strings.CutSuffix(c.host, "-"+runHost)
		if c.host == runHost {
			region = c.params["location"]
		}
		if region != "" && region != "-" && region != s.Platform.Region {
			return nil, unsupported("the local platform has one region, %s: start another one with go run ./cloudrun -region %s", s.Platform.Region, region)
		}
		return handle(c)
	}
}

func (s *Server) listLocations(*call) (any, error) {
	region := s.Platform.Region
	return object{"locations": []object{{
		"name":        s.directory.Project() + "/locations/" + region,
		"locationId":  region,
		"displayName": region,
		"labels":      object{"cloud.googleapis.com/region": region},
	}}}, nil
}

// ofService is a route's function about a service that there is. It runs with the
// lock held.
func (s *Server) ofService(handle func(*call, *service) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		svc := s.services[c.params["service"]]
		if svc == nil {
			return nil, noService(c.params["service"])
		}
		return handle(c, svc)
	}
}

func noService(name string) *Error {
	return notFound("Resource '%s' of kind 'SERVICE' does not exist.", name)
}

// ofPolicy is a route's function about the policy of a service.
func (s *Server) ofPolicy(handle func(c *call, resource string) (any, error)) func(*call) (any, error) {
	return s.ofService(func(c *call, svc *service) (any, error) {
		return handle(c, s.directory.Service(s.Platform.Region, svc.Name))
	})
}

// ofRevision is a route's function about a revision that there is. It runs with
// the lock held.
func (s *Server) ofRevision(handle func(*service, *revision) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, svc := range s.services {
			if r := svc.revision(c.params["revision"]); r != nil {
				return handle(svc, r)
			}
		}
		return nil, notFound("Resource '%s' of kind 'REVISION' does not exist.", c.params["revision"])
	}
}

func (s *Server) listServices(c *call) (any, error) {
	return s.list(c, "ServiceList", func(svc *service) []object { return []object{s.serviceJSON(svc)} })
}

func (s *Server) listRevisions(c *call) (any, error) {
	return s.list(c, "RevisionList", func(svc *service) []object {
		var all []object
		for _, r := range slices.Backward(svc.Revisions) {
			all = append(all, s.revisionJSON(svc, r))
		}
		return all
	})
}

// list answers with the items of all services that the query selects.
func (s *Server) list(c *call, kind string, items func(*service) []object) (any, error) {
	selects, err := labelSelector(c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	selected := []object{}
	for _, name := range sortedKeys(s.services) {
		for _, item := range items(s.services[name]) {
			if selects(item) {
				selected = append(selected, item)
			}
		}
	}
	return object{
		"apiVersion": "serving.knative.dev/v1", "kind": kind, "items": selected,
		"metadata": object{"selfLink": "/apis/serving.knative.dev/v1/namespaces/" + s.Platform.ProjectNumber, "resourceVersion": "1"},
	}, nil
}

// labelSelector reads the query's selector: "a = b, c != d, e".
func labelSelector(c *call) (func(object) bool, error) {
	if f := c.URL.Query().Get("fieldSelector"); f != "" {
		return nil, unsupported("the field selector %q isn't emulated", f)
	}
	type term struct {
		key, value string
		is         func(value, want string, has bool) bool
	}
	var terms []term
	for part := range strings.SplitSeq(c.URL.Query().Get("labelSelector"), ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		t := term{key: part, is: func(_, _ string, has bool) bool { return has }}
		if strings.ContainsAny(part, "()") || strings.Contains(part, " in ") {
			return nil, unsupported("the label selector %q isn't emulated: key = value, key != value and key are", part)
		}
		if key, value, ok := strings.Cut(part, "!="); ok {
			t = term{key, value, func(value, want string, _ bool) bool { return value != want }}
		} else if key, value, ok := strings.Cut(strings.Replace(part, "==", "=", 1), "="); ok {
			t = term{key, value, func(value, want string, has bool) bool { return has && value == want }}
		}
		t.key, t.value = strings.TrimSpace(t.key), strings.TrimSpace(t.value)
		terms = append(terms, t)
	}
	return func(o object) bool {
		labels, _ := lookup(o, []string{"metadata", "labels"})
		for _, t := range terms {
			l, _ := labels.(object)
			value, has := l[t.key].(string)
			if !t.is(value, t.value, has) {
				return false
			}
		}
		return true
	}, nil
}

// createService and replaceService differ in whether the path names the service.
func (s *Server) createService(c *call) (any, error) { return s.apply(c, "") }

func (s *Server) replaceService(c *call) (any, error) { return s.apply(c, c.params["service"]) }

// patience is how long a request to deploy, or for its operation, waits for the
// end. It is below the 30 s that gcloud asks an operation for.
const patience = 20 * time.Second

// apply makes a service what the request says: a new one where name is empty. The
// answer tells how that went, if it is known soon.
func (s *Server) apply(c *call, name string) (any, error) {
	given := object{}
	if err := c.decode(&given); err != nil {
		return nil, err
	}
	svc, settled, err := s.begin(given, name, c.caller.Email)
	if err != nil {
		return nil, err
	}
	select {
	case <-settled:
	case <-time.After(s.patience):
	case <-s.ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serviceJSON(svc), nil
}

// begin is change for who doesn't hold the lock; settled is closed at its end.
func (s *Server) begin(given object, name, by string) (svc *service, settled <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if svc, err = s.change(given, name, by); err != nil {
		return nil, nil, err
	}
	return svc, svc.settled, nil
}

// waitOperation holds the request until a service has settled.
func (s *Server) waitOperation(c *call) (any, error) {
	id := c.params["operation"]
	s.mu.Lock()
	svc := s.operations[id]
	s.mu.Unlock()
	answer := object{"name": s.directory.Project() + "/locations/" + s.Platform.Region + "/operations/" + id}
	if svc == nil {
		return nil, notFound("Requested entity was not found: operation %s", id)
	}
	s.mu.Lock()
	settled := svc.settled
	s.mu.Unlock()
	if c.Method == http.MethodPost {
		select {
		case <-settled:
		case <-c.Context().Done():
		case <-s.ctx.Done():
		case <-time.After(s.patience):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch ready := svc.condition("Ready"); {
	case svc.deleted:
		answer["done"], answer["error"] = true, object{"code": 5, "message": "service " + svc.Name + " was deleted"}
	case ready.Status == statusFalse:
		const failedPrecondition = 9
		answer["done"], answer["error"] = true, object{"code": failedPrecondition, "message": ready.Message}
	case ready.Status == statusTrue:
		response := s.serviceJSON(svc)
		response["@type"] = "type.googleapis.com/google.cloud.run.v1.Service"
		answer["done"], answer["response"] = true, response
	default:
		answer["done"] = false
	}
	return answer, nil
}

func (s *Server) deleteService(c *call) (any, error) {
	return s.ofService(func(_ *call, svc *service) (any, error) {
		delete(s.services, svc.Name)
		svc.deleted = true
		s.Platform.Remove(svc.Name)
		s.directory.DeletePolicy(s.directory.Service(s.Platform.Region, svc.Name))
		s.Log.Info("service deleted", "service", svc.Name)
		return object{"apiVersion": "v1", "kind": "Status", "status": "Success", "details": object{"name": svc.Name, "kind": "services"}}, nil
	})(c)
}

func (s *Server) deleteRevision(svc *service, r *revision) (any, error) {
	if r.Name == svc.LatestCreated {
		return nil, invalid("Revision '%s' cannot be deleted: it is the latest one of the service", r.Name)
	}
	for _, t := range svc.Traffic {
		if t.RevisionName == r.Name {
			return nil, invalid("Revision '%s' cannot be deleted: it is actively serving traffic", r.Name)
		}
	}
	svc.Revisions = slices.DeleteFunc(svc.Revisions, func(other *revision) bool { return other == r })
	s.Platform.RemoveRevision(svc.Name, r.Name)
	return object{"apiVersion": "v1", "kind": "Status", "status": "Success"}, nil
}

// serviceJSON is a service as the API shows it. It is called with the lock held.
func (s *Server) serviceJSON(svc *service) object {
	o := maps.Clone(svc.Object)
	urls := s.Platform.Door.URLs(svc.Name, s.Platform.Region)
	url := urls[len(urls)-1] // the hash form, if there is one
	status := object{
		"observedGeneration":        svc.Observed,
		"conditions":                svc.Conditions,
		"latestCreatedRevisionName": svc.LatestCreated,
	}
	if urlsOf(svc.Object) != "" {
		status["url"], status["address"] = url, object{"url": url}
	}
	if svc.LatestReady != "" {
		status["latestReadyRevisionName"] = svc.LatestReady
	}
	if len(svc.Traffic) > 0 {
		traffic := slices.Clone(svc.Traffic)
		for i, t := range traffic {
			if t.Tag != "" {
				traffic[i].URL = strings.Replace(url, "https://", "https://"+t.Tag+"---", 1)
			}
		}
		status["traffic"] = traffic
	}
	o["status"] = status
	return o
}

// urlsOf is what a service says of its URLs: nothing where they are disabled.
func urlsOf(o object) string {
	urls, _ := lookup(o, []string{"metadata", "annotations", "run.googleapis.com/urls"})
	s, _ := urls.(string)
	return s
}

// revisionJSON is a revision as the API shows it. It is called with the lock held.
func (s *Server) revisionJSON(svc *service, r *revision) object {
	meta, _ := r.Template["metadata"].(object)
	labels := object{}
	if l, ok := meta["labels"].(object); ok {
		maps.Copy(labels, l)
	}
	maps.Copy(labels, object{
		"serving.knative.dev/service":                 svc.Name,
		"serving.knative.dev/serviceUid":              svc.UID,
		"serving.knative.dev/configuration":           svc.Name,
		"serving.knative.dev/configurationGeneration": r.Generation,
		"serving.knative.dev/route":                   svc.Name,
		"cloud.googleapis.com/location":               s.Platform.Region,
	})
	annotations := object{"serving.knative.dev/creator": r.Creator}
	if a, ok := meta["annotations"].(object); ok {
		maps.Copy(annotations, a)
	}
	active := condition{Type: "Active", Status: statusFalse, Reason: "Retired", Time: r.Conditions[0].Time, Severity: "Info"}
	if slices.ContainsFunc(svc.Traffic, func(t traffic) bool { return t.RevisionName == r.Name }) {
		active = condition{Type: "Active", Status: statusTrue, Time: r.Conditions[0].Time, Severity: "Info"}
	}
	status := object{
		"observedGeneration": 1,
		"conditions":         append(slices.Clone(r.Conditions), active),
		"serviceName":        r.Name,
	}
	if r.Digest != "" {
		status["imageDigest"] = imageRepository(r.Image) + "@" + r.Digest
	}
	return object{
		"apiVersion": "serving.knative.dev/v1",
		"kind":       "Revision",
		"metadata": object{
			"name": r.Name, "namespace": s.Platform.ProjectNumber, "uid": r.UID, "generation": 1,
			"resourceVersion": "1", "creationTimestamp": timestamp(r.Made), "labels": labels, "annotations": annotations,
			"selfLink": "/apis/serving.knative.dev/v1/namespaces/" + s.Platform.ProjectNumber + "/revisions/" + r.Name,
			"ownerReferences": []object{{
				"apiVersion": "serving.knative.dev/v1", "kind": "Configuration", "name": svc.Name, "uid": svc.UID,
				"controller": true, "blockOwnerDeletion": true,
			}},
		},
		"spec":   r.Template["spec"],
		"status": status,
	}
}

// imageRepository is an image's reference without tag and digest.
func imageRepository(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndex(ref, ":"); colon > strings.LastIndex(ref, "/") {
		ref = ref[:colon]
	}
	return ref
}

// isResourceID says whether s may name a repository.
func isResourceID(s string) bool { return runhost.IsServiceName(s) }
