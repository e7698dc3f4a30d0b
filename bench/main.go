// Bench measures EatTaco as this project serves and calls it beside its peers: a
// floor, hand-written net/http, Twirp, Connect and grpc-go.
//
//	$ cd bench && go run .            # about half an hour; Linux, a quiet machine
//	$ cd bench && go run . -quick     # under two minutes, once all is built
//
// Servers, clients and what makes the load are processes of their own, which talk
// over loopback. Who is measured takes turns with the others, and another one is
// first in each round. What counts is the CPU a request takes of a process, in
// nanoseconds from the scheduler, and its ratio to the floor's in the same round,
// of which the tables have the median; beside it are instructions, which don't
// depend on what else the machine does.
//
// It prints the tables, and writes them to RESULTS.md with a chart, chart.svg.
//
//	-quick             two rounds of short turns, and the slow measurements in part
//	-only A,B          sections: server, instructions, gzip, client, pair, start, chain
//	-peers REGEXP      only these, by the name of the variant, such as 'oto|grpc.*'
//	-sizes A,B         small, k1, k100, answer, prose
//	-rounds N -turn D  how often, and for how long, each is measured; what answers
//	                   fast is in turns of D/4, and in 4 N rounds
//	-out FOLDER        where RESULTS.md and chart.svg go; "" is nowhere
//
// runsd beside its peers is measured by go run ./runsd.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/amammay/otorun/bench/internal/work"
)

// A bench is one run of all that is measured.
type bench struct {
	bin    string // where the programs are
	rounds int
	turn   time.Duration
	quick  bool
	chosen []peer   // the floor first
	ids    []string // of sizes
	chart  chart
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("bench", flag.ExitOnError)
	quick := fs.Bool("quick", false, "two rounds of short turns, and the slow measurements in part")
	only := fs.String("only", "", "`sections`, by commas: "+strings.Join(ids(), ", "))
	variants := fs.String("peers", ".*", "`regexp` of the peers' variants")
	sizes := fs.String("sizes", "small,k1,k100,answer,prose", "`sizes` of requests, by commas")
	rounds := fs.Int("rounds", 5, "`number` of rounds")
	turn := fs.Duration("turn", time.Second, "`time` of a turn")
	out := fs.String("out", ".", "`folder` for RESULTS.md and chart.svg")
	if err := fs.Parse(args); err != nil {
		return err
	}
	b := &bench{rounds: *rounds, turn: *turn, quick: *quick, ids: strings.Split(*sizes, ",")}
	if b.quick {
		b.rounds, b.turn = 2, 100*time.Millisecond
	}
	if b.rounds < 1 || b.turn < 100*time.Millisecond {
		return fmt.Errorf("%d rounds of %s: want at least 1 of 100ms", b.rounds, b.turn)
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("no arguments expected, got %q", fs.Arg(0))
	}
	if err := b.choose(*variants); err != nil {
		return fmt.Errorf("-peers: %w", err)
	}
	for _, id := range b.ids {
		if _, err := work.SizeOf(id); err != nil {
			return fmt.Errorf("-sizes: %w", err)
		}
	}
	chosen := sections
	if *only != "" {
		names := strings.Split(*only, ",")
		for _, name := range names {
			if !slices.Contains(ids(), name) {
				return fmt.Errorf("-only: no section %q: want some of %s", name, strings.Join(ids(), ", "))
			}
		}
		chosen = slices.DeleteFunc(slices.Clone(sections), func(s section) bool { return !slices.Contains(names, s.id) })
	}

	var err error
	if b.bin, err = os.MkdirTemp("", "otorun-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.bin)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupted)
	go func() { // the contenders end with this process
		<-interrupted
		os.RemoveAll(b.bin)
		os.Exit(1)
	}()
	if err := build(b.bin); err != nil {
		return err
	}
	report, err := b.report(chosen)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, report); err != nil || *out == "" {
		return err
	}
	if len(b.chart.panels) > 0 {
		if err := os.WriteFile(filepath.Join(*out, "chart.svg"), []byte(b.chart.svg()), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(*out, "RESULTS.md"), []byte(report), 0o644)
}

func ids() []string {
	var all []string
	for _, s := range sections {
		all = append(all, s.id)
	}
	return all
}

// choose makes b measure the peers whose variants match, and the floor, which they
// are compared with.
func (b *bench) choose(variants string) error {
	matches, err := regexp.Compile("^(?:" + variants + ")$")
	if err != nil {
		return err
	}
	b.chosen = slices.DeleteFunc(slices.Clone(peers), func(p peer) bool { return p != floor && !matches.MatchString(p.variant) })
	if len(b.chosen) == 1 && !matches.MatchString(floor.variant) {
		return fmt.Errorf("no peer is called %q", variants)
	}
	return nil
}

// sizes are those that were chosen of the named ones.
func (b *bench) sizes(ids ...string) []work.Size {
	var all []work.Size
	for _, id := range ids {
		if !slices.Contains(b.ids, id) {
			continue
		}
		size, err := work.SizeOf(id)
		if err != nil {
			panic(err) // the sections name only sizes that there are
		}
		all = append(all, size)
	}
	return all
}

// report measures the sections and returns what is told of them.
func (b *bench) report(chosen []section) (string, error) {
	versions, err := releases()
	if err != nil {
		return "", err
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	begin, err := now()
	if err != nil {
		return "", err
	}
	var text strings.Builder
	how := fmt.Sprintf("%d rounds, turns of %s", b.rounds, b.turn)
	if b.quick {
		how += " (-quick)"
	} else {
		how += fmt.Sprintf("; of all but the start, the whole way and 100,000 tacos %d and %s", quarters*b.rounds, b.turn/quarters)
	}
	fmt.Fprintf(&text, "# The pair beside its peers\n\nMade by `cd bench && go run .` on %s: %s, Linux %s, %d CPUs; %s.\n\nPeers: %s.\n",
		begin.at.UTC().Format("2006-01-02"), runtime.Version(), strings.TrimSpace(string(kernel)), runtime.NumCPU(), how, versions)
	var parts []string
	for _, s := range chosen {
		start := time.Now()
		part, err := s.measure(b)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
		fmt.Fprintf(os.Stderr, "%s: %s\n", s.id, time.Since(start).Round(time.Second))
	}
	end, err := now()
	if err != nil {
		return "", err
	}
	text.WriteString("\n" + neighbours(others(begin, end)) + "\n")
	if len(b.chart.panels) > 0 {
		text.WriteString("\n![CPU of the servers a request](chart.svg)\n")
	}
	for _, part := range parts {
		text.WriteString("\n" + part)
	}
	return text.String(), nil
}
