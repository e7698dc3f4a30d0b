package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/platform"
	"github.com/amammay/otorun/internal/runhost"
)

// A service is what is deployed under a name: what was asked for, as it was asked,
// and how it stands. The server's lock guards it.
type service struct {
	Name string
	UID  string
	// Object is the API's, without its status.
	Object     object
	Generation int64
	Version    int64 // of the resource
	Observed   int64 // the generation that the status is about
	Conditions []condition
	// LatestCreated and LatestReady are names of revisions.
	LatestCreated, LatestReady string
	Traffic                    []traffic
	Revisions                  []*revision // the oldest first

	settled  chan struct{} // closed when the last change is carried out or has failed
	operated string        // the operation of the last change
	deleted  bool
}

// A revision is one version of a service.
type revision struct {
	Name       string
	UID        string
	Generation string // of the service that made it
	Made       time.Time
	Creator    string
	// Template is as the service had it.
	Template object
	// Image is what was asked for, and Digest what that was then.
	Image, Digest string
	Conditions    []condition // Ready first
}

// The status of a condition.
const (
	statusTrue    = "True"
	statusFalse   = "False"
	statusUnknown = "Unknown"
)

type condition struct {
	Type     string `json:"type"`
	Status   string `json:"status"`
	Reason   string `json:"reason,omitempty"`
	Message  string `json:"message,omitempty"`
	Severity string `json:"severity,omitempty"`
	Time     string `json:"lastTransitionTime,omitempty"`
}

// traffic is a target of a service's requests, wanted or as it is.
type traffic struct {
	RevisionName   string `json:"revisionName,omitempty"`
	Percent        int    `json:"percent,omitempty"`
	Tag            string `json:"tag,omitempty"`
	LatestRevision bool   `json:"latestRevision,omitempty"`
	URL            string `json:"url,omitempty"`
}

func (svc *service) condition(kind string) condition {
	for _, c := range svc.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return condition{Type: kind, Status: statusUnknown}
}

func (svc *service) setConditions(all ...condition) { svc.Conditions = timed(svc.Conditions, all) }
func (r *revision) setConditions(all ...condition)  { r.Conditions = timed(r.Conditions, all) }

// timed gives conditions the time of their last change of status.
func timed(old, next []condition) []condition {
	now := timestamp(time.Now())
	for i, c := range next {
		next[i].Time = now
		for _, o := range old {
			if o.Type == c.Type && o.Status == c.Status {
				next[i].Time = o.Time
			}
		}
	}
	return next
}

func (r *revision) ready() bool { return len(r.Conditions) > 0 && r.Conditions[0].Status == statusTrue }

