package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const account = "app-account@" + project + ".iam.gserviceaccount.com"

// contains says which of the texts aren't in s.
func wantAll(t *testing.T, what, s string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(s, text) {
			t.Errorf("%s has no %q:\n%s", what, text, s)
		}
	}
}

// The article's command, character for character, on the pair that up deploys.
func TestArticle(t *testing.T) {
	t.Parallel()
	p := start(t)
	const article = `curl -H "Authorization: Bearer $(gcloud auth print-identity-token)" $(gcloud run services describe tacoclient --format 'value(status.url)')`
	if got := p.shell(article); got != "Sammy Sosa has consumed 2 tacos" {
		t.Errorf("%s prints %q", article, got)
	}
	image := p.gcloud("run", "services", "describe", "tacoserver", "--format=value(spec.template.spec.containers[0].image)")
	if !regexp.MustCompile(`^localhost/otorun/server:[0-9a-f]{12}$`).MatchString(image) {
		t.Errorf("the image of a service that has none is %q", image)
	}
	p.wantOnlyKnown()
}

// A private service from an image, called as gcloud's user in both forms of its
// URL, and refused with the reason once the binding is gone.
func TestPrivateService(t *testing.T) {
	t.Parallel()
	p, images := prepared(t)
	p.gcloud("iam", "service-accounts", "create", "app-account", "--display-name=the app")
	p.gcloud("run", "deploy", "app", "--image="+images[0], "--service-account="+account, "--no-allow-unauthenticated")
	hash := p.gcloud("run", "services", "describe", "app", "--format=value(status.url)")
	if hash != "https://app-localhash0-uc.a.run.app" {
		t.Errorf("status.url is %s", hash)
	}
	listed := p.gcloud("run", "services", "list", "--format=value(name,region,URL)")
	wantAll(t, "services list", listed, "app", region, "https://app-"+number+"."+region+".run.app")

	token := p.gcloud("auth", "print-identity-token")
	fix := "gcloud run services add-iam-policy-binding app --project=" + project + " --region=" + region + " --member=user:" + developer + " --role=roles/run.invoker"
	refusal := p.ask(hash, token, "-D", "-")
	wantAll(t, "the refusal", refusal, "403", "user:"+developer+" lacks roles/run.invoker on service app", fix)
	p.shell(fix)
	wantAll(t, "the policy", p.gcloud("run", "services", "get-iam-policy", "app"), "user:"+developer, "roles/run.invoker")
	for _, url := range []string{hash, "https://app-" + number + "." + region + ".run.app"} {
		if got := p.ask(url, token); got != "200 version 1" {
			t.Errorf("%s answers %s", url, got)
		}
	}
	p.gcloud("run", "services", "remove-iam-policy-binding", "app", "--member=user:"+developer, "--role=roles/run.invoker")
	if got := p.ask(hash, token); !strings.HasPrefix(got, "403") {
		t.Errorf("without the binding: %s", got)
	}

	p.gcloud("run", "services", "update", "app", "--no-invoker-iam-check")
	if got := p.ask(hash, ""); got != "200 version 1" {
		t.Errorf("without the invoker check: %s", got)
	}
	p.gcloud("run", "services", "update", "app", "--ingress=internal")
	if got := p.ask(hash, ""); !strings.HasPrefix(got, "404") {
		t.Errorf("with internal ingress: %s", got)
	}
	p.gcloud("run", "services", "delete", "app")
	wantAll(t, "describe of a deleted service", p.gcloudFails("run", "services", "describe", "app"), "Cannot find service [app]")
	if got := p.ask(hash, token); !strings.HasPrefix(got, "404") {
		t.Errorf("when it is deleted: %s", got)
	}
	p.wantOnlyKnown()
}

