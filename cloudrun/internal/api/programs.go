package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Programs is images that nobody built: programs of this machine, in an empty file
// system. They are kept in a folder by what they are made of, so that a revision
// finds its own again in a later run.
type Programs struct {
	dir string

	mu   sync.Mutex
	refs map[string]string // digests by reference
}

// NewPrograms returns those of a folder, which is made if it isn't there.
func NewPrograms(dir string) (*Programs, error) {
	return &Programs{dir: dir, refs: make(map[string]string)}, os.MkdirAll(dir, 0o755)
}

// Add makes an image, whose files are copied, and returns what it is called: name
// with a tag that is short for what is in it.
func (p *Programs) Add(name string, image Image) (ref string, err error) {
	image.Files = slices.Clone(image.Files)
	for i := range image.Files {
		if image.Files[i].Source, err = p.keep(image.Files[i].Source); err != nil {
			return "", fmt.Errorf("image %s: %w", name, err)
		}
	}
	text, err := json.Marshal(image)
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(text)
	sum := hex.EncodeToString(hash[:])
	if err := replaceFile(filepath.Join(p.dir, sum+".json"), text); err != nil {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	ref = name + ":" + sum[:12]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refs[ref] = "sha256:" + sum
	return ref, nil
}

// keep copies a file into the folder, named by what is in it, and returns the name.
func (p *Programs) keep(file string) (name string, err error) {
	in, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.CreateTemp(p.dir, ".new-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, hash), in)
	if err := errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		return "", err
	}
	name = hex.EncodeToString(hash.Sum(nil))
	return name, os.Rename(out.Name(), filepath.Join(p.dir, name))
}

// Resolve implements [Images].
func (p *Programs) Resolve(_ context.Context, ref string) (*Image, error) {
	name, digest, ok := strings.Cut(ref, "@")
	if !ok {
		p.mu.Lock()
		digest = p.refs[name]
		p.mu.Unlock()
		if digest == "" {
			return nil, fmt.Errorf("%s: %w", ref, ErrNoImage)
		}
	}
	sum := strings.TrimPrefix(digest, "sha256:")
	if _, err := hex.DecodeString(sum); err != nil || len(sum) != hex.EncodedLen(sha256.Size) {
		return nil, fmt.Errorf("%s: %w", ref, ErrNoImage)
	}
	text, err := os.ReadFile(filepath.Join(p.dir, sum+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", ref, ErrNoImage)
	}
	if err != nil {
		return nil, err
	}
	image := new(Image)
	if err := json.Unmarshal(text, image); err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	image.Digest = digest
	for i, f := range image.Files {
		image.Files[i].Source = filepath.Join(p.dir, f.Source)
	}
	return image, nil
}

// Several is images that are looked for in one place after the other.
type Several []Images

// Resolve implements [Images].
func (all Several) Resolve(ctx context.Context, ref string) (*Image, error) {
	for _, images := range all {
		if image, err := images.Resolve(ctx, ref); !errors.Is(err, ErrNoImage) {
			return image, err
		}
	}
	return nil, fmt.Errorf("%s: %w", ref, ErrNoImage)
}

// replaceFile writes a file whole, or not at all, for its owner to read.
func replaceFile(name string, text []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}