func (svc *service) revision(name string) *revision {
	for _, r := range svc.Revisions {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// change makes a service what given says, as far as that can be said at once, and
// has the rest carried out. It is called with the lock held.
func (s *Server) change(given object, name, by string) (*service, error) {
	if s.ctx.Err() != nil {
		return nil, unsupported("the platform is ending")
	}
	if kind := text(given, "kind"); kind != "Service" {
		return nil, invalid("kind is %q, want Service", kind)
	}
	if v := text(given, "apiVersion"); v != "serving.knative.dev/v1" {
		return nil, invalid("apiVersion is %q, want serving.knative.dev/v1", v)
	}
	given = copied(given).(object)
	delete(given, "status")
	// What has another type than it should isn't to be taken for what isn't there.
	var types struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
			Labels      map[string]string `json:"labels"`
		} `json:"metadata"`
		Spec struct {
			Template *template `json:"template"`
		} `json:"spec"`
	}
	if err := convert(given, &types); err != nil {
		return nil, invalid("the service: %v", err)
	}
	meta := child(given, "metadata")
	metaName := text(meta, "name")
	svc := s.services[metaName]
	switch {
	case name != "" && metaName != name:
		return nil, invalid("metadata.name is %q, and the path says %q", metaName, name)
	case !runhost.IsServiceName(metaName) || len(metaName) >= 50:
		return nil, invalid("metadata.name %q: only lowercase, digits, and hyphens; must begin with letter, and may not end with hyphen; must be less than 50 characters", metaName)
	case name == "" && svc != nil:
		return nil, exists("Resource '%s' already exists.", metaName)
	case name != "" && svc == nil:
		return nil, noService(name)
	}
	if ns := text(meta, "namespace"); ns != "" && ns != s.project && ns != s.Platform.ProjectNumber {
		return nil, invalid("metadata.namespace is %q, and the project %q", ns, s.project)
	}
	if v := text(meta, "resourceVersion"); svc != nil && v != "" && v != svc.resourceVersion() {
		return nil, conflict("Conflict for resource '%s': version '%s' was specified but current version is '%s'.", metaName, v, svc.resourceVersion())
	}
	set, err := settingsOf(meta)
	if err != nil {
		return nil, err
	}
	spec := child(given, "spec")
	if types.Spec.Template == nil {
		return nil, invalid("spec.template is required")
	}
	template := child(spec, "template")
	s.setDefaults(template)
	t, err := readTemplate(template)
	if err != nil {
		return nil, err
	}
	wanted, err := readTraffic(spec)
	if err != nil {
		return nil, err
	}

	created := svc == nil
	next := &service{}
	if created {
		next.Name, next.UID = metaName, newUID()
	} else {
		*next = *svc
	}
	next.Version++
	var fresh *revision
	if latest := next.revision(next.LatestCreated); latest == nil || !reflect.DeepEqual(plain(latest.Template), plain(template)) {
		if fresh, err = s.newRevision(next, template, t, by); err != nil {
			return nil, err
		}
	}
	for _, w := range wanted {
		if w.RevisionName != "" && next.revision(w.RevisionName) == nil && (fresh == nil || w.RevisionName != fresh.Name) {
			return nil, invalid("spec.traffic: Revision '%s' does not exist.", w.RevisionName)
		}
	}
	if created || !reflect.DeepEqual(plain(next.Object["spec"]), plain(given["spec"])) {
		next.Generation++
	}
	if fresh != nil {
		fresh.Generation = strconv.FormatInt(next.Generation, 10)
		next.Revisions = append(slices.Clone(next.Revisions), fresh)
		next.LatestCreated = fresh.Name
	}
	s.setMetadata(next, given, by)
	next.Object = given
	if svc == nil {
		svc = next
		s.services[svc.Name] = svc
	} else {
		before := svc.settled
		*svc = *next
		svc.settled = before
	}
	s.settle(svc, fresh, set)
	return svc, nil
}

func (svc *service) resourceVersion() string {
	return "AAY" + strconv.FormatInt(svc.Version, 36) + svc.UID[:4]
}

// newRevision makes a revision of a template. It is called with the lock held.
func (s *Server) newRevision(svc *service, template object, t *template, by string) (*revision, error) {
	r := &revision{
		UID:      newUID(),
		Made:     time.Now(),
		Creator:  by,
		Template: copied(template).(object),
		Image:    t.Spec.Containers[0].Image,
	}
	r.setConditions(condition{Type: "Ready", Status: statusUnknown}, condition{Type: "ContainerHealthy", Status: statusUnknown}, condition{Type: "ResourcesAvailable", Status: statusTrue})
	r.Name = t.Metadata.Name
	if r.Name == "" {
		r.Name = platform.RevisionName(svc.Name, len(svc.Revisions)+1)
		for n := len(svc.Revisions) + 2; svc.hasNumber(r.Name); n++ {
			r.Name = platform.RevisionName(svc.Name, n)
		}
		return r, nil
	}
	if !strings.HasPrefix(r.Name, svc.Name+"-") || !runhost.IsServiceName(r.Name) {
		return nil, invalid("spec.template.metadata.name %q: want %s- and lower-case letters, digits and hyphens", r.Name, svc.Name)
	}
	if svc.revision(r.Name) != nil {
		return nil, exists("Revision named '%s' with different configuration already exists.", r.Name)
	}
	return r, nil
}

