// Package sandbox runs a container in Linux namespaces of its own, without root,
// a daemon, a network bridge or iptables, in about ten milliseconds:
//
//	metadata := sandbox.Address{Network: "tcp", AddrPort: netip.MustParseAddrPort("169.254.169.254:80")}
//	c, err := sandbox.Start(ctx, sandbox.Spec{
//		Args:   []string{"/taco"},
//		Env:    []string{"PORT=8080"},
//		Files:  []sandbox.File{{Path: "/taco", Source: "bin/tacoserver"}},
//		Listen: []sandbox.Address{metadata},
//		Stdout: os.Stdout,
//		Stderr: os.Stderr,
//	})
//	...
//	defer c.Close()
//	go http.Serve(c.Listener(metadata), metadataServer)
//	conn, err := c.DialContext(ctx, "tcp", "127.0.0.1:8080")
//
// The app is PID 1 of the container. It sees the files it was given and nothing
// else of the machine: its own processes, its own host name, and a network that
// is loopback alone. The only ways in and out are doors: listeners that are made
// inside the container and accepted on outside ([Spec.Listen]), and connections
// that are made inside and used outside ([Container.DialContext]).
//
// # How it works
//
// Start runs its own executable again as the warden, process 1 of new user, PID,
// mount, network, UTS, IPC and cgroup namespaces. The warden brings loopback up,
// makes the listeners, builds the file system on a tmpfs, hands the listeners
// out, and forks the app into one more PID namespace, where the app is process 1
// and the warden is not seen. Then it makes sockets when Start's process wants
// to dial, and waits for the app. A socket belongs to the network namespace that
// it was made in, whoever uses it, so nothing has to be forwarded.
//
// When the warden ends, the kernel kills every process in its PID namespace and
// the mounts and the network go with the last of them. The warden ends when the
// app does, when it is killed, and when its socket to Start's process closes:
// kill -9 of that process leaves nothing behind.
//
// # Programs that import it
//
// Because the executable is run again, every program that imports this package
// is a warden when its argv[0] says so. Package warden does that in its init, not
// in a function for main to call: a test binary needs no TestMain then, and most
// of what a large program initialises comes later and costs a container's start
// nothing.
//
// On other systems than Linux everything builds, [Available] says why there is
// no sandbox, and Start does the same: nothing ever runs half-isolated.
package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
)

// ErrUnavailable is wrapped by the errors of [Available] and [Start] when this
// machine gives no sandbox, whatever the container.
var ErrUnavailable = errors.New("no sandbox on this machine")

// Spec says what a container is. Only Args is needed.
type Spec struct {
	// Args is the command with its arguments. A name without a slash is looked
	// up in the PATH of Env, inside the container.
	Args []string
	// Env is the whole environment, as key=value.
	Env []string
	// Dir is the working directory, made where it is missing; "" means /.
	Dir string
	// UID and GID are the ids of the app. With 0 it has the capabilities that
	// containers have by convention, with others none. Where the caller isn't
	// root, the kernel lets it have only this one user and this one group in
	// the container: every file is the app's own (those that others own on
	// Cloud Run are made read-only for it instead, but for Root's), changing to
	// another id fails, and the caller's supplementary groups stay.
	UID, GID int
	// Hostname is the host name; "" means localhost.
	Hostname string
	// Root is a directory with an unpacked image. The container sees it with
	// its own changes over it, which are kept in memory; the directory stays as it
	// is. "" means an empty file system.
	Root string
	// Files are put into the file system, over what Root has there, in order.
	// /dev, /proc and /tmp are always made, and where neither Root nor Files
	// has them, so are /etc/passwd, group, hosts and nsswitch.conf.
	Files []File
	// Listen are the container's doors: addresses to listen on inside it, made
	// before the app starts. Addresses that aren't loopback's are added to the
	// container's loopback. A process in the container can't listen on a door's
	// port on all addresses, only on others, 127.0.0.1 for one.
	Listen []Address
	// Stdout and Stderr get what the container writes, each Write one line with
	// its newline; a line longer than 1 MiB comes in pieces of that size, and
	// the last may lack the newline. Writes to either are never concurrent with
	// writes to the other. A writer's error is not the container's: what it
	// doesn't take is dropped. Nil drops everything.
	Stdout, Stderr io.Writer

	copyRoot bool // as on a kernel without overlays for this
}

// A File is a file or directory in a container.
type File struct {
	// Path is where it is, absolute. Missing parents are made, with mode 0755.
	Path string
	// Source is the file or directory of this machine that it shows, read-only.
	Source string
	// Copy makes a file of the container's own of Source, which it may write,
	// instead of showing it.
	Copy bool
	// Replace puts it there only in place of what Root, or a File before, has.
	Replace bool
	// Data is the contents where there is no Source.
	Data []byte
	// Mode is its permissions, and fs.ModeDir makes a directory, empty or with
	// what Source has. Zero means 0644, or 0755 for a directory, or what Source
	// has for a copy. A shown Source keeps its own.
	Mode fs.FileMode
	// UID and GID own it; a shown Source keeps its own.
	UID, GID int
}

// An Address is where a door listens: Network is "tcp" or "udp".
type Address struct {
	Network  string
	AddrPort netip.AddrPort
}

// String returns the address as "tcp 169.254.169.254:80".
func (a Address) String() string { return a.Network + " " + a.AddrPort.String() }

// An Exit is how a container ended.
type Exit struct {
	// Code is the exit status of the app, 128 and the signal's number if a
	// signal ended it.
	Code int
	// Signal is the signal that ended the app, nil if it exited. The app is
	// process 1 of its PID namespace: only signals that it handles, and SIGKILL,
	// reach it.
	Signal os.Signal
}

// String returns "exit status 3" or "signal: killed".
func (e Exit) String() string {
	if e.Signal != nil {
		return "signal: " + e.Signal.String()
	}
	return fmt.Sprintf("exit status %d", e.Code)
}