// What gcloud's flags say reaches the container, or is kept and shown.
func TestFlags(t *testing.T) {
	t.Parallel()
	p, images := prepared(t)
	p.gcloud("run", "deploy", "app", "--image="+images[0], "--allow-unauthenticated",
		"--set-env-vars=COLOR=red,EMPTY=", "--args=-v,--color=blue", "--port=9000", "--use-http2", "--concurrency=7", "--timeout=1", "--cpu=2", "--memory=1Gi",
		"--startup-probe=httpGet.path=/ready,periodSeconds=1", "--liveness-probe=httpGet.path=/well,periodSeconds=1,failureThreshold=1",
		"--min-instances=1", "--max-instances=3", "--labels=team=tacos", "--session-affinity", "--description=eats", "--execution-environment=gen2", "--no-cpu-throttling")
	const url = "https://app-localhash0-uc.a.run.app"
	seen := p.ask(url+"/seen", "")
	wantAll(t, "the container", seen, `args ["-v" "--color=blue"]`, "protocol HTTP/2.0", "uid 65532", "env COLOR=red\n", "env EMPTY=\n", "env PORT=9000\n", "env K_SERVICE=app\n", "env K_REVISION=app-00001-")
	if strings.Contains(seen, "of the image") {
		t.Errorf("the image's variable is there too:\n%s", seen)
	}
	if got := p.ask(url+"/wait?for=3s", ""); !strings.HasPrefix(got, "504") {
		t.Errorf("longer than the timeout: %s", got)
	}
	described := p.gcloud("run", "services", "describe", "app", "--format=yaml")
	wantAll(t, "describe", described, "containerConcurrency: 7", "timeoutSeconds: 1", "cpu: '2'", "memory: 1Gi", "team: tacos", "eats", "gen2", "minScale: '1'", "maxScale: '3'",
		"sessionAffinity: 'true'", "cpu-throttling: 'False'", "name: h2c", "containerPort: 9000", "app-00001-")

	// A sick instance is killed, and another one takes its place.
	p.ask(url+"/sicken", "")
	waitFor(t, "the liveness probe", func() bool { return strings.Contains(p.out.String(), "LIVENESS HTTP probe failed 1 times") })
	waitFor(t, "a healthy instance", func() bool { return p.ask(url+"/well", "") == "200 " })

	// The whole object comes back as it went, with what the platform doesn't know.
	file := filepath.Join(p.dir, "service.yaml")
	exported := p.gcloud("run", "services", "describe", "app", "--format=export")
	exported = strings.Replace(exported, "  labels:\n", "  labels:\n    kept: as-it-is\n", 1)
	exported = strings.Replace(exported, "value: red", "value: green", 1)
	exported = regexp.MustCompile(`(?m)^ {6}name: app-\d.*\n`).ReplaceAllString(exported, "")
	if err := os.WriteFile(file, []byte(exported), 0o666); err != nil {
		t.Fatal(err)
	}
	p.gcloud("run", "services", "replace", file)
	wantAll(t, "the container after replace", p.ask(url+"/seen", ""), "env COLOR=green\n", "protocol HTTP/2.0", "env K_REVISION=app-00002-")
	wantAll(t, "describe after replace", p.gcloud("run", "services", "describe", "app", "--format=yaml"), "kept: as-it-is", "sessionAffinity: 'true'", "eats")

	p.gcloud("run", "services", "update", "app", "--update-env-vars=COLOR=blue,MORE=1", "--command=/app", "--args=second", "--no-use-http2", "--port=8080")
	wantAll(t, "the container after update", p.ask(url+"/seen", ""), "env COLOR=blue\n", "env MORE=1\n", `args ["second"]`, "protocol HTTP/1.1", "env PORT=8080\n")
	p.wantOnlyKnown()
}

