package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDockerfile builds the images and looks at what is in them.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	b := needBuildah(t)
	b.pairBuilt(t)
	// Built elsewhere, at another time and with another cache they are the same.
	here := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", here, "./runsd", "./client", "./server")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	for _, tt := range []struct {
		target string
		limit  int
	}{{"client", 17_000_000}, {"server", 30_000_000}} {
		tag := tt.target + ":first"
		size := 0
		for name, made := range map[string]string{"/app": tt.target, "/runsd": "runsd"} {
			inImage := b.file(t, tag, name)
			size += len(inImage)
			want, err := os.ReadFile(filepath.Join(here, made))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(inImage, want) {
				t.Errorf("%s of %s isn't what is built here, bit for bit", name, tag)
			}
		}
		t.Logf("%s: %d bytes without the base", tag, size)
		if size > tt.limit {
			t.Errorf("%s has %d bytes without the base, want at most %d", tag, size, tt.limit)
		}
		config := b.config(t, tag)
		if config.User != "nonroot" || !slices.Equal(config.Entrypoint, []string{"/runsd", "--", "/app"}) {
			t.Errorf("%s: user %q, entry point %q", tag, config.User, config.Entrypoint)
		}
		for key, want := range map[string]string{"title": "taco" + tt.target, "base.name": baseImage, "source": "https://github.com/amammay/otorun", "revision": ""} {
			if got, ok := config.Labels["org.opencontainers.image."+key]; got != want || !ok {
				t.Errorf("%s: label %s is %q, want %q", tag, key, got, want)
			}
		}
	}
}

// TestBuildArguments builds with each of them, on other base images, and without
// any layer kept, which makes the same programs.
func TestBuildArguments(t *testing.T) {
	t.Parallel()
	b := needBuildah(t)
	b.pairBuilt(t)
	for from, to := range map[string]string{goImage: "localhost/other-go", baseImage: "localhost/other-base"} {
		if _, err := b.buildah("tag", from, to); err != nil {
			t.Fatal(err)
		}
	}
	b.mustBuild(t, filepath.Join("..", ".."), "client:args", "--layers=false",
		"--build-arg=GO_IMAGE=localhost/other-go", "--build-arg=BASE_IMAGE=localhost/other-base", "--build-arg=user=root", "--build-arg=revision=abc")
	config := b.config(t, "client:args")
	if config.User != "root" || config.Labels["org.opencontainers.image.base.name"] != "localhost/other-base" || config.Labels["org.opencontainers.image.revision"] != "abc" {
		t.Errorf("user %q, labels %q", config.User, config.Labels)
	}
	for _, name := range []string{"/app", "/runsd"} {
		if !bytes.Equal(b.file(t, "client:args", name), b.file(t, "client:first", name)) {
			t.Errorf("%s of two builds isn't the same", name)
		}
	}
}

// TestModuleLayer holds that modules are fetched anew only when go.mod changes.
func TestModuleLayer(t *testing.T) {
	t.Parallel()
	b := needBuildah(t)
	b.pairBuilt(t)
	dir := checkout(t)
	change(t, filepath.Join(dir, "client", "main.go"), "func main() {", "var _ = 1\n\nfunc main() {")
	told := b.mustBuild(t, dir, "client:after")
	steps := strings.Split(told, "STEP ")
	for what, cached := range map[string]bool{"go mod download": true, "COPY . .": false, "./runsd": false, "build_target\"": false} {
		i := slices.IndexFunc(steps, func(s string) bool { return strings.Contains(s, what) })
		if i < 0 || strings.Contains(steps[i], "Using cache") != cached {
			t.Errorf("when code has changed, the layer of %q is to be kept: %t; the build told\n%s", what, cached, told)
		}
	}
}

// imageConfig is the part of an image's configuration that is looked at.
type imageConfig struct {
	User       string
	Entrypoint []string
	Labels     map[string]string
}

func (b *builder) config(t *testing.T, tag string) imageConfig {
	t.Helper()
	out, err := b.buildah("inspect", "--type=image", tag)
	if err != nil {
		t.Fatal(err)
	}
	var described struct {
		OCIv1 struct{ Config imageConfig }
	}
	if err := json.Unmarshal([]byte(out), &described); err != nil {
		t.Fatal(err)
	}
	return described.OCIv1.Config
}
