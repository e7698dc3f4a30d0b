// Package relay joins two connections into one.
package relay

import (
	"context"
	"io"
	"net"
	"sync"
)

// Join copies both ways between two connections until each has said all, or ctx
// is done, and closes both. The end of one direction is passed on by itself where
// the connection can be half closed.
func Join(ctx context.Context, a, b net.Conn) {
	shut := func() {
		a.Close()
		b.Close()
	}
	defer shut()
	defer context.AfterFunc(ctx, shut)()
	var copying sync.WaitGroup
	forward := func(to, from net.Conn) {
		io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		} else {
			to.Close()
		}
	}
	copying.Go(func() { forward(a, b) })
	copying.Go(func() { forward(b, a) })
	copying.Wait()
}
