package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A moment is how much the machine and this program, with what it has run, have
// worked up to then.
type moment struct {
	at        time.Time
	all, ours time.Duration // of CPU
}

func now() (moment, error) {
	m := moment{at: time.Now()}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if err := syscall.Getrusage(who, &usage); err != nil {
			return m, err
		}
		m.ours += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m, err
	}
	first, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(first)
	for i, f := range fields[1:] {
		// user, nice, system, idle, iowait, irq, softirq, steal, and guests, whom user
		// has counted (proc_stat(5)), in ticks of 10 ms.
		if i == 3 || i == 4 || i > 7 {
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return m, fmt.Errorf("/proc/stat: %w", err)
		}
		m.all += time.Duration(n) * 10 * time.Millisecond
	}
	return m, nil
}

// others is the share of the CPUs' time that others than this program and what it
// has run had between two moments.
func others(from, to moment) float64 {
	had := (to.all - from.all) - (to.ours - from.ours)
	return max(0, had.Seconds()) / (to.at.Sub(from.at).Seconds() * float64(runtime.NumCPU()))
}

// quiet is the share that others may have without the figures being noise. The
// kernel's own work for us counts as theirs in part.
const quiet = 0.10

// neighbours says how quiet the machine was.
func neighbours(share float64) string {
	said := fmt.Sprintf("Others than the measured took %.0f %% of the CPUs meanwhile.", 100*share)
	if share > quiet {
		return "**" + said + "** Of these figures only the instructions can be relied on: measure again when the machine is quiet."
	}
	return said
}
