package supervise

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// A User is whom to run the app as.
type User struct {
	Name   string // empty for an id without an entry in the user database
	UID    uint32
	GID    uint32
	Groups []uint32 // all, GID among them
	Home   string
}

// LookupUser reads NAME, UID, NAME:GROUP or UID:GID. A name brings its groups from
// the user database. An id needn't be there: then its group is the same number,
// not root's, and it has no other. A group that is named is the only one.
func LookupUser(spec string) (*User, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	u := &User{}
	entry, err := user.Lookup(name)
	if uid, perr := strconv.ParseUint(name, 10, 32); perr == nil {
		u.UID, u.GID = uint32(uid), uint32(uid)
		entry, err = user.LookupId(name)
	} else if err != nil {
		return nil, fmt.Errorf("-user %q: no such user in the user database; an id, such as 65534, needs no entry", spec)
	}
	if err == nil {
		u.Name, u.Home = entry.Username, entry.HomeDir
		if u.UID, err = id(entry.Uid); err != nil {
			return nil, fmt.Errorf("-user %q: id in the user database: %w", spec, err)
		}
		if u.GID, err = id(entry.Gid); err != nil {
			return nil, fmt.Errorf("-user %q: group in the user database: %w", spec, err)
		}
		if !hasGroup {
			ids, err := entry.GroupIds()
			if err != nil {
				return nil, fmt.Errorf("-user %q: its groups: %w", spec, err)
			}
			for _, s := range ids {
				if g, err := id(s); err == nil {
					u.Groups = append(u.Groups, g)
				}
			}
		}
	}
	if hasGroup {
		if u.GID, err = id(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return nil, fmt.Errorf("-user %q: no such group %q in the group database", spec, group)
			}
			if u.GID, err = id(g.Gid); err != nil {
				return nil, fmt.Errorf("-user %q: group: %w", spec, err)
			}
		}
	}
	if !slices.Contains(u.Groups, u.GID) {
		u.Groups = append([]uint32{u.GID}, u.Groups...)
	}
	return u, nil
}

func id(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}

// isCurrent reports whether this process runs as u already and couldn't change
// anything about it.
func (u *User) isCurrent() bool { return os.Getuid() != 0 && os.Getuid() == int(u.UID) }

// Environ returns env for u: HOME, USER and LOGNAME are its own if the user
// database knows them.
func (u *User) Environ(env []string) []string {
	if u.Name == "" {
		return env
	}
	return SetEnv(env, "HOME="+u.Home, "USER="+u.Name, "LOGNAME="+u.Name)
}

// SetEnv returns env with pairs NAME=VALUE in place of what it had for the names.
func SetEnv(env []string, pairs ...string) []string {
	out := make([]string, 0, len(env)+len(pairs))
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if !slices.ContainsFunc(pairs, func(p string) bool { return strings.HasPrefix(p, name+"=") }) {
			out = append(out, e)
		}
	}
	return append(out, pairs...)
}

func (u *User) String() string {
	if u.Name != "" {
		return fmt.Sprintf("%s (%d:%d)", u.Name, u.UID, u.GID)
	}
	return fmt.Sprintf("%d:%d", u.UID, u.GID)
}
