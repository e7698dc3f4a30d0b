//go:build !race

// What runs here are processes, which are built without the race detector anyway.

package deploy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/amammay/otorun/internal/firestoreemulator/emulatortest"
)

// dockerEnv is the folder with the programs of the pair, to this test when it is
// called by the name of docker: it then makes images of them without a daemon.
const dockerEnv = "OTORUN_TEST_DOCKER"

func init() {
	if filepath.Base(os.Args[0]) != "docker" {
		return
	}
	if err := docker(os.Getenv(dockerEnv), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ERROR:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// docker does what buildanddeploy.sh has docker do.
func docker(dir string, args []string) error {
	noted := func(tag string) string { return filepath.Join(dir, "target of "+strings.ReplaceAll(tag, "/", " ")) }
	switch args[0] {
	case "info":
		return nil
	case "build":
		var tag, target string
		for _, a := range args {
			if v, ok := strings.CutPrefix(a, "--tag="); ok {
				tag = v
			}
			if v, ok := strings.CutPrefix(a, "--build-arg=build_target="); ok {
				target = v
			}
		}
		return os.WriteFile(noted(tag), []byte(target), 0o644)
	case "push":
		target, err := os.ReadFile(noted(args[1]))
		if err != nil {
			return err
		}
		return push(args[1], filepath.Join(dir, "runsd"), filepath.Join(dir, string(target)))
	}
	return fmt.Errorf("docker %s: this isn't the real one", args[0])
}

// push pushes an image of runsd and an app, with gcloud's rights.
func push(tag, runsd, app string) error {
	token, err := exec.Command("gcloud", "auth", "print-access-token").Output()
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for path, file := range map[string]string{"runsd": runsd, "app": app} {
		program, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(program))}); err != nil {
			return err
		}
		if _, err := w.Write(program); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(layer.Bytes(), types.DockerUncompressedLayer))
	if err != nil {
		return err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return err
	}
	file.OS, file.Architecture = "linux", "amd64"
	file.Config.Entrypoint, file.Config.User = []string{"/runsd", "--", "/app"}, "65532"
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return err
	}
	ref, err := name.ParseReference(tag, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(ref, image, remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: "oauth2accesstoken", Password: strings.TrimSpace(string(token))})))
}

// pairAsDocker returns the settings that have a script find a docker which makes
// images of the pair.
func pairAsDocker(t *testing.T, p *platform) []string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", dir+string(filepath.Separator), "./server", "./client", "./runsd")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "path")
	if err := errors.Join(os.Mkdir(path, 0o755), os.Symlink(self, filepath.Join(path, "docker"))); err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=" + path + ":" + p.env["PATH"], dockerEnv + "=" + dir, "BUILDER=docker"}
}

// buildAndDeploy runs the script and returns what it prints, and what it complains
// of.
func (p *platform) buildAndDeploy(settings []string, args ...string) (stdout, stderr string, err error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join("..", "..", "buildanddeploy.sh"), args...)
	cmd.Env = p.environ(settings...)
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// With TACO_STORE=firestore the script makes the database, gives tacoserver's
// account alone the role for it, and what is eaten outlives the revision; teardown
// takes the role away and leaves the database.
func TestDeployWithFirestore(t *testing.T) {
	t.Parallel()
	emulatortest.Need(t)
	p := start(t, "-empty", "-firestore")
	settings := append(pairAsDocker(t, p), "TACO_STORE=firestore", "FIRESTORE_LOCATION=nam5")
	const role = "roles/datastore.user"
	bound := func() string {
		return p.gcloud("projects", "get-iam-policy", project, "--flatten=bindings[].members", "--filter=bindings.role="+role, "--format=value(bindings.members)")
	}
	stdout, stderr, err := p.buildAndDeploy(settings)
	if err != nil || stderr != "" || !strings.Contains(stdout, "\nSammy Sosa has consumed 2 tacos\n") {
		t.Fatalf("buildanddeploy.sh: %v\n%s\n%s", err, stdout, stderr)
	}
	if got := p.gcloud("firestore", "databases", "describe", "--database=(default)", "--format=value(type,locationId)"); got != "FIRESTORE_NATIVE\tnam5" {
		t.Errorf("the database is %q", got)
	}
	if got, want := bound(), "serviceAccount:tacoserver@"+project+".iam.gserviceaccount.com"; got != want {
		t.Errorf("%s has %q, want %s alone", role, got, want)
	}
	url := p.gcloud("run", "services", "describe", "tacoclient", "--region="+region, "--format=value(status.url)")
	token := p.gcloud("auth", "print-identity-token")
	if got := p.ask(url+"/?name=Ana&taco=Fish", token); got != "200 Ana has consumed 1 tacos" {
		t.Errorf("answer %q", got)
	}
	p.gcloud("run", "services", "update", "tacoserver", "--region="+region, "--update-labels=revision=another")
	if got := p.ask(url+"/eaters", token); got != "200 2\tSammy Sosa\n1\tAna" {
		t.Errorf("after another revision the list is %q", got)
	}
	p.wantOnlyKnown("firestore.googleapis.com", "cloudresourcemanager.googleapis.com")

	stdout, stderr, err = p.buildAndDeploy(settings, "teardown")
	if err != nil || stderr != "" || !strings.Contains(stdout, "take Firestore from tacoserver\nThe Firestore database stays, with what is in it.\n") {
		t.Errorf("teardown: %v\n%s\n%s", err, stdout, stderr)
	}
	if got := bound(); got != "" {
		t.Errorf("after teardown %s has %q", role, got)
	}
	p.gcloud("firestore", "databases", "describe", "--database=(default)")
}

// A store there isn't, and a database of the other kind, are refused before
// anything is built.
func TestDeployWithoutFirestore(t *testing.T) {
	dir := t.TempDir()
	const gcloud = `#!/bin/sh
case "$*" in
"config get-value"*) echo here ;;
"firestore databases describe"*) echo DATASTORE_MODE ;;
esac
`
	for name, text := range map[string]string{"gcloud": gcloud, "docker": "#!/bin/sh\n[ $1 = info ]\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := &platform{t: t, env: map[string]string{"PATH": dir + ":" + os.Getenv("PATH")}}
	for store, want := range map[string]string{
		"mysql":     "buildanddeploy: TACO_STORE=mysql: set it to bbolt or firestore\n",
		"firestore": "buildanddeploy: the Firestore database of here is in Datastore mode, which tacoserver can't use: choose another project\n",
	} {
		if _, stderr, err := p.buildAndDeploy([]string{"TACO_STORE=" + store}); err == nil || stderr != want {
			t.Errorf("TACO_STORE=%s: %v, %q, want %q", store, err, stderr, want)
		}
	}
}
