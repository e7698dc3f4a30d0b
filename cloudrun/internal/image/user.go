package image

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// ids are a user's.
type ids struct{ uid, gid int }

// A tree is an unpacked image.
type tree struct {
	dir string
	ids
}

func openTree(dir, user string) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	ids, err := lookUp(root, user)
	return &tree{dir, ids}, err
}

// lookUp is what an image's USER means: a name or a number, and behind a colon the
// same for the group. A name that /etc/passwd hasn't is root, as on Cloud Run.
func lookUp(root *os.Root, user string) (ids, error) {
	userName, groupName, _ := strings.Cut(user, ":")
	var i ids
	uid, err := strconv.Atoi(userName)
	numeric := err == nil && uid >= 0
	if numeric {
		i.uid = uid
	}
	if userName != "" {
		err := lines(root, "/etc/passwd", func(fields []string) bool {
			if len(fields) < 4 || fields[0] != userName && !(numeric && fields[2] == userName) {
				return false
			}
			i.uid, i.gid = atoi(fields[2]), atoi(fields[3])
			return true
		})
		if err != nil {
			return i, err
		}
	}
	if groupName == "" {
		return i, nil
	}
	if gid, err := strconv.Atoi(groupName); err == nil && gid >= 0 {
		i.gid = gid
		return i, nil
	}
	i.gid = 0
	return i, lines(root, "/etc/group", func(fields []string) bool {
		if len(fields) < 3 || fields[0] != groupName {
			return false
		}
		i.gid = atoi(fields[2])
		return true
	})
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return max(n, 0)
}

// lines calls found with the fields of each line of a file of the image, if there
// is one, until it says true.
func lines(root *os.Root, name string, found func(fields []string) bool) error {
	name, err := resolve(root, name)
	if err != nil {
		return err
	}
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text := bufio.NewScanner(f)
	for text.Scan() {
		if found(strings.Split(text.Text(), ":")) {
			return nil
		}
	}
	return text.Err()
}

// rights are the permissions that a file's only user gets, so that it may do with
// it what it may as one of several.
func (i ids) rights(o owner) fs.FileMode {
	if i.uid == 0 || i.uid == o.uid {
		return o.mode // root may do all
	}
	class := o.mode & 0o007
	if i.gid == o.gid {
		class = o.mode & 0o070 >> 3
	}
	return o.mode&^0o700 | class<<6
}