// Revisions share the requests as they are told to, and have URLs of their own.
func TestTraffic(t *testing.T) {
	t.Parallel()
	p, images := prepared(t)
	const url = "https://app-localhash0-uc.a.run.app"
	p.gcloud("run", "deploy", "app", "--image="+images[0], "--allow-unauthenticated")
	p.gcloud("run", "deploy", "app", "--image="+images[1], "--no-traffic", "--tag=canary")
	share := func(n int) (first, second int) {
		for range n {
			switch got := p.ask(url, ""); got {
			case "200 version 1":
				first++
			case "200 version 2":
				second++
			default:
				t.Errorf("answer %s", got)
			}
		}
		return first, second
	}
	if _, second := share(5); second > 0 {
		t.Error("--no-traffic has traffic")
	}
	if got := p.ask("https://canary---app-localhash0-uc.a.run.app", ""); got != "200 version 2" {
		t.Errorf("the tag's URL answers %s", got)
	}
	revisions := strings.Fields(p.gcloud("run", "revisions", "list", "--service=app", "--region="+region, "--format=value(name)", "--sort-by=name"))
	if len(revisions) != 2 || !strings.HasPrefix(revisions[0], "app-00001-") {
		t.Fatalf("revisions %q", revisions)
	}
	p.gcloud("run", "services", "update-traffic", "app", "--to-revisions="+revisions[0]+"=50,"+revisions[1]+"=50")
	// 40 of 40 the same way is one in 10^12.
	if first, second := share(40); first == 0 || second == 0 {
		t.Errorf("50:50 gives %d:%d", first, second)
	}
	wantAll(t, "describe", p.gcloud("run", "services", "describe", "app"), "50%", revisions[0], "canary")
	p.gcloud("run", "services", "update-traffic", "app", "--to-latest", "--remove-tags=canary")
	if first, _ := share(5); first > 0 {
		t.Error("--to-latest has traffic on the first revision")
	}
	if got := p.ask("https://canary---app-localhash0-uc.a.run.app", ""); !strings.HasPrefix(got, "404") {
		t.Errorf("the tag's URL without the tag answers %s", got)
	}
	wantAll(t, "deleting what serves", p.gcloudFails("run", "revisions", "delete", revisions[1], "--region="+region), "cannot be deleted")
	p.gcloud("run", "revisions", "delete", revisions[0], "--region="+region)
	p.wantOnlyKnown()
}

// Images that don't run are told in Cloud Run's words, and what ran goes on.
func TestFailures(t *testing.T) {
	t.Parallel()
	p, images := prepared(t)
	const url = "https://app-localhash0-uc.a.run.app"
	p.gcloud("run", "deploy", "app", "--image="+images[0], "--allow-unauthenticated")
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"crashes", []string{"--image=" + images[1], "--set-env-vars=MODE=crash"}, []string{"is not ready and cannot serve traffic", "failed to start and listen on the port defined provided by the PORT=8080", "exit status 3", "the database is missing"}},
		{"doesn't listen", []string{"--image=" + images[1], "--set-env-vars=MODE=deaf", "--startup-probe=tcpSocket.port=8080,periodSeconds=1,failureThreshold=1"}, []string{"failed to start and listen", "nothing listens on all addresses at port 8080", "version 2 with"}},
		{"missing", []string{"--image=" + repository + "/nothing:v1"}, []string{"Image '" + repository + "/nothing:v1' not found"}},
		{"unknown account", []string{"--image=" + images[1], "--service-account=nobody@" + project + ".iam.gserviceaccount.com"}, []string{"Service account nobody@" + project + ".iam.gserviceaccount.com does not exist"}},
		{"what isn't emulated", []string{"--image=" + images[1], "--add-cloudsql-instances=x:y:z"}, []string{"cloudsql-instances", "isn't emulated"}},
	} {
		stderr := p.gcloudFails(append([]string{"run", "deploy", "app"}, tt.args...)...)
		wantAll(t, tt.name, stderr, tt.want...)
		if got := p.ask(url, ""); got != "200 version 1" {
			t.Errorf("%s: what ran answers %s", tt.name, got)
		}
	}
	wantAll(t, "describe", p.gcloud("run", "services", "describe", "app", "--format=yaml(status)"), "status: 'False'", "latestReadyRevisionName: app-00001-")
	wantAll(t, "an API that isn't there", p.gcloudFails("pubsub", "topics", "list"), "pubsub.googleapis.com", "does not emulate")
	p.wantOnlyKnown("pubsub.googleapis.com")
	if !strings.Contains(p.out.String(), "refused") {
		t.Error("the refused host isn't logged")
	}
}

