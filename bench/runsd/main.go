// Runsd measures runsd beside what else could stand in its place: no proxy, a
// well-tuned httputil.ReverseProxy, and nginx.
//
//	$ cd bench && go run ./runsd
//
// Each cell, one contender at one concurrency, has a network namespace of its own
// with loopback only, and processes of its own: a front door with TLS and a
// metadata server, the contender, and the load, which is net/http's client. The
// contenders take turns, and the table has the medians of the rounds. It needs
// Linux and root, or user namespaces; nginx is left out where it isn't installed.
// The results are printed and written to runsd/RESULTS.md.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/amammay/otorun/bench/internal/stats"
)

// A Cell is one measurement.
type Cell struct {
	Contender string
	Upstream  string // h2 or http1
	C, N      int
}

// A Result is what a cell came to.
type Result struct {
	Rate          float64 // requests a second
	P50, P99      float64 // ms
	CPU           float64 // of the contender, us a request
	TLS, Metadata int     // connections and calls the front door and metadata server saw
	RSS           float64 // of the contender, MB at its end
	Failed        int
}

func main() {
	if len(os.Args) > 1 {
		if f := roles[os.Args[1]]; f != nil {
			if err := f(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", os.Args[1]+":", err)
				os.Exit(1)
			}
			return
		}
	}
	rounds := flag.Int("rounds", 5, "`number` of times each cell is measured")
	n := flag.Int("n", 10000, "`requests` a cell")
	original := flag.String("runsd", "", "another runsd `binary` to measure as well")
	only := flag.String("upstream", "h2,http1", "`protocols` of the front door")
	concurrency := flag.String("c", "1,8,80", "`numbers` of callers")
	out := flag.String("out", "runsd/RESULTS.md", "`file` for the results")
	flag.Parse()
	if err := bench(*rounds, *n, *original, strings.Split(*only, ","), strings.Split(*concurrency, ","), *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(rounds, n int, other string, upstreams, cs []string, out string) error {
	dir, err := os.MkdirTemp("", "runsd-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "runsd")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=bench", "-o", bin, "./runsd")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", build, err, msg)
	}
	size, err := os.Stat(bin)
	if err != nil {
		return err
	}
	os.Setenv("BENCH_RUNSD", bin)
	os.Setenv("BENCH_OTHER", other)
	os.Setenv("BENCH_DIR", dir)

	contenders := []string{"direct", "tuned", "runsd"}
	if _, err := exec.LookPath("nginx"); err == nil {
		contenders = append(contenders, "nginx")
	}
	if other != "" {
		contenders = append(contenders, "other")
	}
	results := map[Cell][]Result{}
	for round := range rounds {
		for _, up := range upstreams {
			for _, c := range cs {
				callers, err := strconv.Atoi(c)
				if err != nil {
					return err
				}
				order := slices.Clone(contenders)
				for range round % len(order) { // another goes first each round
					order = append(order[1:], order[0])
				}
				for _, who := range order {
					if who == "nginx" && up == "h2" {
						continue // it speaks HTTP/1.1 to its upstreams
					}
					cell := Cell{who, up, callers, n}
					r, err := measure(cell)
					if err != nil {
						return fmt.Errorf("%+v: %w", cell, err)
					}
					results[cell] = append(results[cell], r)
					fmt.Fprintf(os.Stderr, "%d/%d %-6s %-5s c=%-3d %8.0f/s p50 %.3f ms\n", round+1, rounds, who, up, callers, r.Rate, r.P50)
				}
			}
		}
	}

	var b bytes.Buffer
	fmt.Fprintf(&b, "# runsd beside its peers\n\nMade by `cd bench && go run ./runsd` on %s, %s, %s, %d CPUs; %d rounds of %d requests a cell; medians, with the range of the rate.\n",
		time.Now().UTC().Format("2006-01-02"), runtime.Version(), kernel(), runtime.NumCPU(), rounds, n)
	fmt.Fprintf(&b, "\nHTTP/1.1 in, TLS out to a front door on loopback, answers of 2 bytes. CPU is the contender's, a request; load and front door share the CPUs with it. tls and metadata are connections and calls of a whole cell. ratio is the rate over that of the tuned proxy in the same round.\nrunsd's binary, stripped: %.2f MB.\n", float64(size.Size())/1e6)
	for _, up := range upstreams {
		fmt.Fprintf(&b, "\n## The front door speaks %s\n\n| c | contender | req/s | range | ratio | p50 ms | p99 ms | CPU us | tls | metadata | RSS MB | failed |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n", map[string]string{"h2": "HTTP/2", "http1": "HTTP/1.1"}[up])
		for _, c := range cs {
			callers, _ := strconv.Atoi(c)
			tuned := results[Cell{"tuned", up, callers, n}]
			for _, who := range contenders {
				rs := results[Cell{who, up, callers, n}]
				if len(rs) == 0 {
					continue
				}
				var ratios []float64
				for i, r := range rs {
					ratios = append(ratios, r.Rate/tuned[i].Rate)
				}
				col := func(f func(Result) float64) []float64 {
					var v []float64
					for _, r := range rs {
						v = append(v, f(r))
					}
					slices.Sort(v)
					return v
				}
				rate := col(func(r Result) float64 { return r.Rate })
				fmt.Fprintf(&b, "| %d | %s | %.0f | %.0f-%.0f | %.2f | %.3f | %.2f | %.0f | %.0f | %.0f | %.1f | %.0f |\n", callers, who,
					stats.Median(rate), rate[0], rate[len(rate)-1], stats.Median(ratios),
					stats.Median(col(func(r Result) float64 { return r.P50 })), stats.Median(col(func(r Result) float64 { return r.P99 })), stats.Median(col(func(r Result) float64 { return r.CPU })),
					stats.Median(col(func(r Result) float64 { return float64(r.TLS) })), stats.Median(col(func(r Result) float64 { return float64(r.Metadata) })), stats.Median(col(func(r Result) float64 { return r.RSS })),
					stats.Median(col(func(r Result) float64 { return float64(r.Failed) })))
			}
		}
	}
	os.Stdout.Write(b.Bytes())
	return os.WriteFile(out, b.Bytes(), 0o644)
}

func kernel() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return "Linux " + strings.TrimSpace(string(b))
}

// measure runs a cell in namespaces of its own.
func measure(cell Cell) (Result, error) {
	arg, err := json.Marshal(cell)
	if err != nil {
		return Result{}, err
	}
	cmd := exec.Command("/proc/self/exe", "cell", string(arg))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return Result{}, fmt.Errorf("%w\n%s", err, stderr.Bytes())
	}
	var r Result
	return r, json.Unmarshal(stdout.Bytes(), &r)
}
