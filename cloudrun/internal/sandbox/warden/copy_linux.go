package warden

import (
	"errors"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// copyTree copies what is in the directory from into the directory to, and the
// attributes of from itself. Owners are kept where a process may give files away;
// devices and sockets are left out.
func copyTree(from, to string, owners bool) error {
	c := copier{owners: owners, links: map[uint64]string{}}
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	if err := c.directory(from, to); err != nil {
		return err
	}
	return attributes(to, &st, owners)
}

type copier struct {
	owners bool
	links  map[uint64]string // where a file with several names is already, by its inode
}

func (c *copier) directory(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.entry(path.Join(from, e.Name()), path.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (c *copier) entry(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: from, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := os.Mkdir(to, 0o700); err != nil {
			return err
		}
		if err := c.directory(from, to); err != nil {
			return err
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil {
			return err
		}
		if c.owners {
			return os.Lchown(to, int(st.Uid), int(st.Gid))
		}
		return nil
	case unix.S_IFREG:
		if st.Nlink > 1 {
			if first, ok := c.links[st.Ino]; ok {
				return os.Link(first, to)
			}
			c.links[st.Ino] = to
		}
		if err := copyFile(from, to); err != nil {
			return err
		}
	default:
		return nil
	}
	return attributes(to, &st, c.owners)
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// attributes gives a file or directory the owner, mode and time of another.
func attributes(name string, st *unix.Stat_t, owners bool) error {
	if owners {
		if err := os.Lchown(name, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := unix.Chmod(name, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: name, Err: err}
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{st.Mtim, st.Mtim}, 0); err != nil {
		return &os.PathError{Op: "set the time of", Path: name, Err: err}
	}
	return nil
}
