package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeProgram stands in for gcloud, for builders and for curl: it notes how it was
// called, fails where $FAIL says so, with what $SAYS, and knows nothing that exists
// already. The real ones are in e2e/deploy.
const fakeProgram = `#!/bin/sh
name=$(basename "$0")
printf '%s %s\n' "$name" "$*" >>"$CALLS"
case "$*" in
"config get-value project") echo "${PROJECT-my-proj}"; exit ;;
"config get-value run/region") echo "${DEFAULT_REGION-us-central1}"; exit ;;
"config get-value account") echo "${ACCOUNT-ana@example.com}"; exit ;;
esac
if [ -n "${FAIL-}" ] && printf '%s' "$*" | grep -q -e "$FAIL"; then
	printf 'WARNING: odd\n%s\nmore of it\n' "${SAYS-ERROR: (gcloud) it is broken}" >&2
	exit 1
fi
case "$name $*" in
*"value(status.url)"*)
	printf '%s' "$*" | sed 's|.*describe \([a-z]*\) .*|https://\1-ab12cd34ef-uc.a.run.app|'
	;;
*" describe "*)
	[ -n "${EXISTS-}" ] || { echo 'ERROR: (gcloud) NOT_FOUND: it is not there' >&2; exit 1; }
	echo "$EXISTS"
	;;
*get-iam-policy*) printf '%b' "${POLICY-}" ;;
*"logs read"*) printf 'opening the door\nno taco shells\n' ;;
*"print-identity-token --audiences"*) [ -n "${ROBOT-}" ] || exit 1; echo token ;;
*print-*-token*) echo token ;;
"curl "*tacoserver*) printf '%s' "${SERVER_STATUS-403}" ;;
"curl "*)
	out=$(printf '%s' "$*" | sed 's|.*--output \([^ ]*\) .*|\1|')
	echo "Sammy Sosa has consumed 2 tacos" >"$out"
	if [ -n "${STRANGER-}" ] && ! grep -q 'add-iam-policy-binding tacoclient' "$CALLS"; then printf 403; else printf '%s' "${CLIENT_STATUS-200}"; fi
	;;
esac
`

