// Package instance runs one instance of a revision: a container in a sandbox,
// with the environment, the file system and the doors of Cloud Run's container
// runtime contract.
//
// https://docs.cloud.google.com/run/docs/container-contract
package instance

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

// Addresses inside an instance.
var (
	// metadataAddr is Google Cloud's, for HTTP and DNS.
	metadataAddr = netip.MustParseAddr("169.254.169.254")
	// FrontDoorAddr is where all run.app hosts are: of TEST-NET-1 (RFC 5737), so
	// that it is nobody else's.
	FrontDoorAddr = netip.MustParseAddr("192.0.2.1")
	// ownAddr is the instance's. The ingress reaches the container there, so one
	// that listens on 127.0.0.1 alone is not found, as on Cloud Run.
	ownAddr = netip.MustParseAddr("169.254.8.1")
)

// Contract is Cloud Run's, by default.
const (
	defaultPort           = 8080
	defaultStartupTimeout = 240 * time.Second
	stopTimeout           = 10 * time.Second
)

// Spec says what to run.
type Spec struct {
	Service  string
	Revision string
	// Args is the command with its arguments.
	Args []string
	// Env is the container's own environment, as key=value.
	Env []string
	// Dir is its working directory.
	Dir string
	// UID and GID are its user.
	UID, GID int
	// Root is an unpacked image, if there is one, and Files what is put over it.
	Root  string
	Files []sandbox.File
	// Port is where it is to listen: 8080 if zero.
	Port int
	// Startup tells whether the container has started, and Liveness, if there is
	// one, whether it goes on well.
	Startup  Probe
	Liveness *Probe
	// Outside are addresses outside, host:port, that it may connect to.
	Outside []string
	// CABundle is the certificates that programs in it trust, as PEM.
	CABundle []byte
}

// Doors is what an instance can reach.
type Doors struct {
	// Metadata is the metadata server.
	Metadata http.Handler
	// DNS answers names, by packets and by connections, until both are closed.
	DNS func(net.PacketConn, net.Listener)
	// HTTP and HTTPS serve the front door's two ports until they are closed.
	HTTP, HTTPS func(net.Listener)
}

// Instance is a running instance.
type Instance struct {
	// ID is as the metadata server and the logs have it.
	ID string

	container *sandbox.Container
	port      int
	done      chan struct{}
	exit      sandbox.Exit
	stop      sync.Once

	mu        sync.Mutex
	unhealthy string
}

// StartupError says why a container did not come to listen.
type StartupError struct {
	Port   int
	Reason string
	// Log is the last lines that it wrote.
	Log []string
}

func (e *StartupError) Error() string {
	message := fmt.Sprintf("the container failed to start and listen on the port defined by PORT=%d: %s", e.Port, e.Reason)
	if len(e.Log) > 0 {
		message += "; its last lines: " + strings.Join(e.Log, " | ")
	}
	return message
}

// NewID returns an instance's ID, of the length that Cloud Run's have.
func NewID() string {
	b := make([]byte, 78)
	rand.Read(b)
	return "00" + hex.EncodeToString(b)
}

