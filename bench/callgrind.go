package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/process"
	"github.com/amammay/otorun/bench/internal/stats"
	"github.com/amammay/otorun/bench/internal/work"
)

// instructions has valgrind count what a request takes of a server, and a call of a
// client, in user space.
// The figure hardly depends on the neighbours, and the results of two machines can
// be compared.
func (b *bench) instructions() (string, error) {
	const title = "## Instructions\n\n"
	for _, tool := range []string{"valgrind", "callgrind_control"} {
		if _, err := exec.LookPath(tool); err != nil {
			return title + "Left out: " + err.Error() + " (`apt-get install valgrind`).\n", nil
		}
	}
	var text strings.Builder
	text.WriteString(title + "In user space, a request of one caller, on one CPU, counted by callgrind.\n")
	servers, clients := []string{"small", "k1", "answer"}, []string{"small", "k1"}
	if b.quick {
		servers, clients = servers[:1], nil
	}
	for _, size := range b.sizes(servers...) {
		err := b.counts(&text, "server", size, func(p peer) turn { return turn{server: p, client: p.generator()} })
		if err != nil {
			return "", err
		}
	}
	for _, size := range b.sizes(clients...) {
		err := b.counts(&text, "client", size, func(p peer) turn { return turn{server: p.common(), client: p} })
		if err != nil {
			return "", err
		}
	}
	return text.String(), nil
}

// counts writes the table of one size: of the servers, or of the clients.
func (b *bench) counts(text *strings.Builder, of string, size work.Size, turnOf func(peer) turn) error {
	size.Callers = 1
	t := newTable(of, "instructions", "x floor")
	var least float64
	for i, p := range b.chosen {
		turn := turnOf(p)
		turn.size = size
		n, err := b.count(turn, of == "client")
		if err != nil {
			return fmt.Errorf("instructions of %s's %s, size %s: %w", p.variant, of, size.ID, err)
		}
		fmt.Fprintf(os.Stderr, "instructions %-6s %s %-20s %9.0f\n", size.ID, of, p.variant, n)
		if i == 0 {
			least = n
		}
		t.row(p.title, fmt.Sprintf("%.0f", n), times(n/least))
	}
	fmt.Fprintf(text, "\n### The %s, requests: %s\n\n%s", of, heading(size), t)
	return nil
}

// count returns the instructions that a call takes of a turn's server, or of its
// client.
func (b *bench) count(t turn, ofClient bool) (float64, error) {
	dir, err := os.MkdirTemp(b.bin, "callgrind-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "out")
	valgrind := []string{"valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=" + out}
	// Callgrind gives up at the signals by which Go's scheduler interrupts; one CPU,
	// since valgrind runs one thread at a time and the others would spin.
	env := []string{"GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=1"}
	var plain []string
	serverTool, serverEnv, clientTool, clientEnv := valgrind, env, plain, plain
	if ofClient {
		serverTool, serverEnv, clientTool, clientEnv = plain, plain, valgrind, env
	}
	server, err := process.Start(serverTool, serverEnv, filepath.Join(b.bin, t.server.program), "serve", "-variant", t.server.variant, "-size", t.size.ID)
	if err != nil {
		return 0, err
	}
	defer server.Stop()
	client, err := process.Start(clientTool, clientEnv, filepath.Join(b.bin, t.client.program), "call", "-variant", t.client.variant, "-to", "http://"+server.Addr, "-size", t.size.ID, "-c", "1")
	if err != nil {
		return 0, err
	}
	defer client.Stop()
	pid := server.PID()
	if ofClient {
		pid = client.PID()
	}

	batches, calls := 3, 500
	if t.size.ID != "small" {
		calls = 100
	}
	if b.quick {
		batches, calls = 1, 200
	}
	if _, err := client.Run(contender.Order{Calls: calls / 5}); err != nil {
		return 0, err
	}
	control := func(args ...string) error {
		cmd := exec.Command("callgrind_control", append(args, strconv.Itoa(pid))...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", cmd, err, text)
		}
		return nil
	}
	if err := control("-i", "on"); err != nil {
		return 0, err
	}
	// Go's background threads run by the clock, so a machine that is busy adds their
	// instructions to a batch's; the median leaves out one that was hit.
	var counts []float64
	for batch := range batches {
		load, err := client.Run(contender.Order{Calls: calls})
		if err != nil {
			return 0, err
		}
		if err := control("-d"); err != nil { // which counts anew from there
			return 0, err
		}
		n, err := totals(fmt.Sprintf("%s.%d", out, batch+1))
		if err != nil {
			return 0, err
		}
		counts = append(counts, n/float64(load.Calls))
	}
	return stats.Median(counts), nil
}

// totals reads the sum of what callgrind counted.
func totals(file string) (float64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		if rest, ok := strings.CutPrefix(in.Text(), "totals: "); ok {
			return strconv.ParseFloat(rest, 64)
		}
	}
	return 0, errors.Join(in.Err(), fmt.Errorf("no totals in %s", file))
}