// deploy runs buildanddeploy.sh with the fakes and returns its exit status, what
// it printed, what it complained of, and the calls it made.
func deploy(t *testing.T, args []string, settings ...string) (status int, stdout, stderr, calls string) {
	t.Helper()
	onlyProcesses(t)
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	dir := t.TempDir()
	programs := []string{"gcloud", "curl", "docker", "podman", "buildah"}
	for _, s := range settings {
		if without, ok := strings.CutPrefix(s, "WITHOUT="); ok {
			programs = slices.DeleteFunc(programs, func(p string) bool { return slices.Contains(strings.Fields(without), p) })
		}
	}
	for _, name := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fakeProgram), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Of the machine only what a script may take for granted.
	for _, name := range []string{"sh", "bash", "basename", "cat", "cut", "date", "dirname", "git", "grep", "head", "mktemp", "rm", "sed", "sleep", "tail", "tr"} {
		where, err := exec.LookPath(name)
		if err != nil {
			t.Skip(err)
		}
		if err := os.Symlink(where, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	noted, tmp := filepath.Join(dir, "calls"), t.TempDir()
	script, err := filepath.Abs("../buildanddeploy.sh")
	if err != nil {
		t.Fatal(err)
	}
	os.Stat(script) // see noteSources
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{script}, args...)...)
	cmd.Dir = dir // from any folder
	cmd.Env = append([]string{"PATH=" + dir, "CALLS=" + noted, "TMPDIR=" + tmp, "PATIENCE=0"}, settings...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	b, _ := os.ReadFile(noted)
	left, err := filepath.Glob(filepath.Join(tmp, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range left {
		if strings.Contains(name, "token") || strings.Contains(name, "auth") || !strings.Contains(errs.String(), filepath.Dir(name)) {
			t.Errorf("it leaves %s", name)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String(), string(b)
}

// wantInOrder fails the test unless calls has all of want, one after the other.
func wantInOrder(t *testing.T, calls string, want ...string) {
	t.Helper()
	rest := calls
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			t.Fatalf("no call %q, or not in its place:\n%s", w, calls)
		}
		rest = after
	}
}

const clientHost = "https://tacoclient-ab12cd34ef-uc.a.run.app"

func TestDeploy(t *testing.T) {
	status, stdout, stderr, calls := deploy(t, nil, "cloudhash=ab12cd34ef")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, %s", status, stderr)
	}
	if want := "\n\nSammy Sosa has consumed 2 tacos\n\ncurl -H \"Authorization: Bearer $(gcloud auth print-identity-token)\" " + clientHost + "\n"; !strings.HasSuffix(stdout, want) {
		t.Errorf("printed %q, want %q at its end", stdout, want)
	}
	wantInOrder(t, calls,
		"gcloud services enable run.googleapis.com artifactregistry.googleapis.com iam.googleapis.com --project=my-proj\n",
		"gcloud iam service-accounts create tacoserver ",
		"gcloud iam service-accounts create tacoclient ",
		"gcloud artifacts repositories create otorun ",
		"gcloud auth configure-docker us-central1-docker.pkg.dev ",
		"docker build --platform=linux/amd64 --build-arg=build_target=server ",
		" --tag=us-central1-docker.pkg.dev/my-proj/otorun/tacoserver:",
		"docker push us-central1-docker.pkg.dev/my-proj/otorun/tacoserver:",
		"docker build --platform=linux/amd64 --build-arg=build_target=client ",
		" --tag=us-central1-docker.pkg.dev/my-proj/otorun/tacoclient:",
		"docker push us-central1-docker.pkg.dev/my-proj/otorun/tacoclient:",
		"gcloud run deploy tacoserver --image=us-central1-docker.pkg.dev/my-proj/otorun/tacoserver:",
		" --service-account=tacoserver@my-proj.iam.gserviceaccount.com --no-allow-unauthenticated --invoker-iam-check --update-env-vars=CLOUD_RUN_PROJECT_HASH=ab12cd34ef --labels=otorun=buildanddeploy --region=us-central1",
		"gcloud run services get-iam-policy tacoserver ",
		"curl ", " https://tacoserver-ab12cd34ef-uc.a.run.app\n",
		"gcloud run services add-iam-policy-binding tacoserver --region=us-central1 --project=my-proj --member=serviceAccount:tacoclient@my-proj.iam.gserviceaccount.com --role=roles/run.invoker\n",
		"gcloud run deploy tacoclient --image=us-central1-docker.pkg.dev/my-proj/otorun/tacoclient:",
		" --service-account=tacoclient@my-proj.iam.gserviceaccount.com --no-allow-unauthenticated --invoker-iam-check --update-env-vars=CLOUD_RUN_PROJECT_HASH=ab12cd34ef ",
	)
	if strings.Contains(calls, "add-iam-policy-binding tacoclient") {
		t.Errorf("who may call tacoclient anyway is let in again:\n%s", calls)
	}
}

func TestDeployWithoutHashAndForEverybody(t *testing.T) {
	status, stdout, stderr, calls := deploy(t, nil, "CLIENT_ACCESS=public", "REGION=europe-west1")
	if status != 0 || !strings.HasSuffix(stdout, "\ncurl "+clientHost+"\n") {
		t.Errorf("status %d, %s\nprinted %q", status, stderr, stdout)
	}
	for _, l := range strings.Split(calls, "\n") {
		if !strings.HasPrefix(l, "gcloud run deploy") {
			continue
		}
		public := strings.Contains(l, " --allow-unauthenticated")
		if public != strings.HasPrefix(l, "gcloud run deploy tacoclient") || !strings.Contains(l, " --remove-env-vars=CLOUD_RUN_PROJECT_HASH ") || !strings.Contains(l, " --region=europe-west1 ") {
			t.Errorf("call: %s", l)
		}
	}
}

// Again, all that is made is there, and is left as it is.
func TestDeployAgain(t *testing.T) {
	status, _, stderr, calls := deploy(t, nil, "EXISTS=there", `POLICY=roles/run.invoker\tserviceAccount:tacoclient@my-proj.iam.gserviceaccount.com\n`)
	if status != 0 {
		t.Fatal(stderr)
	}
	for _, change := range []string{" create ", "add-iam-policy-binding", "--labels"} {
		if strings.Contains(calls, change) {
			t.Errorf("a second run calls %q:\n%s", change, calls)
		}
	}
}

func TestDeployCallers(t *testing.T) {
	for _, tt := range []struct {
		name, setting, member, line string
	}{
		{"a person without a role", "ACCOUNT=bob@example.com", "user:bob@example.com", `$(gcloud auth print-identity-token)`},
		{"a service account", "ACCOUNT=ci@my-proj.iam.gserviceaccount.com", "serviceAccount:ci@my-proj.iam.gserviceaccount.com", `$(gcloud auth print-identity-token --audiences=` + clientHost + `)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			settings := []string{tt.setting, "STRANGER=1"}
			if strings.HasPrefix(tt.member, "serviceAccount") {
				settings = append(settings, "ROBOT=1")
			}
			status, stdout, stderr, calls := deploy(t, nil, settings...)
			if status != 0 || !strings.HasSuffix(stdout, `"Authorization: Bearer `+tt.line+`" `+clientHost+"\n") {
				t.Errorf("status %d, %s\nprinted %q", status, stderr, stdout)
			}
			wantInOrder(t, calls, "gcloud run services add-iam-policy-binding tacoclient ", " --member="+tt.member+" --role=roles/run.invoker\n")
		})
	}
}

func TestDeployBuilders(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings []string
		want     []string
	}{
		{"podman where there is no docker", []string{"WITHOUT=docker"}, []string{
			"podman login --authfile=", "podman build --layers --platform=linux/amd64 --build-arg=build_target=server ", "podman push --authfile=", " us-central1-docker.pkg.dev/my-proj/otorun/tacoserver:"}},
		{"podman where docker's daemon is off", []string{"FAIL=^info"}, []string{"docker info", "podman build "}},
		{"buildah", []string{"WITHOUT=docker podman"}, []string{"buildah login ", " us-central1-docker.pkg.dev\n", "buildah build --layers ", "buildah push "}},
		{"Cloud Build where nothing is", []string{"WITHOUT=docker podman buildah"}, []string{
			"gcloud services enable ", " cloudbuild.googleapis.com ", "gcloud builds submit --config=", "gcloud builds submit ", "gcloud run deploy tacoserver"}},
		{"as said", []string{"BUILDER=buildah"}, []string{"buildah build "}},
		{"docker and the local platform", []string{"CLOUDRUN_ADDR=127.0.0.1:9080"}, []string{"docker push 127.0.0.1:9080/my-proj/otorun/tacoserver:", "gcloud run deploy tacoserver --image=127.0.0.1:9080/my-proj/otorun/tacoserver:"}},
		{"others keep to the registry's name", []string{"CLOUDRUN_ADDR=127.0.0.1:9080", "BUILDER=buildah"}, []string{"gcloud run deploy tacoserver --image=us-central1-docker.pkg.dev/"}},
		{"other base images", []string{"GO_IMAGE=mirror/go:1", "BASE_IMAGE=mirror/base:1"}, []string{"docker build ", " --build-arg=GO_IMAGE=mirror/go:1 --build-arg=BASE_IMAGE=mirror/base:1 ."}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, _, stderr, calls := deploy(t, nil, tt.settings...)
			if status != 0 {
				t.Fatal(stderr)
			}
			wantInOrder(t, calls, tt.want...)
		})
	}
}

func TestTeardown(t *testing.T) {
	for _, tt := range []struct {
		name, exists, prints string
		deletes              int
	}{
		{name: "what others made", exists: "theirs", prints: "leave service tacoclient: this script did not make it\n"},
		{name: "services", exists: "buildanddeploy", prints: "delete service tacoclient\n", deletes: 2},
		{name: "the rest", exists: "made by otorun's buildanddeploy.sh", prints: "delete the image repository\ndelete service account tacoclient\n", deletes: 3},
		{name: "nothing", prints: "The APIs stay enabled: something else may use them.\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr, calls := deploy(t, []string{"teardown"}, "EXISTS="+tt.exists)
			if status != 0 || stderr != "" || !strings.Contains(stdout, tt.prints) || strings.Count(calls, " delete ") != tt.deletes {
				t.Errorf("status %d, %s\nprinted %q, called\n%s", status, stderr, stdout, calls)
			}
		})
	}
}

func TestDeployFails(t *testing.T) {
	const broken = "ERROR: (gcloud) it is broken (all of it: "
	for _, tt := range []struct {
		name, setting, says, want string
	}{
		{name: "no project", setting: "PROJECT=", want: "no project: gcloud config set project PROJECT"},
		{name: "no region", setting: "DEFAULT_REGION=", want: "no region: gcloud config set run/region us-central1, or set REGION"},
		{name: "no gcloud", setting: "WITHOUT=gcloud", want: "gcloud is not installed: see https://"},
		{name: "no curl", setting: "WITHOUT=curl", want: "curl is not installed"},
		{name: "a hash that is none", setting: "cloudhash=HASH-uc", want: "cloudhash=HASH-uc is no hash: "},
		{name: "access for some", setting: "CLIENT_ACCESS=some", want: "CLIENT_ACCESS=some: set it to private or public"},
		{name: "unknown builder", setting: "BUILDER=make", want: "BUILDER=make: set it to docker, podman, buildah or cloudbuild"},
		{name: "a builder that isn't here", setting: "WITHOUT=podman", says: "BUILDER=podman", want: "podman is not installed: install it, or set BUILDER=cloudbuild"},
		{name: "a daemon that is off", setting: "FAIL=^info", says: "BUILDER=docker", want: "docker's daemon does not answer: start it, or set BUILDER"},
		{name: "not logged in", setting: "FAIL=services enable", says: "SAYS=ERROR: You do not currently have an active account selected.", want: "enable the APIs: ERROR: You do not currently have an active account selected. (log in: gcloud auth login)"},
		{name: "no billing", setting: "FAIL=services enable", says: "SAYS=ERROR: FAILED_PRECONDITION: Billing account for project is not found", want: "enable the APIs: ERROR: FAILED_PRECONDITION: Billing account for project is not found (give the project a billing account: https://console.cloud.google.com/billing/linkedaccount?project=my-proj)"},
		{name: "APIs", setting: "FAIL=services enable", want: "enable the APIs: " + broken},
		{name: "a permission", setting: "FAIL=create tacoclient", says: "SAYS=ERROR: PERMISSION_DENIED: no", want: "make service account tacoclient: ERROR: PERMISSION_DENIED: no (have an owner of my-proj give you roles/iam.serviceAccountAdmin)"},
		{name: "an API that is off", setting: "FAIL=repositories create", says: "SAYS=ERROR: Artifact Registry API has not been used in project 1 before or it is disabled.", want: "make the image repository: ERROR: Artifact Registry API has not been used in project 1 before or it is disabled. (an API is not enabled yet: wait a minute and run this again)"},
		{name: "what can't be looked for", setting: "FAIL=describe tacoserver@", want: "look for service account tacoserver: " + broken},
		{name: "account", setting: "FAIL=create tacoclient", want: "make service account tacoclient: " + broken},
		{name: "repository", setting: "FAIL=repositories create", want: "make the image repository: " + broken},
		{name: "build", setting: "FAIL=build_target=client", want: "build tacoclient: " + broken},
		{name: "push", setting: "FAIL=push", want: "push tacoserver: " + broken},
		{name: "deploy", setting: "FAIL=deploy tacoserver", want: "deploy tacoserver: " + broken},
		{name: "doesn't listen", setting: "FAIL=deploy tacoserver", says: "SAYS=ERROR: (gcloud.run.deploy) The container failed to start and listen on the port.", want: "deploy tacoserver: ERROR: (gcloud.run.deploy) The container failed to start and listen on the port. Its last log lines: opening the door|no taco shells|"},
		{name: "policy unreadable", setting: "FAIL=get-iam-policy", want: "read who may call tacoserver: " + broken},
		{name: "tacoserver open to all", setting: "POLICY=roles/run.invoker\\tallUsers\\n", want: "tacoserver is open to everybody: gcloud run services get-iam-policy"},
		{name: "tacoserver lets strangers in", setting: "SERVER_STATUS=200", want: "tacoserver is open to everybody: https://tacoserver-ab12cd34ef-uc.a.run.app answers 200, not 403: "},
		{name: "binding", setting: "FAIL=add-iam-policy-binding", want: "let serviceAccount:tacoclient@my-proj.iam.gserviceaccount.com call tacoserver: " + broken},
		{name: "URL", setting: "FAIL=tacoclient .*value(status.url)", want: "read tacoclient's URL: " + broken},
		{name: "tacoclient doesn't answer", setting: "CLIENT_STATUS=502", want: "call tacoclient: " + clientHost + " answers 502, not 200: Sammy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr, _ := deploy(t, nil, tt.setting, tt.says)
			if status != 1 || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "buildanddeploy: "+tt.want) {
				t.Errorf("status %d, %q, want 1 and one line: %q\nprinted %s", status, stderr, tt.want, stdout)
			}
		})
	}
	status, _, stderr, calls := deploy(t, []string{"tear"})
	if status != 1 || stderr != "buildanddeploy: tear: there is no such command: give none, or teardown\n" || calls != "" {
		t.Errorf("status %d, %q, called %q", status, stderr, calls)
	}
}
