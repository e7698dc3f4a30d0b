package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/process"
	"github.com/amammay/otorun/bench/internal/stats"
	"github.com/amammay/otorun/bench/internal/work"
)

// A program is started until it answers its first request.
type program struct {
	title string
	args  []string // the first is a program that was built
	env   []string
	path  string // what is got; if it is empty EatTaco is called, as wire says
	wire  work.Wire
	h2c   bool
}

func startable() []program {
	serves := func(title, bin, variant string) program {
		return program{title: title, args: []string{bin, "serve", "-variant", variant}, wire: work.Wires[variant]}
	}
	bare := serves("a bare net/http program (the floor)", "floor", "floor")
	wrapped := bare
	wrapped.title = "runsd, and in it the bare program"
	wrapped.args = append([]string{"runsd", "-mode=proxy", "--"}, bare.args...)
	// As on Cloud Run, but for a metadata server that isn't there: runsd asks it for
	// nothing before the first call of a service.
	wrapped.env = []string{"K_SERVICE=bench", "GCE_METADATA_HOST=127.0.0.1:1"}
	grpc := serves("grpc-go", "grpc", "grpc-one")
	grpc.wire, grpc.h2c = work.Wire{Path: "/taco.TacoService/EatTaco", ContentType: "application/grpc"}, true
	return []program{
		bare,
		serves("otohttp and generated/server", "oto", "oto"),
		{title: "**tacoserver**", args: []string{"server"}, env: []string{"PORT=0"}, path: "/health"},
		{title: "**tacoclient**", args: []string{"client"}, env: []string{"PORT=0", "TACO_HOST=localhost:1"}, path: "/health"},
		wrapped,
		serves("net/http + encoding/json", "std", "std"),
		serves("Twirp", "twirp", "twirp-json"),
		serves("Connect", "connect", "connect-json"),
		grpc,
	}
}

// starts measures how long each program takes from exec to its first answer, and
// what is resident in it then.
func (b *bench) starts() (string, error) {
	programs := startable()
	times := make([][]float64, len(programs))
	residents := make([][]float64, len(programs))
	for round := range 4 * b.rounds {
		for i := range programs {
			at := (i + round) % len(programs)
			took, resident, err := b.start(programs[at])
			if err != nil {
				return "", fmt.Errorf("start %s: %w", strings.Join(programs[at].args, " "), err)
			}
			times[at] = append(times[at], took)
			residents[at] = append(residents[at], resident)
		}
	}
	t := newTable("program", "exec to first answer ms", "more than bare ms", "resident then MB", "more than bare MB", "binary, stripped MB")
	for i, p := range programs {
		size, err := os.Stat(filepath.Join(b.bin, p.args[0]))
		if err != nil {
			return "", err
		}
		later := make([]float64, len(times[i]))
		for j := range later {
			later[j] = times[i][j] - times[0][j]
		}
		t.row(p.title, figure(stats.Median(times[i])), fmt.Sprintf("%+.2f", stats.Median(later)),
			mega(stats.Median(residents[i])), fmt.Sprintf("%+.1f", (stats.Median(residents[i])-stats.Median(residents[0]))/1e6), mega(float64(size.Size())))
	}
	return "## Start\n\nWhat runsd takes is the time until the program in it answers; the memory is runsd's alone.\n\n" + t.String(), nil
}

// serving finds the address in what a program says when it listens.
var serving = regexp.MustCompile(`"addr":"(127\.0\.0\.1:\d+)"|listening.*http://(localhost:\d+)`)

// start starts a program once: milliseconds to its first answer, and the bytes that
// are resident in it then.
func (b *bench) start(p program) (took, resident float64, err error) {
	args := append([]string{}, p.args...)
	args[0] = filepath.Join(b.bin, args[0])
	for i, arg := range args {
		if arg == "--" {
			args[i+1] = filepath.Join(b.bin, args[i+1])
		}
	}
	cmd := exec.Command(args[0], args[1:]...)
	// Whatever a program keeps, it keeps where it is cleared away.
	cmd.Env = append(append(os.Environ(), "TACO_DB="+filepath.Join(b.bin, "tacos.db")), p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe() // whose end ends the contenders
	if err != nil {
		return 0, 0, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return 0, 0, err
	}
	defer read.Close()
	cmd.Stdout, cmd.Stderr = write, write
	begin := time.Now()
	err = cmd.Start()
	write.Close()
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		stdin.Close()
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	}()
	timer := time.AfterFunc(time.Minute, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()

	lines := bufio.NewScanner(read)
	var said strings.Builder
	for lines.Scan() {
		m := serving.FindStringSubmatch(lines.Text())
		if m == nil {
			said.WriteString(lines.Text() + "\n")
			continue
		}
		if err := p.answers("http://" + m[1] + m[2]); err != nil {
			return 0, 0, err
		}
		took = float64(time.Since(begin).Microseconds()) / 1000
		resident, err = process.Memory(cmd.Process.Pid, "VmRSS")
		return took, resident, err
	}
	return 0, 0, fmt.Errorf("it ended without saying where it listens\n%s", said.String())
}

// answers makes the request and checks its answer.
func (p program) answers(to string) error {
	transport := &http.Transport{}
	if p.h2c {
		transport = contender.H2C()
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if p.path != "" {
		answer, err := client.Get(to + p.path)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", p.path, answer.Status)
		}
		return nil
	}
	size, err := work.SizeOf("small")
	if err != nil {
		return err
	}
	body := p.wire.Body(size)
	if p.h2c { // a message of gRPC: not packed, its length
		body = size.Protobuf()
		body = append([]byte{0, 0, 0, 0, byte(len(body))}, body...)
	}
	answer, err := client.Post(to+p.wire.Path, p.wire.ContentType, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || !strings.Contains(string(text), size.Want()) {
		return fmt.Errorf("%s: %s %.200q: %v", p.wire.Path, answer.Status, text, err)
	}
	return nil
}

// decode reads a file of JSON.
func decode(file string, v any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
