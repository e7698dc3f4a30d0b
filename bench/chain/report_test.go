package chain

import (
	"math"
	"strings"
	"testing"
)

// The hops' times add up to the whole way's, here and of floors, and each has its own.
func TestHopsAddUp(t *testing.T) {
	var r Report
	add := func(way, part string, us ...float64) {
		c := Cell{Way: way, Part: part, Callers: 1}
		for _, p50 := range us {
			c.Rounds = append(c.Rounds, Round{P50: p50, CPU: map[string]float64{Door: p50, Tacoclient: 4, Runsd: 2, Server: 1}})
		}
		r.Cells = append(r.Cells, c)
	}
	add(Floor, Again, 50, 50, 50)
	add(Here, Again, 60, 60, 60)
	add(Floor, Alone, 100, 90, 110)
	add(Here, Alone, 200, 180, 220)
	add(Floor, Disk, 1000, 1000, 1000)
	add(Here, Disk, 1500, 1000, 2000)
	add(Floor, Constant, 150, 150, 150) // 100 more than a constant by itself
	add(Here, Constant, 230, 230, 230)  // 180
	add(Floor, ByDoor, 210, 210, 210)   // 110
	add(Here, ByDoor, 400, 400, 400)    // 200
	add(Floor, ByRunsd, 310, 310, 310)  // 100
	add(Here, ByRunsd, 450, 450, 450)   // 50
	add(Floor, Whole, 700, 700, 700)    // 390, of which 100 the front door's
	add(Here, Whole, 1000, 1000, 1000)  // 550, of which 180
	r.Cells = append(r.Cells,
		Cell{Way: Place, Part: places[Tacoclient], Callers: 1, Rounds: []Round{{CPU: map[string]float64{Tacoclient: 2}}, {CPU: map[string]float64{Tacoclient: 2}}, {CPU: map[string]float64{Tacoclient: 8}}}},
		Cell{Way: Place, Part: places[Server], Callers: 1, Rounds: []Round{{CPU: map[string]float64{Server: 1}}, {CPU: map[string]float64{Server: 4}}, {CPU: map[string]float64{Server: 4}}}})
	for way, want := range map[string]map[string]float64{
		Here:  {Door: 380, Tacoclient: 370, Runsd: 50, Server: 200},
		Floor: {Door: 210, Tacoclient: 290, Runsd: 100, Server: 100},
	} {
		sum := 0.0
		for hop, got := range r.times(way, 1) {
			sum += got
			if got != want[hop] {
				t.Errorf("%s, %s: %v us, want %v", way, hop, got, want[hop])
			}
		}
		if whole := r.median(way, Whole, 1, p50); math.Abs(sum-whole) > 1e-9 {
			t.Errorf("%s: the hops take %v us, the whole way %v", way, sum, whole)
		}
	}
	text := r.Markdown()
	for _, row := range []string{
		"| front door, both times | 380 | 38 % | 210 | 1.81 |",
		"| **the whole way** | 1000 | 100 % | 700 | 1.43 |",
		"| front door, both times | 1000.0 | 99 % | 700.0 | 1.43 | none | none |",
		"| tacoclient | 4.0 | 0 % | 4.0 | 1.00 | 2.0 | 2.00 |",
		"| tacoserver | 1.0 | 0 % | 1.0 | 1.00 | 4.0 | 0.25 |",
		"| a record to keep, in memory | a constant | 200.0 | 50.0 | 4.00 |",
		"| a record to keep, on the disk | a commit of bbolt | 1500.0 | 1000.0 | 1.50 |",
	} {
		if !strings.Contains(text, row) {
			t.Errorf("there is no row %q in\n%s", row, text)
		}
	}
}
