// Package firestoreemulator runs the Firestore emulator of the installed Google
// Cloud SDK.
//
//	emulator, err := firestoreemulator.Start(ctx)
//	defer emulator.Close()
//	os.Setenv("FIRESTORE_EMULATOR_HOST", emulator.Addr)
//
// It is for cloudrun and for tests. What is written to the emulator is in its
// memory alone.
package firestoreemulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// An Emulator is a running emulator.
type Emulator struct {
	// Addr is where it listens, HOST:PORT.
	Addr string

	cmd   *exec.Cmd
	log   *tail
	done  chan struct{}
	ended sync.Once
}

// ErrNotInstalled is wrapped by Start's error if there is nothing to start.
var ErrNotInstalled = errors.New("the Firestore emulator is not installed")

// startTimeout is many times what it takes on a machine that is busy.
const startTimeout = 60 * time.Second

// Start starts an emulator on a free port and returns when it answers. It ends with
// Close, and with this process, however that ends.
func Start(ctx context.Context) (*Emulator, error) {
	// The port is taken again by the emulator, or, rarely, by somebody else first.
	for tries := 1; ; tries++ {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		e, err := StartAt(ctx, addr)
		if err == nil || tries == 3 || errors.Is(err, ErrNotInstalled) || ctx.Err() != nil {
			return e, err
		}
	}
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// StartAt is Start for a given address.
func StartAt(ctx context.Context, addr string) (*Emulator, error) {
	jar, java, err := find()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	e := &Emulator{Addr: addr, log: new(tail), done: make(chan struct{})}
	// It starts in half the time without the second compiler, and without a limit
	// takes what memory there is.
	e.cmd = exec.Command(java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Duser.language=en",
		"-cp", jar, "com.google.cloud.datastore.emulator.firestore.CloudFirestore", "start", "--host="+host, "--port="+port)
	e.cmd.Stdout, e.cmd.Stderr = e.log, e.log
	prepare(e.cmd)
	started := make(chan error)
	go func() {
		// The kernel ends the emulator when the thread ends that has started it.
		runtime.LockOSThread()
		err := e.cmd.Start()
		started <- err
		if err == nil {
			e.cmd.Wait()
			close(e.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the Firestore emulator: %w", err)
	}
	if err := e.waitUntilReady(ctx); err != nil {
		e.Close()
		return nil, fmt.Errorf("start the Firestore emulator on %s: %w; its last lines: %s", addr, err, e.log)
	}
	return e, nil
}

// runs is what the emulator writes when it listens. Without it an answer may be
// another's, who has the port.
const runs = "is now running"

// waitUntilReady asks until it answers.
func (e *Emulator) waitUntilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // through no proxy
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Addr+"/", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(r)
		if err == nil {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 16))
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK && strings.TrimSpace(string(text)) == "Ok" && strings.Contains(e.log.String(), runs) {
				return nil
			}
			err = fmt.Errorf("GET / is answered with %s %q", resp.Status, text)
		}
		select {
		case <-e.done:
			return fmt.Errorf("it ended with %s", e.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("it doesn't answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Done is closed when the emulator has ended.
func (e *Emulator) Done() <-chan struct{} { return e.done }

// PID is the emulator's process.
func (e *Emulator) PID() int { return e.cmd.Process.Pid }

// Close ends the emulator and returns when it has ended.
func (e *Emulator) Close() {
	e.ended.Do(func() {
		for _, kill := range []bool{false, true} {
			select {
			case <-e.done: // and its number may be another process's
				return
			default:
			}
			end(e.cmd, kill)
			select {
			case <-e.done:
			case <-time.After(5 * time.Second):
			}
		}
	})
	<-e.done
}

// Installed returns nil if there is an emulator to start.
func Installed() error {
	_, _, err := find()
	return err
}

// find returns the emulator's jar and the java to run it with.
func find() (jar, java string, err error) {
	gcloud, err := exec.LookPath("gcloud")
	if err != nil {
		return "", "", fmt.Errorf("%w: gcloud is not in the PATH: install the Google Cloud SDK", ErrNotInstalled)
	}
	if gcloud, err = filepath.EvalSymlinks(gcloud); err != nil {
		return "", "", err
	}
	root := filepath.Dir(filepath.Dir(gcloud))
	jar = filepath.Join(root, "platform", "cloud-firestore-emulator", "cloud-firestore-emulator.jar")
	if _, err := os.Stat(jar); err != nil {
		return "", "", fmt.Errorf("%w: the SDK in %s lacks it: gcloud components install cloud-firestore-emulator, or, if the SDK is Debian's, apt-get install google-cloud-cli-firestore-emulator", ErrNotInstalled, root)
	}
	if java, err = exec.LookPath("java"); err != nil {
		return "", "", fmt.Errorf("%w: it needs java, which is not in the PATH: apt-get install default-jre-headless", ErrNotInstalled)
	}
	return jar, java, nil
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if n := len(t.text); n > 4<<10 {
		t.text = append(t.text[:0], t.text[n-2<<10:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ReplaceAll(bytes.TrimSpace(t.text), []byte("\n"), []byte(" | ")))
}
