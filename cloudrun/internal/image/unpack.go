package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// How layers take away what those below them have.
// https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	aufs     = ".wh..wh." // what else starts so is of no meaning any more
)

// unpack makes the file system of an image in a new folder.
//
// Devices and pipes are left out: a container has those of its own. As root each
// file is its owner's. Else all are this process's, and a container has one user
// only, so each file's owner gets the rights that the image's user would have.
func unpack(img v1.Image, dir, user string) (err error) {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacker{root: root, directories: map[string]*tar.Header{".": {Mode: 0o755}}, owned: map[string]owner{}}
	for i, layer := range layers {
		if err := u.layer(layer); err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	return u.finish(user)
}

// An unpacker puts layers over each other, the lowest first.
type unpacker struct {
	root *os.Root
	// directories are those whose attributes are set at the end: they may forbid
	// to write in them.
	directories map[string]*tar.Header
	// owned are the files that aren't directories, where owners can't be set.
	owned map[string]owner
	// added is what the layer has brought so far: whiteouts don't concern it.
	added map[string]bool
}

type owner struct {
	mode     fs.FileMode
	uid, gid int
}

// ownersAreKept says whether this process can give files to others.
var ownersAreKept = os.Geteuid() == 0

func (u *unpacker) layer(layer v1.Layer) error {
	r, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	u.added = map[string]bool{}
	for entries := tar.NewReader(r); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			// What is behind the last entry belongs to what is verified.
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, entries); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// entry adds one of a layer's entries.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	dir, base := path.Split(path.Clean("/" + h.Name))
	if base == "" {
		if h.Typeflag == tar.TypeDir {
			u.directories["."] = h
		}
		return nil
	}
	if strings.HasPrefix(base, aufs) && base != opaque {
		return nil
	}
	dir, err := u.resolve(dir)
	if err != nil {
		return err
	}
	switch {
	case base == opaque:
		return u.empty(dir)
	case strings.HasPrefix(base, whiteout):
		name := path.Join(dir, strings.TrimPrefix(base, whiteout))
		if name == dir || u.added[name] {
			return nil
		}
		return u.remove(name)
	}
	if err := u.mkdirAll(dir); err != nil {
		return err
	}
	name := path.Join(dir, base)
	for n := name; n != "." && !u.added[n]; n = path.Dir(n) {
		u.added[n] = true
	}
	info, err := u.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.IsDir() && h.Typeflag == tar.TypeDir:
		u.directories[name] = h
		return nil
	default:
		if err := u.remove(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		u.directories[name] = h
		return u.root.Mkdir(name, 0o700)
	case tar.TypeReg:
		return u.file(name, h, content)
	case tar.TypeSymlink:
		// Wherever it leads: it is followed in a container only, and by resolve.
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return u.chown(name, h)
	case tar.TypeLink:
		to, err := u.resolve(path.Dir(path.Clean("/" + h.Linkname)))
		if err != nil {
			return err
		}
		to = path.Join(to, path.Base(h.Linkname))
		if err := u.root.Link(to, name); err != nil {
			return err
		}
		if o, ok := u.owned[to]; ok {
			u.owned[name] = o
		}
		return nil
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return nil
	}
	return fmt.Errorf("an entry of type %q: %w", h.Typeflag, errors.ErrUnsupported)
}

func (u *unpacker) file(name string, h *tar.Header, content io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return u.attributes(name, h)
}

// attributes sets a file's or directory's owner, mode and time.
func (u *unpacker) attributes(name string, h *tar.Header) error {
	if err := u.chown(name, h); err != nil {
		return err
	}
	// After chown, which takes the setuid bit away.
	mode := h.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if !ownersAreKept && h.Typeflag != tar.TypeDir {
		u.owned[name] = owner{mode, h.Uid, h.Gid}
	}
	if err := u.root.Chmod(name, mode); err != nil {
		return err
	}
	if h.ModTime.IsZero() {
		return nil
	}
	return u.root.Chtimes(name, h.ModTime, h.ModTime)
}

