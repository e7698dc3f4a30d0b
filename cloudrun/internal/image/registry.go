package image

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ociref"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

var (
	// ErrUnauthenticated is for an access without a token, or with a wrong one.
	ErrUnauthenticated = errors.New("authentication required")
	// ErrDenied is for an access of someone who may not.
	ErrDenied = errors.New("denied")
)

// An Access is what a client wants.
type Access struct {
	// Token is the access token that it shows, "" if none.
	Token string
	// Host is the registry's, and Repository the path below it with the image's
	// name, my-proj/otorun/tacoserver; "" if it only logs in.
	Host, Repository string
	// Write says that it pushes or deletes.
	Write bool
	// Local says that it came to an address of this machine, not to Host. Docker's
	// daemon does, and shows a token only if it was told to.
	Local bool
}

// manifestLimit is how long a manifest may be: Google's limit is 4 MB.
const manifestLimit = 4 << 20

type accessKey struct{}

// newRegistry is the store as an HTTP handler for /v2/.
func newRegistry(s *Store) http.Handler {
	return ociserver.New(&backend{store: s}, &ociserver.Options{
		WriteError: func(w http.ResponseWriter, r *http.Request, err error) { writeError(w, r, err) },
	})
}

// Serves says whether a host, without port, is a registry of the store's.
func Serves(host string) bool { return isOurs(host) }

// ServeHTTP implements the registry's API, for the hosts of Artifact Registry and,
// at this machine's addresses, for the one that those stand for.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	access := Access{Host: strings.ToLower(r.Host), Token: token(r)}
	if host, _, err := net.SplitHostPort(access.Host); err == nil && !isLoopback(access.Host) {
		access.Host = host
	}
	if isLoopback(access.Host) && s.config.Local != "" {
		access.Host, access.Local = s.config.Local, true
	}
	r = r.WithContext(context.WithValue(r.Context(), accessKey{}, access))
	switch {
	case !isOurs(access.Host):
		writeError(w, r, fmt.Errorf("registry %s: %w", access.Host, ErrNotFound))
	case r.URL.Path == tokenPath:
		s.logIn(w, r, access)
	case r.URL.Path == "/v2" || r.URL.Path == "/v2/":
		if err := s.authorize(access); err != nil {
			writeError(w, r, err)
			return
		}
		s.handler.ServeHTTP(w, r)
	default:
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit(r))
		s.handler.ServeHTTP(w, r)
	}
}

// bodyLimit is for what is read whole.
func bodyLimit(r *http.Request) int64 {
	if strings.Contains(r.URL.Path, "/manifests/") {
		return manifestLimit
	}
	return 1 << 40
}

func (s *Store) authorize(a Access) error {
	if s.config.Authorize == nil {
		return nil
	}
	return s.config.Authorize(a)
}

// tokenPath is where a client gets a token for what it knows, as it does at
// Artifact Registry's.
const tokenPath = "/v2/token"

// token is what a request shows: an access token, or one as a password, with
// whatever user name gcloud, or a person, has chosen for it.
func token(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	return ""
}