// hasNumber says whether a revision has the number of name: one may have been
// deleted since.
func (svc *service) hasNumber(name string) bool {
	number := name[:strings.LastIndex(name, "-")+1]
	return slices.ContainsFunc(svc.Revisions, func(r *revision) bool { return strings.HasPrefix(r.Name, number) })
}

// setMetadata fills in what Cloud Run says of a service.
func (s *Server) setMetadata(svc *service, given object, by string) {
	meta, now := child(given, "metadata"), timestamp(time.Now())
	created, creator := now, by
	if old, ok := svc.Object["metadata"].(object); ok {
		created = text(old, "creationTimestamp")
		creator = text(child(old, "annotations"), "serving.knative.dev/creator")
	}
	meta["namespace"] = s.Platform.ProjectNumber
	meta["selfLink"] = "/apis/serving.knative.dev/v1/namespaces/" + s.Platform.ProjectNumber + "/services/" + svc.Name
	meta["uid"], meta["generation"], meta["resourceVersion"], meta["creationTimestamp"] = svc.UID, svc.Generation, svc.resourceVersion(), created
	child(meta, "labels")["cloud.googleapis.com/location"] = s.Platform.Region
	annotations := child(meta, "annotations")
	annotations["serving.knative.dev/creator"], annotations["serving.knative.dev/lastModifier"] = creator, by
	svc.operated = newUID()
	annotations["run.googleapis.com/operation-id"] = svc.operated
	if annotations["run.googleapis.com/ingress"] == nil {
		annotations["run.googleapis.com/ingress"] = "all"
	}
	annotations["run.googleapis.com/ingress-status"] = annotations["run.googleapis.com/ingress"]
	urls, err := json.Marshal(s.Platform.Door.URLs(svc.Name, s.Platform.Region))
	if err != nil {
		panic(err) // texts only
	}
	annotations["run.googleapis.com/urls"] = string(urls)
	if strings.EqualFold(text(annotations, "run.googleapis.com/default-url-disabled"), "true") {
		delete(annotations, "run.googleapis.com/urls")
	}
}

// settle has what a service is to be carried out, after what was asked for before.
// It is called with the lock held.
func (s *Server) settle(svc *service, fresh *revision, set platform.Settings) {
	before, done := svc.settled, make(chan struct{})
	svc.settled = done
	s.operations[svc.operated] = svc
	unknown := func(kind string) condition { return condition{Type: kind, Status: statusUnknown} }
	svc.setConditions(unknown("Ready"), unknown("ConfigurationsReady"), unknown("RoutesReady"))
	name, generation := svc.Name, svc.Generation
	s.work.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		var failure error
		if fresh != nil {
			failure = s.startRevision(svc, name, fresh)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if svc.deleted {
			return
		}
		s.settled(svc, fresh, failure, set)
		if svc.settled != done { // the next change says how the service stands
			svc.setConditions(unknown("Ready"), unknown("ConfigurationsReady"), unknown("RoutesReady"))
		} else {
			svc.Observed = generation
			s.tell(svc)
		}
		s.saveLocked()
	})
}

// settled says how a service stands now that its newest revision runs or doesn't.
// It is called with the lock held.
func (s *Server) settled(svc *service, fresh *revision, failure error, set platform.Settings) {
	configured := condition{Type: "ConfigurationsReady", Status: statusTrue}
	switch {
	case fresh != nil && failure == nil:
		svc.LatestReady = fresh.Name
		fresh.setConditions(condition{Type: "Ready", Status: statusTrue}, condition{Type: "ContainerHealthy", Status: statusTrue}, condition{Type: "ResourcesAvailable", Status: statusTrue})
	case fresh != nil:
		reason, message := explain(failure)
		fresh.setConditions(
			condition{Type: "Ready", Status: statusFalse, Reason: reason, Message: message},
			condition{Type: "ContainerHealthy", Status: statusFalse, Reason: reason, Message: message},
			condition{Type: "ResourcesAvailable", Status: statusTrue})
	}
	// A change of the traffic alone doesn't mend a revision that has failed.
	if latest := svc.revision(svc.LatestCreated); latest != nil && !latest.ready() {
		configured.Status, configured.Reason = statusFalse, latest.Conditions[0].Reason
		configured.Message = fmt.Sprintf("Revision '%s' is not ready and cannot serve traffic. %s", latest.Name, latest.Conditions[0].Message)
	}
	routed := s.routeTraffic(svc, set)
	ready := condition{Type: "Ready", Status: statusTrue}
	for _, c := range []condition{routed, configured} {
		if c.Status != statusTrue {
			ready.Status, ready.Reason, ready.Message = c.Status, c.Reason, c.Message
		}
	}
	svc.setConditions(ready, configured, routed)
}

