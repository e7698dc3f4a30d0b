package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/process"
	"github.com/amammay/otorun/bench/internal/stats"
	"github.com/amammay/otorun/bench/internal/work"
)

// built are the programs, for all tests.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "otorun-bench-test-")
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.RemoveAll(dir)
		os.Exit(1)
	}
	built = dir
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

func newBench() *bench {
	b := &bench{bin: built, ids: []string{"small"}, rounds: 1, turn: 10 * time.Millisecond, quick: true}
	b.choose(".*")
	return b
}

// Each server answers its generator and its client rightly, whatever the size: a
// wrong answer is an error of play.
func TestContendersAnswerRightly(t *testing.T) {
	b := newBench()
	for _, id := range []string{"small", "k1", "k100", "answer", "prose"} {
		size, err := work.SizeOf(id)
		if err != nil {
			t.Fatal(err)
		}
		size.Callers = 2
		for _, p := range peers {
			turns := []turn{{server: p, client: p.generator(), size: size}, {server: p, client: p, size: size}}
			if p.overHTTP1() {
				turns = append(turns, turn{server: p, client: p.generator(), size: size, gzip: true}, turn{server: floor, client: p, size: size})
			}
			for _, turn := range turns {
				r, err := b.play(turn, b.turn)
				if err != nil {
					t.Errorf("%s with %s, size %s: %v", turn.server.variant, turn.client.variant, id, err)
					continue
				}
				if r.Calls == 0 || r.Server <= 0 || r.Client <= 0 || r.Peak <= 0 || r.Opened < 1 || r.P99 < r.P50 || r.Rate <= 0 {
					t.Errorf("%s with %s, size %s: %+v", turn.server.variant, turn.client.variant, id, r)
				}
			}
		}
	}
}

// A client that gets another answer than the right one says so.
func TestWrongAnswersAreNoticed(t *testing.T) {
	server, err := process.Start(nil, nil, filepath.Join(built, "floor"), "serve", "-variant", "floor", "-size", "k1")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	for _, p := range peers {
		if !p.overHTTP1() {
			continue
		}
		for _, c := range []peer{p, p.generator()} {
			client, err := process.Start(nil, nil, filepath.Join(built, c.program), "call", "-variant", c.variant, "-to", "http://"+server.Addr)
			if err != nil {
				t.Fatal(err)
			}
			if load, err := client.Run(contender.Order{Calls: 3}); err == nil || load.Failed != 3 {
				t.Errorf("%s of %s takes the answer to 1,000 tacos for that to two: %+v, %v", c.variant, c.program, load, err)
			}
			client.Stop()
		}
	}
}

func TestTablesAreWhole(t *testing.T) {
	for _, s := range sections {
		t.Run(s.id, func(t *testing.T) {
			b := newBench()
			if s.id == "gzip" {
				b.ids = append(b.ids, "answer", "prose")
			}
			if s.id == "instructions" {
				if _, err := exec.LookPath("valgrind"); err != nil {
					t.Skipf("no valgrind here: %v", err)
				}
				b.choose("oto")
				b.quick = false // so that clients are counted as well
			}
			text, err := s.measure(b)
			if err != nil {
				t.Fatal(err)
			}
			if s.id == "chain" && strings.Contains(text, "Left out") {
				if os.Getenv("CI") != "" {
					t.Fatal(text) // CI has all it needs
				}
				t.Skip(text)
			}
			checkTables(t, text)
			if s.id == "start" || s.id == "gzip" || s.id == "chain" {
				return // their rows are others
			}
			for _, p := range b.chosen {
				if strings.Count(text, "| "+p.title+" |") != strings.Count(text, "\n### ") {
					t.Errorf("%s isn't in one row of each table:\n%s", p.title, text)
				}
			}
		})
	}
}

// checkTables tells cells that are missing, empty or no number.
func checkTables(t *testing.T, text string) {
	t.Helper()
	width, rows := 0, 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			width = 0
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if width == 0 {
			width = len(cells)
		}
		rows++
		for i, c := range cells {
			if c = strings.TrimSpace(c); c == "" || strings.Contains(c, "NaN") || strings.Contains(c, "Inf") || len(cells) != width {
				t.Errorf("cell %d of %d is %q in %s", i+1, width, c, line)
			}
		}
	}
	if rows < 4 {
		t.Errorf("no table in:\n%s", text)
	}
}

