package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Images that stand in for those that the Dockerfile names, which can't be had
// everywhere: a shell in place of a Debian with Go, whose tree is this machine's,
// and the few files of distroless.
const (
	goImage   = "docker.io/library/golang:1.26.8-bookworm"
	baseImage = "gcr.io/distroless/static-debian12:nonroot"
)

// needBuildah skips a test where images can't be built as CI builds them.
func needBuildah(t *testing.T) *builder {
	t.Helper()
	need(t)
	if raceEnabled {
		t.Skip("it has nothing to race but processes, which are built without the race detector anyway: it runs without it")
	}
	_, err := exec.LookPath("buildah")
	switch {
	case err == nil && os.Geteuid() == 0:
	case os.Getenv("CI") == "true":
		t.Fatalf("want root and buildah: %v", err)
	case err != nil:
		t.Skipf("buildah isn't installed: %v", err)
	default:
		t.Skip("only root can build without fetching or setting up anything: sudo go test ./e2e/deploy")
	}
	b, err := newBuilder()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A builder is buildah with a storage of its own, and the stand-ins in it.
type builder struct {
	dir string
	env []string

	once sync.Once
	err  error // of pairBuilt
}

var newBuilder = sync.OnceValues(func() (*builder, error) {
	b := &builder{dir: filepath.Join(bin, "buildah")}
	if err := os.MkdirAll(filepath.Join(b.dir, "tmp"), 0o755); err != nil {
		return nil, err
	}
	// What go mod download needs in a build is here then, wherever it is from.
	download := exec.Command("go", "mod", "download")
	download.Dir = filepath.Join("..", "..")
	if out, err := download.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", download, err, out)
	}
	env, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE").Output()
	if err != nil {
		return nil, err
	}
	goroot, modules, _ := strings.Cut(strings.TrimSpace(string(env)), "\n")
	for name, text := range map[string]string{
		// With --platform buildah asks for newer images than those that are here.
		"registries.conf": "[[registry]]\nlocation = \"docker.io\"\nblocked = true\n[[registry]]\nlocation = \"gcr.io\"\nblocked = true\n",
		"storage.conf":    fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", b.dir+"/root", b.dir+"/run"),
		"containers.conf": fmt.Sprintf("[containers]\nvolumes = [%q, %q]\n",
			goroot+":/usr/local/go:ro", filepath.Join(modules, "cache", "download")+":/modules:ro"),
	} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	b.env = []string{
		"CONTAINERS_STORAGE_CONF=" + b.dir + "/storage.conf", "CONTAINERS_CONF=" + b.dir + "/containers.conf",
		"CONTAINERS_REGISTRIES_CONF=" + b.dir + "/registries.conf",
		"BUILDAH_ISOLATION=chroot", "TMPDIR=" + b.dir + "/tmp",
	}
	shell, err := shellFiles()
	if err != nil {
		return nil, err
	}
	// Without root's home what go build keeps would end in a layer, rather than in
	// the cache that all builds share.
	shell["/etc/passwd"] = "root:x:0:0:root:/root:/bin/sh\n"
	err = b.standIn(goImage, shell,
		"--env=PATH=/usr/local/go/bin:/bin", "--env=GOPATH=/go", "--env=GOTOOLCHAIN=local", "--env=GOPROXY=file:///modules", "--env=GOSUMDB=off")
	if err != nil {
		return nil, err
	}
	return b, b.standIn(baseImage, map[string]string{
		"/etc/ssl/certs/ca-certificates.crt": "# none\n",
		"/etc/passwd":                        "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
		"/etc/group":                         "root:x:0:\nnonroot:x:65532:\n",
	}, "--user=65532")
})

// shellFiles are this machine's /bin/sh and the libraries that it needs.
func shellFiles() (map[string]string, error) {
	out, err := exec.Command("ldd", "/bin/sh").Output()
	if err != nil {
		return nil, fmt.Errorf("which libraries /bin/sh needs: %w", err)
	}
	files := make(map[string]string)
	for _, name := range append(strings.Fields(string(out)), "/bin/sh") {
		if !filepath.IsAbs(name) {
			continue
		}
		program, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files[name] = string(program)
	}
	return files, nil
}

// standIn makes an image of files.
func (b *builder) standIn(name string, files map[string]string, config ...string) error {
	dir, err := os.MkdirTemp(b.dir, "standin")
	if err != nil {
		return err
	}
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o755)); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "tmp"), 0o755), os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky), os.Chmod(dir, 0o755)); err != nil {
		return err
	}
	container, err := b.buildah("from", "scratch")
	if err != nil {
		return err
	}
	container = strings.TrimSpace(container)
	for _, args := range [][]string{
		{"copy", "--quiet", container, dir, "/"},
		append(append([]string{"config"}, config...), container),
		{"commit", "--quiet", "--rm", container, name},
	} {
		if _, err := b.buildah(args...); err != nil {
			return err
		}
	}
	return nil
}

// buildah runs it and returns what it prints.
func (b *builder) buildah(args ...string) (string, error) {
	cmd := exec.Command("buildah", args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir}, b.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", cmd, err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// build builds a folder's Dockerfile as an image, and returns what it told of that.
// Builds run one at a time: they would want the same.
func (b *builder) build(folder, tag string, args ...string) (string, error) {
	building.Lock()
	defer building.Unlock()
	return b.buildah(append(append([]string{"build", "--layers=true", "--platform=linux/" + runtime.GOARCH, "--tag=" + tag}, args...), folder)...)
}

var building sync.Mutex

func (b *builder) mustBuild(t *testing.T, folder, tag string, args ...string) string {
	t.Helper()
	out, err := b.build(folder, tag, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pairBuilt builds both services' images as server:first and client:first, once:
// later builds of the same have all they need in layers and caches.
func (b *builder) pairBuilt(t *testing.T) {
	t.Helper()
	b.once.Do(func() {
		for _, target := range []string{"server", "client"} {
			if _, err := b.build(filepath.Join("..", ".."), target+":first", "--build-arg=build_target="+target); err != nil {
				b.err = err
				return
			}
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
}

// file returns a file of an image.
func (b *builder) file(t *testing.T, tag, name string) []byte {
	t.Helper()
	container, err := b.buildah("from", tag)
	if err != nil {
		t.Fatal(err)
	}
	container = strings.TrimSpace(container)
	defer b.buildah("rm", container)
	root, err := b.buildah("mount", container)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(root), name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// checkout copies the repository into a folder of the test's, which may change it.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	list.Dir = filepath.Join("..", "..")
	names, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		from, err := os.Open(filepath.Join("..", "..", name))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := from.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		to, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, info.Mode().Perm())
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(to, from)
		if err := errors.Join(err, to.Close(), from.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// change replaces a text in a file, which must have it.
func change(t *testing.T, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("%s has no %q", file, old)
	}
	if err := os.WriteFile(file, bytes.Replace(text, []byte(old), []byte(new), 1), 0o644); err != nil {
		t.Fatal(err)
	}
}
