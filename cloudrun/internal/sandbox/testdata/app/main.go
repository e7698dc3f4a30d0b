// App is what the tests of package sandbox run in their containers. Its first
// argument says what it does; it listens, reports or ends accordingly.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Report is what a container sees of the world.
type Report struct {
	PID, PPID, UID, GID int
	Groups              []int
	Hostname, Dir       string
	Args, Env           []string // Env quoted, as it needn't be UTF-8
	Files               []string // all but what is in /proc
	Mounts              []string // mount points
	Processes           []string
	Descriptors         map[string]string
	MaxFiles            uint64
	Status              map[string]string // of /proc/self/status
	Interfaces          map[string][]string
	Try                 map[string]string // what was tried, and how it failed
	SessionID           int
}

func main() {
	args := os.Args[1:]
	switch args[0] {
	case "report":
		_ = json.NewEncoder(os.Stdout).Encode(report(args[1:]))
	case "exit":
		code, _ := strconv.Atoi(args[1])
		os.Exit(code)
	case "panic":
		panic("taco")
	case "hold": // does nothing, and takes no signals but those Go handles
		hold()
	case "term":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready")
		fmt.Println(<-c)
		os.Exit(7)
	case "echo": // on each address
		serve(args[1:])
	case "lines":
		lines()
	case "orphan":
		orphan()
	case "resolv":
		resolv()
	case "tree": // says what is in a directory, changes it, and says it again
		tree(args[1])
	case "family": // a process and its children, all of them there until they are killed
		for range 3 {
			cmd := exec.Command("/app", "hold")
			if err := cmd.Start(); err != nil {
				panic(err)
			}
		}
		// Some apps change user; a signal at a parent's death is lost then.
		if len(args) > 1 {
			if err := syscall.Setuid(1); err != nil {
				fmt.Println(err)
			}
		}
		hold()
	case "dial": // address: connects, says what it reads
		conn, err := net.DialTimeout(args[1], args[2], 10*time.Second)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Fprintln(conn, "taco")
		line, err := bufio.NewReader(conn).ReadString('\n')
		fmt.Print(line)
		if err != nil {
			fmt.Println(err)
		}
	default:
		panic("unknown " + args[0])
	}
}

// tree lists a directory, takes what it has apart, and lists it again.
func tree(dir string) {
	list := func() {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				fmt.Println(path, err)
				return nil
			}
			info, err := d.Info()
			if err != nil {
				fmt.Println(path, err)
				return nil
			}
			st := info.Sys().(*syscall.Stat_t)
			content := ""
			switch {
			case info.Mode().IsRegular():
				b, err := os.ReadFile(path)
				content = fmt.Sprintf(" %d names %q %v", st.Nlink, b, err)
			case info.Mode()&fs.ModeSymlink != 0:
				to, _ := os.Readlink(path)
				content = " -> " + to
			}
			fmt.Printf("%s %v %d:%d%s\n", path, info.Mode(), st.Uid, st.Gid, content)
			return nil
		})
	}
	list()
	fmt.Println("changes:", errors.Join(
		os.RemoveAll(dir+"/full"),
		os.Mkdir(dir+"/full", 0o755),
		os.WriteFile(dir+"/full/new", []byte("new"), 0o644),
		os.WriteFile(dir+"/one", []byte("changed"), 0o644),
		os.Rename(dir+"/setuid", dir+"/moved"),
		os.Remove(dir+"/link"),
	))
	list()
}

