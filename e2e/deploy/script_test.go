package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	eaten     = "Sammy Sosa has consumed 2 tacos"
	clientURL = "https://tacoclient-localhash0-uc.a.run.app"
	// article is the line of the article that this project is from, as it has it.
	article = `curl -H "Authorization: Bearer $(gcloud auth print-identity-token)" $(gcloud run services describe tacoclient --format 'value(status.url)')`
)

// script runs buildanddeploy.sh of a folder in the shell that env made.
func (p *platform) script(b *builder, folder string, env []string, args ...string) result {
	p.t.Helper()
	building.Lock()
	defer building.Unlock()
	cmd := exec.CommandContext(p.t.Context(), "bash", append([]string{filepath.Join(folder, "buildanddeploy.sh")}, args...)...)
	cmd.Dir = p.dir
	cmd.Env = p.environ(slices.Concat(b.env, []string{"BUILDER=buildah", "PATIENCE=30"}, env)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			p.t.Fatalf("%s: %v", cmd, err)
		}
	}
	return result{strings.TrimSpace(stdout.String()), strings.TrimSpace(stderr.String()), cmd.ProcessState.ExitCode()}
}

// made is what the script makes besides revisions and images. Etags are left out:
// gcloud run deploy sets a service's policy again to what it is.
func (p *platform) made() string {
	p.t.Helper()
	var all strings.Builder
	for _, line := range []string{
		"gcloud iam service-accounts list --format='value(email,uniqueId,description)' --sort-by=email",
		"gcloud artifacts repositories list --location=" + region + " --format='value(name,createTime)'",
		"gcloud run services get-iam-policy tacoserver --format='json(bindings)'",
		"gcloud run services get-iam-policy tacoclient --format='json(bindings)'",
		"gcloud projects get-iam-policy " + project + " --format='json(bindings)'",
	} {
		all.WriteString(p.shell(line) + "\n")
	}
	return all.String()
}

// revision is the name of a service's revision that serves, and its environment.
func (p *platform) revision(service string) (name string, env map[string]string) {
	p.t.Helper()
	var s struct {
		Spec struct {
			Template struct {
				Spec struct {
					ServiceAccountName string
					Containers         []struct {
						Env []struct{ Name, Value string }
					}
				}
			}
		}
		Status struct{ LatestReadyRevisionName string }
	}
	if err := json.Unmarshal([]byte(p.gcloud("run", "services", "describe", service, "--format=json")), &s); err != nil {
		p.t.Fatal(err)
	}
	if got, want := s.Spec.Template.Spec.ServiceAccountName, service+"@"+project+".iam.gserviceaccount.com"; got != want {
		p.t.Errorf("%s runs as %s, want %s", service, got, want)
	}
	env = make(map[string]string)
	for _, e := range s.Spec.Template.Spec.Containers[0].Env {
		env[e.Name] = e.Value
	}
	return s.Status.LatestReadyRevisionName, env
}

