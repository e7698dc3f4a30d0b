// Package control lets the commands of one terminal ask the platform that runs in
// another: for tokens, for settings, and why a call would be refused.
//
// A running platform has a folder, below one that only its user can read, with
// the certificates that programs are to trust and a file that says where it is
// asked, and with which secret. The folder goes with the platform, also when that
// is killed.
package control

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Run is a running platform, as its folder describes it.
type Run struct {
	// Addr is where it listens, host:port.
	Addr string `json:"addr"`
	// PID is its process.
	PID int `json:"pid"`
	// Project, Number and Region say what it is.
	Project string `json:"project"`
	Number  string `json:"number"`
	Region  string `json:"region"`
	// Developer is who the person at this machine is.
	Developer string `json:"developer"`
	// Dir is its folder. CABundle in it is the system's certificates and its own,
	// CA its own alone.
	Dir      string `json:"dir"`
	CABundle string `json:"caBundle"`
	CA       string `json:"ca"`
	// Gcloud is a folder for gcloud's configuration and Docker one for docker's, so
	// that the user's own aren't touched. Credentials is the file with the
	// developer's.
	Gcloud      string `json:"gcloud"`
	Docker      string `json:"docker"`
	Credentials string `json:"credentials"`

	Secret string `json:"secret"`
}

const (
	stateFile    = "run.json"
	secretHeader = "Cloudrun-Secret"
)

// base is the folder with the folders of this user's platforms.
func base() (string, error) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, fmt.Sprintf("otorun-cloudrun-%d", os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("folder of running platforms: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", fmt.Errorf("folder of running platforms: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm() != 0o700 || !ownedByUs(info) {
		return "", fmt.Errorf("folder of running platforms: %s is not a folder that only you can read: remove it", dir)
	}
	return dir, nil
}

// NewDir makes a folder for a platform, which is removed when this process ends,
// however it ends, or close is called.
func NewDir() (dir string, close func(), err error) {
	parent, err := base()
	if err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp(parent, "run-")
	if err != nil {
		return "", nil, err
	}
	remove, err := removeAtEnd(dir)
	if err != nil {
		os.RemoveAll(dir)
		return "", nil, err
	}
	return dir, func() {
		remove()
		os.Remove(parent) // if no other platform runs
	}, nil
}

// Publish writes run's file, with a new secret, and returns run.
func Publish(run Run) (Run, error) {
	run.Secret = rand.Text()
	run.PID = os.Getpid()
	text, err := json.Marshal(run)
	if err != nil {
		return run, err
	}
	temp := filepath.Join(run.Dir, "."+stateFile)
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return run, err
	}
	return run, os.Rename(temp, filepath.Join(run.Dir, stateFile))
}

// Find returns the platform that listens on addr, or the only one if that is
// empty.
func Find(addr string) (Run, error) {
	parent, err := base()
	if err != nil {
		return Run{}, err
	}
	files, err := filepath.Glob(filepath.Join(parent, "run-*", stateFile))
	if err != nil {
		return Run{}, err
	}
	var runs []Run
	var addrs []string
	for _, file := range files {
		var run Run
		text, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(text, &run) != nil {
			continue // it is ending
		}
		runs = append(runs, run)
		addrs = append(addrs, run.Addr)
	}
	os.Remove(parent) // if nothing runs
	if addr != "" {
		i := slices.Index(addrs, addr)
		if i < 0 {
			return Run{}, fmt.Errorf("no platform runs on %s: start one with go run ./cloudrun -addr %s", addr, addr)
		}
		return runs[i], nil
	}
	switch len(runs) {
	case 0:
		return Run{}, errors.New("no platform runs: start one with go run ./cloudrun")
	case 1:
		return runs[0], nil
	}
	return Run{}, fmt.Errorf("%d platforms run: name one with -addr: %s", len(runs), strings.Join(addrs, ", "))
}

// Platform is what a Server asks.
type Platform interface {
	Token(as, audience string) (string, error)
	Why(as, service string) (Decision, error)
	// Overview is what the services are, for a person.
	Overview() string
}

// Decision says whether a call would be let in.
type Decision struct {
	Allowed bool   `json:"allowed"`
	Why     string `json:"why"`
	Fix     string `json:"fix,omitempty"`
}

// Handler answers for a platform.
func Handler(run Run, p Platform) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, p.Overview())
	})
	asked := func(pattern string, answer func(url.Values) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if subtle.ConstantTimeCompare([]byte(r.Header.Get(secretHeader)), []byte(run.Secret)) != 1 {
				http.Error(w, "this is for the platform's own commands", http.StatusForbidden)
				return
			}
			v, err := answer(r.URL.Query())
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(v)
		})
	}
	asked("GET /token", func(q url.Values) (any, error) { return p.Token(q.Get("as"), q.Get("audience")) })
	asked("GET /why", func(q url.Values) (any, error) { return p.Why(q.Get("as"), q.Get("service")) })
	return local(mux)
}

// local refuses requests for other names than this machine's: a page in a browser
// could make one lead here.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, fmt.Sprintf("cloudrun: %q is no host of this platform: services are at SERVICE.localhost", r.Host), http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Token asks for an identity token.
func (run Run) Token(ctx context.Context, as, audience string) (token string, err error) {
	err = run.ask(ctx, "/token", url.Values{"as": {as}, "audience": {audience}}, &token)
	return token, err
}

// Why asks whether a call would be let in.
func (run Run) Why(ctx context.Context, as, service string) (d Decision, err error) {
	err = run.ask(ctx, "/why", url.Values{"as": {as}, "service": {service}}, &d)
	return d, err
}

func (run Run) ask(ctx context.Context, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+run.Addr+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header.Set(secretHeader, run.Secret)
	// Not by a proxy: that may be the platform itself.
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(r)
	if err != nil {
		return fmt.Errorf("ask the platform on %s: %w", run.Addr, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return errors.New(strings.TrimSpace(string(text)))
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
