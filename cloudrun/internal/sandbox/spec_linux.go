package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/amammay/otorun/cloudrun/internal/sandbox/warden"
)

// check says what of a Spec can't be done anywhere.
func (s *Spec) check() error {
	if len(s.Args) == 0 {
		return errors.New("no command to run: name it in Spec.Args")
	}
	for _, text := range slices.Concat(s.Args, s.Env, []string{s.Dir, s.Hostname, s.Root}) {
		if strings.ContainsRune(text, 0) {
			return fmt.Errorf("a NUL byte in %q", text)
		}
	}
	if s.UID < 0 || s.GID < 0 {
		return fmt.Errorf("user %d, group %d: an id is 0 or more", s.UID, s.GID)
	}
	if s.Dir != "" && !path.IsAbs(s.Dir) {
		return fmt.Errorf("working directory %q: want an absolute path", s.Dir)
	}
	for _, f := range s.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) == "/" || strings.ContainsRune(f.Path+f.Source, 0) {
			return fmt.Errorf("file %q: want an absolute path below /", f.Path)
		}
		if f.Copy && f.Mode.IsDir() {
			return fmt.Errorf("file %s: Copy is for files, %s can only be shown", f.Path, f.Source)
		}
	}
	for _, a := range s.Listen {
		if a.Network != "tcp" && a.Network != "udp" || !a.AddrPort.IsValid() || a.AddrPort.Addr().IsUnspecified() || a.AddrPort.Addr().Is4In6() || a.AddrPort.Addr().Zone() != "" {
			return fmt.Errorf("listen on %s: want tcp or udp and a single IP address with port", a)
		}
	}
	return nil
}

// order is the Spec as a warden is told it.
func (s *Spec) order() *warden.Order {
	o := &warden.Order{
		Args: s.Args, Env: s.Env, Dir: cmp.Or(s.Dir, "/"), Hostname: cmp.Or(s.Hostname, "localhost"), Root: s.Root, CopyRoot: s.copyRoot,
		UID: s.UID, GID: s.GID, HasStdout: s.Stdout != nil, HasStderr: s.Stderr != nil,
	}
	for _, f := range s.Files {
		o.Files = append(o.Files, warden.File(f))
	}
	for _, a := range s.Listen {
		o.Doors = append(o.Doors, warden.Door{
			Name: a.String(), UDP: a.Network == "udp", IP: a.AddrPort.Addr().AsSlice(), Port: int(a.AddrPort.Port()),
		})
	}
	return o
}