// tell logs how a service stands.
func (s *Server) tell(svc *service) {
	if ready := svc.condition("Ready"); ready.Status == statusTrue {
		s.Log.Info("deployed", "service", svc.Name, "revision", svc.LatestReady)
	} else {
		s.Log.Error("not deployed: "+ready.Message, "service", svc.Name)
	}
}

// routeTraffic has the platform send requests where the service's spec says, as
// far as those revisions are ready.
func (s *Server) routeTraffic(svc *service, set platform.Settings) condition {
	routed := condition{Type: "RoutesReady", Status: statusTrue}
	refused := func(name, why string) {
		routed.Status, routed.Reason = statusFalse, "RevisionFailed"
		routed.Message = fmt.Sprintf("Revision '%s' is not ready and cannot serve traffic. %s", name, why)
	}
	wanted, err := readTraffic(child(svc.Object, "spec"))
	if err != nil {
		return condition{Type: "RoutesReady", Status: statusFalse, Message: err.Error()}
	}
	var now []traffic
	var targets []platform.Target
	total := 0
	for _, w := range wanted {
		if w.LatestRevision {
			w.RevisionName = svc.LatestReady
		}
		r := svc.revision(w.RevisionName)
		switch {
		case r == nil: // none is ready
			latest := svc.revision(svc.LatestCreated)
			refused(latest.Name, latest.Conditions[0].Message)
			continue
		case !r.ready():
			refused(r.Name, r.Conditions[0].Message)
			continue
		}
		now = append(now, w)
		targets = append(targets, platform.Target{Revision: w.RevisionName, Percent: w.Percent, Tag: w.Tag})
		total += w.Percent
	}
	if total != 100 { // what ran goes on
		return routed
	}
	if err := s.Platform.Route(svc.Name, set, targets); err != nil {
		return condition{Type: "RoutesReady", Status: statusFalse, Reason: "RevisionMissing", Message: err.Error()}
	}
	svc.Traffic = now
	return routed
}

// readTraffic reads and completes a spec's traffic.
func readTraffic(spec object) ([]traffic, error) {
	var wanted []traffic
	if err := convert(spec["traffic"], &wanted); err != nil {
		return nil, invalid("spec.traffic: %v", err)
	}
	if len(wanted) == 0 {
		wanted = []traffic{{LatestRevision: true, Percent: 100}}
		spec["traffic"] = []any{object{"latestRevision": true, "percent": json.Number("100")}}
	}
	total := 0
	tags := make(map[string]bool)
	for i, w := range wanted {
		wanted[i].URL = ""
		total += w.Percent
		switch {
		case w.LatestRevision == (w.RevisionName != ""):
			return nil, invalid("spec.traffic[%d] must have one of revisionName and latestRevision", i)
		case w.Percent < 0 || w.Percent > 100:
			return nil, invalid("spec.traffic[%d].percent is %d, want 0 to 100", i, w.Percent)
		case w.Tag != "" && (!runhost.IsServiceName(w.Tag) || strings.Contains(w.Tag, "--")):
			return nil, invalid("spec.traffic[%d].tag %q: want lower-case letters, digits and hyphens, a letter first, no hyphen last", i, w.Tag)
		case w.Tag != "" && tags[w.Tag]:
			return nil, invalid("spec.traffic: the tag %q is there twice", w.Tag)
		}
		tags[w.Tag] = true
	}
	if total != 100 {
		return nil, invalid("spec.traffic: the percentages are %d together, want 100", total)
	}
	return wanted, nil
}
