package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// manifest is a service as gcloud sends it, with more in the template's spec, its
// container and its metadata.
func manifest(name, image string, more ...string) string {
	var spec, container, meta string
	for _, m := range more {
		kind, text, _ := strings.Cut(m, " ")
		switch kind {
		case "spec":
			spec += "," + text
		case "container":
			container += "," + text
		case "meta":
			meta += "," + text
		}
	}
	return `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"` + name + `","namespace":"local-project"` + meta + `},
		"spec":{"template":{"spec":{"containers":[{"image":"` + image + `"` + container + `}]` + spec + `}}}}`
}

func conditionOf(o object, kind string) (status, message string) {
	conditions, _ := lookup(o, []string{"status", "conditions"})
	for _, c := range conditions.([]any) {
		if c := c.(object); c["type"] == kind {
			return text(c, "status"), text(c, "message")
		}
	}
	return "", ""
}

func at(o object, path ...string) any {
	v, _ := lookup(o, path)
	return v
}

// A service is made, changed by who has seen its present state, and deleted; what
// the platform doesn't know of it stays.
func TestService(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	image := w.serving("serve")
	made := w.do(200, "POST", runRegion, servicesPath, manifest("taco", image, `meta "labels":{"team":"tacos"},"annotations":{"x.example.com/y":"z"}`, `spec "futureField":{"deep":[1,2.5,true]}`))
	if status, message := conditionOf(made, "Ready"); status != "True" {
		t.Fatalf("Ready is %s: %s", status, message)
	}
	if got := at(made, "status", "url"); got != "https://taco-localhash0-uc.a.run.app" {
		t.Errorf("url %v", got)
	}
	for path, want := range map[string]any{
		"metadata.labels.team": "tacos", "metadata.namespace": "123456789012", "spec.template.spec.containerConcurrency": 80.0,
		"spec.template.spec.timeoutSeconds": 300.0, "spec.template.spec.serviceAccountName": w.p.Directory.DefaultAccount(),
		"metadata.generation": 1.0, "status.observedGeneration": 1.0,
	} {
		if got := at(made, strings.Split(path, ".")...); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	if got := at(made, "spec", "template", "spec", "futureField", "deep"); !reflect.DeepEqual(got, []any{1.0, 2.5, true}) {
		t.Errorf("the unknown field is %v", got)
	}
	w.refused(409, "POST", runRegion, servicesPath, manifest("taco", image))

	// The same again changes nothing, and makes no revision.
	text, _ := json.Marshal(made)
	same := w.do(200, "PUT", runRegion, servicesPath+"/taco", string(text))
	if !reflect.DeepEqual(same["spec"], made["spec"]) || at(same, "metadata", "generation") != 1.0 || at(same, "status", "latestCreatedRevisionName") != at(made, "status", "latestCreatedRevisionName") {
		t.Errorf("the same again: %v", same)
	}
	// made is no longer the present state.
	if got := w.refused(409, "PUT", runRegion, servicesPath+"/taco", string(text)); !strings.Contains(got, "current version") {
		t.Errorf("an old version: %s", got)
	}
	changed := w.do(200, "PUT", runRegion, servicesPath+"/taco", manifest("taco", image, `container "env":[{"name":"COLOR","value":"red"}]`))
	if at(changed, "metadata", "generation") != 2.0 || !strings.HasPrefix(at(changed, "status", "latestReadyRevisionName").(string), "taco-00002-") {
		t.Errorf("changed: %v", changed)
	}
	if got := at(changed, "metadata", "labels", "team"); got != nil {
		t.Errorf("a label that isn't there any more: %v", got)
	}
	revisions := w.do(200, "GET", runRegion, strings.Replace(servicesPath, "services", "revisions", 1)+"?labelSelector=serving.knative.dev/service+%3D+taco", "")
	if n := len(revisions["items"].([]any)); n != 2 {
		t.Errorf("%d revisions, want 2", n)
	}
	none := w.do(200, "GET", runRegion, strings.Replace(servicesPath, "services", "revisions", 1)+"?labelSelector=serving.knative.dev/service=other", "")
	if n := len(none["items"].([]any)); n != 0 {
		t.Errorf("%d revisions of another service", n)
	}
	w.do(200, "DELETE", runRegion, servicesPath+"/taco", "")
	w.refused(404, "GET", runRegion, servicesPath+"/taco", "")
	w.refused(404, "DELETE", runRegion, servicesPath+"/taco", "")
	w.refused(404, "PUT", runRegion, servicesPath+"/taco", manifest("taco", image))
	w.refused(404, "GET", "run.googleapis.com", "/v1/projects/local-project/locations/us-central1/services/taco:getIamPolicy", "")
	// Its name is free again, and has no binding of the old one.
	w.do(200, "POST", runRegion, servicesPath, manifest("taco", image))
}

// A manifest that can't be is refused with what is wrong, and one of what isn't
// emulated too.
func TestManifestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	for _, tt := range []struct{ name, body, want string }{
		{"no JSON", `{`, "JSON"},
		{"empty", ``, "kind"},
		{"another kind", `{"apiVersion":"serving.knative.dev/v1","kind":"Job"}`, "kind"},
		{"upper case", manifest("Taco", "x"), "lowercase"},
		{"too long", manifest(strings.Repeat("a", 50), "x"), "less than 50"},
		{"no image", manifest("taco", ""), "image"},
		{"another project", strings.Replace(manifest("taco", "x"), `"local-project"`, `"real-project"`, 1), "real-project"},
		{"a number that is a text", manifest("taco", "x", `spec "timeoutSeconds":"long"`), "timeoutSeconds"},
		{"ports that are a text", manifest("taco", "x", `container "ports":"8080"`), "ports"},
		{"resources that are a list", manifest("taco", "x", `container "resources":[1]`), "resources"},
		{"annotations that are a number", manifest("taco", "x", `meta "annotations":7`), "annotations"},
		{"a label that is a number", manifest("taco", "x", `meta "labels":{"a":7}`), "labels"},
		{"concurrency", manifest("taco", "x", `spec "containerConcurrency":1001`), "1000"},
		{"timeout", manifest("taco", "x", `spec "timeoutSeconds":3601`), "3600"},
		{"reserved variable", manifest("taco", "x", `container "env":[{"name":"PORT","value":"1"}]`), "reserved"},
		{"port", manifest("taco", "x", `container "ports":[{"containerPort":70000}]`), "65535"},
		{"port's name", manifest("taco", "x", `container "ports":[{"name":"grpc","containerPort":1}]`), "h2c"},
		{"two ports", manifest("taco", "x", `container "ports":[{"containerPort":1},{"containerPort":2}]`), "at most one"},
		{"sidecar", strings.Replace(manifest("taco", "x"), `[{"image":"x"}]`, `[{"image":"x"},{"image":"y"}]`, 1), "sidecars"},
		{"volume", manifest("taco", "x", `spec "volumes":[{"name":"v","csi":{"driver":"gcsfuse.run.googleapis.com"}}]`), "volume"},
		{"mount of nothing", manifest("taco", "x", `container "volumeMounts":[{"name":"v","mountPath":"/v"}]`), "there is no volume"},
		{"GPU", manifest("taco", "x", `container "resources":{"limits":{"nvidia.com/gpu":"1"}}`), "gpu"},
		{"TCP liveness", manifest("taco", "x", `container "livenessProbe":{"tcpSocket":{"port":8080}}`), "TCP"},
		{"probe of nothing", manifest("taco", "x", `container "livenessProbe":{"periodSeconds":1}`), "one of httpGet"},
		{"probe's timeout", manifest("taco", "x", `container "startupProbe":{"httpGet":{"path":"/"},"timeoutSeconds":20}`), "periodSeconds"},
		{"readiness", manifest("taco", "x", `container "readinessProbe":{"httpGet":{"path":"/"}}`), "readiness"},
		{"ingress", manifest("taco", "x", `meta "annotations":{"run.googleapis.com/ingress":"some"}`), "ingress"},
		{"IAP", manifest("taco", "x", `meta "annotations":{"run.googleapis.com/iap-enabled":"true"}`), "IAP"},
		{"traffic", strings.Replace(manifest("taco", "x"), `"spec":{"template"`, `"spec":{"traffic":[{"latestRevision":true,"percent":50}],"template"`, 1), "50"},
		{"traffic to nothing", strings.Replace(manifest("taco", "x"), `"spec":{"template"`, `"spec":{"traffic":[{"revisionName":"taco-9","percent":100}],"template"`, 1), "taco-9"},
		{"two of a tag", strings.Replace(manifest("taco", "x"), `"spec":{"template"`, `"spec":{"traffic":[{"latestRevision":true,"percent":100,"tag":"a"},{"latestRevision":true,"tag":"a"}],"template"`, 1), "twice"},
		{"revision's name", strings.Replace(manifest("taco", "x"), `"template":{`, `"template":{"metadata":{"name":"other-1"},`, 1), "taco-"},
		{"instances", strings.Replace(manifest("taco", "x"), `"template":{`, `"template":{"metadata":{"annotations":{"autoscaling.knative.dev/minScale":"3","autoscaling.knative.dev/maxScale":"2"}},`, 1), "above"},
	} {
		if got := w.refused(400, "POST", runRegion, servicesPath, tt.body); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q has no %q", tt.name, got, tt.want)
		}
	}
	if items := w.do(200, "GET", runRegion, servicesPath, "")["items"].([]any); len(items) != 0 {
		t.Errorf("something was made: %v", items)
	}
}

