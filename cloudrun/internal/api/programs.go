package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Programs is images that nobody built: programs of this machine, in an empty file
// system. They are kept in a folder by what they are made of, so that a revision
// finds its own again in a later run.
type Programs struct{ dir string }

// NewPrograms returns those of a folder, which is made if it isn't there.
func NewPrograms(dir string) (*Programs, error) {
	return &Programs{dir}, os.MkdirAll(dir, 0o755)
}

// A program is an image with its name, as it is kept.
type program struct {
	Name  string
	Image Image
}

// tagLength is how much of a digest is a tag.
const tagLength = 12

// Add makes an image, whose files are copied, and returns what it is called: name
// with a tag that is short for what is in it.
func (p *Programs) Add(name string, image Image) (ref string, err error) {
	image.Files = slices.Clone(image.Files)
	for i := range image.Files {
		if image.Files[i].Source, err = p.keep(image.Files[i].Source); err != nil {
			return "", fmt.Errorf("image %s: %w", name, err)
		}
	}
	text, err := json.Marshal(program{name, image})
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(text)
	sum := hex.EncodeToString(hash[:])
	if err := replaceFile(filepath.Join(p.dir, sum+".json"), text); err != nil {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	return name + ":" + sum[:tagLength], nil
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
	missing := fmt.Errorf("%s: %w", ref, ErrNoImage)
	name := imageRepository(ref)
	sum := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(ref, name), "@sha256:"), ":")
	if sum == "" || strings.Trim(sum, "0123456789abcdef") != "" {
		return nil, missing
	}
	found, err := filepath.Glob(filepath.Join(p.dir, sum+"*.json"))
	if err != nil || len(found) != 1 {
		return nil, missing
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	var kept program
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	if kept.Name != name {
		return nil, missing
	}
	kept.Image.Digest = "sha256:" + strings.TrimSuffix(filepath.Base(found[0]), ".json")
	for i, f := range kept.Image.Files {
		kept.Image.Files[i].Source = filepath.Join(p.dir, f.Source)
	}
	return &kept.Image, nil
}

// Keep removes all but the images of these references, and files of none.
func (p *Programs) Keep(refs []string) error {
	used := make(map[string]bool)
	for _, ref := range refs {
		image, err := p.Resolve(context.Background(), ref)
		if err != nil {
			continue // another's
		}
		used[strings.TrimPrefix(image.Digest, "sha256:")+".json"] = true
		for _, f := range image.Files {
			used[filepath.Base(f.Source)] = true
		}
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !used[e.Name()] {
			errs = append(errs, os.Remove(filepath.Join(p.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
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
