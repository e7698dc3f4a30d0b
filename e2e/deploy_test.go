package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fakeGcloud stands in for gcloud and docker: it notes how it was called, fails
// where $FAIL says so and knows nothing that exists already.
const fakeGcloud = `#!/bin/sh
printf '%s %s\n' "$(basename "$0")" "$*" >>"$CALLS"
case "$*" in
"config get-value project") echo "${PROJECT-my-proj}"; exit ;;
"config get-value run/region") echo "${DEFAULT_REGION-us-central1}"; exit ;;
esac
if [ -n "${FAIL-}" ] && printf '%s' "$*" | grep -q -e "$FAIL"; then
	printf 'WARNING: odd\nERROR: (gcloud) it is broken\nmore of it\n' >&2
	exit 1
fi
case "$*" in
*" describe tacoclient --region"*) echo "https://tacoclient-ab12cd34ef-uc.a.run.app" ;;
*" describe "*) exit 1 ;;
*get-iam-policy*) echo "${POLICY-"{}"}" ;;
esac
`

// deploy runs buildanddeploy.sh with the fakes and returns its exit status, what
// it printed, what it complained of, and the calls it made.
func deploy(t *testing.T, settings ...string) (status int, stdout, stderr, calls string) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	dir := t.TempDir()
	for _, name := range []string{"gcloud", "docker"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fakeGcloud), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	noted := filepath.Join(dir, "calls")
	script, err := filepath.Abs("../buildanddeploy.sh")
	if err != nil {
		t.Fatal(err)
	}
	os.Stat(script) // see noteSources
	cmd := exec.CommandContext(t.Context(), "bash", script)
	cmd.Dir = dir // from any folder
	cmd.Env = append([]string{"PATH=" + dir + ":" + os.Getenv("PATH"), "CALLS=" + noted, "TMPDIR=" + dir}, settings...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	b, _ := os.ReadFile(noted)
	return cmd.ProcessState.ExitCode(), out.String(), errs.String(), string(b)
}

func TestDeploy(t *testing.T) {
	status, stdout, stderr, calls := deploy(t, "cloudhash=ab12cd34ef")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, %s", status, stderr)
	}
	if want := "\ncurl -H \"Authorization: Bearer $(gcloud auth print-identity-token)\" https://tacoclient-ab12cd34ef-uc.a.run.app\n"; !strings.HasSuffix(stdout, want) {
		t.Errorf("printed %q, want %q at its end", stdout, want)
	}
	// In this order.
	rest := calls
	for _, want := range []string{
		"gcloud services enable run.googleapis.com",
		"gcloud iam service-accounts create tacoserver ",
		"gcloud iam service-accounts create tacoclient ",
		"gcloud artifacts repositories create otorun ",
		"gcloud auth configure-docker us-central1-docker.pkg.dev ",
		"docker build --platform=linux/amd64 --build-arg=build_target=server --tag=us-central1-docker.pkg.dev/my-proj/otorun/tacoserver:",
		"docker push us-central1-docker.pkg.dev/my-proj/otorun/tacoserver:",
		"docker build --platform=linux/amd64 --build-arg=build_target=client --tag=us-central1-docker.pkg.dev/my-proj/otorun/tacoclient:",
		"docker push us-central1-docker.pkg.dev/my-proj/otorun/tacoclient:",
		"gcloud run deploy tacoserver --image=us-central1-docker.pkg.dev/my-proj/otorun/tacoserver:",
		" --service-account=tacoserver@my-proj.iam.gserviceaccount.com --no-allow-unauthenticated --update-env-vars=CLOUD_RUN_PROJECT_HASH=ab12cd34ef --region=us-central1",
		"gcloud run services get-iam-policy tacoserver ",
		"gcloud run services add-iam-policy-binding tacoserver --region=us-central1 --project=my-proj --member=serviceAccount:tacoclient@my-proj.iam.gserviceaccount.com --role=roles/run.invoker\n",
		"gcloud run deploy tacoclient --image=us-central1-docker.pkg.dev/my-proj/otorun/tacoclient:",
		" --service-account=tacoclient@my-proj.iam.gserviceaccount.com --no-allow-unauthenticated --update-env-vars=CLOUD_RUN_PROJECT_HASH=ab12cd34ef ",
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("no call %q, or not in its place:\n%s", want, calls)
		}
		rest = after
	}
}

func TestDeployWithoutHashAndForEverybody(t *testing.T) {
	status, stdout, stderr, calls := deploy(t, "CLIENT_ACCESS=public", "REGION=europe-west1")
	if status != 0 || !strings.HasSuffix(stdout, "\ncurl https://tacoclient-ab12cd34ef-uc.a.run.app\n") {
		t.Errorf("status %d, %s\nprinted %q", status, stderr, stdout)
	}
	for _, l := range strings.Split(calls, "\n") {
		if !strings.HasPrefix(l, "gcloud run deploy") {
			continue
		}
		public := strings.Contains(l, " --allow-unauthenticated")
		if public != strings.HasPrefix(l, "gcloud run deploy tacoclient") || !strings.Contains(l, " --remove-env-vars=CLOUD_RUN_PROJECT_HASH --region=europe-west1") {
			t.Errorf("call: %s", l)
		}
	}
}

func TestDeployFails(t *testing.T) {
	for _, tt := range []struct{ name, setting, want string }{
		{"no project", "PROJECT=", "no project: gcloud config set project PROJECT"},
		{"no region", "DEFAULT_REGION=", "no region: gcloud config set run/region us-central1, or set REGION"},
		{"a hash that is none", "cloudhash=HASH-uc", "cloudhash=HASH-uc is no hash: "},
		{"access for some", "CLIENT_ACCESS=some", "CLIENT_ACCESS=some: set it to private or public"},
		{"APIs", "FAIL=services enable", "enable the APIs: ERROR: (gcloud) it is broken (all of it: "},
		{"account", "FAIL=create tacoclient", "make service account tacoclient: ERROR: (gcloud) it is broken"},
		{"repository", "FAIL=repositories create", "make the image repository: ERROR: (gcloud) it is broken"},
		{"build", "FAIL=build_target=client", "build tacoclient: ERROR: (gcloud) it is broken"},
		{"push", "FAIL=push", "push tacoserver: ERROR: (gcloud) it is broken"},
		{"deploy", "FAIL=deploy tacoserver", "deploy tacoserver: ERROR: (gcloud) it is broken"},
		{"policy unreadable", "FAIL=get-iam-policy", "read who may call tacoserver: ERROR: (gcloud) it is broken"},
		{"tacoserver open to all", `POLICY={"members":["allUsers"]}`, "tacoserver is open to everybody: "},
		{"binding", "FAIL=add-iam-policy-binding", "let tacoclient call tacoserver: ERROR: (gcloud) it is broken"},
		{"URL", "FAIL=value(status.url)", "read tacoclient's URL: ERROR: (gcloud) it is broken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr, _ := deploy(t, tt.setting)
			if status != 1 || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "buildanddeploy: "+tt.want) {
				t.Errorf("status %d, %q, want 1 and one line: %q\nprinted %s", status, stderr, tt.want, stdout)
			}
		})
	}
}
