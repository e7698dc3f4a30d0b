// Package chain measures a call all the way: front door, tacoclient, runsd, front
// door again, tacoserver, on the local Cloud Run; and beside it the same way made
// of floors, which are httputil's proxy, net/http's client and a constant answer.
//
// The platform runs inside go test, so the measuring is this package's test:
// with BENCH_CHAIN set to a file it writes a [Report] there. Package bench shows it.
package chain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/amammay/otorun/bench/internal/stats"
)

// A Report is all that was measured.
type Report struct {
	Cells []Cell
	Curl  float64 // ms that a curl takes for the whole way, from its start to its end
}

// A Cell is a part of the way, called by some callers at once.
type Cell struct {
	Way     string // Here or Floor
	Part    string // one of Parts
	Callers int
	Rounds  []Round
}

// A Round is one measurement of a cell.
type Round struct {
	P50, Rate float64            // us; calls a second
	CPU       map[string]float64 // us a call, by the Hop
}

const (
	Here  = "here"
	Floor = "floor"
)

// Parts are the beginnings of the way, seen from its end: each has one hop more.
var Parts = []string{"tacoserver", "front door, tacoserver", "runsd, front door, tacoserver", "front door, tacoclient, runsd, front door, tacoserver"}

// Hops are the processes on the way. Rest is what else the containers hold, which
// no floor has.
const (
	Server     = "tacoserver"
	Door       = "front door" // both times it is passed
	Runsd      = "runsd"
	Tacoclient = "tacoclient"
	Rest       = "the containers' other processes"
)

var Hops = []string{Door, Tacoclient, Runsd, Server, Rest}

func (r Report) rounds(way, part string, callers int) []Round {
	for _, c := range r.Cells {
		if c.Way == way && c.Part == part && c.Callers == callers {
			return c.Rounds
		}
	}
	return nil
}

// Markdown is the tables: where the time goes, and where the CPU.
func (r Report) Markdown() string {
	var callers []int
	for _, c := range r.Cells {
		callers = append(callers, c.Callers)
	}
	slices.Sort(callers)
	var text strings.Builder
	for _, n := range slices.Compact(callers) {
		fmt.Fprintf(&text, "\n### Time, callers: %d\n\n| part of the way | p50 us | more than the row above | p50 us of floors | more than the row above | x floor |\n|---|---|---|---|---|---|\n", n)
		here, floor := 0.0, 0.0
		for _, part := range Parts {
			h, f := r.median(Here, part, n, p50), r.median(Floor, part, n, p50)
			fmt.Fprintf(&text, "| %s | %.0f | %+.0f | %.0f | %+.0f | %.2f |\n", part, h, h-here, f, f-floor, h/f)
			here, floor = h, f
		}
		fmt.Fprintf(&text, "\n### CPU of the whole way, callers: %d\n\n| process | us a call | us a call of its floor | x floor |\n|---|---|---|---|\n", n)
		whole := Parts[len(Parts)-1]
		for _, hop := range Hops {
			cpu := func(round Round) float64 { return round.CPU[hop] }
			h, f := r.median(Here, whole, n, cpu), r.median(Floor, whole, n, cpu)
			if hop == Rest {
				fmt.Fprintf(&text, "| %s | %.1f | none | none |\n", hop, h)
				continue
			}
			var ratios []float64
			floors := r.rounds(Floor, whole, n)
			for i, round := range r.rounds(Here, whole, n) {
				ratios = append(ratios, cpu(round)/cpu(floors[i]))
			}
			fmt.Fprintf(&text, "| %s | %.1f | %.1f | %.2f |\n", hop, h, f, stats.Median(ratios))
		}
	}
	if r.Curl > 0 {
		fmt.Fprintf(&text, "\nA curl of its own for the whole way, with its start and a TLS handshake: %.1f ms.\n", r.Curl)
	}
	return text.String()
}

func p50(r Round) float64 { return r.P50 }

func (r Report) median(way, part string, callers int, of func(Round) float64) float64 {
	var values []float64
	for _, round := range r.rounds(way, part, callers) {
		values = append(values, of(round))
	}
	return stats.Median(values)
}
