package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestPair(t *testing.T) {
	client, server := startPair(t)
	for _, tt := range []struct{ name, url, want string }{
		{"Sammy Sosa", client.URL, "200 Sammy Sosa has consumed 2 tacos\n"},
		{"another person", client.URL + "/?name=Ana&taco=Al+pastor&taco=Carnitas&taco=Suadero", "200 Ana has consumed 3 tacos\n"},
		{"one taco", client.URL + "/?name=Ana&taco=Carnitas", "200 Ana has consumed 1 tacos\n"},
		{"no tacos", client.URL + "/?name=Ana", "400 EatTacoRequest.Tacos is required\n"},
		{"no name", client.URL + "/?taco=Carnitas", "400 EatTacoRequest.Name is required\n"},
		{"unknown path", client.URL + "/tacos", "404 404 page not found\n"},
		{"tacoclient's health", client.URL + "/health", "200 ok\n"},
		{"tacoserver's health", server.URL + "/health", "200 ok\n"},
		{"healthz is Cloud Run's", client.URL + "/healthz", "404 404 page not found\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := get(t, tt.url); got != tt.want {
				t.Errorf("GET %s = %q, want %q", tt.url, got, tt.want)
			}
		})
	}
	t.Run("tacoserver by itself", func(t *testing.T) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/oto/TacoService.EatTaco", strings.NewReader(`{"name":"Sammy Sosa","tacos":["Chicken","Chorizo"]}`))
		got := do(t, req, "User-Agent", "runsd version=1.0; Go-http-client/1.1")
		if want := `200 {"tacoConsumptionStatus":"Sammy Sosa has consumed 2 tacos"}`; got != want {
			t.Errorf("EatTaco = %s, want %s", got, want)
		}
		server.waitForLog("request from runsd version=1.0; Go-http-client/1.1")
	})
	t.Run("wrong verb", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, client.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 405 || resp.Header.Get("Allow") == "" {
			t.Errorf("DELETE / = %s, Allow %q, want 405 with Allow", resp.Status, resp.Header.Get("Allow"))
		}
	})
	t.Run("the log is text", func(t *testing.T) {
		if l := client.waitForLog("request from Go-http-client/1.1"); strings.HasPrefix(l, "{") || !strings.Contains(l, "level=INFO") {
			t.Errorf("logged %s", l)
		}
	})
}

// TestCloudRunLog reads both services' logs as Cloud Logging would: one request
// of a person is one trace in both.
func TestCloudRunLog(t *testing.T) {
	for _, tt := range []struct{ name, header, value string }{
		{"W3C", "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		{"Google", "X-Cloud-Trace-Context", "4bf92f3577b34da6a3ce929d0e0e4736/67667974448284343;o=1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := startPair(t, "K_SERVICE=tacos", "GOOGLE_CLOUD_PROJECT=my-proj")
			get(t, client.URL+"/?name=Ana", tt.header, tt.value)
			for _, p := range []*process{client, server} {
				var line struct {
					Severity, Message string
					Time              time.Time
					Trace             string `json:"logging.googleapis.com/trace"`
					SpanID            string `json:"logging.googleapis.com/spanId"`
					Sampled           bool   `json:"logging.googleapis.com/trace_sampled"`
					HTTPRequest       struct {
						RequestMethod, Latency string
						Status                 int
					}
				}
				l := p.waitForLog("request from Go-http-client/1.1")
				if err := json.Unmarshal([]byte(l), &line); err != nil {
					t.Fatalf("%s logged %s: %v", p.name, l, err)
				}
				if line.Severity != "INFO" || line.Time.IsZero() || !line.Sampled ||
					line.Trace != "projects/my-proj/traces/4bf92f3577b34da6a3ce929d0e0e4736" || line.SpanID != "00f067aa0ba902b7" ||
					line.HTTPRequest.Status != 400 || !strings.HasSuffix(line.HTTPRequest.Latency, "s") {
					t.Errorf("%s logged %s", p.name, l)
				}
				for _, l := range p.log() {
					if !json.Valid([]byte(l)) {
						t.Errorf("%s logged %q, want JSON", p.name, l)
					}
				}
			}
			if l := client.waitForLog("call of tacoserver failed"); !strings.Contains(l, "projects/my-proj/traces/4bf92f3577b34da6a3ce929d0e0e4736") {
				t.Errorf("the cause is not in the trace: %s", l)
			}
		})
	}
}

func TestTacoserverDown(t *testing.T) {
	client, server := startPair(t)
	if status, _ := server.end(syscall.SIGTERM); status != 0 {
		t.Errorf("tacoserver's exit status %d, want 0", status)
	}
	if got, want := get(t, client.URL), "502 tacoserver is unreachable\n"; got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
	if l := client.waitForLog("call of tacoserver failed"); !strings.Contains(l, "connection refused") || !strings.Contains(l, "level=ERROR") {
		t.Errorf("logged %s", l)
	}
}

