package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Descriptors the warden is started with, behind 0, 1 and 2.
const (
	orderFD  = 3 + iota // a memfd with the order
	reportFD            // the warden reports here, a message a time
	dialFD              // Start's process asks for sockets here; its end is the warden's
)

// The reports of a warden, and one to it: the first byte of each message.
const (
	reportError   = 'E' // errno, then what was tried; the warden ends
	reportDoors   = 'L' // the listeners, as descriptors, some of them a message
	reportStarted = 'S' // a pidfd of the app: its exec is done
	reportExit    = 'X' // the app's wait status; the warden ends
	reportLimits  = 'R' // to the warden: its limits are what the app's are to be
)

// doorsPerReport keeps below SCM_MAX_FD, the descriptors one message can carry.
const doorsPerReport = 200

// An order is what the warden is told.
type order struct {
	Spec
	// allIDs says that every id of the caller's is one of the container's too;
	// else there are UID and GID alone.
	allIDs bool
	// probe orders everything but the app: the warden exits instead.
	probe bool
}

// check says what of a Spec can't be done anywhere.
func (o *order) check() error {
	if len(o.Args) == 0 && !o.probe {
		return errors.New("no command to run: name it in Spec.Args")
	}
	for _, s := range slices.Concat(o.Args, o.Env, []string{o.Dir, o.Hostname, o.Root}) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("a NUL byte in %q", s)
		}
	}
	if o.UID < 0 || o.GID < 0 {
		return fmt.Errorf("user %d, group %d: an id is 0 or more", o.UID, o.GID)
	}
	if !path.IsAbs(o.Dir) {
		return fmt.Errorf("working directory %q: want an absolute path", o.Dir)
	}
	for _, f := range o.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) == "/" || strings.ContainsRune(f.Path+f.Source, 0) {
			return fmt.Errorf("file %q: want an absolute path below /", f.Path)
		}
		if f.Copy && f.Mode.IsDir() {
			return fmt.Errorf("file %s: Copy is for files, %s can only be shown", f.Path, f.Source)
		}
	}
	for _, a := range o.Listen {
		if a.Network != "tcp" && a.Network != "udp" || !a.AddrPort.IsValid() || a.AddrPort.Addr().IsUnspecified() || a.AddrPort.Addr().Is4In6() || a.AddrPort.Addr().Zone() != "" {
			return fmt.Errorf("listen on %s: want tcp or udp and a single IP address with port", a)
		}
	}
	return nil
}

// pack is the order as the bytes that unpack reads. Strings go as they are: an
// environment needn't be UTF-8.
func (o *order) pack() []byte {
	var p packer
	p.strings(o.Args)
	p.strings(o.Env)
	p.string(o.Dir)
	p.string(o.Hostname)
	p.string(o.Root)
	p.int(o.UID)
	p.int(o.GID)
	p.bool(o.allIDs)
	p.bool(o.probe)
	p.bool(o.Stdout != nil)
	p.bool(o.Stderr != nil)
	p.int(len(o.Files))
	for _, f := range o.Files {
		p.string(f.Path)
		p.string(f.Source)
		p.bool(f.Copy)
		p.bytes(f.Data)
		p.int(int(f.Mode))
		p.int(f.UID)
		p.int(f.GID)
	}
	p.int(len(o.Listen))
	for _, a := range o.Listen {
		p.string(a.Network)
		p.string(a.AddrPort.String())
	}
	return p
}

// A wardenOrder is an order as the warden reads it.
type wardenOrder struct {
	order
	hasStdout, hasStderr bool
}

func unpack(b []byte) (o wardenOrder, err error) {
	u := unpacker{rest: b}
	o.Args = u.strings()
	o.Env = u.strings()
	o.Dir = u.string()
	o.Hostname = u.string()
	o.Root = u.string()
	o.UID = u.int()
	o.GID = u.int()
	o.allIDs = u.bool()
	o.probe = u.bool()
	o.hasStdout = u.bool()
	o.hasStderr = u.bool()
	for range u.count() {
		o.Files = append(o.Files, File{
			Path:   u.string(),
			Source: u.string(),
			Copy:   u.bool(),
			Data:   u.bytes(),
			Mode:   fs.FileMode(u.int()),
			UID:    u.int(),
			GID:    u.int(),
		})
	}
	for range u.count() {
		a := Address{Network: u.string()}
		a.AddrPort, _ = netip.ParseAddrPort(u.string())
		o.Listen = append(o.Listen, a)
	}
	if u.short || len(u.rest) > 0 {
		return o, errors.New("the order is not of this program's version")
	}
	return o, nil
}

type packer []byte

func (p *packer) int(v int)       { *p = binary.AppendVarint(*p, int64(v)) }
func (p *packer) bytes(b []byte)  { p.int(len(b)); *p = append(*p, b...) }
func (p *packer) string(s string) { p.int(len(s)); *p = append(*p, s...) }

func (p *packer) bool(b bool) {
	if b {
		p.int(1)
	} else {
		p.int(0)
	}
}

func (p *packer) strings(ss []string) {
	p.int(len(ss))
	for _, s := range ss {
		p.string(s)
	}
}

type unpacker struct {
	rest  []byte
	short bool
}

func (u *unpacker) int() int {
	v, n := binary.Varint(u.rest)
	if n <= 0 {
		u.rest, u.short = nil, true
		return 0
	}
	u.rest = u.rest[n:]
	return int(v)
}

// count is a number of things, each of which takes a byte or more.
func (u *unpacker) count() int {
	n := u.int()
	if n < 0 || n > len(u.rest) {
		u.rest, u.short = nil, true
		return 0
	}
	return n
}

func (u *unpacker) bytes() []byte {
	n := u.count()
	b := u.rest[:n:n]
	u.rest = u.rest[n:]
	return b
}

func (u *unpacker) bool() bool     { return u.int() != 0 }
func (u *unpacker) string() string { return string(u.bytes()) }

func (u *unpacker) strings() []string {
	var ss []string
	for range u.count() {
		ss = append(ss, u.string())
	}
	return ss
}
