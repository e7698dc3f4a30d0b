// Package image is the platform's container registry, and the images in it as
// folders that a container can run on.
//
//	store, err := image.Open(image.Config{Dir: dir, Local: "us-central1-docker.pkg.dev"})
//	defer store.Close()
//	http.Serve(listener, store) // docker push, buildah push, podman push
//	img, err := store.Resolve(ctx, "us-central1-docker.pkg.dev/my-proj/otorun/tacoserver:v1")
//
// The protocol of the registry is the library ociserver's; what is pushed is kept
// in files. Who may push and pull is the caller's to say, [Config.Authorize].
package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"cuelabs.dev/go/oci/ociregistry/ociref"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

var (
	// ErrNotFound is wrapped by the errors for an image or a repository that there
	// isn't.
	ErrNotFound = errors.New("not found")
	// ErrUnsupported is wrapped by the error for an image that can't run here.
	ErrUnsupported = errors.New("not supported")

	errName = errors.New("not a name of lower-case letters and digits, with single ., _, - and / between them")
)

// An Image is ready to run.
type Image struct {
	// Reference is what was resolved, and Digest that of its manifest: of the one
	// for this machine, if it names an index.
	Reference, Digest string
	// Entrypoint, Cmd and Env are the image's own.
	Entrypoint, Cmd, Env []string
	// User is as the image has it, and UID and GID are what that means by the
	// image's /etc/passwd and /etc/group. A name that isn't there is root, as on
	// Cloud Run.
	User     string
	UID, GID int
	// Dir is the working directory.
	Dir string
	// Ports are the TCP ports it exposes. Cloud Run doesn't look at them.
	Ports []int
	// Labels are the image's.
	Labels map[string]string
	// Root is the folder with its file system, which nobody may change.
	Root string
}

// Args is the command line of a container with command and args set on it, or
// not: a command replaces the entry point and the image's own arguments, args
// alone only the latter.
func (i *Image) Args(command, args []string) ([]string, error) {
	var all []string
	switch {
	case len(command) > 0:
		all = slices.Concat(command, args)
	case len(args) > 0:
		all = slices.Concat(i.Entrypoint, args)
	default:
		all = slices.Concat(i.Entrypoint, i.Cmd)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("image %s has neither an entry point nor a command, and none is set: give the Dockerfile an ENTRYPOINT", i.Reference)
	}
	return all, nil
}

// Resolve returns the image that a reference names, HOST/PATH:TAG or
// HOST/PATH@DIGEST, unpacked. The error wraps [ErrNotFound] or [ErrUnsupported]
// if the image is to blame.
func (s *Store) Resolve(ctx context.Context, reference string) (*Image, error) {
	ref, err := s.parse(reference)
	if err != nil {
		return nil, err
	}
	digest, err := s.digest(ref)
	if err != nil {
		return nil, err
	}
	img, digest, err := s.forMachine(ref, digest)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image %s: read its configuration: %w", reference, err)
	}
	if err := runsHere(reference, file.OS, file.Architecture); err != nil {
		return nil, err
	}
	tree, err := s.unpacked(ctx, digest, img, file.Config.User)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", reference, err)
	}
	config := file.Config
	i := &Image{
		Reference:  reference,
		Digest:     digest.String(),
		Entrypoint: config.Entrypoint,
		Cmd:        config.Cmd,
		Env:        config.Env,
		User:       config.User,
		UID:        tree.uid,
		GID:        tree.gid,
		Dir:        path.Join("/", config.WorkingDir),
		Labels:     config.Labels,
		Root:       tree.dir,
	}
	for exposed := range config.ExposedPorts {
		number, protocol, _ := strings.Cut(exposed, "/")
		if port, err := strconv.Atoi(number); err == nil && cmp.Or(protocol, "tcp") == "tcp" {
			i.Ports = append(i.Ports, port)
		}
	}
	slices.Sort(i.Ports)
	return i, nil
}

// parse reads a reference. The registry's address on this machine means the
// registry that it stands for.
func (s *Store) parse(reference string) (name.Reference, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, fmt.Errorf("image %q: not a reference like %s/PROJECT/REPOSITORY/IMAGE:TAG: %w", reference, cmp.Or(s.config.Local, "HOST"), err)
	}
	if !ociref.IsValidRepository(ref.Context().RepositoryStr()) {
		return nil, fmt.Errorf("image %q: %w", reference, errName)
	}
	host := ref.Context().RegistryStr()
	if !isLoopback(host) || s.config.Local == "" {
		return ref, nil
	}
	return name.ParseReference(s.config.Local + strings.TrimPrefix(ref.Name(), host))
}

// digest is what a reference names.
func (s *Store) digest(ref name.Reference) (v1.Hash, error) {
	repo := repository{s, ref.Context().Name()}
	switch ref := ref.(type) {
	case name.Digest:
		if h, err := v1.NewHash(ref.DigestStr()); err == nil && repo.has(h) {
			return h, nil
		}
	case name.Tag:
		if h, ok := repo.tag(ref.TagStr()); ok {
			return h, nil
		}
	}
	why := "push it first"
	if tags := repo.tags(); len(tags) > 0 {
		why = "what was pushed there has the tags " + strings.Join(tags, ", ")
	} else if !isOurs(ref.Context().RegistryStr()) {
		why = "the local platform has the images that were pushed to it, and pulls none from elsewhere"
	}
	return v1.Hash{}, fmt.Errorf("image '%s' %w: %s", ref.Name(), ErrNotFound, why)
}

// isOurs says whether the platform has a registry host.
func isOurs(host string) bool {
	return strings.HasSuffix(host, ".pkg.dev") || host == "gcr.io" || strings.HasSuffix(host, ".gcr.io")
}

// forMachine is the image of a digest, which may be an index of several.
func (s *Store) forMachine(ref name.Reference, digest v1.Hash) (v1.Image, v1.Hash, error) {
	repo := repository{s, ref.Context().Name()}
	mediaType, err := repo.mediaType(digest)
	if err != nil {
		return nil, digest, err
	}
	if !mediaType.IsIndex() {
		img, err := repo.image(digest)
		return img, digest, err
	}
	f, err := s.blob(digest)
	if err != nil {
		return nil, digest, err
	}
	defer f.Close()
	index, err := v1.ParseIndexManifest(f)
	if err != nil {
		return nil, digest, fmt.Errorf("image %s: read its index: %w", ref, err)
	}
	var others []string
	for _, m := range index.Manifests {
		if m.Platform == nil || !m.MediaType.IsImage() || m.Platform.OS == "unknown" {
			continue // an attestation
		}
		if m.Platform.OS == "linux" && m.Platform.Architecture == runtime.GOARCH {
			img, err := repo.image(m.Digest)
			return img, m.Digest, err
		}
		others = append(others, m.Platform.OS+"/"+m.Platform.Architecture)
	}
	return nil, digest, unsupported(ref.String(), cmp.Or(strings.Join(others, ", "), "no platform"))
}

// runsHere says whether a program for a platform runs on this machine.
func runsHere(reference, os, architecture string) error {
	if cmp.Or(os, "linux") == "linux" && cmp.Or(architecture, runtime.GOARCH) == runtime.GOARCH {
		return nil
	}
	return unsupported(reference, os+"/"+architecture)
}

func unsupported(reference, platform string) error {
	return fmt.Errorf("image '%s' is for %s: %w: it must support linux/%s: build it with --platform=linux/%[4]s", reference, platform, ErrUnsupported, runtime.GOARCH)
}
