// Package chain measures a call all the way: front door, tacoclient, runsd, front
// door again, tacoserver, on the local Cloud Run; and beside it the same way made
// of floors, which are httputil's proxy, net/http's client, and a server that keeps
// what it gets by bbolt and answers a constant. Those of tacoclient and tacoserver
// are measured in their places on the local Cloud Run as well: in a sandbox, with
// all else as it is.
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
	Place = "a floor in its place" // which hop's, the part says
)

// Parts of the way. Each call of them eats what wasn't eaten before, so that there
// is a record to keep; but for Again, which has nothing to keep, nor has its floor,
// and Constant, where a constant answers behind either door.
const (
	Alone    = "tacoserver" // its file in memory, as in a container
	Disk     = "tacoserver, its file on the disk"
	Again    = "tacoserver, the same again"
	Constant = "front door, a constant"
	ByDoor   = "front door, tacoserver"
	ByRunsd  = "runsd, front door, tacoserver"
	Whole    = "front door, tacoclient, runsd, front door, tacoserver"
)

// places are the parts of the way with one hop's floor in its place.
var places = map[string]string{
	Tacoclient: "front door, the floor, runsd, front door, tacoserver",
	Server:     "front door, tacoclient, runsd, front door, the floor",
}

// Hops are the processes on the way. Rest is what else the containers hold, which
// no floor has.
const (
	Door       = "front door, both times"
	Tacoclient = "tacoclient"
	Runsd      = "runsd"
	Server     = "tacoserver"
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

// times are what each hop takes, of the medians of all rounds: the difference that
// it makes to the parts of the way. Together they are the whole.
func (r Report) times(way string, callers int) map[string]float64 {
	part := func(way, part string) float64 { return r.median(way, part, callers, p50) }
	toClient := part(way, Constant) - part(Floor, Again)
	toServer := part(way, ByDoor) - part(way, Alone)
	return map[string]float64{
		Door:       toClient + toServer,
		Tacoclient: part(way, Whole) - part(way, ByRunsd) - toClient,
		Runsd:      part(way, ByRunsd) - part(way, ByDoor),
		Server:     part(way, Alone),
	}
}

// Markdown is the tables: where the time goes and the CPU, by hop; and what keeping
// the record has to do with it.
func (r Report) Markdown() string {
	var callers []int
	for _, c := range r.Cells {
		callers = append(callers, c.Callers)
	}
	slices.Sort(callers)
	var text strings.Builder
	for _, n := range slices.Compact(callers) {
		if n == 1 {
			r.timeByHop(&text)
		}
		r.cpuByHop(&text, n)

		fmt.Fprintf(&text, "\n### tacoserver by itself, callers: %d\n\n| asked for | its floor | p50 us | its floor us | x floor | CPU us | its floor us | x floor |\n|---|---|---|---|---|---|---|---|\n", n)
		for _, row := range []struct{ asked, here, beside, floor string }{
			{"a record to keep, in memory", Alone, "a commit of bbolt", Alone},
			{"a record to keep, in memory", Alone, "a constant", Again},
			{"a record to keep, on the disk", Disk, "a commit of bbolt", Disk},
			{"the same again, nothing to keep", Again, "a constant", Again},
		} {
			fmt.Fprintf(&text, "| %s | %s", row.asked, row.beside)
			for _, of := range []func(Round) float64{p50, allCPU} {
				us, floorUS, x := r.beside(row.here, row.floor, n, of)
				fmt.Fprintf(&text, " | %.1f | %.1f | %.2f", us, floorUS, x)
			}
			text.WriteString(" |\n")
		}
	}
	if r.Curl > 0 {
		fmt.Fprintf(&text, "\nA curl of its own for the whole way, with its start and a TLS handshake: %.1f ms.\n", r.Curl)
	}
	return text.String()
}

// timeByHop is for one caller. Of several most time goes by in waiting for a CPU: then
// the CPU's table tells where the time goes as well.
func (r Report) timeByHop(text *strings.Builder) {
	text.WriteString("\n### Time by hop, callers: 1\n\n| hop | us | of the whole | its floor us | x floor |\n|---|---|---|---|---|\n")
	here, floor := r.times(Here, 1), r.times(Floor, 1)
	whole := r.median(Here, Whole, 1, p50)
	for _, hop := range Hops {
		if hop == Rest {
			continue
		}
		x := "none" // they are differences: on a busy machine there may be none
		if floor[hop] > 0 {
			x = fmt.Sprintf("%.2f", here[hop]/floor[hop])
		}
		fmt.Fprintf(text, "| %s | %.0f | %.0f %% | %.0f | %s |\n", hop, here[hop], 100*here[hop]/whole, floor[hop], x)
	}
	us, floorUS, x := r.beside(Whole, Whole, 1, p50)
	fmt.Fprintf(text, "| **the whole way** | %.0f | 100 %% | %.0f | %.2f |\n", us, floorUS, x)
}

func (r Report) cpuByHop(text *strings.Builder, callers int) {
	fmt.Fprintf(text, "\n### CPU by hop, callers: %d\n\n| hop | us a call | of the whole | its floor us | x floor | its floor in its place us | x floor |\n|---|---|---|---|---|---|---|\n", callers)
	us, floorUS, x := r.beside(Whole, Whole, callers, allCPU)
	whole := us
	for _, hop := range Hops {
		cpu := func(round Round) float64 { return round.CPU[hop] }
		if hop == Rest {
			us := r.median(Here, Whole, callers, cpu)
			fmt.Fprintf(text, "| %s | %.1f | %.0f %% | none | none | none | none |\n", hop, us, 100*us/whole)
			continue
		}
		us, floorUS, x := r.beside(Whole, Whole, callers, cpu)
		fmt.Fprintf(text, "| %s | %.1f | %.0f %% | %.1f | %.2f |", hop, us, 100*us/whole, floorUS, x)
		if part, ok := places[hop]; ok {
			_, floorUS, x := r.ratio(Here, Whole, Place, part, callers, cpu)
			fmt.Fprintf(text, " %.1f | %.2f |\n", floorUS, x)
		} else {
			text.WriteString(" none | none |\n")
		}
	}
	fmt.Fprintf(text, "| **the whole way** | %.1f | 100 %% | %.1f | %.2f | none | none |\n", us, floorUS, x)
	if callers == 1 {
		return // the table before has it
	}
	us, floorUS, x = r.beside(Whole, Whole, callers, p50)
	fmt.Fprintf(text, "\nThe whole way takes %.0f us (p50), that of floors %.0f: x floor %.2f.\n", us, floorUS, x)
}

// beside is a figure of a part, that of a part made of floors, and the median of
// their ratios in the same round.
func (r Report) beside(here, floor string, callers int, of func(Round) float64) (us, floorUS, x float64) {
	return r.ratio(Here, here, Floor, floor, callers, of)
}

// ratio is a figure of a part, that of another, and the median of their ratios in the
// same round.
func (r Report) ratio(way, part, way2, part2 string, callers int, of func(Round) float64) (us, us2, x float64) {
	var ratios []float64
	others := r.rounds(way2, part2, callers)
	for i, round := range r.rounds(way, part, callers) {
		ratios = append(ratios, of(round)/of(others[i]))
	}
	return r.median(way, part, callers, of), r.median(way2, part2, callers, of), stats.Median(ratios)
}

func allCPU(r Round) float64 {
	sum := 0.0
	for _, cpu := range r.CPU {
		sum += cpu
	}
	return sum
}

func p50(r Round) float64 { return r.P50 }

func (r Report) median(way, part string, callers int, of func(Round) float64) float64 {
	var values []float64
	for _, round := range r.rounds(way, part, callers) {
		values = append(values, of(round))
	}
	return stats.Median(values)
}
