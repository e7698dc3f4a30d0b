package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/amammay/otorun/cloudrun/cloudruntest"
)

// What a platform has of the machine.
type holdings struct{ descriptors, children, mounts, goroutines int }

func count(t *testing.T) holdings {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system has no /proc")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	children := 0
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tasks {
		if text, err := os.ReadFile(file); err == nil {
			children += len(strings.Fields(string(text)))
		}
	}
	return holdings{len(descriptors), children, strings.Count(string(mounts), "\n"), runtime.NumGoroutine()}
}

// 200 platforms, each with a service in a container that is called, leave no
// process, mount, descriptor, goroutine or file.
func TestCloudrunNothingIsLeft(t *testing.T) {
	needSandbox(t)
	server, _ := taco(t)
	server.Runsd, server.Invokers = "", []string{"allUsers"}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("XDG_RUNTIME_DIR", temp)
	once := func(name string, kill bool) {
		t.Run(name, func(t *testing.T) {
			run := cloudruntest.Start(t, server)
			if got := ask(t, run.Client(""), "http://tacoserver/health"); !strings.HasPrefix(got, "200") {
				t.Error(got)
			}
			if kill {
				run.Kill("tacoserver")
			}
		})
	}
	once("first", false)
	before := count(t)
	platforms := 200
	if raceEnabled {
		platforms = 50
	}
	for i := range platforms {
		once(fmt.Sprint(i), i%4 > 0) // to end in good order takes a while
	}
	var after holdings
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		// Goroutines and connections of the last one end by themselves.
		after = count(t)
		if after.descriptors <= before.descriptors && after.children <= before.children && after.mounts <= before.mounts && after.goroutines <= before.goroutines {
			break
		}
	}
	if after.descriptors > before.descriptors || after.children > before.children || after.mounts > before.mounts || after.goroutines > before.goroutines {
		t.Errorf("before: %+v, after %d platforms: %+v", before, platforms, after)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

// childEnv makes the test below the one that is killed.
const childEnv = "OTORUN_E2E_CHILD"

// A test that is killed leaves nothing of its platform, no more than one that ends.
func TestCloudrunKilledTest(t *testing.T) {
	needSandbox(t)
	server, client := taco(t)
	if os.Getenv(childEnv) != "" {
		services := []cloudruntest.Service{server, client}
		if os.Getenv("HOME") != "" { // which the go command needs
			services = append(services, cloudruntest.Service{Name: "built", Package: "github.com/amammay/otorun/server"})
		}
		run := cloudruntest.Start(t, services...)
		fmt.Println("up", ask(t, run.Client(developer), "http://tacoclient/"))
		<-t.Context().Done()
	}
	dir, err := static()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	child := exec.Command(self, "-test.run=^TestCloudrunKilledTest$")
	child.Env = append(os.Environ(), childEnv+"=1", staticEnv+"="+dir, "TMPDIR="+temp, "XDG_RUNTIME_DIR="+temp)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		if lines.Text() == "up "+strings.TrimSpace(eaten) {
			break
		}
	}
	processes := descendants(t, child.Process.Pid)
	if len(containersOf(t, child.Process.Pid)) < 4 {
		t.Fatalf("the services aren't up: %q", said)
	}
	child.Process.Kill()
	child.Wait()
	wantGone(t, processes)
	wantNoRun(t, temp)
}
