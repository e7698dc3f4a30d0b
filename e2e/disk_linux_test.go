package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// mounted starts tacoserver where an own mount of its folder is, made by the shell
// with the folder as $0. The mount is the process's alone and goes with it.
func mounted(t *testing.T, mount string, settings ...string) *exec.Cmd {
	t.Helper()
	needSandbox(t)
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", mount+` && exec "$@"`, dir, filepath.Join(bin, "server"))
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "PORT=0", "TACO_DB=" + filepath.Join(dir, "tacos.db")}, settings...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd
}

// When the disk is full, the caller is told so, what was kept still is, and when
// there is room again, it is used.
func TestDiskFull(t *testing.T) {
	cmd := mounted(t, `mount -t tmpfs -o size=1m tmpfs "$0"`)
	server := startCmd(t, "server", cmd)
	// The folder as the process has it.
	dir := fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, filepath.Dir(strings.TrimPrefix(cmd.Env[2], "TACO_DB=")))
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 256<<10), 0o666); err != nil {
		t.Fatal(err)
	}
	large := slices.Repeat([]string{strings.Repeat("x", 100)}, 400)
	acked := 0
	for ; ; acked++ {
		answer := eat(t, server, fmt.Sprint("eater ", acked), large...)
		if answer == `507 {"error":"there is no room left to keep what is eaten","code":"resource_exhausted"}` {
			break
		}
		if !strings.HasPrefix(answer, "200 ") || acked == 100 {
			t.Fatalf("after %d records: %s", acked, answer)
		}
	}
	if acked < 3 {
		t.Fatalf("only %d records had room", acked)
	}
	if l := server.waitForLog("no space left on device"); !strings.Contains(l, "tacos.db") {
		t.Errorf("the log doesn't name the file: %s", l)
	}
	wantKept := func(server *process, n int) {
		t.Helper()
		got := kept(t, server)
		for i := range n {
			if !slices.Equal(got[fmt.Sprint("eater ", i)], large) {
				t.Errorf("eater %d is lost, or half-written", i)
			}
		}
		if len(got) != n {
			t.Errorf("%d eaters, want %d", len(got), n)
		}
	}
	wantKept(server, acked)
	// What another process would find.
	copied := filepath.Join(t.TempDir(), "tacos.db")
	text, err := os.ReadFile(filepath.Join(dir, "tacos.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		t.Fatal(err)
	}
	wantKept(start(t, "server", "TACO_DB="+copied), acked)

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if answer := eat(t, server, fmt.Sprint("eater ", acked), large...); !strings.HasPrefix(answer, "200 ") {
		t.Errorf("with room again: %s", answer)
	}
	wantKept(server, acked+1)
}

// A new file that there is no room for is not left half-made, to be refused as
// damaged the next time.
func TestDiskFullAtTheStart(t *testing.T) {
	cmd := mounted(t, `mount -t tmpfs -o size=8k tmpfs "$0"`)
	cmd.Args[2] = strings.TrimSuffix(cmd.Args[2], `exec "$@"`) + `{ "$@"; echo "exit status $?" >&2; ls -A "$0" >&2; }`
	out, _ := cmd.CombinedOutput()
	if !strings.HasPrefix(string(out), "tacoserver: make ") || !strings.Contains(string(out), "no space left on device") || !strings.HasSuffix(string(out), "exit status 1\n") {
		t.Errorf("it says %q, and leaves what is listed there", out)
	}
}

// A file that can't be written is refused at the start, in one line, and left as it
// is.
func TestReadOnlyFile(t *testing.T) {
	cmd := mounted(t, `mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"`)
	db := strings.TrimPrefix(cmd.Env[2], "TACO_DB=")
	first := start(t, "server", "TACO_DB="+db)
	eat(t, first, "Ana", "Fish")
	first.end(syscall.SIGTERM)
	before, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := cmd.CombinedOutput()
	if !strings.HasPrefix(string(out), "tacoserver: open "+db+" for writing: ") || strings.Count(string(out), "\n") != 1 || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("status %d: %s", cmd.ProcessState.ExitCode(), out)
	}
	if after, err := os.ReadFile(db); err != nil || !slices.Equal(before, after) {
		t.Errorf("the file has changed, %v", err)
	}
	if got := kept(t, start(t, "server", "TACO_DB="+db)); len(got) != 1 || got["Ana"] == nil {
		t.Errorf("kept: %v", got)
	}
}
