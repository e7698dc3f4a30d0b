package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"cuelabs.dev/go/oci/ociregistry/ociref"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/singleflight"
)

// Config says where a Store is and who may use it.
type Config struct {
	// Dir is where everything is kept; it is made where it is missing. What is
	// there from an earlier Store is there again.
	Dir string
	// Local is the registry that this machine's addresses stand for, as in
	// 127.0.0.1:9080/my-proj/otorun/tacoserver: us-central1-docker.pkg.dev, say.
	Local string
	// Authorize says whether an access may be; nil allows all. Its error wraps
	// [ErrUnauthenticated], [ErrDenied] or [ErrNotFound], and is told to the client.
	Authorize func(Access) error
}

// A Store is a registry. Its methods may be called by many goroutines at once.
type Store struct {
	config  Config
	handler http.Handler
	unpacks singleflight.Group

	mu sync.Mutex // of tags and manifests
}

// Folders of a Store. Blobs are named by their digest, whatever repository they
// were pushed to; manifests are blobs as well.
const (
	blobsDir        = "blobs"
	uploadsDir      = "uploads"
	repositoriesDir = "repositories"
	rootsDir        = "roots"
	// Of a repository: no part of its name starts with _.
	tagsDir      = "_tags"      // files with a digest
	manifestsDir = "_manifests" // files with a media type
)

// Open returns the Store in a folder. What was half done there when an earlier
// one ended is removed.
func Open(config Config) (*Store, error) {
	s := &Store{config: config}
	for _, unfinished := range []string{uploadsDir, rootsDir + "/new"} {
		if err := removeAll(s.path(unfinished)); err != nil {
			return nil, fmt.Errorf("open the image store: %w", err)
		}
	}
	for _, dir := range []string{blobsDir, uploadsDir, repositoriesDir, rootsDir} {
		// Nobody else's: an image may have programs with the setuid bit.
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return nil, fmt.Errorf("open the image store: %w", err)
		}
	}
	s.handler = newRegistry(s)
	return s, nil
}

// Close removes what can be made again from what was pushed: the unpacked images.
// No container may run on them any more.
func (s *Store) Close() error {
	return errors.Join(removeAll(s.path(rootsDir)), removeAll(s.path(uploadsDir)))
}

// Remove forgets all images of a registry host whose names are below a path, as
// my-proj/otorun. Containers that run on them are not concerned.
func (s *Store) Remove(host, below string) error {
	if !ociref.IsValidRepository(below) {
		return fmt.Errorf("remove the images below %s/%s: %w", host, below, errName)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.RemoveAll(repository{s, host + "/" + below}.path()); err != nil {
		return fmt.Errorf("remove the images below %s/%s: %w", host, below, err)
	}
	return nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.config.Dir}, parts...)...)
}

func (s *Store) blobPath(h v1.Hash) string { return s.path(blobsDir, h.Hex) }

// blob opens what has a digest. The error is fs.ErrNotExist if nothing has.
func (s *Store) blob(h v1.Hash) (*os.File, error) { return os.Open(s.blobPath(h)) }

// A repository is the images of one name.
type repository struct {
	store *Store
	name  string // with the host
}

func (r repository) path(parts ...string) string {
	return r.store.path(append([]string{repositoriesDir, filepath.FromSlash(r.name)}, parts...)...)
}

// has says whether a manifest was pushed to the repository.
func (r repository) has(h v1.Hash) bool {
	_, err := os.Stat(r.path(manifestsDir, h.Hex))
	return err == nil
}

// tag is the digest that a tag names.
func (r repository) tag(tag string) (v1.Hash, bool) {
	text, err := os.ReadFile(r.path(tagsDir, tag))
	if err != nil {
		return v1.Hash{}, false
	}
	h, err := v1.NewHash(string(text))
	return h, err == nil
}

// tags are the repository's, in order.
func (r repository) tags() []string {
	entries, err := os.ReadDir(r.path(tagsDir))
	if err != nil {
		return nil
	}
	var tags []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), newPrefix) {
			tags = append(tags, e.Name())
		}
	}
	return tags
}

