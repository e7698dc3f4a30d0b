package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/amammay/otorun/bench/chain"
)

// chain measures a call all the way on the local Cloud Run, which runs inside go
// test.
func (b *bench) chain() (string, error) {
	const title = "## The whole way\n\n"
	out := filepath.Join(b.bin, "chain.json")
	cmd := exec.Command("go", "test", "-count=1", "-timeout=9m", "-run=^TestChain$", "./chain")
	cmd.Env = append(os.Environ(), "BENCH_CHAIN="+out, "BENCH_ROUNDS="+strconv.Itoa(b.rounds), "BENCH_MILLIS="+strconv.FormatInt(b.turn.Milliseconds(), 10))
	text, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, text)
	}
	var report chain.Report
	if _, err := os.Stat(out); err != nil {
		return title + "Left out: there are no sandboxes here, which a Cloud Run on this machine needs (`go test -v ./chain` says why).\n", nil
	}
	if err := decode(out, &report); err != nil {
		return "", err
	}
	return title + whatItIs + report.Markdown(), nil
}

const whatItIs = `On the local Cloud Run: a client through the front door (TLS, HTTP/2, IAM) to tacoclient, which calls http://tacoserver: through runsd, the front door again, to tacoserver. Each call has something new to keep.

Each hop has its floor beside it, a process of its own on loopback without sandboxes, rules or logs, which does what can't be left out. For the front door and runsd that is httputil's proxy with TLS, and a token and forwarded headers as long as the real ones; for tacoclient net/http's client and a sentence; for tacoserver, which may answer only when it has kept the record, net/http and a commit of bbolt (one a call, where tacoserver writes in one commit what came meanwhile). What it costs beside a constant answer, and on a disk, is in the table of tacoserver by itself.

The whole way costs more than that of floors, and where more is going on a process of the same program takes more. So the floors of tacoclient and tacoserver are measured in their places too: in a sandbox on the local Cloud Run, with the rest of the way as it is. For the front door and runsd there is no such place: they are the way.

A hop's time is the difference that it makes to a part of the way (p50): with a part that starts at runsd, in a sandbox, or at the front door, and with a constant answer behind the front door. The front door's CPU is the whole platform's: both times it is passed, the way in and out of the sandboxes, and the services' logs, two lines a call.
`