// A revision that doesn't start is told, its service stays as it was, and the next
// one mends it.
func TestRevisionThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	good, bad := w.serving("serve"), w.serving("crash")
	first := w.do(200, "POST", runRegion, servicesPath, manifest("taco", bad))
	if status, message := conditionOf(first, "Ready"); status != "False" || !strings.Contains(message, "no database") || at(first, "status", "latestReadyRevisionName") != nil {
		t.Errorf("a first revision that crashes: %s %s", status, message)
	}
	operation := at(first, "metadata", "annotations", "run.googleapis.com/operation-id").(string)
	waited := w.do(200, "POST", runRegion, "/v1/projects/local-project/locations/us-central1/operations/"+operation+":wait", `{"timeout":"30s"}`)
	if waited["done"] != true || !strings.Contains(at(waited, "error", "message").(string), "no database") {
		t.Errorf("its operation: %v", waited)
	}
	second := w.do(200, "PUT", runRegion, servicesPath+"/taco", manifest("taco", good))
	if status, message := conditionOf(second, "Ready"); status != "True" {
		t.Errorf("mended: %s %s", status, message)
	}
	operation = at(second, "metadata", "annotations", "run.googleapis.com/operation-id").(string)
	for range 2 {
		waited = w.do(200, "POST", runRegion, "/v1/projects/local-project/locations/us-central1/operations/"+operation+":wait", `{}`)
		if waited["done"] != true || at(waited, "response", "metadata", "name") != "taco" {
			t.Errorf("its operation: %v", waited)
		}
	}
	serving := at(second, "status", "latestReadyRevisionName")
	third := w.do(200, "PUT", runRegion, servicesPath+"/taco", manifest("taco", "localhost/nothing:v1"))
	if status, message := conditionOf(third, "Ready"); status != "False" || !strings.Contains(message, "Image 'localhost/nothing:v1' not found") {
		t.Errorf("a missing image: %s %s", status, message)
	}
	if status, _ := conditionOf(third, "RoutesReady"); status != "True" || at(third, "status", "latestReadyRevisionName") != serving {
		t.Errorf("what ran: %v", third["status"])
	}
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://taco.localhost/env", nil)
	w.do(200, "POST", "run.googleapis.com", "/v1/projects/local-project/locations/us-central1/services/taco:setIamPolicy", `{"policy":{"bindings":[{"role":"roles/run.invoker","members":["allUsers"]}]}}`)
	if w.p.Door.ServeHTTP(rec, r); rec.Code != 200 || !strings.Contains(rec.Body.String(), "K_REVISION="+serving.(string)) {
		t.Errorf("what ran answers %d %s", rec.Code, rec.Body)
	}
	// Deleted while a revision starts.
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.send(w.token, "PUT", runRegion, servicesPath+"/taco", manifest("taco", good, `spec "timeoutSeconds":7`))
	}()
	w.do(200, "DELETE", runRegion, servicesPath+"/taco", "")
	<-done
	if names := w.p.Names(); len(names) != 0 {
		t.Errorf("services after the deletion: %v", names)
	}
}

