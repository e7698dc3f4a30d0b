// Package metadata is the metadata server of one instance: what answers at
// http://metadata.google.internal/ inside a container, and hands out the tokens
// of the service account it runs as.
//
//	srv := metadata.New(metadata.Instance{
//		ProjectID: "my-proj", ProjectNumber: "123456789012", Region: "us-central1",
//		ID: id, Account: subject,
//	}, issuer)
//	go http.Serve(listener, srv)
//
// It answers what Cloud Run documents and nothing more: see
// https://docs.cloud.google.com/run/docs/container-contract#metadata-server.
// Google's libraries work against it unmodified.
package metadata

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/identity"
)

// Tokens makes the tokens of a service account; [identity.Issuer] does.
type Tokens interface {
	IdentityToken(s identity.Subject, audience string) (string, error)
	AccessToken(s identity.Subject) (token string, expires time.Time)
	Now() time.Time
}

// An Instance is what the server tells its container about.
type Instance struct {
	ProjectID, ProjectNumber string
	Region                   string
	// ID is the instance's, which is in its logs as well.
	ID string
	// Account is the service account it runs as.
	Account identity.Subject
	// Scopes are those of the access tokens; nil means cloud-platform.
	Scopes []string
}

// earlier is how long before its end a token is no longer handed out again.
// Google's server does so with access tokens, as its Go libraries' comments say.
const earlier = 5 * time.Minute

// maxCached bounds the audiences whose token is kept.
const maxCached = 1000

// A Server answers for one instance. It is an [http.Handler].
type Server struct {
	instance Instance
	tokens   Tokens
	tree     directory

	mu       sync.Mutex
	faults   []Fault
	identity map[string]cached // by audience
	access   cached
}

type cached struct {
	token   string
	expires time.Time
}

// New returns the server of an instance.
func New(i Instance, tokens Tokens) *Server {
	if i.Scopes == nil {
		i.Scopes = []string{"https://www.googleapis.com/auth/cloud-platform"}
	}
	s := &Server{instance: i, tokens: tokens, identity: make(map[string]cached)}
	account := directory{
		"aliases":  list{"default"},
		"email":    text(i.Account.Email),
		"identity": dynamic(s.identityToken),
		"scopes":   list(i.Scopes),
		"token":    dynamic(s.accessToken),
	}
	s.tree = directory{
		"instance": directory{
			"id":     text(i.ID),
			"region": text("projects/" + i.ProjectNumber + "/regions/" + i.Region),
			"zone":   text("projects/" + i.ProjectNumber + "/zones/" + i.Region + "-1"), // no real zone
			"service-accounts": directory{
				"default":       account,
				i.Account.Email: account,
			},
		},
		"project": directory{
			"numeric-project-id": text(i.ProjectNumber),
			"project-id":         text(i.ProjectID),
		},
		"universe": directory{"universe-domain": text("googleapis.com")},
	}
	return s
}

// A Fault is what a test wants the server to get wrong.
type Fault struct {
	// Path is the end of the paths it is for, "/token" say; empty means all.
	Path string
	// Delay is waited before the answer.
	Delay time.Duration
	// Status is answered instead of the value; 0 means that only the delay counts.
	Status int
	// Times is how often it happens; 0 means for ever.
	Times int
}

// SetFaults replaces the faults; none heals the server. The first that matches a
// request counts.
func (s *Server) SetFaults(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = slices.Clone(faults)
}

func (s *Server) fault(path string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.faults {
		f := &s.faults[i]
		if f.Times < 0 || !strings.HasSuffix(path, f.Path) {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				f.Times = -1 // used up
			}
		}
		return *f, true
	}
	return Fault{}, false
}

// Forget drops the tokens that are kept, as a new instance's server has none.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.identity)
	s.access = cached{}
}

