package api

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/amammay/otorun/cloudrun/internal/logs"
)

const secretHost = "secretmanager.googleapis.com"

func TestSecretVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	const one = "/v1/projects/local-project/secrets/recipe"
	w.refused(404, "GET", secretHost, one, "")
	w.refused(400, "POST", secretHost, "/v1/projects/local-project/secrets?secretId=a/b", "{}")
	w.do(200, "POST", secretHost, "/v1/projects/local-project/secrets?secretId=recipe", `{"replication":{"automatic":{}},"labels":{"a":"b"}}`)
	w.refused(409, "POST", secretHost, "/v1/projects/local-project/secrets?secretId=recipe", `{}`)
	w.refused(404, "GET", secretHost, one+"/versions/latest:access", "")
	w.refused(400, "POST", secretHost, one+":addVersion", `{"payload":{"data":"YQ==","dataCrc32c":"1"}}`)
	w.refused(400, "POST", secretHost, one+":addVersion", `{"payload":{"data":"`+strings.Repeat("QUFB", 22000)+`"}}`)
	for i, data := range []string{"YQ==", "Yg=="} {
		v := w.do(200, "POST", secretHost, one+":addVersion", `{"payload":{"data":"`+data+`"}}`)
		if want := fmt.Sprintf("projects/123456789012/secrets/recipe/versions/%d", i+1); v["name"] != want || v["clientSpecifiedPayloadChecksum"] != true {
			t.Errorf("version %v", v)
		}
	}
	access := func(version string) any {
		return at(w.do(200, "GET", secretHost, one+"/versions/"+version+":access", ""), "payload", "data")
	}
	if access("1") != "YQ==" || access("latest") != "Yg==" {
		t.Errorf("versions 1 and latest: %v, %v", access("1"), access("latest"))
	}
	w.do(200, "POST", secretHost, one+"/versions/2:disable", "")
	if got := w.refused(400, "GET", secretHost, one+"/versions/latest:access", ""); !strings.Contains(got, "DISABLED") {
		t.Errorf("a disabled version: %s", got)
	}
	w.do(200, "POST", secretHost, one+"/versions/2:destroy", "")
	if access("latest") != "YQ==" {
		t.Errorf("latest after the destruction: %v", access("latest"))
	}
	w.refused(400, "POST", secretHost, one+"/versions/2:enable", "")
	w.do(200, "DELETE", secretHost, one, "")
	w.refused(404, "GET", secretHost, one+"/versions/1:access", "")
}

func TestRepositories(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	var deleted []string
	w.s.OnRepositoryDeleted = func(location, repository string) { deleted = append(deleted, location+"/"+repository) }
	const host, all = "artifactregistry.googleapis.com", "/v1/projects/local-project/locations/us-central1/repositories"
	may := func(host, path, token string) error {
		return w.s.MayUseImages(ImageAccess{Token: token, Host: host, Path: path, Write: true})
	}
	const registry, image = "us-central1-docker.pkg.dev", "local-project/otorun/taco"
	if err := may(registry, image, w.token); err == nil || errorOf(err).Code != 404 || !strings.Contains(err.Error(), "gcloud artifacts repositories create otorun") {
		t.Errorf("a push to no repository: %v", err)
	}
	w.do(200, "POST", host, all+"?repositoryId=otorun", `{"format":"DOCKER"}`)
	w.refused(409, "POST", host, all+"?repositoryId=otorun", `{"format":"DOCKER"}`)
	w.refused(400, "POST", host, all+"?repositoryId=", `{"format":"DOCKER"}`)
	if err := may(registry, image, w.token); err != nil {
		t.Errorf("a push: %v", err)
	}
	email, token := w.account("pusher")
	for _, tt := range []struct {
		host, path, token string
		code              int
	}{
		{registry, image, "", 401},
		{registry, image, "local-access-token.x.y", 401},
		{registry, image, token, 403},
		{registry, "real-project/otorun/taco", w.token, 403},
		{"europe-west1-docker.pkg.dev", image, w.token, 404},
	} {
		if err := may(tt.host, tt.path, tt.token); err == nil || errorOf(err).Code != tt.code {
			t.Errorf("a push to %s/%s: %v, want %d", tt.host, tt.path, err, tt.code)
		}
	}
	w.do(200, "POST", host, all+"/otorun:setIamPolicy", `{"policy":{"bindings":[{"role":"roles/artifactregistry.writer","members":["serviceAccount:`+email+`"]}]}}`)
	if err := may(registry, image, token); err != nil {
		t.Errorf("with the role: %v", err)
	}
	w.do(200, "DELETE", host, all+"/otorun", "")
	w.refused(404, "GET", host, all+"/otorun", "")
	if len(deleted) != 1 || deleted[0] != "us-central1/otorun" {
		t.Errorf("told of %q", deleted)
	}
}

