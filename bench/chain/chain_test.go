package chain

import (
	"bufio"
	"cmp"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/process"
	"github.com/amammay/otorun/bench/internal/stats"
	"github.com/amammay/otorun/cloudrun/cloudruntest"
)

const person = "ana@example.com"

// A part is called by what open returns, for some milliseconds each time, until
// it is closed; hops are the processes whose CPU counts.
type part struct {
	way, name string
	open      opener
	hops      map[string][]int
}

type opener func(t *testing.T, callers int) (call func(millis int) contender.Load, close func())

// TestChain measures; what it asserts is that every answer is right, and that every
// hop was found and has worked. It says nothing about time.
func TestChain(t *testing.T) {
	rounds, millis, out := 1, 50, os.Getenv("BENCH_CHAIN")
	if out != "" {
		var err1, err2 error
		rounds, err1 = strconv.Atoi(os.Getenv("BENCH_ROUNDS"))
		millis, err2 = strconv.Atoi(os.Getenv("BENCH_MILLIS"))
		if err := cmp.Or(err1, err2); err != nil {
			t.Fatal(err)
		}
	}
	bin := t.TempDir()
	if err := process.Build(bin, "..", "./contenders/floor", "./contenders/keeper"); err != nil {
		t.Fatal(err)
	}
	if err := process.Build(bin, "../..", "./server", "./client", "./runsd"); err != nil {
		t.Fatal(err)
	}
	floor := filepath.Join(bin, "floor")
	runsd := filepath.Join(bin, "runsd")
	run := cloudruntest.Start(t,
		cloudruntest.Service{Name: "tacoserver", Command: filepath.Join(bin, "server"), Runsd: runsd, Invokers: []string{"tacoclient", "probe", "front"}, MinInstances: 1},
		cloudruntest.Service{Name: "tacoclient", Command: filepath.Join(bin, "client"), Runsd: runsd, Invokers: []string{"user:" + person}, MinInstances: 1},
		cloudruntest.Service{Name: "probe", Command: floor, Args: []string{"probe"}, Env: []string{"BENCH_FRESH=1"}, Runsd: runsd, Invokers: []string{"user:" + person}, MinInstances: 1},
		// The floors of tacoclient and tacoserver in their places, and a tacoclient for
		// the latter.
		cloudruntest.Service{Name: "front", Command: floor, Args: []string{"service", "-variant", "front"}, Env: []string{"BENCH_NEXT=http://tacoserver"}, Runsd: runsd, Invokers: []string{"user:" + person}, MinInstances: 1},
		cloudruntest.Service{Name: "keeper", Command: filepath.Join(bin, "keeper"), Args: []string{"service", "-variant", "keeper"}, Env: []string{"BENCH_DB=/tmp/floor.db"}, Runsd: runsd, Invokers: []string{"keepers-client"}, MinInstances: 1},
		cloudruntest.Service{Name: "keepers-client", Command: filepath.Join(bin, "client"), Env: []string{"TACO_HOST=keeper"}, Runsd: runsd, Invokers: []string{"user:" + person}, MinInstances: 1},
	)
	door := findDoor(t, run)
	const fresh = "BENCH_FRESH=1"
	tokenOf := func(as, service string) string { return "BENCH_TOKEN=" + run.Token(as, run.URL(service)) }
	through := func(as, service string, env ...string) opener {
		env = append(env, "BENCH_CA="+door.ca, "BENCH_DIAL="+door.addr, tokenOf(as, service))
		return calling(floor, run.URL(service), env...)
	}

	// The same processes as floors, from the end of the way to its beginning. They
	// carry as long a token.
	memory, disk := memoryDir(t), t.TempDir()
	constant := startFloor(t, floor, "floor")
	keeper := startFloor(t, filepath.Join(bin, "keeper"), "keeper", "BENCH_DB="+filepath.Join(memory, "floor.db"))
	diskKeeper := startFloor(t, filepath.Join(bin, "keeper"), "keeper", "BENCH_DB="+filepath.Join(disk, "floor.db"))
	startDoor := func(to *process.Process) (door *process.Process, ca string) {
		cert := filepath.Join(t.TempDir(), "cert.pem")
		return startFloor(t, floor, "door", "BENCH_NEXT=http://"+to.Addr, "BENCH_CERT="+cert), "BENCH_CA=" + cert
	}
	constantDoor, constantCA := startDoor(constant)
	innerDoor, innerCA := startDoor(keeper)
	floorRunsd := startFloor(t, floor, "proxy", "BENCH_NEXT=https://"+innerDoor.Addr, innerCA, tokenOf("tacoclient", "tacoserver"))
	floorClient := startFloor(t, floor, "front", "BENCH_NEXT=http://"+floorRunsd.Addr)
	outerDoor, outerCA := startDoor(floorClient)

	alone, alonePID := startServer(t, filepath.Join(bin, "server"), memory)
	aloneOnDisk, onDiskPID := startServer(t, filepath.Join(bin, "server"), disk)
	inside := containers(t)
	hops := map[string][]int{
		Door:       {os.Getpid()}, // the platform is this process
		Server:     inside["tacoserver app"],
		Tacoclient: inside["tacoclient app"],
		Runsd:      inside["tacoclient runsd"],
	}
	for key, pids := range inside {
		if key == "tacoclient app" || key == "tacoserver app" || key == "tacoclient runsd" {
			continue
		}
		if strings.HasPrefix(key, "tacoclient ") || strings.HasPrefix(key, "tacoserver ") {
			hops[Rest] = append(hops[Rest], pids...)
		}
	}
	floors := map[string][]int{
		Door: {innerDoor.PID(), outerDoor.PID()}, Server: {keeper.PID()}, Tacoclient: {floorClient.PID()}, Runsd: {floorRunsd.PID()},
	}
	asClient := tokenOf("tacoclient", "tacoserver")
	parts := []part{
		{Here, Alone, calling(floor, alone, fresh), map[string][]int{Server: {alonePID}}},
		{Floor, Alone, calling(floor, "http://"+keeper.Addr, fresh), only(floors, Server)},
		{Here, Disk, calling(floor, aloneOnDisk, fresh), map[string][]int{Server: {onDiskPID}}},
		{Floor, Disk, calling(floor, "http://"+diskKeeper.Addr, fresh), map[string][]int{Server: {diskKeeper.PID()}}},
		{Here, Again, calling(floor, alone), map[string][]int{Server: {alonePID}}},
		{Floor, Again, calling(floor, "http://"+constant.Addr), map[string][]int{Server: {constant.PID()}}},
		{Here, Constant, through(person, "probe"), only(hops, Door)},
		{Floor, Constant, calling(floor, "https://"+constantDoor.Addr, constantCA, tokenOf(person, "probe")), map[string][]int{Door: {constantDoor.PID()}}},
		{Here, ByDoor, through("tacoclient", "tacoserver", fresh), only(hops, Door, Server)},
		{Floor, ByDoor, calling(floor, "https://"+innerDoor.Addr, innerCA, asClient, fresh), map[string][]int{Door: {innerDoor.PID()}, Server: floors[Server]}},
		{Here, ByRunsd, probing(run), map[string][]int{Door: hops[Door], Server: hops[Server], Runsd: inside["probe runsd"]}},
		{Floor, ByRunsd, calling(floor, "http://"+floorRunsd.Addr, fresh), map[string][]int{Door: {innerDoor.PID()}, Server: floors[Server], Runsd: floors[Runsd]}},
		{Here, Whole, through(person, "tacoclient", "BENCH_GET=/", fresh), hops},
		{Floor, Whole, calling(floor, "https://"+outerDoor.Addr, outerCA, tokenOf(person, "tacoclient"), "BENCH_GET=/", fresh), floors},
		{Place, places[Tacoclient], through(person, "front", "BENCH_GET=/", fresh), map[string][]int{Tacoclient: inside["front app"]}},
		{Place, places[Server], through(person, "keepers-client", "BENCH_GET=/", fresh), map[string][]int{Server: inside["keeper app"]}},
	}

	var report Report
	for _, callers := range []int{1, 8} {
		cells := make([]Cell, len(parts))
		for round := range rounds {
			for i := range parts {
				at := (i + round) % len(parts)
				cells[at].Way, cells[at].Part, cells[at].Callers = parts[at].way, parts[at].name, callers
				cells[at].Rounds = append(cells[at].Rounds, parts[at].measure(t, callers, millis))
			}
		}
		report.Cells = append(report.Cells, cells...)
	}
	report.Curl = curl(t, run, door, 1+4*rounds)
	t.Log(report.Markdown())
	if out == "" {
		return
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func only(hops map[string][]int, names ...string) map[string][]int {
	hops = maps.Clone(hops)
	maps.DeleteFunc(hops, func(name string, _ []int) bool { return !slices.Contains(names, name) })
	return hops
}

// measure warms up, and then measures the part for a time.
func (p part) measure(t *testing.T, callers, millis int) Round {
	t.Helper()
	call, end := p.open(t, callers)
	defer end()
	call(max(millis/3, 1))
	before := used(t, p.hops)
	load := call(millis)
	after := used(t, p.hops)
	if load.Failed > 0 || load.Calls == 0 {
		t.Fatalf("%s, %s, callers: %d: %d of %d calls failed: %s", p.way, p.name, callers, load.Failed, load.Calls, load.Error)
	}
	r := Round{P50: load.P50, Rate: load.Rate, CPU: make(map[string]float64)}
	for hop := range p.hops {
		r.CPU[hop] = float64(after[hop]-before[hop]) / 1000 / float64(load.Calls)
		if r.CPU[hop] <= 0 && hop != Rest {
			t.Errorf("%s, %s, callers: %d: %s has used no CPU", p.way, p.name, callers, hop)
		}
	}
	return r
}

func used(t *testing.T, hops map[string][]int) map[string]int64 {
	t.Helper()
	sums := make(map[string]int64)
	for hop, pids := range hops {
		if len(pids) == 0 {
			t.Fatalf("no process of %s found", hop)
		}
		for _, pid := range pids {
			n, err := process.CPU(pid)
			if err != nil {
				t.Fatal(err)
			}
			sums[hop] += n
		}
	}
	return sums
}

// calling calls with the floor's client.
func calling(floor, to string, env ...string) opener {
	return func(t *testing.T, callers int) (func(int) contender.Load, func()) {
		t.Helper()
		client, err := process.Start(nil, env, floor, "call", "-variant", "floor", "-to", to, "-c", strconv.Itoa(callers))
		if err != nil {
			t.Fatal(err)
		}
		return func(millis int) contender.Load {
			load, err := client.Run(contender.Order{Millis: millis})
			if err != nil {
				t.Fatal(err)
			}
			return load
		}, client.Stop
	}
}

// probing calls with the floor's client from inside a container, a new one for each
// call: its connections are runsd's to keep.
func probing(run *cloudruntest.Run) opener {
	client := run.Client(person)
	return func(t *testing.T, callers int) (func(int) contender.Load, func()) {
		return func(millis int) contender.Load {
			query := url.Values{"to": {"http://tacoserver"}, "c": {strconv.Itoa(callers)}, "millis": {strconv.Itoa(millis)}}
			answer, err := client.Get("http://probe/?" + query.Encode())
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatalf("probe: %s %s (%v)", answer.Status, text, err)
			}
			var load contender.Load
			if err := json.Unmarshal(text, &load); err != nil {
				t.Fatal(err)
			}
			return load
		}, func() {}
	}
}

func startFloor(t *testing.T, floor, variant string, env ...string) *process.Process {
	t.Helper()
	p, err := process.Start(nil, env, floor, "serve", "-variant", variant)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	// A door's certificate is there once it takes connections.
	if variant == "door" {
		file := strings.TrimPrefix(env[len(env)-1], "BENCH_CERT=")
		deadline := time.Now().Add(time.Minute)
		for text, _ := os.ReadFile(file); len(text) == 0; text, _ = os.ReadFile(file) {
			if time.Now().After(deadline) {
				t.Fatalf("no certificate in %s after a minute", file)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return p
}

var listening = regexp.MustCompile(`listening.*(http://localhost:\d+)`)

// memoryDir is a folder in memory, as a container's are, or where there is none on
// the disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "otorun-bench-")
	if err != nil {
		t.Logf("no folder in memory: %v", err)
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startServer runs tacoserver by itself, with the log that it has on Cloud Run and its
// file in dir, and returns its URL.
func startServer(t *testing.T, bin, dir string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin)
	cmd.Env = append(os.Environ(), "PORT=0", "K_SERVICE=tacoserver", "GOOGLE_CLOUD_PROJECT=local-project", "TACO_DB="+filepath.Join(dir, "tacos.db"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, log)
			return m[1], cmd.Process.Pid
		}
	}
	t.Fatal("tacoserver doesn't say where it listens")
	return "", 0
}

// doorway is how a client gets to the platform's front door.
type doorway struct{ addr, ca string }

func findDoor(t *testing.T, run *cloudruntest.Run) doorway {
	t.Helper()
	var d doorway
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { d.addr = i.Conn.RemoteAddr().String() }}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, "http://tacoclient/", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := run.Client(person).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if want := "Sammy Sosa has consumed 2 tacos\n"; err != nil || string(text) != want {
		t.Fatalf("tacoclient answers %s %q (%v), want %q", answer.Status, text, err, want)
	}
	chain := answer.TLS.VerifiedChains[0]
	d.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(d.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

// containers returns the processes in the platform's containers, by the service's
// name and the program's.
func containers(t *testing.T) map[string][]int {
	t.Helper()
	parents := make(map[int]int)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		parents[pid], _ = strconv.Atoi(fields[1])
	}
	found := make(map[string][]int)
	for pid := range parents {
		ours := false
		for p := parents[pid]; p > 1 && !ours; p = parents[p] {
			ours = p == os.Getpid()
		}
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		comm, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if !ours || err != nil || err2 != nil {
			continue
		}
		service := "none"
		for line := range strings.SplitSeq(string(env), "\x00") {
			if name, ok := strings.CutPrefix(line, "K_SERVICE="); ok {
				service = name
			}
		}
		key := service + " " + strings.TrimSpace(string(comm))
		found[key] = append(found[key], pid)
	}
	return found
}

// curl returns the median of the milliseconds that curl takes for the whole way, or
// zero where there is no curl.
func curl(t *testing.T, run *cloudruntest.Run, door doorway, times int) float64 {
	t.Helper()
	bin, err := exec.LookPath("curl")
	if err != nil {
		t.Logf("no curl: %v", err)
		return 0
	}
	var took []float64
	for range times {
		cmd := exec.CommandContext(t.Context(), bin, "-sS", "--fail", "--noproxy", "*", "--cacert", door.ca, "--connect-to", "::"+door.addr,
			"-H", "Authorization: Bearer "+run.Token(person, run.URL("tacoclient")), run.URL("tacoclient"))
		begin := time.Now()
		text, err := cmd.CombinedOutput()
		took = append(took, float64(time.Since(begin).Microseconds())/1000)
		if want := "Sammy Sosa has consumed 2 tacos\n"; err != nil || string(text) != want {
			t.Fatalf("%s: %q (%v), want %q", cmd, text, err, want)
		}
	}
	return stats.Median(took)
}