const prefix = "/computeMetadata/v1"

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Metadata-Flavor", "Google")
	h.Set("Server", "Metadata Server for Serverless")
	h.Set("X-XSS-Protection", "0")
	h.Set("X-Frame-Options", "SAMEORIGIN")

	if f, ok := s.fault(r.URL.Path); ok {
		if !sleep(r.Context(), f.Delay) {
			return
		}
		if f.Status != 0 {
			fail(w, r, f.Status, faultText(f.Status))
			return
		}
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		fail(w, r, http.StatusMethodNotAllowed, "The request method <code>"+html.EscapeString(r.Method)+"</code> is inappropriate for the URL.")
		return
	case r.URL.Path == "/": // what tells a program where it runs asks without the header
		answer(w, r, "application/text", "computeMetadata/\n")
		return
	case len(r.Header["X-Forwarded-For"]) > 0:
		// A proxy that was talked into asking would give the token away.
		fail(w, r, http.StatusForbidden, forbidden(r)+" The request has the header X-Forwarded-For.")
		return
	case r.Header.Get("Metadata-Flavor") != "Google" && r.Header.Get("X-Google-Metadata-Request") != "True":
		fail(w, r, http.StatusForbidden, forbidden(r)+" Missing Metadata-Flavor:Google header.")
		return
	case r.URL.Path == "/computeMetadata/":
		answer(w, r, "application/text", "v1/\n")
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, prefix)
	if !ok {
		notFound(w, r)
		return
	}
	node := value(s.tree)
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		d, isDir := node.(directory)
		if part == "" && isDir {
			continue
		}
		if node = d[part]; node == nil {
			notFound(w, r)
			return
		}
	}
	if d, ok := node.(directory); ok {
		if !strings.HasSuffix(path, "/") {
			target := r.URL.Path + "/"
			if r.URL.RawQuery != "" {
				target += "?" + r.URL.RawQuery
			}
			http.Redirect(w, r, target, http.StatusMovedPermanently)
			return
		}
		s.static(w, r, d)
		return
	}
	if strings.HasSuffix(path, "/") {
		notFound(w, r)
		return
	}
	if f, ok := node.(dynamic); ok {
		f(w, r)
		return
	}
	s.static(w, r, node)
}

// static answers with what doesn't change while an instance lives. Who waits for
// a change waits until timeout_sec, or until it hangs up.
func (s *Server) static(w http.ResponseWriter, r *http.Request, v value) {
	q := r.URL.Query()
	kind, body := "application/text", ""
	recursive := isTrue(q.Get("recursive"))
	if alt := q.Get("alt"); alt == "json" || alt == "" && recursive {
		kind = "application/json"
		if _, isDir := v.(directory); isDir && !recursive {
			badRequest(w, r, "alt=json of a directory needs recursive=true")
			return
		}
		b, err := json.Marshal(v.json())
		if err != nil {
			fail(w, r, http.StatusInternalServerError, "")
			return
		}
		body = string(b)
	} else if alt != "" && alt != "text" {
		badRequest(w, r, "alt must be json or text")
		return
	} else if d, isDir := v.(directory); isDir && recursive {
		body = strings.Join(d.lines(""), "")
	} else {
		body = v.text()
	}
	sum := fnv.New64a()
	io.WriteString(sum, body)
	etag := fmt.Sprintf("%016x", sum.Sum64())
	if isTrue(q.Get("wait_for_change")) && (q.Get("last_etag") == "" || q.Get("last_etag") == etag) {
		limit := time.Duration(1<<63 - 1)
		if v := q.Get("timeout_sec"); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 {
				badRequest(w, r, "timeout_sec must be a number of seconds")
				return
			}
			limit = time.Duration(min(n, 1<<30)) * time.Second
		}
		if !sleep(r.Context(), limit) {
			return
		}
	}
	w.Header().Set("ETag", etag)
	answer(w, r, kind, body)
}

func (s *Server) identityToken(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	audience := q.Get("audience")
	if audience == "" {
		badRequest(w, r, "non-empty audience parameter required")
		return
	}
	if f := q.Get("format"); f != "" && f != "standard" && f != "full" {
		badRequest(w, r, "format must be standard or full")
		return
	}
	token, err := s.cachedIdentity(audience)
	if err != nil {
		fail(w, r, http.StatusInternalServerError, "")
		return
	}
	answer(w, r, htmlText, token)
}