// entries are three, of two services.
func entries(w *world) {
	w.p.Logs.Append(logs.Source{Service: "taco", Revision: "taco-00001-abc"}, "DEFAULT", "plain text")
	w.p.Logs.Append(logs.Source{Service: "taco", Revision: "taco-00001-abc", Stream: "stderr"}, "DEFAULT", `{"severity":"ERROR","message":"it broke","count":3,"who":{"name":"Ana"}}`)
	w.p.Logs.Append(logs.Source{Service: "burrito", Revision: "burrito-00001-abc"}, "DEFAULT", `{"severity":"info","message":"rolled"}`)
}

func TestLogFilter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	entries(w)
	for _, tt := range []struct {
		filter string
		want   string // the texts, the oldest first
	}{
		{"", "plain text|it broke|rolled"},
		{"resource.type = cloud_run_revision \n AND resource.labels.service_name = taco \n AND severity >= DEFAULT \n", "plain text|it broke"},
		{`resource.labels.service_name="taco" severity>=ERROR`, "it broke"},
		{"severity>=info", "it broke|rolled"},
		{"severity=INFO", "rolled"},
		{"NOT severity=ERROR", "plain text|rolled"},
		{"resource.labels.service_name!=taco", "rolled"},
		{"textPayload:PLAIN OR textPayload:rolled", "plain text|rolled"},
		{`(textPayload:"plain" OR textPayload:rolled) AND resource.labels.service_name=taco`, "plain text"},
		{"jsonPayload.count>2", "it broke"},
		{"jsonPayload.count<3", ""},
		{"jsonPayload.who.name=ana", "it broke"},
		{"jsonPayload.who:*", "it broke"},
		{`textPayload=~"^it b"`, "it broke"},
		{`textPayload!~"^it b"`, "plain text|rolled"},
		{`timestamp>="2020-01-01T00:00:00Z"`, "plain text|it broke|rolled"},
		{"timestamp<2020-01-01T00:00:00Z", ""},
		{"logName:stderr", "it broke"},
		{"broke", "it broke"},
		{"-- a comment\nrolled", "rolled"},
	} {
		text := fmt.Sprintf(`{"filter":%q,"resourceNames":["projects/local-project"]}`, tt.filter)
		var got []string
		for _, e := range w.do(200, "POST", "logging.googleapis.com", "/v2/entries:list", text)["entries"].([]any) {
			got = append(got, e.(object)["textPayload"].(string))
		}
		if strings.Join(got, "|") != tt.want {
			t.Errorf("%q finds %q, want %q", tt.filter, strings.Join(got, "|"), tt.want)
		}
	}
	for _, filter := range []string{"severity>=", "(a", "a)", `"open`, "=a", "a==b", "ip_in_net(x, y)", `a=~"("`, "NOT", "a AND", "a OR"} {
		if got := w.refused(400, "POST", "logging.googleapis.com", "/v2/entries:list", fmt.Sprintf(`{"filter":%q}`, filter)); !strings.Contains(got, "Unparseable filter") {
			t.Errorf("%q: %s", filter, got)
		}
	}
}

// A request is an entry of its own, with why it was refused.
func TestRequestLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.do(200, "POST", runRegion, servicesPath, manifest("taco", w.serving("serve")))
	w.p.Door.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "http://taco.localhost/env?x=1", nil))
	found := w.do(200, "POST", "logging.googleapis.com", "/v2/entries:list", `{"filter":"logName:requests AND httpRequest.status=403 AND severity=WARNING"}`)["entries"].([]any)
	if len(found) != 1 || at(found[0].(object), "httpRequest", "requestUrl") != "http://taco.localhost/env?x=1" || !strings.Contains(found[0].(object)["textPayload"].(string), "private") {
		t.Errorf("found %v", found)
	}
}

// Pages follow each other without a gap.
func TestLogPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	entries(w)
	token, got := "", ""
	for range 3 {
		answer := w.do(200, "POST", "logging.googleapis.com", "/v2/entries:list", fmt.Sprintf(`{"pageSize":1,"orderBy":"timestamp desc","pageToken":%q}`, token))
		got += answer["entries"].([]any)[0].(object)["textPayload"].(string) + "|"
		token, _ = answer["nextPageToken"].(string)
	}
	if got != "rolled|it broke|plain text|" || token != "" {
		t.Errorf("pages %q, then %q", got, token)
	}
	w.refused(400, "POST", "logging.googleapis.com", "/v2/entries:list", `{"pageToken":"x"}`)
	w.refused(400, "POST", "logging.googleapis.com", "/v2/entries:list", `{"orderBy":"severity"}`)
}

// No filter makes the server panic.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"a=b", `a:"c" OR (NOT b>=1)`, "--", "a=b:c:d", `"\`, "a!b", "(()"} {
		f.Add(seed)
	}
	entry := object{"severity": "INFO", "a": object{"b": "c"}, "textPayload": "x"}
	f.Fuzz(func(t *testing.T, text string) {
		if filter, err := parseFilter(text); err == nil {
			filter.matches(entry)
		}
	})
}
