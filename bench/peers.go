package main

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/amammay/otorun/bench/internal/process"
	"github.com/amammay/otorun/bench/internal/work"
)

// A peer is a row: a program below contenders/ and what of it serves or calls.
type peer struct{ title, program, variant string }

var floor = peer{"floor: net/http, constant bytes", "floor", "floor"}

// peers are in the order of the tables.
var peers = []peer{
	floor,
	{"**otorun**", "oto", "oto"},
	{"net/http + encoding/json", "std", "std"},
	{"net/http + jsontext", "jsontext", "jsontext"},
	{"Twirp, JSON", "twirp", "twirp-json"},
	{"Twirp, protobuf", "twirp", "twirp-protobuf"},
	{"Connect, JSON, HTTP/1.1", "connect", "connect-json"},
	{"Connect, protobuf, HTTP/1.1", "connect", "connect-protobuf"},
	{"Connect, JSON, h2c", "connect", "connect-json-h2c"},
	{"Connect, protobuf, h2c", "connect", "connect-protobuf-h2c"},
	{"grpc-go, one connection", "grpc", "grpc-one"},
	{"grpc-go, one connection a caller", "grpc", "grpc-each"},
}

// overHTTP1 reports whether the peer's requests go over HTTP/1.1.
func (p peer) overHTTP1() bool {
	_, ok := work.Wires[p.variant]
	return ok
}

// generator is what makes the load for the peer's server: over HTTP/1.1 raw does,
// for all alike; over HTTP/2 its own client.
func (p peer) generator() peer {
	if p.overHTTP1() {
		return peer{p.title, "raw", p.variant}
	}
	return p
}

// common is the server that the peer's client is measured with: over HTTP/1.1 the
// floor's, for all alike; over HTTP/2 its own.
func (p peer) common() peer {
	if p.overHTTP1() {
		return floor
	}
	return p
}

// build builds what is measured into dir. The services and runsd are built in their
// own module, which has what they need.
func build(dir string) error {
	err := process.Build(dir, ".", "./contenders/floor", "./contenders/raw", "./contenders/std", "./contenders/jsontext", "./contenders/oto", "./contenders/twirp", "./contenders/connect", "./contenders/grpc")
	if err != nil {
		return err
	}
	return process.Build(dir, "..", "./server", "./client", "./runsd")
}

// releases returns the versions of what is measured, from go.mod.
func releases() (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Version}}", "github.com/twitchtv/twirp", "connectrpc.com/connect/v2", "google.golang.org/grpc", "google.golang.org/protobuf", "github.com/go-json-experiment/json")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", ", "), nil
}