// What takes longer than a request waits is asked for by its operation.
func TestOperation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.s.patience = 0
	made := w.do(200, "POST", runRegion, servicesPath, manifest("taco", w.serving("serve")))
	if status, _ := conditionOf(made, "Ready"); status != "Unknown" {
		t.Errorf("at once: Ready is %s", status)
	}
	path := "/v1/projects/local-project/locations/us-central1/operations/" + at(made, "metadata", "annotations", "run.googleapis.com/operation-id").(string)
	w.s.patience = time.Minute
	if got := w.do(200, "POST", runRegion, path+":wait", ""); got["done"] != true || at(got, "response", "metadata", "name") != "taco" {
		t.Errorf("the operation: %v", got)
	}
	if got := w.do(200, "GET", runRegion, path, ""); got["done"] != true {
		t.Errorf("the operation later: %v", got)
	}
	w.refused(404, "GET", runRegion, path+"x", "")
}

// Changes that come faster than they can be carried out follow each other, and none
// seems to have failed meanwhile.
func TestChangesFollowEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.s.patience = 0
	image := w.serving("serve")
	w.do(200, "POST", runRegion, servicesPath, manifest("taco", image))
	var last object
	for _, timeout := range []string{"10", "20", "30"} {
		last = w.do(200, "PUT", runRegion, servicesPath+"/taco", manifest("taco", image, `spec "timeoutSeconds":`+timeout))
	}
	for {
		now := w.do(200, "GET", runRegion, servicesPath+"/taco", "")
		status, message := conditionOf(now, "Ready")
		if status == "False" {
			t.Fatalf("Ready is False: %s", message)
		}
		if status == "True" {
			if at(now, "status", "observedGeneration") != 4.0 || at(now, "status", "latestReadyRevisionName") != at(last, "status", "latestCreatedRevisionName") {
				t.Errorf("ready, and not as it was last told to be: %v", now["status"])
			}
			return
		}
	}
}