// logIn answers with the token that the client has shown.
func (s *Store) logIn(w http.ResponseWriter, r *http.Request, access Access) {
	if err := s.authorize(access); err != nil {
		writeError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": access.Token, "access_token": access.Token, "expires_in": 3600})
}

// writeError answers in the registry's way.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	message := func(code string) error { return ociregistry.NewError(err.Error(), code, nil) }
	switch {
	case errors.Is(err, ErrUnauthenticated):
		access, _ := r.Context().Value(accessKey{}).(Access)
		scheme := "https"
		if r.TLS == nil {
			scheme = "http"
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=%q", scheme+"://"+r.Host+tokenPath, access.Host))
		err = message("UNAUTHORIZED")
	case errors.Is(err, ErrDenied):
		err = message("DENIED")
	case errors.Is(err, ErrNotFound):
		err = message("NAME_UNKNOWN")
	}
	ociregistry.WriteError(w, err)
}

// isLoopback says whether a registry's host, with a port or without, is this
// machine.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// backend is a store as the library wants it. The context of each call has the
// Access, but for its Repository and Write.
type backend struct {
	*ociregistry.Funcs // has no functions: what backend lacks is not supported
	store              *Store
}

// open returns the repository of a name below the host, if the caller may.
func (b *backend) open(ctx context.Context, name string, write bool) (repository, error) {
	access, _ := ctx.Value(accessKey{}).(Access)
	if !ociref.IsValidRepository(name) {
		return repository{}, ociregistry.ErrNameInvalid
	}
	access.Repository, access.Write = name, write
	return repository{b.store, access.Host + "/" + name}, b.store.authorize(access)
}

func hashOf(digest ociregistry.Digest) (v1.Hash, error) {
	h, err := v1.NewHash(string(digest))
	if err != nil || h.Algorithm != "sha256" {
		return h, ociregistry.ErrDigestInvalid
	}
	return h, nil
}

// A reader is a file with its descriptor.
type reader struct {
	io.Reader
	io.Closer
	descriptor ociregistry.Descriptor
}

func (r *reader) Descriptor() ociregistry.Descriptor { return r.descriptor }

func (b *backend) GetBlob(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.BlobReader, error) {
	return b.GetBlobRange(ctx, repo, digest, 0, -1)
}

func (b *backend) GetBlobRange(ctx context.Context, repo string, digest ociregistry.Digest, from, to int64) (ociregistry.BlobReader, error) {
	if _, err := b.open(ctx, repo, false); err != nil {
		return nil, err
	}
	f, d, err := b.blob(digest)
	if err != nil {
		return nil, err
	}
	if to < 0 || to > d.Size {
		to = d.Size
	}
	if from < 0 || from > to {
		f.Close()
		return nil, ociregistry.ErrRangeInvalid
	}
	return &reader{io.NewSectionReader(f, from, to-from), f, d}, nil
}

// blob opens what has a digest.
func (b *backend) blob(digest ociregistry.Digest) (*os.File, ociregistry.Descriptor, error) {
	h, err := hashOf(digest)
	if err != nil {
		return nil, ociregistry.Descriptor{}, err
	}
	f, err := b.store.blob(h)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ociregistry.Descriptor{}, ociregistry.ErrBlobUnknown
	}
	if err != nil {
		return nil, ociregistry.Descriptor{}, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, ociregistry.Descriptor{}, err
	}
	return f, ociregistry.Descriptor{MediaType: "application/octet-stream", Digest: digest, Size: info.Size()}, nil
}

func (b *backend) ResolveBlob(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	if _, err := b.open(ctx, repo, false); err != nil {
		return ociregistry.Descriptor{}, err
	}
	f, d, err := b.blob(digest)
	if err != nil {
		return d, err
	}
	return d, f.Close()
}

func (b *backend) GetManifest(ctx context.Context, name string, digest ociregistry.Digest) (ociregistry.BlobReader, error) {
	repo, err := b.open(ctx, name, false)
	if err != nil {
		return nil, err
	}
	h, err := hashOf(digest)
	if err != nil {
		return nil, err
	}
	return b.manifest(repo, h)
}

func (b *backend) GetTag(ctx context.Context, name, tag string) (ociregistry.BlobReader, error) {
	repo, err := b.open(ctx, name, false)
	if err != nil {
		return nil, err
	}
	h, ok := repo.tag(tag)
	if !ok {
		return nil, ociregistry.ErrManifestUnknown
	}
	return b.manifest(repo, h)
}

func (b *backend) manifest(repo repository, h v1.Hash) (ociregistry.BlobReader, error) {
	mediaType, err := repo.mediaType(h)
	if err != nil {
		return nil, ociregistry.ErrManifestUnknown
	}
	f, d, err := b.blob(ociregistry.Digest(h.String()))
	if err != nil {
		return nil, err
	}
	d.MediaType = string(mediaType)
	return &reader{f, f, d}, nil
}

func (b *backend) ResolveManifest(ctx context.Context, name string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	return resolved(b.GetManifest(ctx, name, digest))
}

