package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/process"
	"github.com/amammay/otorun/bench/internal/stats"
	"github.com/amammay/otorun/bench/internal/work"
)

// A turn is who is measured with whom.
type turn struct {
	server, client peer
	size           work.Size
	gzip           bool
}

// A result is what a turn came to.
type result struct {
	contender.Load
	Server, Client float64 // us of CPU a call
	Alloc          float64 // bytes that the server allocated a call
	Peak           float64 // bytes that were resident in the server at most
	Opened         float64 // connections, in all
	Reopened       float64 // and those a call after the warm-up
}

// play measures one turn of a length, with a server and a client that are started for
// it.
func (b *bench) play(t turn, length time.Duration) (result, error) {
	server, err := process.Start(nil, nil, filepath.Join(b.bin, t.server.program), "serve", "-variant", t.server.variant, "-size", t.size.ID)
	if err != nil {
		return result{}, err
	}
	defer server.Stop()
	args := []string{"call", "-variant", t.client.variant, "-to", "http://" + server.Addr, "-size", t.size.ID, "-c", strconv.Itoa(t.size.Callers)}
	if t.gzip {
		args = append(args, "-gzip")
	}
	client, err := process.Start(nil, nil, filepath.Join(b.bin, t.client.program), args...)
	if err != nil {
		return result{}, err
	}
	defer client.Stop()

	// A run for warming up, of which nothing counts: connections are opened, pools
	// filled, and the heap has found its size.
	if _, err := client.Run(contender.Order{Millis: int(length.Milliseconds()) / 3}); err != nil {
		return result{}, err
	}
	var before, after contender.Stats
	if err := server.Ask(struct{}{}, &before); err != nil {
		return result{}, err
	}
	serverBefore, err1 := process.CPU(server.PID())
	clientBefore, err2 := process.CPU(client.PID())
	load, err := client.Run(contender.Order{Millis: int(length.Milliseconds())})
	if err != nil {
		return result{}, err
	}
	serverAfter, err3 := process.CPU(server.PID())
	clientAfter, err4 := process.CPU(client.PID())
	if err := server.Ask(struct{}{}, &after); err != nil {
		return result{}, err
	}
	peak, err5 := process.Memory(server.PID(), "VmHWM")
	for _, err := range []error{err1, err2, err3, err4, err5} {
		if err != nil {
			return result{}, err
		}
	}
	calls := float64(load.Calls)
	return result{
		Load:   load,
		Server: float64(serverAfter-serverBefore) / 1000 / calls,
		Client: float64(clientAfter-clientBefore) / 1000 / calls,
		Alloc:  float64(after.Alloc-before.Alloc) / calls,
		Peak:   peak, Opened: float64(after.Conns), Reopened: float64(after.Conns-before.Conns) / calls,
	}, nil
}

// quarters are the short turns that come for a long one, each in a round of its own.
const quarters = 4

// inTurns measures the turns one after the other, again in each round, and in each
// round another one first. Results are by turn, then by round.
func (b *bench) inTurns(what string, turns []turn) ([][]result, error) {
	results := make([][]result, len(turns))
	rounds, length := b.rounds, b.turn
	switch long := turns[0].size.ID == "k100"; {
	case long && b.quick:
		rounds = 1 // a turn of these takes as long as its first calls do
	case !long && !b.quick:
		// The closer to each other two are measured, and the more often, the less
		// it matters what else the machine does.
		rounds, length = quarters*rounds, length/quarters
	}
	for round := range rounds {
		for i := range turns {
			at := (i + round) % len(turns)
			t := turns[at]
			r, err := b.play(t, length)
			if err != nil {
				return nil, fmt.Errorf("%s: %s, size %s: %w", what, t.client.variant, t.size.ID, err)
			}
			results[at] = append(results[at], r)
			fmt.Fprintf(os.Stderr, "%s %d/%d %-6s %-20s %9.0f/s\n", what, round+1, rounds, t.size.ID, t.client.variant, r.Rate)
		}
	}
	return results, nil
}

// middle is the median over the rounds of what f takes of a result.
func middle(rounds []result, f func(result) float64) float64 {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = f(r)
	}
	return stats.Median(values)
}

// ratio is the median over the rounds of f against that of the floor in the same
// round.
func ratio(rounds, floor []result, f func(result) float64) float64 {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = f(r) / f(floor[i])
	}
	return stats.Median(values)
}
