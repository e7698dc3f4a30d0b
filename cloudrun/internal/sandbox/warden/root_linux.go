package warden

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// base is where the new root is mounted before it becomes the root. The warden
// needs nothing that is below it; everything else it has open already.
const base = "/proc"

// devices are the machine's devices that a container has.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// A root builds the container's file system and makes it the warden's root.
type root struct {
	order *Order

	// What is taken from the machine is opened before its file system is out of
	// reach, under the index in order.Files.
	image   int // order.Root, as a mount
	devices []int
	trees   map[int]int      // shown, as mounts
	copies  map[int]*os.File // to be copied

	machine int    // the machine's root directory
	path    string // the container's, there
}

// build does all but what needs /proc of the app's PID namespace; finish does
// that.
func (r *root) build() error {
	// From here on no mount made here is seen outside.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	unix.Umask(0)
	if err := r.open(); err != nil {
		return err
	}
	if err := r.enter(); err != nil {
		return err
	}
	if err := r.directories(); err != nil {
		return err
	}
	if err := r.dev(); err != nil {
		return err
	}
	for i, f := range r.order.Files {
		if err := r.file(i, f); err != nil {
			return fmt.Errorf("put %s into the container: %w", f.Path, err)
		}
	}
	return r.defaults()
}

// open opens what is taken from the machine.
func (r *root) open() (err error) {
	for _, name := range devices {
		fd, err := openTree("/dev/"+name, 0)
		if err != nil {
			return err
		}
		r.devices = append(r.devices, fd)
	}
	if r.order.Root != "" {
		if r.image, err = openTree(r.order.Root, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID); err != nil {
			return err
		}
	}
	r.trees, r.copies = map[int]int{}, map[int]*os.File{}
	for i, f := range r.order.Files {
		switch {
		case f.Source == "":
		case f.Copy:
			r.copies[i], err = os.Open(f.Source)
		default:
			r.trees[i], err = openTree(f.Source, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openTree returns a mount of its own, attached nowhere yet, of a file or
// directory of the machine.
func openTree(name string, attr uint64) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	if attr != 0 {
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attr}); err != nil {
			return -1, fmt.Errorf("make the mount of %s read-only: %w", name, err)
		}
	}
	return fd, nil
}

// attach mounts what openTree opened.
func attach(fd int, at string) error {
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %s: %w", at, err)
	}
	return unix.Close(fd)
}

// enter makes a tmpfs, or with an image an overlay on one, the warden's root.
func (r *root) enter() error {
	if err := unix.Mount("tmpfs", base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=%o", r.mode(0o755, 0))); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	r.path = base
	if r.order.Root != "" {
		for _, dir := range []string{"image", "changes", "work", "root"} {
			if err := os.Mkdir(path.Join(base, dir), 0o755); err != nil {
				return err
			}
		}
		if err := attach(r.image, base+"/image"); err != nil {
			return err
		}
		r.path = base + "/root"
		if err := r.overlay(); err != nil {
			if err := unix.Mount("tmpfs", r.path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
				return fmt.Errorf("mount a tmpfs: %w", err)
			}
			if err := copyTree(base+"/image", r.path, r.order.AllIDs); err != nil {
				return fmt.Errorf("copy the image %s: %w", r.order.Root, err)
			}
			if err := unix.Unmount(base+"/image", unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount the image %s: %w", r.order.Root, err)
			}
		}
	}
	var err error
	if r.machine, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open the machine's root: %w", err)
	}
	// Not pivot_root yet: a new /proc may be mounted only while the old one is
	// there, and the old root stacked over the new one would be what /.. leads
	// to, in a link of the image for one.
	if err := unix.Chroot(r.path); err != nil {
		return fmt.Errorf("chroot to the new root: %w", err)
	}
	// All paths are the container's from here on, its symbolic links too.
	return unix.Chdir("/")
}

