// Package resolvconf reads resolv.conf and points it at runsd, keeping what else
// it says, and puts it back.
//
//	was, _ := os.ReadFile("/etc/resolv.conf")
//	conf := resolvconf.Parse(was)
//	resolvconf.Write("/etc/resolv.conf", resolvconf.Rewrite(was, servers, "run.internal", 1))
//
// The file's lines are described in resolv.conf(5).
package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Conf is what runsd needs of a resolv.conf.
type Conf struct {
	Nameservers []netip.Addr
	Search      []string
}

// Parse reads a resolv.conf. As in libc, the last of its search and domain lines
// wins, and lines it doesn't understand are passed over.
func Parse(data []byte) Conf {
	var c Conf
	for line := range strings.Lines(string(data)) {
		key, args := split(line)
		switch {
		case key == "nameserver" && len(args) > 0:
			if addr, err := netip.ParseAddr(args[0]); err == nil {
				c.Nameservers = append(c.Nameservers, addr)
			}
		case key == "search":
			c.Search = args
		case key == "domain" && len(args) > 0:
			c.Search = args[:1]
		}
	}
	return c
}

// Rewrite returns data with its nameservers replaced by servers, zone put before
// its search list, and ndots set. All other lines and options stay.
func Rewrite(data []byte, servers []netip.Addr, zone string, ndots int) []byte {
	var out bytes.Buffer
	for _, s := range servers {
		fmt.Fprintf(&out, "nameserver %s\n", s)
	}
	search := []string{zone}
	for _, s := range Parse(data).Search {
		if !strings.EqualFold(strings.TrimSuffix(s, "."), zone) {
			search = append(search, s)
		}
	}
	fmt.Fprintf(&out, "search %s\n", strings.Join(search, " "))
	for line := range strings.Lines(string(data)) {
		key, args := split(line)
		switch key {
		case "nameserver", "search", "domain", "":
			if key == "" && strings.TrimSpace(line) != "" {
				fmt.Fprintln(&out, strings.TrimRight(line, "\r\n"))
			}
		case "options":
			args = slices.DeleteFunc(args, func(o string) bool { return strings.HasPrefix(o, "ndots:") })
			if len(args) > 0 {
				fmt.Fprintf(&out, "options %s\n", strings.Join(args, " "))
			}
		default:
			fmt.Fprintln(&out, strings.TrimRight(line, "\r\n"))
		}
	}
	fmt.Fprintf(&out, "options ndots:%d\n", ndots)
	return out.Bytes()
}

// split returns a line's first word and the others; the word is empty for a
// blank line and a comment.
func split(line string) (key string, args []string) {
	fields := strings.Fields(line)
	if len(fields) == 0 || fields[0][0] == '#' || fields[0][0] == ';' {
		return "", nil
	}
	return fields[0], fields[1:]
}

// Writable reports, by an error, why the file at path can't be written in place.
func Writable(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// Write puts data into the file at path, in place: in a container resolv.conf is
// a bind mount, and a rename over it is refused with EBUSY. Readers never see an
// empty file; it shrinks only after the new lines are in.
func Write(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Truncate(int64(len(data)))
	}
	return errors.Join(err, f.Close())
}

// Restore puts was back into the file at path if it still holds what runsd
// wrote; what somebody else has written since stays.
func Restore(path string, wrote, was []byte) error {
	now, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, wrote) {
		return nil
	}
	return Write(path, was)
}
