package sandbox_test

import (
	"bufio"
	"os/exec"
	"testing"

	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

// BenchmarkStart is from Start to the app's exec.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		c := start(b, sandbox.Spec{Args: []string{"/app", "hold"}})
		b.StopTimer()
		_ = c.Close()
		b.StartTimer()
	}
}

// BenchmarkListening is from Start until the app says that it listens;
// BenchmarkListeningAlone is the same app without a sandbox.
func BenchmarkListening(b *testing.B) {
	for b.Loop() {
		out := newOutput()
		c := start(b, sandbox.Spec{
			Args: []string{"/app", "echo", "127.0.0.1:8080"}, Stdout: out,
			Listen: []sandbox.Address{addr("tcp", "169.254.169.254:80"), addr("udp", "169.254.169.254:53"), addr("tcp", "203.0.113.7:443")},
		})
		out.await(b, c, "ready")
		b.StopTimer()
		_ = c.Close()
		b.StartTimer()
	}
}

func BenchmarkListeningAlone(b *testing.B) {
	for b.Loop() {
		cmd := exec.Command(app, "echo", "127.0.0.1:0")
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			b.Fatal(line, err)
		}
		b.StopTimer()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		b.StartTimer()
	}
}

// BenchmarkClose is from Close to the container's end.
func BenchmarkClose(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		c := start(b, sandbox.Spec{Args: []string{"/app", "hold"}})
		b.StartTimer()
		_ = c.Close()
	}
}

// BenchmarkDial is a connection into a container, with a line there and back.
func BenchmarkDial(b *testing.B) {
	out := newOutput()
	c := start(b, sandbox.Spec{Args: []string{"/app", "echo", "127.0.0.1:8080"}, Stdout: out})
	out.await(b, c, "ready")
	for b.Loop() {
		conn, err := c.DialContext(b.Context(), "tcp", "127.0.0.1:8080")
		if err != nil {
			b.Fatal(err)
		}
		if err := echo(conn); err != nil {
			b.Fatal(err)
		}
	}
}