func TestTacoserverHangs(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client := start(t, "client", "TACO_HOST="+ln.Addr().String(), "TACO_TIMEOUT=200ms")
	if got, want := get(t, client.URL), "504 tacoserver took too long to answer\n"; got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
	if l := client.waitForLog("call of tacoserver failed"); !strings.Contains(l, "deadline exceeded") || !strings.Contains(l, "level=ERROR") {
		t.Errorf("logged %s", l)
	}
}

func TestCannotStart(t *testing.T) {
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, taken, _ := net.SplitHostPort(ln.Addr().String())
	for _, name := range []string{"server", "client"} {
		for _, tt := range []struct{ name, setting, want string }{
			{"port in use", "PORT=" + taken, "taco" + name + ": listen on port " + taken + ": another program has it"},
			{"no port", "PORT=http", "taco" + name + `: PORT="http" is no port`},
			{"port too high", "PORT=65536", "taco" + name + `: PORT="65536" is no port`},
		} {
			t.Run(name+" "+tt.name, func(t *testing.T) {
				status, stderr := runToEnd(t, name, tt.setting, "TACO_HOST=localhost")
				if status != 1 || !strings.HasPrefix(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
					t.Errorf("exit status %d, %q, want 1 and one line: %q", status, stderr, tt.want)
				}
			})
		}
	}
	t.Run("client TACO_HOST", func(t *testing.T) {
		status, stderr := runToEnd(t, "client", "PORT=0", "TACO_HOST=taco server")
		if status != 1 || !strings.HasPrefix(stderr, `tacoclient: TACO_HOST="taco server": `) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("exit status %d, %q", status, stderr)
		}
	})
}

// TestSignalUnderLoad ends a service that is busy. A request may find no
// connection; one that was begun gets its whole answer.
func TestSignalUnderLoad(t *testing.T) {
	for _, end := range []string{"client", "server"} {
		for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
			for _, keepAlive := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %v, keep-alive %t", end, sig, keepAlive), func(t *testing.T) {
					t.Parallel()
					client, server := startPair(t)
					p, method, url, body, want := client, http.MethodGet, client.URL, "", "Sammy Sosa has consumed 2 tacos\n"
					if end == "server" {
						p, method, url = server, http.MethodPost, server.URL+"/oto/TacoService.EatTaco"
						body, want = `{"name":"Ana","tacos":["Suadero"]}`, `{"tacoConsumptionStatus":"Ana has consumed 1 tacos"}`
					}
					tr := &http.Transport{DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 20}
					defer tr.CloseIdleConnections()
					httpClient := &http.Client{Transport: tr, Timeout: 30 * time.Second}
					var answers atomic.Int64
					busy := make(chan bool)
					var load sync.WaitGroup
					for range 20 {
						load.Go(func() {
							for {
								// A body of a type that net/http doesn't know:
								// it can't hide a loss by sending it again.
								req, err := http.NewRequest(method, url, io.MultiReader(strings.NewReader(body)))
								if err != nil {
									t.Error(err)
									return
								}
								resp, err := httpClient.Do(req)
								if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
									return
								}
								if err != nil {
									t.Errorf("lost after %d answers: %v", answers.Load(), err)
									return
								}
								got, err := io.ReadAll(resp.Body)
								resp.Body.Close()
								if err != nil || resp.StatusCode != 200 || string(got) != want {
									t.Errorf("answer %s %q, %v, want %q", resp.Status, got, err, want)
									return
								}
								if answers.Add(1) == 300 {
									close(busy)
								}
							}
						})
					}
					<-busy
					status, took := p.end(sig)
					if status != 0 || took > 10*time.Second {
						t.Errorf("ended with status %d after %s, want 0 within 10 s", status, took)
					}
					load.Wait()
				})
			}
		}
	}
}

// TestSignalWaitsForTheAnswer: the request in flight takes longer than all
// connections would be kept.
func TestSignalWaitsForTheAnswer(t *testing.T) {
	called, answer := make(chan bool), make(chan bool)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	slow := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		called <- true
		<-answer
		io.WriteString(w, `{"tacoConsumptionStatus":"at last"}`)
	})}
	go slow.Serve(ln)
	defer slow.Close()
	client := start(t, "client", "TACO_HOST="+ln.Addr().String())
	got := make(chan string)
	go func() { got <- get(t, client.URL) }()
	<-called
	ended := make(chan int)
	go func() {
		status, _ := client.end(syscall.SIGTERM)
		ended <- status
	}()
	client.waitForLog("shutting down")
	time.AfterFunc(time.Second, func() { close(answer) })
	if g := <-got; g != "200 at last\n" {
		t.Errorf("answer %q, want 200 at last", g)
	}
	if status := <-ended; status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
}