func (s *Server) cachedIdentity(audience string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.tokens.Now()
	if c := s.identity[audience]; c.token != "" && c.expires.Sub(now) > earlier && c.expires.Sub(now) <= identity.Lifetime {
		return c.token, nil
	}
	token, err := s.tokens.IdentityToken(s.instance.Account, audience)
	if err != nil {
		return "", err
	}
	if len(s.identity) >= maxCached {
		clear(s.identity)
	}
	s.identity[audience] = cached{token, now.Add(identity.Lifetime)}
	return token, nil
}

func (s *Server) accessToken(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	now := s.tokens.Now()
	if left := s.access.expires.Sub(now); left <= earlier || left > identity.Lifetime {
		s.access.token, s.access.expires = s.tokens.AccessToken(s.instance.Account)
	}
	c := s.access
	s.mu.Unlock()
	b, err := json.Marshal(struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
		TokenType   string `json:"token_type"`
	}{c.token, int(c.expires.Sub(now).Seconds()), "Bearer"})
	if err != nil {
		fail(w, r, http.StatusInternalServerError, "")
		return
	}
	answer(w, r, "application/json", string(b))
}

// A value is a node of the tree that the paths name.
type value interface {
	text() string
	json() any // nil: left out
}

type (
	directory map[string]value
	text      string
	list      []string
	// dynamic is made for each request, and left out of what is recursive.
	dynamic func(http.ResponseWriter, *http.Request)
)

func (d directory) text() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(d)) {
		b.WriteString(name)
		if _, ok := d[name].(directory); ok {
			b.WriteByte('/')
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (d directory) json() any {
	m := make(map[string]any, len(d))
	for name, v := range d {
		if j := v.json(); j != nil {
			m[camel(name)] = j
		}
	}
	return m
}

// lines is the form of recursive=true&alt=text: a path and a value a line.
func (d directory) lines(path string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(d)) {
		switch v := d[name].(type) {
		case directory:
			all = append(all, v.lines(path+name+"/")...)
		case list:
			for _, s := range v {
				all = append(all, path+name+" "+s+"\n")
			}
		case text:
			all = append(all, path+name+" "+string(v)+"\n")
		}
	}
	return all
}

func (t text) text() string { return string(t) }

// json is a number where Google's is one.
func (t text) json() any {
	if n, err := strconv.ParseInt(string(t), 10, 64); err == nil {
		return n
	}
	return string(t)
}

func (l list) text() string { return strings.Join(l, "\n") + "\n" }
func (l list) json() any    { return []string(l) }

func (dynamic) text() string { return "" }
func (dynamic) json() any    { return nil }

// camel turns service-accounts into serviceAccounts, as Google's JSON has it; an
// email stays.
func camel(s string) string {
	if strings.Contains(s, "@") {
		return s
	}
	parts := strings.Split(s, "-")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

const htmlText = "text/html; charset=UTF-8"

func answer(w http.ResponseWriter, r *http.Request, kind, body string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		io.WriteString(w, body)
	}
}

func notFound(w http.ResponseWriter, r *http.Request) {
	fail(w, r, http.StatusNotFound, "The requested URL <code>"+escaped(r.URL)+"</code> was not found on this server.")
}

func badRequest(w http.ResponseWriter, r *http.Request, text string) {
	w.Header().Set("Content-Type", htmlText)
	w.WriteHeader(http.StatusBadRequest)
	if r.Method != http.MethodHead {
		io.WriteString(w, text+"\n")
	}
}

func forbidden(r *http.Request) string {
	return "Your client does not have permission to get URL <code>" + escaped(r.URL) + "</code> from this server."
}

func escaped(u *url.URL) string { return html.EscapeString(u.EscapedPath()) }

func faultText(status int) string {
	if status == http.StatusTooManyRequests {
		return "Your client has sent too many requests."
	}
	return ""
}

// fail is the page of Google's servers, without its looks.
func fail(w http.ResponseWriter, r *http.Request, status int, detail string) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error %d (%s)!!1</title>\n  <p><b>%d.</b> <ins>That’s an error.</ins>\n",
		status, http.StatusText(status), status)
	if detail != "" {
		fmt.Fprintf(&b, "  <p>%s  <ins>That’s all we know.</ins>\n", detail)
	}
	w.Header().Set("Content-Type", htmlText)
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(b.Bytes())
	}
}

func isTrue(s string) bool { return strings.EqualFold(s, "true") }

// sleep waits for d; it reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
