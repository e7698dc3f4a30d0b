package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/amammay/otorun/cloudrun/cloudruntest"
	"github.com/amammay/otorun/internal/firestoreemulator"
	"github.com/amammay/otorun/internal/firestoreemulator/emulatortest"
)

// kept returns what tacoserver lists, by name.
func kept(t *testing.T, server *process) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for token := ""; ; {
		var page struct {
			Eaters []struct {
				Name  string
				Tacos []string
			}
			NextPageToken string
		}
		answer := callServer(t, server, "ListEaters", map[string]any{"limit": 100, "pageToken": token})
		text, ok := strings.CutPrefix(answer, "200 ")
		if !ok {
			t.Fatal(answer)
		}
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Eaters {
			if all[e.Name] != nil {
				t.Errorf("%q is listed twice", e.Name)
			}
			all[e.Name] = e.Tacos
		}
		if token = page.NextPageToken; token == "" {
			return all
		}
	}
}

// A load is writers that each have a few people eat, time and again: the first
// taco of a record is its number, and there are as many more as the number says.
type load struct {
	t       *testing.T
	servers []*process
	writers sync.WaitGroup
	stop    chan bool
	acked   atomic.Int64

	mu      sync.Mutex
	sent    map[string]int // the last number sent, by name
	kept    map[string]int // and the last one answered with success
	answers map[string]int // by their first words
}

const namesEach = 3

func startLoad(t *testing.T, writers int, servers ...*process) *load {
	l := &load{t: t, servers: servers, stop: make(chan bool), sent: make(map[string]int), kept: make(map[string]int), answers: make(map[string]int)}
	l.resume(writers, servers...)
	return l
}

func (l *load) resume(writers int, servers ...*process) {
	l.servers, l.stop = servers, make(chan bool)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: writers}, Timeout: 30 * time.Second}
	for w := range writers {
		l.writers.Go(func() {
			defer client.CloseIdleConnections()
			for i := 0; ; i++ {
				select {
				case <-l.stop:
					return
				default:
				}
				l.write(client, servers[(w+i)%len(servers)], fmt.Sprintf("writer %d, %d", w, i%namesEach))
			}
		})
	}
}

func numbered(n int) []string { return slices.Repeat([]string{strconv.Itoa(n)}, n%7+1) }

