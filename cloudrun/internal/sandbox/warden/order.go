// Package warden is process 1 of a container of package sandbox: the program that
// imports it, run again with [Name] as its argv[0]. It makes the new namespaces
// habitable, starts the app in them, makes sockets for the process that started
// it, and waits for the app. Package sandbox says how that comes together.
//
// All this happens in the package's init. A program initialises its packages in
// the order of their paths, each after those that it imports; so this one
// imports neither package net nor what imports it, to have its turn before most
// of what a large program consists of.
package warden

import (
	"encoding/binary"
	"errors"
	"io/fs"
)

// Name is the argv[0] that makes a process a warden.
const Name = "otorun-sandbox"

// MaxFiles is the number of files a Cloud Run instance may have open.
const MaxFiles = 25_000

// The reports of a warden, and one to it: the first byte of each message.
const (
	ReportError   = 'E' // what [UnpackError] reads; the warden ends
	ReportDoors   = 'L' // the doors' sockets in order, [DoorsPerReport] a message
	ReportStarted = 'S' // a pidfd of the app: its exec is done
	ReportExit    = 'X' // the app's wait status in 4 bytes; the warden ends
	ReportLimits  = 'R' // to the warden: its limits are what the app's are to be
)

// DoorsPerReport keeps below SCM_MAX_FD, the descriptors one message can carry.
const DoorsPerReport = 200

// A request for a socket is one byte of these bits. The answer is a byte and the
// socket, or an errno in 4 bytes.
const (
	WantUDP = 1 << iota
	WantIPv6
)

// An Order is what a warden is told. Its fields are those of sandbox.Spec, whose
// checks it has passed.
type Order struct {
	Args, Env            []string
	Dir, Hostname, Root  string
	UID, GID             int
	Files                []File
	Doors                []Door
	HasStdout, HasStderr bool

	// AllIDs says that every id of the caller's is one of the container's too;
	// else there are UID and GID alone.
	AllIDs bool
	// CopyRoot has Root copied as if the kernel had no overlay for it.
	CopyRoot bool
	// Probe orders everything but the app: the warden exits instead.
	Probe bool
}

// A File is sandbox.File.
type File struct {
	Path     string
	Source   string
	Copy     bool
	Replace  bool
	Data     []byte
	Mode     fs.FileMode
	UID, GID int
}

// A Door is an address to listen on.
type Door struct {
	Name string // for errors
	UDP  bool
	IP   []byte // 4 or 16
	Port int
}

// Pack is the order as the bytes that a warden reads. Strings go as they are: an
// environment needn't be UTF-8.
func (o *Order) Pack() []byte {
	var p packer
	p.strings(o.Args)
	p.strings(o.Env)
	p.string(o.Dir)
	p.string(o.Hostname)
	p.string(o.Root)
	p.int(o.UID)
	p.int(o.GID)
	p.bool(o.AllIDs)
	p.bool(o.CopyRoot)
	p.bool(o.Probe)
	p.bool(o.HasStdout)
	p.bool(o.HasStderr)
	p.int(len(o.Files))
	for _, f := range o.Files {
		p.string(f.Path)
		p.string(f.Source)
		p.bool(f.Copy)
		p.bool(f.Replace)
		p.bytes(f.Data)
		p.int(int(f.Mode))
		p.int(f.UID)
		p.int(f.GID)
	}
	p.int(len(o.Doors))
	for _, d := range o.Doors {
		p.string(d.Name)
		p.bool(d.UDP)
		p.bytes(d.IP)
		p.int(d.Port)
	}
	return p
}

func unpack(b []byte) (o Order, err error) {
	u := unpacker{rest: b}
	o.Args = u.strings()
	o.Env = u.strings()
	o.Dir = u.string()
	o.Hostname = u.string()
	o.Root = u.string()
	o.UID = u.int()
	o.GID = u.int()
	o.AllIDs = u.bool()
	o.CopyRoot = u.bool()
	o.Probe = u.bool()
	o.HasStdout = u.bool()
	o.HasStderr = u.bool()
	for range u.count() {
		o.Files = append(o.Files, File{
			Path:    u.string(),
			Source:  u.string(),
			Copy:    u.bool(),
			Replace: u.bool(),
			Data:    u.bytes(),
			Mode:    fs.FileMode(u.int()),
			UID:     u.int(),
			GID:     u.int(),
		})
	}
	for range u.count() {
		o.Doors = append(o.Doors, Door{Name: u.string(), UDP: u.bool(), IP: u.bytes(), Port: u.int()})
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
