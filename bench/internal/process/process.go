// Package process runs the contenders as processes of their own, and reads from
// /proc what they use.
package process

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/amammay/otorun/bench/internal/contender"
)

// slow is how long a process may take for anything: far longer than it does, on a
// machine that is busy, so that none hangs the run.
const slow = 2 * time.Minute

// A Process is a contender's, which does what it is asked.
type Process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	errs strings.Builder
	// Addr is where it listens, HOST:PORT, if it serves.
	Addr string
}

// Start runs a contender and waits until it is ready. env is added to its
// environment, prefix is a program that runs it, such as valgrind.
func Start(prefix, env []string, bin string, args ...string) (*Process, error) {
	command := append(append(prefix[:len(prefix):len(prefix)], bin), args...)
	p := &Process{cmd: exec.Command(command[0], command[1:]...)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.errs
	p.cmd.WaitDelay = time.Second
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.out = in, bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	var ready contender.Ready
	if err := p.read(&ready); err != nil {
		p.Stop()
		return nil, err
	}
	p.Addr = ready.Addr
	return p, nil
}

// Ask sends a line and decodes the one that answers it.
func (p *Process) Ask(order, answer any) error {
	if err := json.NewEncoder(p.in).Encode(order); err != nil {
		return p.fault(err)
	}
	return p.read(answer)
}

func (p *Process) read(answer any) error {
	timer := time.AfterFunc(slow, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return p.fault(err)
	}
	if err := json.Unmarshal(line, answer); err != nil {
		return p.fault(err)
	}
	return nil
}

func (p *Process) fault(err error) error {
	p.Stop() // what it wrote is complete then
	return fmt.Errorf("%s: %w\n%s", p.cmd, err, p.errs.String())
}

// Run has a client call, and returns an error if a call failed.
func (p *Process) Run(order contender.Order) (contender.Load, error) {
	var load contender.Load
	err := p.Ask(order, &load)
	switch {
	case err != nil:
	case load.Failed > 0:
		err = fmt.Errorf("%s: %d of %d calls failed: %s", p.cmd, load.Failed, load.Calls, load.Error)
	case load.Calls == 0:
		err = fmt.Errorf("%s: no calls", p.cmd)
	}
	return load, err
}

// Stop ends the process by the end of its input, and by force if that doesn't.
func (p *Process) Stop() {
	p.in.Close()
	timer := time.AfterFunc(slow, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	p.cmd.Wait()
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// CPU returns the nanoseconds of CPU that the threads of a process have used.
// The scheduler counts them in nanoseconds (proc_schedstat of the kernel's
// sched-stats); a kernel without that counts ticks of 10 ms.
func CPU(pid int) (int64, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	tasks, err := os.ReadDir(dir + "/task")
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, task := range tasks {
		text, err := os.ReadFile(dir + "/task/" + task.Name() + "/schedstat")
		if errors.Is(err, os.ErrNotExist) {
			return ticks(dir)
		}
		if err != nil {
			continue // a thread that has just ended
		}
		ran, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("schedstat %q: %w", text, err)
		}
		sum += n
	}
	return sum, nil
}

func ticks(dir string) (int64, error) {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0, err
	}
	// The name before the last parenthesis may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var sum int64
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s/stat: %w", dir, err)
		}
		sum += n * 10_000_000
	}
	return sum, nil
}

// Memory returns a figure of a process's status in bytes: VmRSS, what is resident,
// or VmHWM, the most that was.
func Memory(pid int, name string) (float64, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(status), "\n"+name+":")
	if !ok {
		return 0, fmt.Errorf("no %s in the status of process %d", name, pid)
	}
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), "kB")), 64)
	return n * 1024, err
}

// Build builds programs of the module in a folder into dir, as they are in an image.
func Build(dir, module string, packages ...string) error {
	args := []string{"build", "-trimpath", "-ldflags", "-s -w", "-o", dir + string(filepath.Separator)}
	cmd := exec.Command("go", append(args, packages...)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", strings.Join(packages, " "), err, text)
	}
	return nil
}