func (u *unpacker) chown(name string, h *tar.Header) error {
	if !ownersAreKept {
		return nil
	}
	return u.root.Lchown(name, h.Uid, h.Gid)
}

// finish sets what could not be set before.
func (u *unpacker) finish(user string) error {
	ids, err := lookUp(u.root, user)
	if err != nil {
		return err
	}
	if !ownersAreKept {
		for name, o := range u.owned {
			if err := u.root.Chmod(name, ids.rights(o)); err != nil {
				return err
			}
		}
	}
	// What is deepest first: the time of a directory changes with what is in it,
	// and it may forbid to go there.
	names := make([]string, 0, len(u.directories))
	for name := range u.directories {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	for _, name := range names {
		if name == "." {
			continue
		}
		if err := u.directory(name, ids); err != nil {
			return err
		}
	}
	return u.directory(".", ids)
}

func (u *unpacker) directory(name string, ids ids) error {
	h := *u.directories[name]
	if !ownersAreKept {
		h.Mode = h.Mode&^0o777 | int64(ids.rights(owner{fs.FileMode(h.Mode) & fs.ModePerm, h.Uid, h.Gid}))
	}
	return u.attributes(name, &h)
}

// empty removes what lower layers have in a directory.
func (u *unpacker) empty(dir string) error {
	f, err := u.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case !u.added[name]:
			if err := u.remove(name); err != nil {
				return err
			}
		case e.IsDir():
			if err := u.empty(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove removes what is at name, if there is anything.
func (u *unpacker) remove(name string) error {
	delete(u.owned, name)
	if _, ok := u.directories[name]; ok {
		for below := range u.directories {
			if below == name || strings.HasPrefix(below, name+"/") {
				delete(u.directories, below)
			}
		}
		for below := range u.owned {
			if strings.HasPrefix(below, name+"/") {
				delete(u.owned, below)
			}
		}
	}
	return u.root.RemoveAll(name)
}

// mkdirAll makes a directory that no layer has an entry for.
func (u *unpacker) mkdirAll(name string) error {
	if name == "." {
		return nil
	}
	info, err := u.root.Lstat(name)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		// A lower layer's file, which a higher one has a directory in place of.
		if err := u.remove(name); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := u.mkdirAll(path.Dir(name)); err != nil {
		return err
	}
	u.directories[name] = &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}
	return u.root.Mkdir(name, 0o700)
}

func (u *unpacker) resolve(dir string) (string, error) { return resolve(u.root, dir) }

// resolve follows the symbolic links in a path of the image as a process in a
// container does: an absolute one starts at the image's root, and none leads above
// that. What isn't there is taken as a directory.
func resolve(root *os.Root, name string) (string, error) {
	const most = 255 // links, before they are taken for a circle; Linux stops at 40
	resolved := "."
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			resolved = path.Dir(resolved)
			continue
		}
		next := path.Join(resolved, part)
		info, err := root.Lstat(next)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			resolved = next
			continue
		}
		if links++; links > most {
			return "", fmt.Errorf("%s: too many symbolic links", name)
		}
		to, err := root.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(to) {
			resolved = "."
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return resolved, nil
}

// removeAll is os.RemoveAll, also of directories that their owner may not write.
func removeAll(name string) error {
	err := os.RemoveAll(name)
	if err == nil {
		return nil
	}
	root, openErr := os.OpenRoot(name)
	if openErr != nil {
		return err
	}
	defer root.Close()
	open(root, ".")
	return os.RemoveAll(name)
}

// open makes all directories below name accessible.
func open(root *os.Root, name string) {
	_ = root.Chmod(name, 0o700)
	f, err := root.Open(name)
	if err != nil {
		return
	}
	entries, _ := f.ReadDir(-1)
	_ = f.Close()
	for _, e := range entries {
		if e.IsDir() {
			open(root, path.Join(name, e.Name()))
		}
	}
}