// overlay mounts the image with changes kept in the tmpfs. Where the kernel
// hasn't all of that for a user namespace, the image is copied instead: Linux
// before 5.11 has no overlays there, and before 6.6 a tmpfs has no attributes, with
// which an overlay marks a directory that replaces one of the image.
func (r *root) overlay() error {
	if r.order.CopyRoot {
		return errors.ErrUnsupported
	}
	if err := unix.Setxattr(base+"/changes", "user.otorun", nil, 0); err != nil {
		return err
	}
	// The owner and the mode of / are those of the upper directory.
	var st unix.Stat_t
	if err := unix.Stat(base+"/image", &st); err != nil {
		return err
	}
	if err := attributes(base+"/changes", &st, r.order.AllIDs); err != nil {
		return err
	}
	options := fmt.Sprintf("userxattr,lowerdir=%[1]s/image,upperdir=%[1]s/changes,workdir=%[1]s/work", base)
	return unix.Mount("overlay", r.path, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options)
}

// directories makes those that every container has.
func (r *root) directories() error {
	for _, dir := range []struct {
		path string
		mode fs.FileMode
	}{
		{"/proc", 0o555},
		{"/etc", 0o755},
		{"/tmp", 0o777 | fs.ModeSticky},
		{r.order.Dir, 0o755},
	} {
		if err := r.mkdir(dir.path, dir.mode, 0, 0); err != nil {
			return err
		}
	}
	return nil
}

// dev makes /dev anew, whatever the image has there.
func (r *root) dev() error {
	if err := r.mkdir("/dev", 0o755, 0, 0); err != nil {
		return err
	}
	if r.order.Root != "" {
		if err := unix.Mount("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, fmt.Sprintf("mode=%o", r.mode(0o755, 0))); err != nil {
			return fmt.Errorf("mount a tmpfs on /dev: %w", err)
		}
	}
	for i, name := range devices {
		if err := touch("/dev/" + name); err != nil {
			return err
		}
		if err := attach(r.devices[i], "/dev/"+name); err != nil {
			return err
		}
	}
	if err := r.mkdir("/dev/shm", 0o777|fs.ModeSticky, 0, 0); err != nil {
		return err
	}
	if err := r.mkdir("/dev/pts", 0o755, 0, 0); err != nil {
		return err
	}
	if err := unix.Mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
		return fmt.Errorf("mount /dev/pts: %w", err)
	}
	for name, to := range map[string]string{
		"ptmx":   "pts/ptmx",
		"fd":     "/proc/self/fd",
		"stdin":  "/proc/self/fd/0",
		"stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return err
		}
	}
	return nil
}

// file puts one of the Spec's files in.
func (r *root) file(i int, f File) error {
	if f.Replace {
		if _, err := os.Stat(f.Path); err != nil {
			return nil
		}
	}
	if err := r.mkdir(path.Dir(f.Path), 0o755, 0, 0); err != nil {
		return err
	}
	perm := f.Mode & (fs.ModePerm | fs.ModeSticky)
	tree, shown := r.trees[i]
	switch {
	case shown:
		var st unix.Stat_t
		if err := unix.Fstat(tree, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if err := r.mkdir(f.Path, 0o755, 0, 0); err != nil {
				return err
			}
		} else {
			if err := removeFile(f.Path); err != nil {
				return err
			}
			if err := touch(f.Path); err != nil {
				return err
			}
		}
		return attach(tree, f.Path)
	case f.Mode.IsDir():
		if perm == 0 {
			perm = 0o755
		}
		return r.mkdir(f.Path, perm, f.UID, f.GID)
	case f.Copy:
		from := r.copies[i]
		defer from.Close()
		if perm == 0 {
			info, err := from.Stat()
			if err != nil {
				return err
			}
			perm = info.Mode().Perm()
		}
		return r.write(f.Path, perm, f.UID, f.GID, func(to *os.File) error {
			_, err := io.Copy(to, from)
			return err
		})
	default:
		if perm == 0 {
			perm = 0o644
		}
		return r.write(f.Path, perm, f.UID, f.GID, func(to *os.File) error {
			_, err := to.Write(f.Data)
			return err
		})
	}
}

