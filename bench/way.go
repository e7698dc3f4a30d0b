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
	return title + "On the local Cloud Run: a client through the front door (TLS, HTTP/2, IAM) to tacoclient, which calls http://tacoserver: through runsd, the front door again, to tacoserver. Each hop has its floor beside it, a process of its own on loopback without sandboxes, rules or logs: httputil's proxy for front door and runsd, net/http's client for tacoclient, a constant answer for tacoserver. The front door's CPU is the whole platform's: both times the door is passed, the way in and out of the sandboxes, and the logs. In the third row the caller is in a sandbox as well.\n" + report.Markdown(), nil
}
