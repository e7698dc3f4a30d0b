package instance

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/relay"
	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

// A wayOut is an address outside that an instance may connect to.
type wayOut struct {
	// outside is where it leads, name its host if that isn't an address.
	outside, name string
	// inside is where the container finds it.
	inside sandbox.Address
}

// waysOut gives each address outside one inside: its own, or for a name one of
// TEST-NET-2 (RFC 5737), which /etc/hosts has.
func waysOut(outside []string) ([]wayOut, error) {
	var ways []wayOut
	byName := make(map[string]netip.Addr)
	for _, addr := range outside {
		host, text, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("door %q: want HOST:PORT: %w", addr, err)
		}
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("door %q: %q is no port", addr, text)
		}
		w := wayOut{outside: addr}
		ip, err := netip.ParseAddr(host)
		if err != nil {
			w.name = host
			var known bool
			if ip, known = byName[host]; !known {
				if len(byName) == 254 {
					return nil, fmt.Errorf("door %q: there are too many", addr)
				}
				ip = netip.AddrFrom4([4]byte{198, 51, 100, byte(len(byName) + 1)})
				byName[host] = ip
			}
		}
		w.inside = sandbox.Address{Network: "tcp", AddrPort: netip.AddrPortFrom(ip, uint16(port))}
		ways = append(ways, w)
	}
	return ways, nil
}

// serve connects whoever comes to l with what is outside, until l is closed.
func (w wayOut) serve(l net.Listener) {
	for {
		inside, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer inside.Close()
			outside, err := net.DialTimeout("tcp", w.outside, 10*time.Second)
			if err != nil {
				return // the container sees its connection closed
			}
			relay.Join(context.Background(), inside, outside)
		}()
	}
}
