package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	registry = "us-central1-docker.pkg.dev"
	password = "local-access-token.x"
)

// openStore opens a store and serves it.
func openStore(t *testing.T, config Config) (s *Store, addr string) {
	t.Helper()
	if config.Dir == "" {
		config.Dir = filepath.Join(t.TempDir(), "images")
	}
	config.Local = registry
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, strings.TrimPrefix(server.URL, "http://")
}

// layer is a layer with entries, of which the name, type and contents are enough.
func layer(t *testing.T, entries ...tar.Header) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := ""
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return static.NewLayer(b.Bytes(), types.DockerUncompressedLayer)
}

// file, dir and link are entries of a layer.
func file(name, content string) tar.Header { return tar.Header{Name: name, Linkname: content} }
func dir(name string) tar.Header           { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
func symlink(name, to string) tar.Header {
	return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
}
func hardlink(name, to string) tar.Header {
	return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}
}

// build is an image of layers for this machine.
func build(t *testing.T, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

func push(t *testing.T, addr, path string, img v1.Image, options ...remote.Option) error {
	t.Helper()
	ref, err := name.ParseReference(addr + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return remote.Write(ref, img, append(options, remote.WithContext(t.Context()))...)
}

func mustPush(t *testing.T, addr, path string, img v1.Image) {
	t.Helper()
	if err := push(t, addr, path, img); err != nil {
		t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	store, addr := openStore(t, Config{})
	img := build(t, v1.Config{
		Entrypoint: []string{"/runsd", "--"}, Cmd: []string{"/app"}, Env: []string{"A=1"}, User: "nonroot", WorkingDir: "home",
		ExposedPorts: map[string]struct{}{"9090": {}, "8080/tcp": {}, "53/udp": {}}, Labels: map[string]string{"title": "taco"},
	}, layer(t, file("etc/passwd", "root:x:0:0:::\nnonroot:x:65532:65531:::\n"), file("app", "taco")))
	mustPush(t, addr, "my-proj/otorun/taco:v1", img)
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{
		registry + "/my-proj/otorun/taco:v1",
		registry + "/my-proj/otorun/taco@" + digest.String(),
		registry + "/my-proj/otorun/taco:v1@" + digest.String(),
		addr + "/my-proj/otorun/taco:v1",
	} {
		got, err := store.Resolve(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		want := &Image{
			Reference: ref, Digest: digest.String(),
			Entrypoint: []string{"/runsd", "--"}, Cmd: []string{"/app"}, Env: []string{"A=1"}, User: "nonroot", UID: 65532, GID: 65531,
			Dir: "/home", Ports: []int{8080, 9090}, Labels: map[string]string{"title": "taco"}, Root: got.Root,
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Resolve(%q) = %+v, want %+v", ref, got, want)
		}
		if b, err := os.ReadFile(filepath.Join(got.Root, "app")); err != nil || string(b) != "taco" {
			t.Errorf("/app is %q, %v", b, err)
		}
	}
}

func TestResolveErrors(t *testing.T) {
	t.Parallel()
	store, addr := openStore(t, Config{})
	mustPush(t, addr, "p/r/taco:v1", build(t, v1.Config{}, layer(t)))
	foreign := build(t, v1.Config{}, layer(t))
	file, err := foreign.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.Architecture = "s390x"
	if foreign, err = mutate.ConfigFile(foreign, file); err != nil {
		t.Fatal(err)
	}
	mustPush(t, addr, "p/r/foreign:v1", foreign)
	for _, tt := range []struct {
		ref, want string
		is        error
	}{
		{ref: registry + "/p/r/taco:v2", want: "has the tags v1", is: ErrNotFound},
		{ref: registry + "/p/r/taco", want: "has the tags v1", is: ErrNotFound},
		{ref: registry + "/p/r/other:v1", want: "push it first", is: ErrNotFound},
		{ref: registry + "/p/r/other@sha256:" + strings.Repeat("0", 64), want: "push it first", is: ErrNotFound},
		{ref: "nginx", want: "pulls none from elsewhere", is: ErrNotFound},
		{ref: registry + "/p/r/foreign:v1", want: "is for linux/s390x: not supported: it must support linux/" + runtime.GOARCH, is: ErrUnsupported},
		{ref: "UPPER/case:v1", want: "not a reference like"},
		{ref: registry + "/p/../q:v1", want: "lower-case letters"},
		{ref: "", want: "not a reference like"},
	} {
		img, err := store.Resolve(t.Context(), tt.ref)
		if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("Resolve(%q) = %v, %v; want an error with %q that is %v", tt.ref, img, err, tt.want, tt.is)
		}
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	store, addr := openStore(t, Config{})
	ours, theirs := build(t, v1.Config{}, layer(t, file("ours", ""))), build(t, v1.Config{}, layer(t, file("theirs", "")))
	for _, tt := range []struct {
		name    string
		members []mutate.IndexAddendum
		want    error
	}{
		{name: "both", members: []mutate.IndexAddendum{
			{Add: theirs, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
			{Add: ours, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}},
			{Add: theirs, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}},
		}},
		{name: "theirs", want: ErrUnsupported, members: []mutate.IndexAddendum{
			{Add: theirs, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		}},
	} {
		ref, err := name.ParseReference(addr + "/p/r/" + tt.name + ":v1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.WriteIndex(ref, mutate.AppendManifests(empty.Index, tt.members...)); err != nil {
			t.Fatal(err)
		}
		img, err := store.Resolve(t.Context(), ref.String())
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if err != nil {
			continue
		}
		if want, _ := ours.Digest(); img.Digest != want.String() {
			t.Errorf("%s: digest %s, want %s", tt.name, img.Digest, want)
		}
		if _, err := os.Stat(filepath.Join(img.Root, "ours")); err != nil {
			t.Error(err)
		}
	}
}

func TestArgs(t *testing.T) {
	t.Parallel()
	both := &Image{Reference: "taco", Entrypoint: []string{"/e", "-e"}, Cmd: []string{"c"}}
	for _, tt := range []struct {
		name                string
		image               *Image
		command, args, want []string
	}{
		{name: "the image's", image: both, want: []string{"/e", "-e", "c"}},
		{name: "args", image: both, args: []string{"a"}, want: []string{"/e", "-e", "a"}},
		{name: "command", image: both, command: []string{"/x"}, want: []string{"/x"}},
		{name: "both", image: both, command: []string{"/x"}, args: []string{"a"}, want: []string{"/x", "a"}},
		{name: "no entry point", image: &Image{Cmd: []string{"/c"}}, want: []string{"/c"}},
		{name: "nothing", image: &Image{Reference: "taco"}},
	} {
		got, err := tt.image.Args(tt.command, tt.args)
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) {
			t.Errorf("%s: Args(%q, %q) = %q, %v; want %q", tt.name, tt.command, tt.args, got, err, tt.want)
		}
	}
}

// TestStoreAgain opens a store on what another left.
func TestStoreAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "images")
	store, addr := openStore(t, Config{Dir: dir})
	mustPush(t, addr, "p/r/taco:v1", build(t, v1.Config{}, layer(t, file("app", "taco"))))
	mustPush(t, addr, "p/other/taco:v1", build(t, v1.Config{}, layer(t, file("app", "other"))))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store, _ = openStore(t, Config{Dir: dir})
	if _, err := store.Resolve(t.Context(), registry+"/p/r/taco:v1"); err != nil {
		t.Error(err)
	}
	if err := store.Remove(registry, "p/r"); err != nil {
		t.Error(err)
	}
	if _, err := store.Resolve(t.Context(), registry+"/p/r/taco:v1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after Remove: %v, want %v", err, ErrNotFound)
	}
	if _, err := store.Resolve(t.Context(), registry+"/p/other/taco:v1"); err != nil {
		t.Error(err)
	}
	for _, below := range []string{"", "..", "p/../p"} {
		if err := store.Remove(registry, below); err == nil {
			t.Errorf("Remove(%q) did something", below)
		}
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []Access
	_, addr := openStore(t, Config{Authorize: func(a Access) error {
		if a.Repository != "" {
			mu.Lock()
			seen = append(seen, a)
			mu.Unlock()
		}
		switch {
		case a.Token == "":
			return ErrUnauthenticated
		case a.Token != password:
			return fmt.Errorf("%w: the token isn't of this run", ErrUnauthenticated)
		case a.Write && !strings.HasPrefix(a.Repository, "p/r/"):
			return fmt.Errorf("repository %q: %w: gcloud artifacts repositories create", a.Repository, ErrNotFound)
		}
		return nil
	}})
	img := build(t, v1.Config{}, layer(t))
	as := func(password string) remote.Option {
		return remote.WithAuth(&authn.Basic{Username: "_dcgcloud_token", Password: password})
	}
	for _, tt := range []struct {
		path, want string
		auth       remote.Option
	}{
		{path: "p/r/taco:v1", auth: as(password)},
		{path: "p/r/taco:v1", auth: remote.WithAuth(authn.Anonymous), want: "UNAUTHORIZED"},
		{path: "p/r/taco:v1", auth: as("wrong"), want: "the token isn't of this run"},
		{path: "p/other/taco:v1", auth: as(password), want: `NAME_UNKNOWN: repository "p/other/taco": not found: gcloud artifacts`},
	} {
		err := push(t, addr, tt.path, img, tt.auth)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("push %s: %v, want %q", tt.path, err, tt.want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, a := range seen {
		if !a.Local || a.Host != registry || !strings.HasSuffix(a.Repository, "/taco") {
			t.Errorf("access %+v", a)
		}
	}
	if len(seen) == 0 {
		t.Error("nothing was asked for")
	}
}

// TestIncompletePush has the manifest come before what it names.
func TestIncompletePush(t *testing.T) {
	t.Parallel()
	_, addr := openStore(t, Config{})
	img := build(t, v1.Config{}, layer(t, file("app", "taco")))
	manifest, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, mediaType, body, want string }{
		{"an image", string(types.DockerManifestSchema2), string(manifest), "MANIFEST_BLOB_UNKNOWN"},
		{"an index", string(types.OCIImageIndex), `{"schemaVersion":2,"manifests":[{"digest":"sha256:` + strings.Repeat("0", 64) + `","size":1}]}`, "MANIFEST_BLOB_UNKNOWN"},
		{"nothing like that", string(types.DockerManifestSchema2), "taco", "MANIFEST_INVALID"},
		{"something else", "text/plain", "{}", "MANIFEST_INVALID"},
		{"too much", string(types.DockerManifestSchema2), strings.Repeat(" ", manifestLimit+1), "too large"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+addr+"/v2/p/r/taco/manifests/v1", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", tt.mediaType)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode < 400 || !strings.Contains(string(answer), tt.want) {
			t.Errorf("%s: %s, %s; want %q", tt.name, resp.Status, answer, tt.want)
		}
	}
}

// listing is what is in a folder, a file with its contents, a link with where it
// leads.
func listing(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		switch {
		case d.IsDir():
			rel += "/"
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(name)
			if err != nil {
				return err
			}
			rel += " -> " + to
		default:
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			rel += " " + string(b)
		}
		all = append(all, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLayers(t *testing.T) {
	t.Parallel()
	const outside = "/../../../../../../../../../../.."
	for _, tt := range []struct {
		name   string
		layers [][]tar.Header
		want   []string
	}{
		{name: "over each other", layers: [][]tar.Header{
			{dir("a"), file("a/x", "1"), file("a/y", "1"), file("b", "1")},
			{file("a/x", "2"), dir("b"), file("b/z", "2")},
		}, want: []string{"a/", "a/x 2", "a/y 1", "b/", "b/z 2"}},
		{name: "whiteouts", layers: [][]tar.Header{
			{dir("a"), file("a/x", "1"), file("a/y", "1"), dir("b"), file("b/x", "1")},
			{file("a/.wh.x", ""), file(".wh.b", ""), file(".wh.nothing", "")},
		}, want: []string{"a/", "a/y 1"}},
		{name: "whiteout behind what replaces it", layers: [][]tar.Header{
			{file("a", "1")},
			{file("a", "2"), file(".wh.a", "")},
		}, want: []string{"a 2"}},
		{name: "opaque directory", layers: [][]tar.Header{
			{dir("a"), file("a/x", "1"), dir("a/d"), file("a/d/x", "1"), file("a/d/y", "1")},
			{file("a/new", "2"), file("a/d/y", "2"), file("a/.wh..wh..opq", "")},
		}, want: []string{"a/", "a/d/", "a/d/y 2", "a/new 2"}},
		{name: "other marks of aufs", layers: [][]tar.Header{{file(".wh..wh.plnk", ""), file("a", "1")}}, want: []string{"a 1"}},
		{name: "hard links", layers: [][]tar.Header{
			{file("a", "1"), hardlink("b", "a")},
			{hardlink("c", "/b"), file("a", "2")},
		}, want: []string{"a 2", "b 1", "c 1"}},
		{name: "a link in place of a directory", layers: [][]tar.Header{
			{dir("a"), file("a/x", "1"), dir("b")},
			{symlink("a", "b"), file("a/y", "2")},
		}, want: []string{"a -> b", "b/", "b/y 2"}},
		{name: "a directory in place of a link", layers: [][]tar.Header{
			{dir("b"), symlink("a", "b")},
			{dir("a"), file("a/y", "2")},
		}, want: []string{"a/", "a/y 2", "b/"}},
		{name: "absolute links", layers: [][]tar.Header{
			{dir("run"), dir("var"), symlink("var/run", "/run"), file("var/run/pid", "1")},
		}, want: []string{"run/", "run/pid 1", "var/", "var/run -> /run"}},
		{name: "links that lead out", layers: [][]tar.Header{
			{symlink("up", outside), symlink("abs", "/"), dir("d"), symlink("d/up", "../../..")},
			{file("up/x", "1"), file("abs/y", "1"), file("d/up/z", "1")},
		}, want: []string{"abs -> /", "d/", "d/up -> ../../..", "up -> " + outside, "x 1", "y 1", "z 1"}},
		{name: "names that lead out", layers: [][]tar.Header{
			{file("../../x", "1"), file("/y", "1"), hardlink("../z", "../../x"), file("d/../w", "1")},
		}, want: []string{"w 1", "x 1", "y 1", "z 1"}},
		{name: "devices and pipes", layers: [][]tar.Header{
			{dir("dev"), {Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, {Name: "pipe", Typeflag: tar.TypeFifo}, {Name: "dev/sda", Typeflag: tar.TypeBlock}},
		}, want: []string{"dev/"}},
		{name: "parents that no layer has", layers: [][]tar.Header{{file("a/b/c", "1")}}, want: []string{"a/", "a/b/", "a/b/c 1"}},
		{name: "directories without rights", layers: [][]tar.Header{
			{{Name: "a", Typeflag: tar.TypeDir, Mode: 0o555}, file("a/x", "1")},
			{file("a/y", "2"), file("a/.wh.x", "")},
		}, want: []string{"a/", "a/y 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store, addr := openStore(t, Config{})
			var layers []v1.Layer
			for _, entries := range tt.layers {
				layers = append(layers, layer(t, entries...))
			}
			mustPush(t, addr, "p/r/taco:v1", build(t, v1.Config{}, layers...))
			img, err := store.Resolve(t.Context(), registry+"/p/r/taco:v1")
			if err != nil {
				t.Fatal(err)
			}
			if got := listing(t, img.Root); !slices.Equal(got, tt.want) {
				t.Errorf("it has %q, want %q", got, tt.want)
			}
		})
	}
}

// TestBadLayers leaves nothing of an image that can't be unpacked.
func TestBadLayers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		layer      v1.Layer
	}{
		{name: "a circle of links", want: "too many symbolic links", layer: layer(t, symlink("a", "b"), symlink("b", "a"), file("a/x", "1"))},
		{name: "a hard link to nothing", want: "no such file", layer: layer(t, hardlink("a", "b"))},
		{name: "not a tar", want: "unexpected EOF", layer: static.NewLayer([]byte("taco"), types.DockerUncompressedLayer)},
		{name: "cut off", want: "unexpected EOF", layer: func() v1.Layer {
			r, err := layer(t, file("a", strings.Repeat("x", 5000))).Uncompressed()
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 2000)
			if _, err := r.Read(b); err != nil {
				t.Fatal(err)
			}
			return static.NewLayer(b, types.DockerUncompressedLayer)
		}()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store, addr := openStore(t, Config{})
			mustPush(t, addr, "p/r/taco:v1", build(t, v1.Config{}, tt.layer))
			_, err := store.Resolve(t.Context(), registry+"/p/r/taco:v1")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want an error with %q", err, tt.want)
			}
			entries, err := os.ReadDir(filepath.Join(store.config.Dir, rootsDir, "new"))
			if err != nil || len(entries) > 0 {
				t.Errorf("there is %v, %v", entries, err)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	store, addr := openStore(t, Config{})
	mustPush(t, addr, "p/r/taco:v1", build(t, v1.Config{User: "5:7"}, layer(t,
		tar.Header{Name: "own", Mode: 0o640, Uid: 5, Gid: 6}, tar.Header{Name: "group", Mode: 0o640, Uid: 1, Gid: 7},
		tar.Header{Name: "other", Mode: 0o4755, Uid: 1, Gid: 2}, tar.Header{Name: "dir", Typeflag: tar.TypeDir, Mode: 0o1777},
	)))
	img, err := store.Resolve(t.Context(), registry+"/p/r/taco:v1")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{"own": 0o640, "group": 0o640, "other": 0o755 | fs.ModeSetuid, "dir": 0o777 | fs.ModeDir | fs.ModeSticky, ".": 0o755 | fs.ModeDir}
	if !ownersAreKept {
		want["group"], want["other"] = 0o440, 0o555|fs.ModeSetuid
		want["."] = 0o555 | fs.ModeDir
	}
	for name, mode := range want {
		info, err := os.Lstat(filepath.Join(img.Root, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), mode)
		}
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\n\nbroken\nweb:x:33:34:web:/:/bin/false\n",
		"real":   "root:x:0:\nstaff:x:50:\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/real", filepath.Join(dir, "etc/group")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for user, want := range map[string]ids{
		"": {}, "root": {}, "web": {33, 34}, "33": {33, 34}, "65532": {65532, 0}, "65532:65532": {65532, 65532},
		"web:staff": {33, 50}, "web:7": {33, 7}, "unknown": {}, "unknown:staff": {0, 50}, "web:unknown": {33, 0}, ":staff": {0, 50},
	} {
		if got, err := lookUp(root, user); got != want || err != nil {
			t.Errorf("lookUp(%q) = %v, %v; want %v", user, got, err, want)
		}
	}
}
