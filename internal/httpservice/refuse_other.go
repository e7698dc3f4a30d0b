//go:build !linux

package httpservice

import "net"

// refuseNew does nothing here: connections are accepted until ln is closed.
func refuseNew(net.Listener) {}