func (l *load) write(client *http.Client, server *process, name string) {
	l.mu.Lock()
	l.sent[name]++
	n := l.sent[name]
	l.mu.Unlock()
	body, _ := json.Marshal(map[string]any{"name": name, "tacos": numbered(n)})
	resp, err := client.Post(server.URL+"/oto/TacoService.EatTaco", "application/json", strings.NewReader(string(body)))
	answer := "no answer"
	if err == nil {
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		var said struct{ Code, TacoConsumptionStatus string }
		if err == nil && json.Unmarshal(text, &said) == nil {
			answer = fmt.Sprint(resp.StatusCode, " ", said.Code)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[answer]++
	if answer == "200 " {
		l.kept[name] = max(l.kept[name], n)
		l.acked.Add(1)
	} else {
		time.Sleep(time.Millisecond) // a server that is gone refuses thousands a second
	}
}

func (l *load) end() {
	close(l.stop)
	l.writers.Wait()
}

// count is how many answers there were of a kind.
func (l *load) count(answer string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers[answer]
}

func (l *load) waitForAnswers(answer string, more int) {
	l.t.Helper()
	until := l.count(answer) + more
	waitFor(l.t, fmt.Sprintf("%d answers %q", more, answer), func() bool { return l.count(answer) >= until })
}

// check fails if a record is lost that was answered for, or is not one that was
// sent as a whole.
func (l *load) check(server *process) {
	l.t.Helper()
	got := kept(l.t, server)
	for name, n := range l.kept {
		if got[name] == nil {
			l.t.Errorf("%q is lost: number %d was answered for", name, n)
		}
	}
	for name, tacos := range got {
		n, err := strconv.Atoi(tacos[0])
		switch {
		case err != nil || !slices.Equal(tacos, numbered(n)):
			l.t.Errorf("%q is half-written: %q", name, tacos)
		case n < l.kept[name] || n > l.sent[name]:
			l.t.Errorf("%q has number %d, where %d was answered for, and %d sent", name, n, l.kept[name], l.sent[name])
		}
	}
}

// kill -9 of tacoserver under 16 writers, five times: what was answered for is
// there.
func TestKilledUnderLoad(t *testing.T) {
	db := "TACO_DB=" + filepath.Join(t.TempDir(), "tacos.db")
	var l *load
	for round := range 5 {
		server := start(t, "server", db)
		if l == nil {
			l = startLoad(t, 16, server)
		} else {
			l.check(server)
			l.resume(16, server)
		}
		until := l.acked.Load() + 300
		waitFor(t, "writes", func() bool { return l.acked.Load() >= until })
		server.end(syscall.SIGKILL)
		l.end()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	l.check(start(t, "server", db))
	t.Logf("%d records were answered for", l.acked.Load())
}

// A second tacoserver on one file, and one on a damaged file, end with one line
// within a second or so.
func TestCannotOpenTheStore(t *testing.T) {
	db := filepath.Join(t.TempDir(), "tacos.db")
	server := start(t, "server", "TACO_DB="+db)
	eat(t, server, "Ana", "Fish")
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	if err := os.WriteFile(damaged, []byte("these are no tacos"), 0o600); err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]string{
		"TACO_DB=" + db:      "tacoserver: open " + db + ": another process has it open: end that one, or choose another file (TACO_DB says which file)\n",
		"TACO_DB=" + damaged: "tacoserver: open " + damaged + ": it is damaged, or no file of tacoserver's, and left as it is: ",
		"TACO_STORE=mysql":   "tacoserver: TACO_STORE=\"mysql\" is no store: set it to bbolt or firestore\n",
	} {
		status, stderr := runToEnd(t, "server", "PORT=0", setting)
		if status != 1 || !strings.HasPrefix(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit status %d, %q, want 1 and %q", setting, status, stderr, want)
		}
	}
}

// onFirestore is the setting of a tacoserver on an emulator.
func onFirestore(e *firestoreemulator.Emulator) []string {
	return []string{"TACO_STORE=firestore", "GOOGLE_CLOUD_PROJECT=my-proj", "FIRESTORE_EMULATOR_HOST=" + e.Addr}
}

// Three instances on one Firestore have one truth, and a call that is repeated at
// another instance changes nothing.
func TestThreeInstancesOnFirestore(t *testing.T) {
	settings := onFirestore(emulatortest.Start(t))
	servers := []*process{start(t, "server", settings...), start(t, "server", settings...), start(t, "server", settings...)}
	l := startLoad(t, 32, servers...)
	waitFor(t, "writes", func() bool { return l.acked.Load() >= 600 })
	l.end()
	if len(l.answers) != 1 {
		t.Errorf("answers: %v", l.answers)
	}
	for _, s := range servers {
		l.check(s)
	}
	eat(t, servers[0], "Ana", "Fish", "Tongue")
	const list = `{"limit":100}`
	before := callServer(t, servers[0], "ListEaters", json.RawMessage(list))
	for _, s := range servers {
		eat(t, s, "Ana", "Fish", "Tongue")
		if got := callServer(t, s, "ListEaters", json.RawMessage(list)); got != before {
			t.Errorf("one instance lists %s\nanother %s", got, before)
		}
	}
	if n := strings.Count(before, `"Ana"`); n != 1 {
		t.Errorf("Ana is listed %d times", n)
	}
}

// Firestore hangs, and then is gone, while there is load: calls fail within their
// time and with the code that says what they should, and when it is back all is
// right again.
func TestFirestoreAwayUnderLoad(t *testing.T) {
	e := emulatortest.Start(t)
	server := start(t, "server", onFirestore(e)...)
	l := startLoad(t, 8, server)
	const good, slow, away = "200 ", "504 deadline_exceeded", "503 unavailable"
	l.waitForAnswers(good, 100)

	// It hangs.
	if err := syscall.Kill(e.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l.waitForAnswers(slow, 8)
	if err := syscall.Kill(e.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	l.waitForAnswers(good, 100)
	l.end()
	l.check(server)
	if n := l.count("no answer"); n > 0 {
		t.Errorf("%d calls had no answer", n)
	}

	// It is gone, and with it what it had: the emulator's memory.
	l = startLoad(t, 8, server)
	l.waitForAnswers(good, 50)
	e.Close()
	l.waitForAnswers(away, 8)
	l.end()
	again, err := firestoreemulator.StartAt(t.Context(), e.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Close)
	l = startLoad(t, 8, server)
	l.waitForAnswers(good, 100)
	l.end()
	l.check(server)
}

// In cloudrun what is kept in Firestore is there after scaling to zero, and what is
// kept in the instance is gone, as its log has said.
func TestCloudrunStore(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"Firestore", "embedded"} {
		t.Run(kind, func(t *testing.T) {
			server, client := taco(t)
			if kind == "Firestore" {
				e := emulatortest.Start(t)
				server.Doors = []string{e.Addr}
				server.Env = []string{"TACO_STORE=firestore", "FIRESTORE_EMULATOR_HOST=" + e.Addr}
			}
			run := cloudruntest.Start(t, server, client)
			caller := run.Client(developer)
			eatAndList := func(name, want string) {
				t.Helper()
				if got := ask(t, caller, "http://tacoclient/?taco=Fish&name="+name); got != "200 "+name+" has consumed 1 tacos\n" {
					t.Fatal(got)
				}
				if got := ask(t, caller, "http://tacoclient/eaters"); got != want {
					t.Errorf("list %q, want %q", got, want)
				}
			}
			eatAndList("Ana", "200 1\tAna\n")
			run.ScaleToZero("tacoserver")
			if kind == "Firestore" {
				eatAndList("Bea", "200 1\tAna\n1\tBea\n")
				return
			}
			eatAndList("Bea", "200 1\tBea\n")
			if l := run.WaitForLog("tacoserver", "goes with it"); !strings.Contains(l.Message, "TACO_STORE=firestore") {
				t.Errorf("it warns %q", l.Message)
			}
		})
	}
}