// Start starts an instance with the given id and returns when it listens. What it
// writes goes to stdout and stderr. The error is a [StartupError] if the container
// is to blame.
func Start(ctx context.Context, id string, spec Spec, doors Doors, stdout, stderr io.Writer) (*Instance, error) {
	if spec.Port == 0 {
		spec.Port = defaultPort
	}
	last := &tail{}
	tcp := func(addr netip.Addr, port uint16) sandbox.Address {
		return sandbox.Address{Network: "tcp", AddrPort: netip.AddrPortFrom(addr, port)}
	}
	udp := func(addr netip.Addr, port uint16) sandbox.Address {
		return sandbox.Address{Network: "udp", AddrPort: netip.AddrPortFrom(addr, port)}
	}
	ways, err := waysOut(spec.Outside)
	if err != nil {
		return nil, err
	}
	listen := []sandbox.Address{
		tcp(metadataAddr, 80), tcp(metadataAddr, 53), udp(metadataAddr, 53),
		tcp(FrontDoorAddr, 80), tcp(FrontDoorAddr, 443),
		udp(ownAddr, 9), // gives the instance its address
	}
	hosts := "127.0.0.1 localhost\n::1 localhost\n"
	for _, w := range ways {
		listen = append(listen, w.inside)
		if w.name != "" {
			hosts += w.inside.AddrPort.Addr().String() + " " + w.name + "\n"
		}
	}
	container, err := sandbox.Start(ctx, sandbox.Spec{
		Args:     spec.Args,
		Env:      environment(spec),
		Dir:      spec.Dir,
		UID:      spec.UID,
		GID:      spec.GID,
		Hostname: "localhost",
		Root:     spec.Root,
		Files:    slices.Concat(platformFiles(hosts, spec.CABundle), spec.Files),
		Listen:   listen,
		Stdout:   io.MultiWriter(last, stdout),
		Stderr:   io.MultiWriter(last, stderr),
	})
	if err != nil {
		return nil, fmt.Errorf("start a container of %s: %w", spec.Revision, err)
	}
	i := &Instance{ID: id, container: container, port: spec.Port, done: make(chan struct{})}
	metadata := &http.Server{Handler: doors.Metadata, ReadHeaderTimeout: 10 * time.Second}
	go metadata.Serve(container.Listener(tcp(metadataAddr, 80)))
	go doors.DNS(container.PacketConn(udp(metadataAddr, 53)), container.Listener(tcp(metadataAddr, 53)))
	go doors.HTTP(container.Listener(tcp(FrontDoorAddr, 80)))
	go doors.HTTPS(container.Listener(tcp(FrontDoorAddr, 443)))
	for _, w := range ways {
		go w.serve(container.Listener(w.inside))
	}
	go func() {
		i.exit = container.Wait()
		container.Close()
		metadata.Close()
		close(i.done)
	}()
	if err := i.waitToStart(ctx, spec.Startup.withDefaults(), last); err != nil {
		i.Stop()
		return nil, err
	}
	if spec.Liveness != nil {
		go i.keepAlive(spec.Liveness.withDefaults())
	}
	return i, nil
}

// otherBundles are where other distributions than Debian, whose place is always
// filled, have the certificates that programs trust.
var otherBundles = []string{
	"/etc/ssl/cert.pem",                                 // Alpine
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // the same, where the link leads
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
}

// platformFiles are put into every container, whatever its image has there.
func platformFiles(hosts string, bundle []byte) []sandbox.File {
	files := []sandbox.File{
		{Path: "/etc/resolv.conf", Data: []byte("nameserver " + metadataAddr.String() + "\nsearch google.internal\n")},
		{Path: "/etc/hosts", Data: []byte(hosts)},
		{Path: "/etc/ssl/certs/ca-certificates.crt", Data: bundle},
	}
	for _, name := range otherBundles {
		files = append(files, sandbox.File{Path: name, Data: bundle, Replace: true})
	}
	return files
}

// environment is the contract's and the container's own, which goes first where
// both say the same, but for the names that Cloud Run reserves.
func environment(spec Spec) []string {
	env := []string{
		"PORT=" + strconv.Itoa(spec.Port),
		"K_SERVICE=" + spec.Service,
		"K_REVISION=" + spec.Revision,
		"K_CONFIGURATION=" + spec.Service,
	}
	set := map[string]bool{"PORT": true, "K_SERVICE": true, "K_REVISION": true, "K_CONFIGURATION": true}
	for _, pair := range spec.Env {
		name, _, _ := strings.Cut(pair, "=")
		if !set[name] {
			set[name] = true
			env = append(env, pair)
		}
	}
	for _, pair := range []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home"} {
		if name, _, _ := strings.Cut(pair, "="); !set[name] {
			env = append(env, pair)
		}
	}
	return env
}

// Dial connects to the container's port.
func (i *Instance) Dial(ctx context.Context) (net.Conn, error) { return i.dial(ctx, i.port) }

func (i *Instance) dial(ctx context.Context, port int) (net.Conn, error) {
	return i.container.DialContext(ctx, "tcp", netip.AddrPortFrom(ownAddr, uint16(port)).String())
}

// Done is closed when the instance has ended.
func (i *Instance) Done() <-chan struct{} { return i.done }

// Exit is how the instance ended. It is to be asked when Done is closed.
func (i *Instance) Exit() string { return i.exit.String() }

// Stop ends the instance: with SIGTERM, and SIGKILL 10 s later. It returns when it
// has ended.
func (i *Instance) Stop() {
	i.stop.Do(func() {
		i.container.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(stopTimeout, func() { i.container.Kill() })
		defer kill.Stop()
		<-i.done
	})
	<-i.done
}

// Kill ends the instance at once.
func (i *Instance) Kill() {
	i.container.Kill()
	<-i.done
}

// tail keeps the last lines written.
type tail struct {
	mu   sync.Mutex
	last []string
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, strings.TrimSuffix(string(p), "\n"))
	if n := len(t.last); n > 10 {
		t.last = t.last[n-10:]
	}
	return len(p), nil
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.last...)
}
