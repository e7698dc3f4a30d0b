package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkStart measures tacoserver, as in its image, beside a bare net/http
// program: exec to the first answer and the resident memory then, as medians over
// turns in which each starts once, and the size of the file.
//
//	go test -run '^$' -bench Start -benchtime 40x ./e2e
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+string(filepath.Separator), "./server", "./e2e/testdata/bare")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", build, err, out)
	}
	kinds := []struct {
		name, command string
		settings      []string
	}{
		{name: "bare", command: "bare"},
		{name: "bbolt", command: "server", settings: []string{"TACO_DB=" + filepath.Join(dir, "tacos.db")}},
		{name: "firestore", command: "server", settings: []string{"TACO_STORE=firestore", "GOOGLE_CLOUD_PROJECT=p"}},
	}
	times, memory := make([][]float64, len(kinds)), make([][]float64, len(kinds))
	for b.Loop() {
		for i, k := range kinds {
			took, rss := startOnce(b, filepath.Join(dir, k.command), k.settings)
			times[i] = append(times[i], took.Seconds()*1000)
			memory[i] = append(memory[i], rss)
		}
	}
	for i, k := range kinds {
		b.ReportMetric(median(times[i]), k.name+"-ms")
		b.ReportMetric(median(memory[i]), k.name+"-RSS-MB")
		info, err := os.Stat(filepath.Join(dir, k.command))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/1e6, k.name+"-file-MB")
	}
	b.ReportMetric(0, "ns/op")
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// startOnce returns how long a command takes from exec to its first answer, and
// its memory then.
func startOnce(b *testing.B, file string, settings []string) (time.Duration, float64) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command(file)
	cmd.Env = append([]string{"PORT=" + addr[strings.LastIndexByte(addr, ':')+1:]}, settings...)
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for {
		if time.Since(begun) > 30*time.Second {
			b.Fatalf("%s doesn't answer", file)
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			fmt.Fprint(conn, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			line, err := bufio.NewReader(conn).ReadString('\n')
			conn.Close()
			if err == nil && strings.Contains(line, " 200 ") {
				break
			}
		}
		time.Sleep(100 * time.Microsecond)
	}
	took := time.Since(begun)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		b.Skip("memory is measured on Linux alone: ", err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	var kB float64
	if _, err := fmt.Sscan(after, &kB); err != nil {
		b.Fatal(err)
	}
	return took, kB * 1024 / 1e6
}
