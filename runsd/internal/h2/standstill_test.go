package h2_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/amammay/otorun/runsd/internal/h2"
)

// TestStandstill: a process that stood still while a ping was under way finds the
// answer when it goes on, and its request none the worse. The process is this
// test once more, and is stopped as a container without CPU is.
func TestStandstill(t *testing.T) {
	const dial, pingLimit = "H2_TEST_DIAL", 2 * time.Second
	if addr := os.Getenv(dial); addr != "" {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := h2.NewConn(nc, h2.Config{PingAfter: 100 * time.Millisecond, PingLimit: pingLimit})
		if err != nil {
			t.Fatal(err)
		}
		if o := <-get(t, c, "GET", ""); o.err != nil || o.status != 200 {
			t.Fatalf("%+v", o)
		}
		return
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestStandstill$")
	cmd.Env = append(os.Environ(), dial+"="+l.Addr().String())
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	p := &peer{Framer: http2.NewFramer(nc, nc)}
	p.encode = hpack.NewEncoder(&p.block)
	if _, err := io.CopyN(io.Discard, nc, int64(len(http2.ClientPreface))); err != nil {
		t.Fatal(err)
	}
	p.WriteSettings()
	for requested := false; ; {
		f, err := p.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f.Header().Type {
		case http2.FrameHeaders:
			requested = true
		case http2.FramePing:
			if !requested {
				p.WritePing(true, [8]byte{})
				continue
			}
			cmd.Process.Signal(syscall.SIGSTOP)
			if _, err := syscall.Wait4(cmd.Process.Pid, nil, syscall.WUNTRACED, nil); err != nil {
				t.Fatal(err)
			}
			p.WritePing(true, [8]byte{})
			p.head(1, true, ":status", "200")
			time.Sleep(pingLimit + 1200*time.Millisecond) // that it stands still
			cmd.Process.Signal(syscall.SIGCONT)
			go io.Copy(io.Discard, nc)
			if err := cmd.Wait(); err != nil {
				t.Errorf("the process that stood still: %v", err)
			}
			return
		}
	}
}
