//go:build !linux

package sandbox

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
)

// Available reports whether containers can be started here: nil, or an error
// that wraps [ErrUnavailable] and says the way out.
func Available() error {
	return fmt.Errorf("sandbox: %w: containers need Linux, this is %s: run it in a Linux virtual machine (WSL 2, Lima, a remote one)", ErrUnavailable, runtime.GOOS)
}

// Start returns the error of [Available].
func Start(context.Context, Spec) (*Container, error) { return nil, Available() }

// A Container is a running container. There is none on this system.
type Container struct{}

// Listener returns nil.
func (c *Container) Listener(Address) net.Listener { return nil }

// PacketConn returns nil.
func (c *Container) PacketConn(Address) net.PacketConn { return nil }

// DialContext returns the error of [Available].
func (c *Container) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, Available()
}

// Signal returns the error of [Available].
func (c *Container) Signal(os.Signal) error { return Available() }

// Kill returns the error of [Available].
func (c *Container) Kill() error { return Available() }

// PID returns 0.
func (c *Container) PID() int { return 0 }

// Done returns nil.
func (c *Container) Done() <-chan struct{} { return nil }

// Wait returns a zero Exit.
func (c *Container) Wait() Exit { return Exit{} }

// Close returns nil.
func (c *Container) Close() error { return nil }