// mediaType is that of a manifest.
func (r repository) mediaType(h v1.Hash) (types.MediaType, error) {
	text, err := os.ReadFile(r.path(manifestsDir, h.Hex))
	if err != nil {
		return "", fmt.Errorf("manifest %s of %s: %w", h, r.name, ErrNotFound)
	}
	return types.MediaType(text), nil
}

// put keeps a manifest whose blob is there, under a tag if that isn't empty.
func (r repository) put(h v1.Hash, mediaType types.MediaType, tag string) error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if err := writeFile(r.path(manifestsDir, h.Hex), []byte(mediaType)); err != nil {
		return err
	}
	if tag == "" {
		return nil
	}
	return writeFile(r.path(tagsDir, tag), []byte(h.String()))
}

// remove forgets a manifest and the tags that name it.
func (r repository) remove(h v1.Hash) error {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	for _, tag := range r.tags() {
		if named, ok := r.tag(tag); ok && named == h {
			if err := os.Remove(r.path(tagsDir, tag)); err != nil {
				return err
			}
		}
	}
	return os.Remove(r.path(manifestsDir, h.Hex))
}

// newPrefix is of files that are being written. No tag starts so.
const newPrefix = ".new-"

// writeFile replaces a file, or leaves it as it is.
func writeFile(name string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), newPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// repositories are all names below a host, in order.
func (s *Store) repositories(host string) []string {
	var names []string
	base := s.path(repositoriesDir, host)
	_ = filepath.WalkDir(base, func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == manifestsDir {
			if rel, err := filepath.Rel(base, filepath.Dir(file)); err == nil {
				names = append(names, filepath.ToSlash(rel))
			}
			return fs.SkipDir
		}
		return nil
	})
	slices.Sort(names)
	return names
}

// image is one of the repository's, as the library has it.
func (r repository) image(h v1.Hash) (v1.Image, error) {
	mediaType, err := r.mediaType(h)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(r.store.blobPath(h))
	if err != nil {
		return nil, fmt.Errorf("manifest %s of %s: %w", h, r.name, err)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("manifest %s of %s: %w", h, r.name, err)
	}
	return partial.CompressedToImage(&stored{store: r.store, mediaType: mediaType, raw: raw, manifest: manifest})
}

// stored is an image in files.
type stored struct {
	store     *Store
	mediaType types.MediaType
	raw       []byte
	manifest  *v1.Manifest
}

func (i *stored) MediaType() (types.MediaType, error) { return i.mediaType, nil }
func (i *stored) RawManifest() ([]byte, error)        { return i.raw, nil }
func (i *stored) RawConfigFile() ([]byte, error) {
	return os.ReadFile(i.store.blobPath(i.manifest.Config.Digest))
}

func (i *stored) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range i.manifest.Layers {
		if d.Digest == h {
			return &storedLayer{i.store, d}, nil
		}
	}
	return nil, fmt.Errorf("layer %s: %w", h, ErrNotFound)
}

type storedLayer struct {
	store      *Store
	descriptor v1.Descriptor
}

func (l *storedLayer) Digest() (v1.Hash, error)            { return l.descriptor.Digest, nil }
func (l *storedLayer) Size() (int64, error)                { return l.descriptor.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) { return l.descriptor.MediaType, nil }
func (l *storedLayer) Compressed() (io.ReadCloser, error)  { return l.store.blob(l.descriptor.Digest) }

// unpacked is the tree of an image, made if it isn't there.
func (s *Store) unpacked(ctx context.Context, digest v1.Hash, img v1.Image, user string) (*tree, error) {
	done := s.unpacks.DoChan(digest.Hex, func() (any, error) {
		// A folder around it: one that may not be written can't be moved.
		unfinished, dir := s.path(rootsDir, "new", digest.Hex), s.path(rootsDir, digest.Hex)
		if _, err := os.Stat(dir); err == nil {
			return openTree(filepath.Join(dir, "root"), user)
		}
		if err := os.MkdirAll(unfinished, 0o700); err != nil {
			return nil, err
		}
		if err := unpack(img, filepath.Join(unfinished, "root"), user); err != nil {
			return nil, errors.Join(fmt.Errorf("unpack: %w", err), removeAll(unfinished))
		}
		if err := os.Rename(unfinished, dir); err != nil {
			return nil, err
		}
		return openTree(filepath.Join(dir, "root"), user)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*tree), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