// A secret is an environment variable and a file, for whom it was opened to.
func TestSecrets(t *testing.T) {
	t.Parallel()
	p, images := prepared(t)
	p.gcloud("iam", "service-accounts", "create", "app-account")
	secret := filepath.Join(p.dir, "secret")
	if err := os.WriteFile(secret, []byte("al pastor"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.gcloud("secrets", "create", "recipe", "--data-file="+secret)
	deploy := []string{"run", "deploy", "app", "--image=" + images[0], "--service-account=" + account, "--allow-unauthenticated",
		"--set-secrets=RECIPE=recipe:latest,/etc/secrets/recipe=recipe:1"}
	wantAll(t, "without the role", p.gcloudFails(deploy...), "Permission denied on secret: projects/"+number+"/secrets/recipe/versions/latest for Revision service account "+account, "roles/secretmanager.secretAccessor")
	p.gcloud("secrets", "add-iam-policy-binding", "recipe", "--member=serviceAccount:"+account, "--role=roles/secretmanager.secretAccessor")
	p.gcloud(deploy...)
	const url = "https://app-localhash0-uc.a.run.app"
	wantAll(t, "the container", p.ask(url+"/seen", ""), "env RECIPE=al pastor\n")
	if got := p.ask(url+"/file?name=/etc/secrets/recipe", ""); got != "200 al pastor" {
		t.Errorf("the file: %s", got)
	}
	if err := os.WriteFile(secret, []byte("carnitas"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.gcloud("secrets", "versions", "add", "recipe", "--data-file="+secret)
	if got := p.gcloud("secrets", "versions", "access", "latest", "--secret=recipe"); got != "carnitas" {
		t.Errorf("the latest version is %q", got)
	}
	p.wantOnlyKnown()
}

// What containers write is read as Cloud Logging's.
func TestLogs(t *testing.T) {
	t.Parallel()
	p, images := prepared(t)
	p.gcloud("run", "deploy", "app", "--image="+images[0], "--allow-unauthenticated")
	const url = "https://app-localhash0-uc.a.run.app"
	p.ask(url+"/log?line=one+taco", "")
	p.ask(url+`/log?line=%7B%22severity%22:%22ERROR%22,%22message%22:%22no+taco%22,%22guest%22:%22Ana%22%7D`, "")
	waitFor(t, "the lines", func() bool { return strings.Contains(p.out.String(), "no taco") })
	wantAll(t, "logs read", p.gcloud("run", "services", "logs", "read", "app"), "one taco", "no taco", "version 1 with", "GET 200 "+url+"/log?line=one+taco")
	entries := p.gcloud("logging", "read", `resource.type="cloud_run_revision" AND resource.labels.service_name=app AND severity>=ERROR`, "--format=value(severity,jsonPayload.guest,resource.labels.revision_name)")
	if !regexp.MustCompile(`^ERROR\s+Ana\s+app-00001-\w+$`).MatchString(entries) {
		t.Errorf("logging read prints %q", entries)
	}
	p.wantOnlyKnown()
}

// print-identity-token in its four ways, and a service that takes each.
func TestIdentityTokens(t *testing.T) {
	t.Parallel()
	p, images := prepared(t)
	p.gcloud("iam", "service-accounts", "create", "app-account")
	p.gcloud("run", "deploy", "app", "--image="+images[0], "--no-allow-unauthenticated")
	for _, member := range []string{"user:" + developer, "serviceAccount:" + account} {
		p.gcloud("run", "services", "add-iam-policy-binding", "app", "--member="+member, "--role=roles/run.invoker")
	}
	const url = "https://app-localhash0-uc.a.run.app"
	key := filepath.Join(p.dir, "key.json")
	p.gcloud("iam", "service-accounts", "keys", "create", key, "--iam-account="+account)
	asUser := func(name string) []string { // a configuration of its own: tokens are kept in it
		return []string{"CLOUDSDK_CONFIG=" + filepath.Join(p.dir, name)}
	}
	activated := append(asUser("activated"), "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE=", "CLOUDSDK_CORE_ACCOUNT="+account)
	if r := p.do(activated, "gcloud", "auth", "activate-service-account", "--key-file="+key); r.status != 0 {
		t.Fatal(r.stderr)
	}
	for _, tt := range []struct {
		name string
		env  []string
		args []string
	}{
		{"user", nil, nil},
		{"impersonated", nil, []string{"--impersonate-service-account=" + account, "--audiences=" + url, "--include-email"}},
		{"impersonated without email", nil, []string{"--impersonate-service-account=" + account, "--audiences=" + url}},
		{"key file", append(asUser("key"), "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE="+key), []string{"--audiences=" + url}},
		{"activated account", activated, []string{"--audiences=" + url}},
	} {
		r := p.do(tt.env, "gcloud", append([]string{"auth", "print-identity-token"}, tt.args...)...)
		if r.status != 0 {
			t.Errorf("%s: %s", tt.name, r.stderr)
			continue
		}
		if got := p.ask(url, r.stdout); got != "200 version 1" {
			t.Errorf("%s: the service answers %s", tt.name, got)
		}
	}
	// The account has no role on the project.
	if r := p.do(activated, "gcloud", "run", "services", "list"); r.status == 0 || !strings.Contains(r.stderr, "run.services.get") {
		t.Errorf("a service account without a role lists services: %d %s %s", r.status, r.stdout, r.stderr)
	}
	p.wantOnlyKnown()
}

// Way B of pointing gcloud at the platform: no TLS, all APIs by an override.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	p := start(t, "-empty")
	for _, api := range []string{"RUN", "IAM", "IAMCREDENTIALS", "CLOUDRESOURCEMANAGER", "ARTIFACTREGISTRY", "SERVICEUSAGE", "SECRETMANAGER", "LOGGING"} {
		p.env["CLOUDSDK_API_ENDPOINT_OVERRIDES_"+api] = "http://" + strings.ToLower(api) + ".googleapis.com/"
	}
	p.env["CLOUDSDK_AUTH_TOKEN_HOST"] = "http://oauth2.googleapis.com/token"
	delete(p.env, "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE")
	delete(p.env, "REQUESTS_CA_BUNDLE")
	p.gcloud("artifacts", "repositories", "create", "images", "--repository-format=docker", "--location="+region)
	image := p.push("1")
	p.gcloud("run", "deploy", "app", "--image="+image, "--allow-unauthenticated")
	if got := p.gcloud("run", "services", "describe", "app", "--format=value(status.conditions[0].status)"); got != "True" {
		t.Errorf("Ready is %q", got)
	}
	if token := p.gcloud("auth", "print-identity-token"); strings.Count(token, ".") != 2 {
		t.Errorf("token %q", token)
	}
	p.wantOnlyKnown()
}

// Two platforms at once know nothing of each other.
func TestTwoPlatforms(t *testing.T) {
	t.Parallel()
	a, b := start(t, "-empty"), start(t, "-empty")
	for i, p := range []*platform{a, b} {
		p.gcloud("artifacts", "repositories", "create", "images", "--repository-format=docker", "--location="+region)
		version := fmt.Sprint(i + 1)
		p.gcloud("run", "deploy", "app", "--image="+p.push(version), "--allow-unauthenticated")
	}
	const url = "https://app-localhash0-uc.a.run.app"
	if got := a.ask(url, "") + ", " + b.ask(url, ""); got != "200 version 1, 200 version 2" {
		t.Error(got)
	}
	token := a.gcloud("auth", "print-access-token")
	r := b.do([]string{"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=" + write(t, b.dir, token), "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE="}, "gcloud", "run", "services", "list")
	if r.status == 0 || strings.Contains(r.stderr, "crashed") {
		t.Errorf("one platform takes the other's token: %d %s %s", r.status, r.stdout, r.stderr)
	}
}

func write(t *testing.T, dir, text string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// With -state the next run goes on where this one ends.
func TestState(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	p, images := prepared(t, "-state", state)
	p.gcloud("iam", "service-accounts", "create", "app-account")
	secret := write(t, p.dir, "al pastor")
	p.gcloud("secrets", "create", "recipe", "--data-file="+secret)
	p.gcloud("secrets", "add-iam-policy-binding", "recipe", "--member=serviceAccount:"+account, "--role=roles/secretmanager.secretAccessor")
	p.gcloud("run", "deploy", "app", "--image="+images[0], "--no-allow-unauthenticated", "--service-account="+account, "--set-secrets=RECIPE=recipe:latest")
	p.gcloud("run", "deploy", "app", "--image="+images[1], "--no-traffic", "--tag=next")
	p.gcloud("run", "services", "add-iam-policy-binding", "app", "--member=user:"+developer, "--role=roles/run.invoker")
	before := p.gcloud("run", "services", "describe", "app", "--format=json")
	unique := p.gcloud("iam", "service-accounts", "describe", account, "--format=value(uniqueId)")

	second := p.do([]string{"XDG_RUNTIME_DIR=" + p.dir}, filepath.Join(bin, "cloudrun"), "up", "-empty", "-addr", "127.0.0.1:0", "-state", state)
	if second.status != 1 || !strings.Contains(second.stderr, "another platform uses "+state) {
		t.Errorf("a second platform with the same state: %d %s", second.status, second.stderr)
	}
	p.stop()
	info, err := os.Stat(filepath.Join(state, "state.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the state's file: %v, %v", info, err)
	}
	p.run("-empty", "-state", state)
	if after := p.gcloud("run", "services", "describe", "app", "--format=json"); after != before {
		t.Errorf("the service is another one:\n%s\nand was\n%s", after, before)
	}
	const url = "https://app-localhash0-uc.a.run.app"
	token := p.gcloud("auth", "print-identity-token")
	wantAll(t, "the container", p.ask(url+"/seen", token), "200", "env RECIPE=al pastor\n", "env K_REVISION=app-00001-")
	if got := p.ask("https://next---app-localhash0-uc.a.run.app", token); got != "200 version 2" {
		t.Errorf("the tag's URL answers %s", got)
	}
	if got := p.gcloud("iam", "service-accounts", "describe", account, "--format=value(uniqueId)"); got != unique {
		t.Errorf("the account's number is %s, and was %s", got, unique)
	}
	p.gcloud("artifacts", "repositories", "describe", "images", "--location="+region)
}

// The pair that up deploys goes on too, as gcloud has left it, and gets no new
// revision where nothing has changed.
func TestStateOfThePair(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	p := start(t, "-state", state)
	p.gcloud("run", "services", "update", "tacoserver", "--update-env-vars=COLOR=red")
	p.gcloud("run", "services", "remove-iam-policy-binding", "tacoserver", "--member=serviceAccount:tacoclient@"+project+".iam.gserviceaccount.com", "--role=roles/run.invoker")
	const what = "--format=value(status.latestReadyRevisionName,spec.template.spec.containers[0].env)"
	before := p.gcloud("run", "services", "describe", "tacoserver", what)
	p.stop()
	p.run("-state", state)
	if after := p.gcloud("run", "services", "describe", "tacoserver", what); after != before || !strings.Contains(after, "red") {
		t.Errorf("tacoserver is %s, and was %s", after, before)
	}
	if got := p.ask("https://tacoclient-localhash0-uc.a.run.app", p.gcloud("auth", "print-identity-token")); !strings.HasPrefix(got, "502") {
		t.Errorf("the binding that was removed is back: %s", got)
	}
}