// TestScript runs buildanddeploy.sh as it is: from nothing, again, with something
// broken, and to take it all down.
func TestScript(t *testing.T) {
	t.Parallel()
	b := needBuildah(t)
	b.pairBuilt(t)
	p := start(t, "-empty")
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	// Of others, to be left alone.
	p.gcloud("iam", "service-accounts", "create", "other-account")
	p.gcloud("artifacts", "repositories", "create", "other", "--repository-format=docker", "--location="+region)

	first := p.script(b, root, nil)
	line := `curl -H "Authorization: Bearer $(gcloud auth print-identity-token)" ` + clientURL
	if first.status != 0 || first.stderr != "" || !strings.HasSuffix(first.stdout, "\n\n"+eaten+"\n\n"+line) {
		t.Fatalf("the first run: %+v", first)
	}
	if got := p.shell(line); got != eaten {
		t.Errorf("the line it ends with prints %q", got)
	}
	if got := p.shell(article); got != eaten {
		t.Errorf("%s prints %q", article, got)
	}
	made := p.made()
	for text, times := range map[string]int{
		`"serviceAccount:tacoclient@` + project: 1, // it may call tacoserver, and has no other role
		`"serviceAccount:tacoserver@` + project: 0,
		`"user:` + developer:                    1,
		"roles/run.invoker":                     2,
		"all":                                   0,
	} {
		if got := strings.Count(made, text); got != times {
			t.Errorf("%q is %d times in what it made, want %d:\n%s", text, got, times, made)
		}
	}
	if got := p.ask("https://tacoserver-localhash0-uc.a.run.app", ""); !strings.HasPrefix(got, "403 ") {
		t.Errorf("tacoserver answers who shows no token %q", got)
	}
	before, env := p.revision("tacoserver")
	if len(env) > 0 {
		t.Errorf("without a hash the environment is %q", env)
	}

	second := p.script(b, root, []string{"cloudhash=localhash0"})
	if second.status != 0 || !strings.Contains(second.stdout, eaten) || strings.Contains(second.stdout, "make ") || strings.Contains(second.stdout, "let ") {
		t.Errorf("the second run: %+v", second)
	}
	if again := p.made(); again != made {
		t.Errorf("the second run changed more than revisions:\n%s\nwas\n%s", again, made)
	}
	after, env := p.revision("tacoserver")
	if after == before || env["CLOUD_RUN_PROJECT_HASH"] != "localhash0" {
		t.Errorf("after %s comes %s, with the environment %q", before, after, env)
	}
	// The call went by the URL with the hash: runsd had no other.
	if got := p.shell(article); got != eaten {
		t.Errorf("with the hash %s prints %q", article, got)
	}

	// tacoclient's right is taken away.
	member := "serviceAccount:tacoclient@" + project + ".iam.gserviceaccount.com"
	p.gcloud("run", "services", "remove-iam-policy-binding", "tacoserver", "--member="+member, "--role=roles/run.invoker")
	if got := p.ask(clientURL, p.gcloud("auth", "print-identity-token")); !strings.HasPrefix(got, "502 ") || !strings.Contains(got, "tacoserver does not let tacoclient in (status 403)") {
		t.Errorf("without its right tacoclient answers %q", got)
	}
	wantAll(t, "the platform's log", p.out.String(), member[len("serviceAccount:"):]+" lacks roles/run.invoker on service tacoserver",
		"gcloud run services add-iam-policy-binding tacoserver --project="+project+" --region="+region+" --member="+member+" --role=roles/run.invoker")

	// A tacoserver that ends at once is not deployed, and why is said in one line.
	broken := checkout(t)
	change(t, filepath.Join(broken, "server", "main.go"), "func main() {", "func main() {\n\tprintln(\"no taco shells\")\n\tos.Exit(3)")
	third := p.script(b, broken, nil)
	if third.status != 1 || strings.Count(third.stderr, "\n") != 0 {
		t.Errorf("with a broken tacoserver: %+v", third)
	}
	wantAll(t, "the failure", third.stderr, "buildanddeploy: deploy tacoserver: ", "failed to start and listen", "exit status 3", "Its last log lines: ", "no taco shells")
	if now, _ := p.revision("tacoserver"); now != after {
		t.Errorf("a revision that doesn't start serves: %s", now)
	}

	down := p.script(b, root, nil, "teardown")
	if down.status != 0 || strings.Count(down.stdout, "delete ") != 5 || strings.Contains(down.stdout, "leave ") {
		t.Errorf("teardown: %+v", down)
	}
	if got := p.gcloud("run", "services", "list", "--format=value(name)"); got != "" {
		t.Errorf("after teardown there are the services %q", got)
	}
	if got := p.gcloud("iam", "service-accounts", "list", "--format=value(email)", "--filter=email~^(taco|other)"); got != "other-account@"+project+".iam.gserviceaccount.com" {
		t.Errorf("after teardown there are the accounts %q", got)
	}
	if got := p.gcloud("artifacts", "repositories", "list", "--location="+region, "--format=value(name.basename())"); got != "other" {
		t.Errorf("after teardown there are the repositories %q", got)
	}
	// What others made under these names stays.
	p.gcloud("iam", "service-accounts", "create", "tacoserver")
	down = p.script(b, root, nil, "teardown")
	if down.status != 0 || strings.Contains(down.stdout, "delete ") || !strings.Contains(down.stdout, "leave service account tacoserver: this script did not make it") {
		t.Errorf("teardown of what isn't there: %+v", down)
	}
	p.wantOnlyKnown()
}
