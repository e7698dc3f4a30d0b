package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/amammay/otorun/bench/internal/stats"
	"github.com/amammay/otorun/bench/internal/work"
)

// A section is a part of the report: one or more tables with what they mean.
type section struct {
	id      string
	measure func(*bench) (string, error)
}

var sections = []section{
	{"server", (*bench).servers},
	{"instructions", (*bench).instructions},
	{"gzip", (*bench).packed},
	{"client", (*bench).clients},
	{"pair", (*bench).pairs},
	{"start", (*bench).starts},
	{"chain", (*bench).chain},
}

// table is Markdown's.
type table struct{ strings.Builder }

func newTable(columns ...string) *table {
	t := new(table)
	t.row(columns...)
	t.row(slices.Repeat([]string{"---"}, len(columns))...)
	return t
}

func (t *table) row(cells ...string) { t.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

func times(x float64) string { return fmt.Sprintf("%.2f", x) }

// figure writes a number with three digits that count, and no more.
func figure(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func kilo(bytes float64) string { return figure(bytes / 1000) }
func mega(bytes float64) string { return figure(bytes / 1e6) }

func heading(size work.Size) string {
	return fmt.Sprintf("%s (%d bytes of JSON, %d callers)", what(size), len(size.JSON()), size.Callers)
}

func what(size work.Size) string {
	return map[string]string{
		"small": "small", "k1": "1,000 tacos", "k100": "100,000 tacos",
		"answer": "a page of eaters in the answer", "prose": "words at random in the answer",
	}[size.ID]
}

func serverCPU(r result) float64 { return r.Server }
func clientCPU(r result) float64 { return r.Client }
func pairCPU(r result) float64   { return r.Server + r.Client }

func (b *bench) servers() (string, error) {
	var text strings.Builder
	text.WriteString("## Server\n\nCPU is that of the server's threads, a request; *x floor* the median of its ratios to the floor's in the same round. alloc is what the server allocates for a request, peak the most memory that was resident.\n")
	for _, size := range b.sizes("small", "k1", "k100") {
		var turns []turn
		for _, p := range b.chosen {
			turns = append(turns, turn{server: p, client: p.generator(), size: size})
		}
		results, err := b.inTurns("server", turns)
		if err != nil {
			return "", err
		}
		t := newTable("server", "CPU us", "x floor", "req/s", "p50 us", "p99 us", "alloc kB", "peak MB")
		for i, rounds := range results {
			x := ratio(rounds, results[0], serverCPU)
			t.row(turns[i].server.title, figure(middle(rounds, serverCPU)), times(x),
				figure(middle(rounds, func(r result) float64 { return r.Rate })),
				figure(middle(rounds, func(r result) float64 { return r.P50 })), figure(middle(rounds, func(r result) float64 { return r.P99 })),
				kilo(middle(rounds, func(r result) float64 { return r.Alloc })), mega(middle(rounds, func(r result) float64 { return r.Peak })))
			b.chart.add(heading(size), turns[i].server.title, x)
		}
		fmt.Fprintf(&text, "\n### Requests: %s\n\n%s", heading(size), t)
	}
	return text.String(), nil
}

func (b *bench) packed() (string, error) {
	var peers []peer
	for _, p := range b.chosen {
		if p.overHTTP1() {
			peers = append(peers, p)
		}
	}
	var turns []turn
	for _, size := range b.sizes("small", "answer", "prose") {
		for _, p := range peers {
			turns = append(turns,
				turn{server: p, client: p.generator(), size: size},
				turn{server: p, client: p.generator(), size: size, gzip: true})
		}
	}
	results, err := b.inTurns("gzip", turns)
	if err != nil {
		return "", err
	}
	t := newTable("server", "answer", "CPU us as it is", "CPU us if the client accepts gzip", "more us")
	for i := 0; i < len(results); i += 2 {
		size := turns[i].size
		t.row(append([]string{turns[i].server.title, fmt.Sprintf("%s, %d bytes", what(size), len(size.AnswerJSON()))}, more(results[i], results[i+1], serverCPU)...)...)
	}
	text := "## Answers to a client that accepts gzip\n\nThe others than Connect and otorun never pack. grpc-go packs only what its client asks for by name.\n\n" + t.String()

	// What unpacking takes of the clients of those who pack.
	turns = nil
	for _, size := range b.sizes("answer", "prose") {
		for _, p := range peers {
			if p.program == "oto" || p.program == "connect" {
				turns = append(turns, turn{server: p.common(), client: p, size: size}, turn{server: p, client: p, size: size, gzip: true})
			}
		}
	}
	if len(turns) == 0 {
		return text, nil
	}
	if results, err = b.inTurns("gunzip", turns); err != nil {
		return "", err
	}
	t = newTable("client", "answer", "CPU us of one as it is", "CPU us of one packed", "more us")
	for i := 0; i < len(results); i += 2 {
		t.row(append([]string{turns[i].client.title, what(turns[i].size)}, more(results[i], results[i+1], clientCPU)...)...)
	}
	return text + "\nTheir clients, with the floor's server, which never packs, and with their own:\n\n" + t.String(), nil
}

// more are the cells of two figures, and by how much the second is above the first.
func more(first, second []result, f func(result) float64) []string {
	above := make([]float64, len(first))
	for i := range above {
		above[i] = f(second[i]) - f(first[i])
	}
	return []string{figure(middle(first, f)), figure(middle(second, f)), fmt.Sprintf("%+.1f", stats.Median(above))}
}

func (b *bench) clients() (string, error) {
	var text strings.Builder
	text.WriteString("## Client\n\nCPU is that of the client's threads, a call. Over HTTP/1.1 all call the floor's server, which answers in JSON or protobuf as it is asked; over HTTP/2 their own. Twirp's, Connect's and encoding/json's have a transport with as many idle connections as callers; otorun's is as `client.New` makes it.\n")
	for _, size := range b.sizes("small", "k1") {
		var turns []turn
		for _, p := range b.chosen {
			turns = append(turns, turn{server: p.common(), client: p, size: size})
		}
		results, err := b.inTurns("client", turns)
		if err != nil {
			return "", err
		}
		t := newTable("client", "CPU us", "x floor", "calls/s", "p50 us", "p99 us", "connections", "opened per 10,000 calls")
		for i, rounds := range results {
			t.row(turns[i].client.title, figure(middle(rounds, clientCPU)), times(ratio(rounds, results[0], clientCPU)),
				figure(middle(rounds, func(r result) float64 { return r.Rate })),
				figure(middle(rounds, func(r result) float64 { return r.P50 })), figure(middle(rounds, func(r result) float64 { return r.P99 })),
				fmt.Sprintf("%.0f", middle(rounds, func(r result) float64 { return r.Opened })),
				fmt.Sprintf("%.1f", 10_000*middle(rounds, func(r result) float64 { return r.Reopened })))
		}
		fmt.Fprintf(&text, "\n### Requests: %s\n\n%s\n*connections* are those of the whole turn, *opened* those after its first third.\n", heading(size), t)
	}
	return text.String(), nil
}

func (b *bench) pairs() (string, error) {
	var text strings.Builder
	text.WriteString("## Pairs\n\nEach client with its own server. CPU is that of both, a call.\n")
	sizes := []string{"small", "k1", "k100"}
	if b.quick {
		sizes = sizes[:2]
	}
	for _, size := range b.sizes(sizes...) {
		var turns []turn
		for _, p := range b.chosen {
			turns = append(turns, turn{server: p, client: p, size: size})
		}
		results, err := b.inTurns("pair", turns)
		if err != nil {
			return "", err
		}
		t := newTable("pair", "CPU us", "x floor", "client us", "server us", "calls/s", "p50 us", "p99 us")
		for i, rounds := range results {
			t.row(turns[i].client.title, figure(middle(rounds, pairCPU)), times(ratio(rounds, results[0], pairCPU)),
				figure(middle(rounds, clientCPU)), figure(middle(rounds, serverCPU)),
				figure(middle(rounds, func(r result) float64 { return r.Rate })),
				figure(middle(rounds, func(r result) float64 { return r.P50 })), figure(middle(rounds, func(r result) float64 { return r.P99 })))
		}
		fmt.Fprintf(&text, "\n### Requests: %s\n\n%s", heading(size), t)
	}
	return text.String(), nil
}