// defaults writes the files of /etc that programs look for and that neither the
// image nor the Spec has.
func (r *root) defaults() error {
	uid, gid := r.order.UID, r.order.GID
	passwd, group := "root:x:0:0:root:/:/sbin/nologin\n", "root:x:0:\n"
	if uid != 0 {
		passwd += fmt.Sprintf("app:x:%d:%d:app:/:/sbin/nologin\n", uid, gid)
	}
	if gid != 0 {
		group += fmt.Sprintf("app:x:%d:\n", gid)
	}
	for name, text := range map[string]string{
		"/etc/passwd":        passwd,
		"/etc/group":         group,
		"/etc/hosts":         "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 " + r.order.Hostname + "\n",
		"/etc/nsswitch.conf": "hosts: files dns\n",
	} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		err := r.write(name, 0o644, 0, 0, func(to *os.File) error {
			_, err := to.WriteString(text)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Of /proc, what says or changes something of the whole machine is out of reach,
// as containers have it by convention.
var (
	procReadOnly = []string{"bus", "fs", "irq", "sys", "sysrq-trigger"}
	procHidden   = []string{"acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"}
)

// finish closes /proc, which the app's process has mounted by now, and gives the
// machine's file system up.
func (r *root) finish() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, name := range procReadOnly {
		name = "/proc/" + name
		if err := unix.Mount(name, name, "", unix.MS_BIND, ""); errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return fmt.Errorf("mount %s: %w", name, err)
		}
		if err := unix.Mount("", name, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", name, err)
		}
	}
	for _, name := range procHidden {
		name = "/proc/" + name
		info, err := os.Lstat(name)
		if err != nil {
			continue
		}
		if info.IsDir() {
			err = unix.Mount("tmpfs", name, "tmpfs", unix.MS_RDONLY|flags, "size=0,mode=555")
		} else {
			err = unix.Mount("/dev/null", name, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
	}
	// The app's process was forked with the container's root and keeps it.
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"go back to the machine's root", func() error { return unix.Fchdir(r.machine) }},
		{"chroot to the machine's root", func() error { return unix.Chroot(".") }},
		{"change to the new root", func() error { return unix.Chdir(r.path) }},
		{"pivot_root", func() error { return unix.PivotRoot(".", ".") }},
		{"unmount the machine's file system", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
		{"change to /", func() error { return unix.Chdir("/") }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return unix.Close(r.machine)
}

// mode is a permission as a file of uid gets it. Where there is one id, the app
// owns every file; what it wouldn't own loses the owner's right to write.
func (r *root) mode(m fs.FileMode, uid int) fs.FileMode {
	if !r.order.AllIDs && uid != r.order.UID && m&0o002 == 0 {
		m &^= 0o222
	}
	return m
}

func (r *root) chown(name string, uid, gid int) error {
	if !r.order.AllIDs || uid == 0 && gid == 0 {
		return nil
	}
	return os.Lchown(name, uid, gid)
}

// mkdir makes a directory with mode and owner where there is none, and its
// parents.
func (r *root) mkdir(name string, mode fs.FileMode, uid, gid int) error {
	if info, err := os.Stat(name); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: unix.ENOTDIR}
		}
		return nil
	}
	if parent := path.Dir(name); parent != name {
		if err := r.mkdir(parent, 0o755, 0, 0); err != nil {
			return err
		}
	}
	if err := os.Mkdir(name, r.mode(mode, uid)); err != nil {
		return err
	}
	return r.chown(name, uid, gid)
}

// write makes a file, in place of one that is there.
func (r *root) write(name string, mode fs.FileMode, uid, gid int, fill func(*os.File) error) error {
	if err := removeFile(name); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, r.mode(mode, uid))
	if err != nil {
		return err
	}
	if err := errors.Join(fill(f), f.Close()); err != nil {
		return err
	}
	return r.chown(name, uid, gid)
}

// removeFile removes what is at name, if it isn't a directory: a link must not
// lead elsewhere what is put there.
func removeFile(name string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return &fs.PathError{Op: "create", Path: name, Err: unix.EISDIR}
	}
	return os.Remove(name)
}

// touch makes an empty file to mount on.
func touch(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// lookPath finds the app's command in the container.
func lookPath(o *Order) (string, error) {
	name := o.Args[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	dirs := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range o.Env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			dirs = value
		}
	}
	for _, dir := range strings.Split(dirs, ":") {
		file := path.Join(o.Dir, dir, name)
		if path.IsAbs(dir) {
			file = path.Join(dir, name)
		}
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("find %s in the container's PATH %s: %w", name, dirs, unix.ENOENT)
}