func (b *backend) ResolveTag(ctx context.Context, name, tag string) (ociregistry.Descriptor, error) {
	return resolved(b.GetTag(ctx, name, tag))
}

func resolved(r ociregistry.BlobReader, err error) (ociregistry.Descriptor, error) {
	if err != nil {
		return ociregistry.Descriptor{}, err
	}
	return r.Descriptor(), r.Close()
}

func (b *backend) PushBlob(ctx context.Context, repo string, d ociregistry.Descriptor, r io.Reader) (ociregistry.Descriptor, error) {
	w, err := b.PushBlobChunked(ctx, repo, 0)
	if err != nil {
		return d, err
	}
	defer w.Cancel()
	n, err := io.Copy(w, r)
	if err != nil {
		return d, err
	}
	if d.Size >= 0 && n != d.Size {
		return d, ociregistry.ErrSizeInvalid
	}
	return w.Commit(d.Digest)
}

func (b *backend) PushBlobChunked(ctx context.Context, repo string, _ int) (ociregistry.BlobWriter, error) {
	if _, err := b.open(ctx, repo, true); err != nil {
		return nil, err
	}
	id := rand.Text()
	f, err := os.OpenFile(b.store.path(uploadsDir, id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &upload{store: b.store, id: id, f: f, hash: sha256.New()}, nil
}

func (b *backend) PushBlobChunkedResume(ctx context.Context, repo, id string, offset int64, _ int) (ociregistry.BlobWriter, error) {
	if _, err := b.open(ctx, repo, true); err != nil {
		return nil, err
	}
	if strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return nil, ociregistry.ErrBlobUploadUnknown
	}
	f, err := os.OpenFile(b.store.path(uploadsDir, id), os.O_RDWR, 0)
	if err != nil {
		return nil, ociregistry.ErrBlobUploadUnknown
	}
	u := &upload{store: b.store, id: id, f: f, hash: sha256.New()}
	if u.size, err = io.Copy(u.hash, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Without a Content-Range the server says 0, and it may be that what was sent
	// before is just to be completed.
	if offset > 0 && offset != u.size {
		return nil, errors.Join(ociregistry.ErrRangeInvalid, f.Close())
	}
	return u, nil
}

// An upload is a blob that comes in parts.
type upload struct {
	store *Store
	id    string
	f     *os.File
	hash  hash.Hash
	size  int64
}

func (u *upload) Write(p []byte) (int, error) {
	n, err := u.f.Write(p)
	u.hash.Write(p[:n])
	u.size += int64(n)
	return n, err
}

func (u *upload) Close() error   { return u.f.Close() }
func (u *upload) Size() int64    { return u.size }
func (u *upload) ChunkSize() int { return 0 }
func (u *upload) ID() string     { return u.id }

func (u *upload) Commit(digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	d := ociregistry.Descriptor{MediaType: "application/octet-stream", Digest: digest, Size: u.size}
	h, err := hashOf(digest)
	if err != nil {
		return d, err
	}
	if h.Hex != hex.EncodeToString(u.hash.Sum(nil)) {
		return d, errors.Join(ociregistry.ErrDigestInvalid, u.Cancel())
	}
	if err := u.f.Close(); err != nil {
		return d, err
	}
	return d, os.Rename(u.f.Name(), u.store.blobPath(h))
}

func (u *upload) Cancel() error {
	_ = u.f.Close()
	if err := os.Remove(u.store.path(uploadsDir, u.id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// MountBlob has nothing to do: a blob is there for all repositories.
func (b *backend) MountBlob(ctx context.Context, _, repo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	if _, err := b.open(ctx, repo, true); err != nil {
		return ociregistry.Descriptor{}, err
	}
	return b.ResolveBlob(ctx, repo, digest)
}

func (b *backend) PushManifest(ctx context.Context, name, tag string, contents []byte, mediaType string) (ociregistry.Descriptor, error) {
	repo, err := b.open(ctx, name, true)
	if err != nil {
		return ociregistry.Descriptor{}, err
	}
	if tag != "" && !ociref.IsValidTag(tag) {
		return ociregistry.Descriptor{}, ociregistry.NewError(fmt.Sprintf("%q is no tag", tag), "TAG_INVALID", nil)
	}
	h, size, err := v1.SHA256(bytes.NewReader(contents))
	if err != nil {
		return ociregistry.Descriptor{}, err
	}
	if err := repo.complete(types.MediaType(mediaType), contents); err != nil {
		return ociregistry.Descriptor{}, err
	}
	if err := writeFile(b.store.blobPath(h), contents); err != nil {
		return ociregistry.Descriptor{}, err
	}
	d := ociregistry.Descriptor{MediaType: mediaType, Digest: ociregistry.Digest(h.String()), Size: size}
	return d, repo.put(h, types.MediaType(mediaType), tag)
}

// complete says whether all that a manifest names is there.
func (r repository) complete(mediaType types.MediaType, contents []byte) error {
	invalid := func(err error) error {
		return ociregistry.NewError(fmt.Sprintf("manifest of %s: %v", r.name, err), "MANIFEST_INVALID", nil)
	}
	missing := func(h v1.Hash) error {
		return ociregistry.NewError(fmt.Sprintf("manifest of %s: it names %s, which was not pushed", r.name, h), "MANIFEST_BLOB_UNKNOWN", nil)
	}
	switch {
	case mediaType.IsIndex():
		index, err := v1.ParseIndexManifest(bytes.NewReader(contents))
		if err != nil {
			return invalid(err)
		}
		for _, m := range index.Manifests {
			if !r.has(m.Digest) {
				return missing(m.Digest)
			}
		}
	case mediaType.IsImage():
		manifest, err := v1.ParseManifest(bytes.NewReader(contents))
		if err != nil {
			return invalid(err)
		}
		for _, d := range append(manifest.Layers, manifest.Config) {
			if !d.MediaType.IsDistributable() {
				continue
			}
			if _, err := os.Stat(r.store.blobPath(d.Digest)); err != nil {
				return missing(d.Digest)
			}
		}
	default:
		return invalid(fmt.Errorf("media type %q is neither an image's nor an index's", mediaType))
	}
	return nil
}

func (b *backend) DeleteManifest(ctx context.Context, name string, digest ociregistry.Digest) error {
	repo, err := b.open(ctx, name, true)
	if err != nil {
		return err
	}
	h, err := hashOf(digest)
	if err != nil {
		return err
	}
	if !repo.has(h) {
		return ociregistry.ErrManifestUnknown
	}
	return repo.remove(h)
}

func (b *backend) DeleteTag(ctx context.Context, name, tag string) error {
	repo, err := b.open(ctx, name, true)
	if err != nil {
		return err
	}
	if _, ok := repo.tag(tag); !ok {
		return ociregistry.ErrManifestUnknown
	}
	return os.Remove(repo.path(tagsDir, tag))
}

func (b *backend) Repositories(ctx context.Context, startAfter string) iter.Seq2[string, error] {
	access, _ := ctx.Value(accessKey{}).(Access)
	if err := b.store.authorize(access); err != nil {
		return ociregistry.ErrorSeq[string](err)
	}
	return after(b.store.repositories(access.Host), startAfter)
}

func (b *backend) Tags(ctx context.Context, name, startAfter string) iter.Seq2[string, error] {
	repo, err := b.open(ctx, name, false)
	if err != nil {
		return ociregistry.ErrorSeq[string](err)
	}
	tags := repo.tags()
	if _, err := os.Stat(repo.path(manifestsDir)); err != nil {
		return ociregistry.ErrorSeq[string](ociregistry.ErrNameUnknown)
	}
	return after(tags, startAfter)
}

// after are the names of an ordered list behind one of them.
func after(names []string, start string) iter.Seq2[string, error] {
	i, found := slices.BinarySearch(names, start)
	if found {
		i++
	}
	return ociregistry.SliceSeq(names[i:])
}
