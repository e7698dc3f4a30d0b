package sandbox_test

import (
	"os/exec"
	"testing"

	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		c, err := sandbox.Start(b.Context(), sandbox.Spec{
			Args: []string{"/app", "hold"}, Files: []sandbox.File{{Path: "/app", Source: app}},
		})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		c.Close()
		b.StartTimer()
	}
}

func BenchmarkAlone(b *testing.B) {
	for b.Loop() {
		cmd := exec.Command(app, "hold")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		cmd.Process.Kill()
		cmd.Wait()
		b.StartTimer()
	}
}