// Without its default URL a service says none.
func TestDefaultURLDisabled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	made := w.do(200, "POST", runRegion, servicesPath, manifest("taco", w.serving("serve"), `meta "annotations":{"run.googleapis.com/default-url-disabled":"true","run.googleapis.com/invoker-iam-disabled":"true"}`))
	if at(made, "status", "url") != nil || urlsOf(made) != "" {
		t.Errorf("it says %v", made["status"])
	}
	rec := httptest.NewRecorder()
	w.p.Door.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "https://taco-123456789012.us-central1.run.app/env", nil))
	if rec.Code != 404 {
		t.Errorf("the default URL answers %d", rec.Code)
	}
}

// Old revisions go, with what they were made of, but for those that serve.
func TestPrune(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	images := []string{w.serving("serve"), w.serving("stubborn"), w.serving("crash")}
	deploy := func(image string) error {
		return w.s.Deploy(t.Context(), Deployment{Name: "taco", Image: image, Account: w.p.Directory.EnsureDefaultAccount().Email})
	}
	for _, image := range images[:2] {
		if err := deploy(image); err != nil {
			t.Fatal(err)
		}
	}
	if err := deploy(images[2]); err == nil || !strings.Contains(err.Error(), "no database") {
		t.Fatalf("an image that crashes: %v", err)
	}
	// The second serves, the third is the latest.
	left := w.s.Prune("taco", 1)
	if !reflect.DeepEqual(left, images[1:]) {
		t.Errorf("left are the images %q, want %q", left, images[1:])
	}
	if err := w.images.Keep(left); err != nil {
		t.Fatal(err)
	}
	for i, image := range images {
		if _, err := w.images.Resolve(t.Context(), image); (err == nil) != (i > 0) {
			t.Errorf("image %d: %v", i, err)
		}
	}
}