func TestReportIsWritten(t *testing.T) {
	dir := t.TempDir()
	var stdout bytes.Buffer
	if err := run([]string{"-only", "server", "-peers", "oto", "-sizes", "small", "-rounds", "1", "-turn", "100ms", "-out", dir}, &stdout); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil || string(text) != stdout.String() || !strings.Contains(stdout.String(), "](chart.svg)") || !strings.Contains(stdout.String(), "google.golang.org/grpc v1.") {
		t.Errorf("RESULTS.md (%v) %q, printed %q", err, text, &stdout)
	}
	svg, err := os.ReadFile(filepath.Join(dir, "chart.svg"))
	if err != nil {
		t.Fatal(err)
	}
	checkChart(t, svg, 2, "otorun")
}

func TestChart(t *testing.T) {
	var c chart
	c.add("a", "<floor>", 1)
	c.add("a", "**otorun**", 2.5)
	c.add("b", "none at all", 0)
	svg := c.svg()
	checkChart(t, []byte(svg), 3, "<floor>", "otorun", "2.50", "none at all")
	if strings.Count(svg, `class="ours"`) != 1 || !strings.Contains(svg, "prefers-color-scheme:dark") {
		t.Errorf("our own bar isn't the one that stands out, or there is no dark dress:\n%s", svg)
	}
}

// checkChart reads a chart as XML: so many bars, and these texts.
func checkChart(t *testing.T, svg []byte, bars int, texts ...string) {
	t.Helper()
	var drawn int
	var said []string
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "rect" && slices.ContainsFunc(token.Attr, func(a xml.Attr) bool { return a.Name.Local == "rx" }) {
				drawn++
			}
		case xml.CharData:
			said = append(said, string(token))
		}
	}
	if drawn != bars {
		t.Errorf("%d bars, want %d:\n%s", drawn, bars, svg)
	}
	for _, text := range texts {
		if !slices.Contains(said, text) {
			t.Errorf("%q isn't said: %q", text, said)
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-only", "server,speed"}, `no section "speed"`},
		{[]string{"-peers", "("}, "missing closing )"},
		{[]string{"-peers", "cobol"}, "no peer"},
		{[]string{"-sizes", "small,huge"}, `no size "huge"`},
		{[]string{"-rounds", "0"}, "want at least 1"},
		{[]string{"-turn", "1ms"}, "of 100ms"},
		{[]string{"server"}, "no arguments expected"},
	} {
		if err := run(tt.args, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("run(%q) = %v, want %s", tt.args, err, tt.want)
		}
	}
}

func TestNeighbours(t *testing.T) {
	begin := time.Now()
	from := moment{at: begin, all: 10 * time.Second, ours: time.Second}
	cpus := time.Duration(runtime.NumCPU())
	for _, tt := range []struct {
		to   moment
		want float64
	}{
		{moment{begin.Add(time.Second), 10*time.Second + cpus*time.Second, time.Second + cpus*time.Second}, 0},
		{moment{begin.Add(time.Second), 10*time.Second + cpus*time.Second, time.Second}, 1},
		{moment{begin.Add(2 * time.Second), 10*time.Second + cpus*time.Second, time.Second}, 0.5},
		{moment{begin.Add(time.Second), 10 * time.Second, 2 * time.Second}, 0}, // ticks come late
	} {
		if got := others(from, tt.to); got != tt.want {
			t.Errorf("others(%+v, %+v) = %v, want %v", from, tt.to, got, tt.want)
		}
	}
	if loud, still := neighbours(0.5), neighbours(0.01); !strings.HasPrefix(loud, "**") || strings.HasPrefix(still, "**") {
		t.Errorf("a busy machine: %q, a quiet one: %q", loud, still)
	}
	// The real ones go on.
	first, err := now()
	if err != nil {
		t.Fatal(err)
	}
	for last := first; last.ours == first.ours || last.all == first.all; {
		if last, err = now(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := stats.Median(tt.values); got != tt.want {
			t.Errorf("Median(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
	// The ratio is that of each round, not of the medians.
	of := func(r result) float64 { return r.Server }
	rounds, floors := []result{{Server: 2}, {Server: 20}, {Server: 300}}, []result{{Server: 1}, {Server: 10}, {Server: 10}}
	if got := ratio(rounds, floors, of); got != 2 {
		t.Errorf("ratio = %v, want 2", got)
	}
}
