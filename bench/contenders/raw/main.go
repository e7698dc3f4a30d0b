// Raw makes the load for servers over HTTP/1.1: it writes requests made before to
// TCP connections of its own, one for each caller, and reads the answers with as
// little work as will do, so that as much as possible of the machine is left to the
// server.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/work"
)

func main() {
	clients := make(map[string]func(contender.Options) (contender.Call, error))
	for variant, wire := range work.Wires {
		clients[variant] = func(o contender.Options) (contender.Call, error) { return client(o, wire) }
	}
	contender.Program{Clients: clients}.Main()
}

func client(o contender.Options, wire work.Wire) (contender.Call, error) {
	addr, ok := strings.CutPrefix(o.To, "http://")
	if !ok {
		return nil, fmt.Errorf("%s: want http://HOST:PORT", o.To)
	}
	body := wire.Body(o.Size)
	accept := ""
	if o.Gzip {
		accept = "Accept-Encoding: gzip\r\n"
	}
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n", wire.Path, addr, wire.ContentType, accept, len(body))
	request = append(request, body...)
	conns := make([]*conn, o.Callers)
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		conns[i] = &conn{Conn: c, in: bufio.NewReaderSize(c, 32<<10)}
	}
	want := []byte(o.Size.Want())
	return func(ctx context.Context, caller int) error {
		c := conns[caller]
		if !c.used { // a deadline for each call would cost as much as the call
			deadline, _ := ctx.Deadline()
			if err := c.SetDeadline(deadline.Add(time.Hour)); err != nil {
				return err
			}
		}
		if _, err := c.Write(request); err != nil {
			return err
		}
		answer, err := c.read()
		if err != nil {
			return err
		}
		if c.packed {
			if c.used {
				return nil // unpacked once, which costs more than the call
			}
			r, err := gzip.NewReader(bytes.NewReader(answer))
			if err != nil {
				return err
			}
			if answer, err = io.ReadAll(r); err != nil {
				return err
			}
		}
		c.used = true
		if !bytes.Contains(answer, want) {
			return fmt.Errorf("%s answered %.100q", wire.Path, answer)
		}
		return nil
	}, nil
}

// conn is a connection and what its answers are read with.
type conn struct {
	net.Conn
	in     *bufio.Reader
	body   bytes.Buffer
	packed bool
	used   bool
}

// read returns the body of an answer of status 200.
func (c *conn) read() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		rest, _ := c.in.Peek(c.in.Buffered())
		return nil, fmt.Errorf("answer %.300q", string(line)+string(rest))
	}
	length, chunked := -1, false
	c.packed = false
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return nil, err
		}
		if len(line) == 2 {
			break
		}
		switch {
		case hasName(line, "content-length:"):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len("content-length:"):]))); err != nil {
				return nil, err
			}
		case hasName(line, "transfer-encoding:"):
			chunked = true
		case hasName(line, "content-encoding:"):
			c.packed = true
		}
	}
	c.body.Reset()
	if chunked {
		if _, err := c.body.ReadFrom(httputil.NewChunkedReader(c.in)); err != nil {
			return nil, err
		}
		_, err := c.in.Discard(len("\r\n")) // after the last chunk; no server here sends trailers
		return c.body.Bytes(), err
	}
	if length < 0 {
		return nil, errors.New("answer without a length")
	}
	_, err = io.CopyN(&c.body, c.in, int64(length))
	return c.body.Bytes(), err
}

func hasName(line []byte, name string) bool {
	return len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name)
}