// An etag that is old, a member that isn't there: no change.
func TestServicePolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.do(200, "POST", runRegion, servicesPath, manifest("taco", w.serving("serve")))
	const policy = "/v1/projects/local-project/locations/us-central1/services/taco:"
	if got := w.do(200, "GET", "run.googleapis.com", policy+"getIamPolicy", "")["etag"]; got != "ACAB" {
		t.Errorf("etag %v", got)
	}
	set := func(etag, member string) string {
		return `{"policy":{"etag":"` + etag + `","bindings":[{"role":"roles/run.invoker","members":["` + member + `"]}]}}`
	}
	w.do(200, "POST", "run.googleapis.com", policy+"setIamPolicy", set("ACAB", "allUsers"))
	if got := w.refused(409, "POST", "run.googleapis.com", policy+"setIamPolicy", set("ACAB", "allUsers")); !strings.Contains(got, "concurrent policy changes") {
		t.Errorf("an old etag: %s", got)
	}
	if got := w.refused(400, "POST", "run.googleapis.com", policy+"setIamPolicy", set("", "serviceAccount:nobody@local-project.iam.gserviceaccount.com")); !strings.Contains(got, "does not exist") {
		t.Errorf("an unknown member: %s", got)
	}
	w.refused(400, "POST", "run.googleapis.com", policy+"setIamPolicy", `{}`)
}

// A later run goes on with what is kept, and refuses what isn't its own.
func TestRestore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWorld(t, dir)
	image := w.serving("serve")
	before := w.do(200, "POST", runRegion, servicesPath, manifest("taco", image, `container "env":[{"name":"COLOR","value":"red"}]`))
	w.do(200, "POST", "run.googleapis.com", "/v1/projects/local-project/locations/us-central1/services/taco:setIamPolicy", `{"policy":{"bindings":[{"role":"roles/run.invoker","members":["allUsers"]}]}}`)
	w.do(200, "POST", serviceUsage, "/v1/projects/local-project/services/logging.googleapis.com:disable", "")
	w.close()

	again := newWorld(t, dir)
	after := again.do(200, "GET", runRegion, servicesPath+"/taco", "")
	if !reflect.DeepEqual(after, before) {
		t.Errorf("after the restart\n%v\nbefore\n%v", after, before)
	}
	if n := len(again.p.Instances("taco")); n != 0 {
		t.Errorf("%d instances without a request", n)
	}
	rec := httptest.NewRecorder()
	again.p.Door.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://taco.localhost/env", nil))
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), "COLOR=red") {
		t.Errorf("it answers %d %s", rec.Code, rec.Body)
	}
	again.refused(403, "POST", "logging.googleapis.com", "/v2/entries:list", "{}")
	// A revision after the restart has the next number.
	changed := again.do(200, "PUT", runRegion, servicesPath+"/taco", manifest("taco", image))
	if got := at(changed, "status", "latestReadyRevisionName").(string); !strings.HasPrefix(got, "taco-00002-") {
		t.Errorf("the next revision is %s", got)
	}

	file := filepath.Join(dir, stateFile)
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"another project": strings.Replace(string(kept), "local-project", "other-project", 1),
		"half a file":     string(kept[:len(kept)/2]),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(Config{Platform: again.p, Images: again.images, Developer: dev, RefreshToken: refreshToken, StateDir: dir})
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadFile(file); string(left) != text {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// No manifest makes the server panic, answer 5xx or say that what has no image is
// ready.
func FuzzManifest(f *testing.F) {
	f.Add(manifest("taco", "x"))
	f.Add(manifest("taco", "x", `container "env":[null],"ports":[{}],"resources":{"limits":null}`))
	f.Add(`{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"a"},"spec":{"template":{"spec":{"containers":[null]}},"traffic":[null]}}`)
	f.Add(`{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"a","annotations":7},"spec":{"template":{"spec":{"containers":[{"image":"x","ports":[7]}]}}}}`)
	w := newWorld(f, "")
	f.Fuzz(func(t *testing.T, body string) {
		w.t = t
		rec := w.send(w.token, "POST", runRegion, servicesPath, body)
		if rec.Code == 200 {
			made := w.read(rec, 200, "POST")
			if status, _ := conditionOf(made, "Ready"); status == "True" {
				t.Errorf("there is no image, and Ready is True: %s", rec.Body)
			}
			w.do(200, "DELETE", runRegion, servicesPath+"/"+at(made, "metadata", "name").(string), "")
		}
	})
}