func report(dials []string) Report {
	r := Report{
		PID: os.Getpid(), PPID: os.Getppid(), UID: os.Getuid(), GID: os.Getgid(),
		Args:        os.Args,
		Descriptors: map[string]string{}, Status: map[string]string{},
		Interfaces: map[string][]string{}, Try: map[string]string{},
	}
	r.Groups, _ = os.Getgroups()
	env, _ := os.ReadFile("/proc/self/environ") // as given, os.Environ drops what is there twice
	for kv := range strings.SplitSeq(strings.TrimSuffix(string(env), "\x00"), "\x00") {
		r.Env = append(r.Env, strconv.Quote(kv))
	}
	r.Hostname, _ = os.Hostname()
	r.Dir, _ = os.Getwd()
	_ = filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if path == "/proc" {
			return fs.SkipDir
		}
		if err != nil {
			path += " " + err.Error()
		}
		r.Files = append(r.Files, path)
		return nil
	})
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			r.Processes = append(r.Processes, e.Name())
		}
	}
	mounts, _ := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(mounts)) {
		r.Mounts = append(r.Mounts, strings.Fields(line)[1])
	}
	// ReadDir's own descriptor is gone again when the link is read.
	entries, _ = os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			r.Descriptors[e.Name()] = to
		}
	}
	var limit syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	r.MaxFiles = limit.Max
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		r.Status[key] = strings.TrimSpace(value)
	}
	ifs, _ := net.Interfaces()
	for _, i := range ifs {
		addrs, _ := i.Addrs()
		r.Interfaces[i.Name] = []string{}
		for _, a := range addrs {
			r.Interfaces[i.Name] = append(r.Interfaces[i.Name], a.String())
		}
	}
	r.SessionID, _, _ = getsid()

	try := func(what string, err error) {
		if err == nil {
			r.Try[what] = ""
		} else if errno := syscall.Errno(0); errors.As(err, &errno) {
			r.Try[what] = errno.Error()
		} else {
			r.Try[what] = err.Error()
		}
	}
	for _, dial := range dials {
		conn, err := net.DialTimeout("tcp", dial, 10*time.Second)
		try("dial "+dial, err)
		if err == nil {
			_ = conn.Close()
		}
	}
	for _, addr := range []string{"127.0.0.1:53", "127.0.0.1:80"} {
		l, err := net.Listen("tcp", addr)
		try("listen tcp "+addr, err)
		if err == nil {
			defer l.Close()
		}
	}
	p, err := net.ListenPacket("udp", "127.0.0.1:53")
	try("listen udp 127.0.0.1:53", err)
	if err == nil {
		defer p.Close()
	}
	for _, name := range []string{"/tmp/new", "/etc/new", "/new", "/dev/shm/new", "/proc/sys/kernel/new"} {
		try("create "+name, os.WriteFile(name, nil, 0o600))
	}
	write := func(name string) error {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		return f.Close()
	}
	for _, name := range []string{"/etc/resolv.conf", "/app", "/proc/sysrq-trigger", "/proc/sys/kernel/panic", "/dev/null", "/dev/stdout", "/dev/full"} {
		try("write "+name, write(name))
	}
	try("mount", syscall.Mount("tmpfs", "/tmp", "tmpfs", 0, ""))
	try("unshare", syscall.Unshare(syscall.CLONE_NEWNET))
	try("sethostname", syscall.Sethostname([]byte("x")))
	try("setuid 1", setuid(1))
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	try("open /dev/ptmx", err)
	if err == nil {
		_ = ptmx.Close()
	}
	return r
}

func getsid() (int, int, error) {
	sid, _, errno := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	if errno != 0 {
		return 0, 0, errno
	}
	return int(sid), 0, nil
}

// setuid tries it in a child, which has no way back.
func setuid(uid uint32) error {
	cmd := exec.Command("/app", "exit", "0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd.Run()
}

func serve(addrs []string) {
	for _, addr := range addrs {
		if addr, ok := strings.CutPrefix(addr, "udp:"); ok {
			p, err := net.ListenPacket("udp", addr)
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			go func() {
				buf := make([]byte, 1500)
				for {
					n, from, err := p.ReadFrom(buf)
					if err != nil {
						panic(err)
					}
					_, _ = p.WriteTo(buf[:n], from)
				}
			}()
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					panic(err)
				}
				go func() {
					defer conn.Close()
					_, _ = io.Copy(conn, conn)
				}()
			}
		}()
	}
	hold()
}

// lines writes known lines to both streams, one of them huge.
func lines() {
	out, errs := bufio.NewWriter(os.Stdout), bufio.NewWriter(os.Stderr)
	for i := range 10_000 {
		fmt.Fprintln(out, "out", i)
		fmt.Fprintln(errs, "err", i)
	}
	fmt.Fprintln(out, strings.Repeat("x", 3<<20))
	fmt.Fprint(out, "no newline")
	_ = out.Flush()
	_ = errs.Flush()
}

// orphan leaves a grandchild to process 1, which is this process, and reaps it.
func orphan() {
	if os.Getpid() != 1 {
		cmd := exec.Command("/app", "exit", "5")
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	cmd := exec.Command("/app", "orphan")
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	codes := map[int]bool{}
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			fmt.Println(codes, err)
			return
		}
		codes[status.ExitStatus()] = true
	}
}

// resolv rewrites resolv.conf in place, as runsd does.
func resolv() {
	f, err := os.OpenFile("/etc/resolv.conf", os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprintln(f, "nameserver 127.0.0.1")
	_ = f.Close()
	b, _ := os.ReadFile("/etc/resolv.conf")
	fmt.Print(string(b))
	hold()
}

// hold does nothing until it is killed.
func hold() {
	fmt.Println("ready")
	for {
		time.Sleep(time.Hour)
	}
}
