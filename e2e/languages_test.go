package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// languages is where the programs are that call services from other languages.
const languages = "testdata/languages"

// needTool returns the path of a tool. A test is skipped where there is none; CI
// has to have it.
func needTool(t *testing.T, name, howToGet string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err == nil {
		return path
	}
	lacking(t, fmt.Sprintf("there is no %s: %s", name, howToGet))
	return ""
}

// lacking skips a test for a reason that CI mustn't have.
func lacking(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func needNode(t *testing.T) string {
	t.Helper()
	return needTool(t, "node", "apt-get install nodejs")
}

// npmTool is a tool of the package-lock.json of the languages.
func npmTool(t *testing.T, name string) string {
	t.Helper()
	return needTool(t, filepath.Join(languages, "node_modules/.bin", name), "npm ci --prefix e2e/"+languages)
}

// cases is how many calls of each method go through each language.
const cases = 25

// torture builds the server of the torture definition, once.
var torture = sync.OnceValues(func() (string, error) {
	noteSources("../oto/testdata/torture", "../oto/testdata/roundtrip")
	args := []string{"build", "-o", bin + string(filepath.Separator)}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/pacedotdev/oto/testdata/torture")...)
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	return filepath.Join(bin, "torture"), nil
})

// startTorture runs the torture server and returns the URL that its services are
// below.
func startTorture(t *testing.T) string {
	t.Helper()
	file, err := torture()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // with which it ends
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("torture says no URL: %v\n%s", err, &stderr)
	}
	return strings.TrimSpace(line)
}

// A tester is what the programs in other languages talk to: a server that holds
// what they send against encoding/json, and has all sorts of trouble.
type tester struct {
	*httptest.Server
	t     *testing.T
	mux   *http.ServeMux
	lines []string // cases as JSON
	cases []wireCase

	mu     sync.Mutex
	echoed map[int]bool
	conns  map[net.Conn]http.ConnState
}

// wireCase is a call whose answer is known.
type wireCase struct{ Service, Method, JSON string }

// startTester starts a tester in front of a tacoserver.
func startTester(t *testing.T, taco string) *tester {
	t.Helper()
	tortureURL := startTorture(t)
	file, _ := torture()
	out, err := exec.CommandContext(t.Context(), file, "-cases", strconv.Itoa(cases)).Output()
	if err != nil {
		t.Fatal(err)
	}
	s := &tester{t: t, lines: strings.Split(strings.TrimSpace(string(out)), "\n"), echoed: make(map[int]bool), conns: make(map[net.Conn]http.ConnState)}
	for _, line := range s.lines {
		var c wireCase
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		s.cases = append(s.cases, c)
	}
	mux := http.NewServeMux()
	s.mux = mux
	mux.HandleFunc("GET /cases", func(w http.ResponseWriter, _ *http.Request) { w.Write(out) })
	mux.HandleFunc("POST /answer/{call}", func(w http.ResponseWriter, r *http.Request) {
		if _, c, ok := s.caseOf(r); ok {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, c.JSON)
		}
	})
	toTorture := proxyTo(t, tortureURL)
	toTorture.ModifyResponse = s.hold
	mux.Handle("/echo/", http.StripPrefix("/echo", toTorture))
	mux.Handle("/torture/", http.StripPrefix("/torture", proxyTo(t, tortureURL)))
	mux.Handle("/oto/", proxyTo(t, taco))
	mux.Handle("/trouble/", http.StripPrefix("/trouble", trouble()))
	mux.HandleFunc("GET /close", s.closeIdle)
	s.Server = httptest.NewUnstartedServer(mux)
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conns[c] = state
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func proxyTo(t *testing.T, to string) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Del("Accept-Encoding") // so that what comes is unpacked
	}}
}

// closeIdle ends the connections on which no request is, before it answers.
func (s *tester) closeIdle(http.ResponseWriter, *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, state := range s.conns {
		if state == http.StateIdle {
			c.Close()
		}
	}
}

// caseOf returns the case that a request is of.
func (s *tester) caseOf(r *http.Request) (int, wireCase, bool) {
	i, err := strconv.Atoi(r.Header.Get("X-Case"))
	if err != nil || i < 0 || i >= len(s.cases) || !strings.HasSuffix(r.URL.Path, "/"+s.cases[i].Service+"."+s.cases[i].Method) {
		s.t.Errorf("%s isn't of case %q", r.URL.Path, r.Header.Get("X-Case"))
		return 0, wireCase{}, false
	}
	return i, s.cases[i], true
}

// hold holds what comes back of a case against it: it was decoded from what the
// program sent, and encoded by encoding/json.
func (s *tester) hold(response *http.Response) error {
	i, c, ok := s.caseOf(response.Request)
	if !ok {
		return nil
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	response.Body = io.NopCloser(bytes.NewReader(text))
	if string(text) != c.JSON {
		s.t.Errorf("%s.%s: what was sent is %s to Go\nwant %s", c.Service, c.Method, text, c.JSON)
	}
	s.mu.Lock()
	s.echoed[i] = true
	s.mu.Unlock()
	return nil
}

// done checks that a program has sent all cases, and says so.
func (s *tester) done(said string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.TrimSpace(said) != strconv.Itoa(len(s.cases)) || len(s.echoed) != len(s.cases) || len(s.cases) < 20*cases {
		s.t.Errorf("it says %q; %d of %d cases came through", said, len(s.echoed), len(s.cases))
	}
	if s.t.Failed() {
		return
	}
	s.t.Logf("%d calls round-tripped", len(s.cases))
}

// trouble answers as a service shouldn't, each path in its own way.
func trouble() http.Handler {
	mux := http.NewServeMux()
	for path, answer := range map[string]struct {
		status            int
		contentType, text string
	}{
		"html502":  {502, "text/html", "<h1>Bad Gateway</h1>"},
		"html200":  {200, "text/html", "<h1>Bad Gateway</h1>"},
		"json404":  {404, "application/json", "{}"},
		"error200": {200, "application/json", `{"tacoConsumptionStatus":"","error":"ate too much"}`},
		"error503": {503, "application/json", `{"error":"not now","code":"unavailable"}`},
		"wrong":    {200, "application/json", `{"tacoConsumptionStatus":12}`},
	} {
		mux.HandleFunc("POST /"+path+"/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", answer.contentType)
			w.WriteHeader(answer.status)
			io.WriteString(w, answer.text)
		})
	}
	mux.HandleFunc("POST /empty/", func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil })
	mux.HandleFunc("POST /redirect/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/trouble/moved")
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"tacoConsumptionStatus":"by GET, which calls nothing"}`)
	})
	mux.HandleFunc("POST /cut/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, `{"taco`)
	})
	mux.HandleFunc("POST /headers/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"tacoConsumptionStatus":%q}`, r.Header.Get("X-Hook")+", "+r.Header.Get("X-Both"))
	})
	mux.HandleFunc("POST /connection/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"tacoConsumptionStatus":%q}`, r.RemoteAddr)
	})
	mux.HandleFunc("POST /slow/", func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	mux.HandleFunc("POST /drip/", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "{")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	return mux
}

// runProgram runs a program in another language and returns what it prints.
func runProgram(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, &stderr)
	}
	return string(out)
}

// compileTypeScript compiles a program by its configuration, which is strict, and
// returns the folder it is in then.
func compileTypeScript(t *testing.T, config string) string {
	t.Helper()
	noteSources(languages, "../oto/testdata/torture/client.ts", "../generated/client.ts")
	tsc := npmTool(t, "tsc")
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), needNode(t), tsc, "-p", config, "--outDir", out)
	cmd.Dir = languages
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, text)
	}
	if err := os.WriteFile(filepath.Join(out, "package.json"), []byte(`{"type":"module"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	return out
}

// The TypeScript clients, compiled with all that is strict, call tacoserver from
// Node, tell trouble, and bring the edges of all types there and back.
func TestTypeScriptInNode(t *testing.T) {
	out := compileTypeScript(t, "tsconfig.json")
	taco := start(t, "server")
	s := startTester(t, taco.URL)
	s.done(runProgram(t, filepath.Join(out, "e2e", languages), needNode(t), "node.js", taco.URL+"/oto/", s.URL))
}

// The TypeScript clients, compiled for a browser, do the same in the page that a
// headless Chromium shows.
func TestTypeScriptInChromium(t *testing.T) {
	chromium(t)
	out := compileTypeScript(t, "tsconfig.browser.json")
	s := startTester(t, start(t, "server").URL)
	s.mux.Handle("GET /scripts/", http.StripPrefix("/scripts/", http.FileServer(http.Dir(out))))
	s.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `<!doctype html><script type="module" src="/scripts/e2e/`+languages+`/page.js"></script>`)
	})
	b := openTab(t, 800, 600, "light")
	b.do(chromedp.Navigate(s.URL))
	said := ""
	waitFor(t, "the page to say how it went", func() bool {
		said = eval[string](b, `document.title`)
		return said != ""
	})
	s.done(said)
}

// python returns a Python that the client is for.
func python(t *testing.T) string {
	t.Helper()
	file := needTool(t, "python3", "apt-get install python3")
	if err := exec.Command(file, "-c", "import sys; sys.exit(sys.version_info < (3, 11))").Run(); err != nil {
		lacking(t, "python3 is older than 3.11")
	}
	return file
}

// pythonProgram puts the Python clients beside the program that uses them.
func pythonProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for from, to := range map[string]string{
		"../generated/client.py":             "tacos.py",
		"../oto/testdata/torture/client.py":  "torture.py",
		filepath.Join(languages, "check.py"): "check.py",
	} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), text, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The Python clients call tacoserver, tell trouble, keep their connections, and
// bring the edges of all types there and back.
func TestPython(t *testing.T) {
	file := python(t)
	taco := start(t, "server")
	s := startTester(t, taco.URL)
	s.done(runProgram(t, pythonProgram(t), file, "check.py", taco.URL+"/oto/", s.URL))
}

// mypy finds nothing to say about the Python clients, nor about a program that
// uses them.
func TestPythonTypes(t *testing.T) {
	onlyProcesses(t)
	mypy := needTool(t, "mypy", "apt-get install mypy")
	dir := pythonProgram(t)
	runProgram(t, dir, mypy, "--strict", "--python-version=3.11", "--cache-dir="+filepath.Join(dir, "cache"), "check.py", "tacos.py", "torture.py")
}

// proxied is a program that calls tacoserver as its environment says.
const proxied = `
import ssl, sys
from tacos import Client, EatTacoRequest, TacoService
context = ssl.create_default_context(cadata=sys.argv[2]) if len(sys.argv) > 2 else None
with Client(sys.argv[1], context=context) as client:
    for _ in range(2):
        answer = TacoService(client).eat_taco(EatTacoRequest(name="Ana", tacos=["Fish"]))
print(answer.taco_consumption_status)
`

// The Python client takes the proxy that the environment names, as under runsd
// without root, with a login and in front of TLS too.
func TestPythonByProxy(t *testing.T) {
	file, dir := python(t), pythonProgram(t)
	if err := os.WriteFile(filepath.Join(dir, "proxied.py"), []byte(proxied), 0o666); err != nil {
		t.Fatal(err)
	}
	toTaco := proxyTo(t, start(t, "server").URL)
	secure := httptest.NewTLSServer(toTaco)
	defer secure.Close()
	var mu sync.Mutex
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.RequestURI+" "+r.Header.Get("Proxy-Authorization"))
		mu.Unlock()
		if r.Method != http.MethodConnect {
			toTaco.ServeHTTP(w, r)
			return
		}
		there, err := net.Dial("tcp", secure.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer there.Close()
		w.WriteHeader(http.StatusOK)
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer here.Close()
		go func() {
			io.Copy(there, buffered)
			there.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(here, there)
	}))
	defer proxy.Close()
	login := strings.Replace(proxy.URL, "http://", "http://user:pass%20word@", 1)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	const basic = " Basic dXNlcjpwYXNzIHdvcmQ="
	for _, tt := range []struct {
		name, proxy string
		args, want  []string
	}{
		{"a bare name", "http_proxy=" + proxy.URL, []string{"http://tacoserver/oto/"}, []string{"POST http://tacoserver/oto/TacoService.EatTaco ", "POST http://tacoserver/oto/TacoService.EatTaco "}},
		{"a login", "http_proxy=" + login, []string{"http://tacoserver/oto/"}, []string{"POST http://tacoserver/oto/TacoService.EatTaco" + basic, "POST http://tacoserver/oto/TacoService.EatTaco" + basic}},
		{"TLS", "https_proxy=" + login, []string{"https://example.com/oto/", ca}, []string{"CONNECT example.com:443" + basic}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mu.Lock()
			asked = nil
			mu.Unlock()
			cmd := exec.CommandContext(t.Context(), file, append([]string{"proxied.py"}, tt.args...)...)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), tt.proxy}
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != "Ana has consumed 1 tacos\n" {
				t.Fatalf("%v: %s", err, out)
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(asked, tt.want) {
				t.Errorf("the proxy was asked %q, want %q", asked, tt.want)
			}
		})
	}
}

// The README's programs do what it says.
func TestREADMELanguages(t *testing.T) {
	file, node, tsc := python(t), needNode(t), npmTool(t, "tsc")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	url := start(t, "server").URL
	dir := t.TempDir()
	for name, language := range map[string]string{"main.ts": "ts", "main.py": "python"} {
		_, code, ok := strings.Cut(string(readme), "\n```"+language+"\n")
		code, _, _ = strings.Cut(code, "\n```")
		if !ok || !strings.Contains(code, "http://localhost:8080") {
			t.Fatalf("the README has no program in %s: %s", language, code)
		}
		code = strings.ReplaceAll(code, "http://localhost:8080", url) + "\n"
		client, err := os.ReadFile("../generated/client" + filepath.Ext(name))
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string][]byte{name: []byte(code), "client" + filepath.Ext(name): client, "package.json": []byte(`{"type":"module"}`)} {
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	const want = "Ana has consumed 1 tacos\n"
	if got := runProgram(t, dir, file, "main.py"); got != want {
		t.Errorf("main.py prints %q, want %q", got, want)
	}
	runProgram(t, dir, node, tsc, "--strict", "--skipLibCheck", "--target", "es2022", "--lib", "es2022,dom", "--module", "es2022", "--moduleResolution", "bundler", "--rewriteRelativeImportExtensions", "main.ts")
	if got := runProgram(t, dir, node, "main.js"); got != want {
		t.Errorf("main.ts prints %q, want %q", got, want)
	}
}

// Whatever names and comments a definition has, its clients are strict TypeScript
// and strictly typed Python.
func TestNamesOfOtherLanguages(t *testing.T) {
	onlyProcesses(t)
	tsc, node, mypy := npmTool(t, "tsc"), needNode(t), needTool(t, "mypy", "apt-get install mypy")
	file := python(t)
	dir := t.TempDir()
	noteSources("../templates", "../oto/parser", "../oto/render")
	args := []string{"tool", "oto"}
	for _, name := range []string{"client.ts", "client.py", "openapi.json"} {
		args = append(args, "-template", "templates/"+name+".plush", "-out", filepath.Join(dir, name))
	}
	runProgram(t, "..", "go", append(args, "./e2e/"+languages+"/names")...)
	if err := os.WriteFile(filepath.Join(dir, "use.ts"), []byte(`import * as names from "./client.ts";
export async function use(service: names.NamesPromise, e: names.NamesError): Promise<string> {
	await service.then_(await service.constructor_(e));
	const text: names.str = names.str.mro;
	return (await service.initSubclass(text)) + e["__proto__"] + e["a/b~c"] + e.self;
}
`), 0o666); err != nil {
		t.Fatal(err)
	}
	runProgram(t, dir, node, tsc, "--strict", "--skipLibCheck", "--noEmit", "--target", "es2022", "--lib", "es2022,dom", "--module", "es2022", "--moduleResolution", "bundler", "--allowImportingTsExtensions", "use.ts")
	runProgram(t, dir, mypy, "--strict", "--python-version=3.11", "--cache-dir="+filepath.Join(dir, "cache"), "client.py")
	said := runProgram(t, dir, file, "-c", `import client, dataclasses
print([f.name for f in dataclasses.fields(client.Error)], client.NamesStr.MRO == 'x\\y"z\n', [n for n in vars(client.Promise) if n[0] != "_"])
print(client.Promise.__doc__)
print(client.Promise.constructor.__doc__)`)
	const want = `['self_', 'cls', 'field', 'dataclass', 'client', 'timeout', 'any', 'decimal', 'int_', 'str_', 'constructor', 'proto', 'slash', 'under', 'one', 'class_', 'time_of', 'type', 'camel', 'camel_', 'camel__', 'ünder'] True ['alias', 'cast', 'close', 'constructor', 'empty', 'import_', 'init_subclass', 'list_', 'self_', 'then']
Promise has a comment with */ in it, """quotes""", a \backslash, \N{x} and ends with "quotes"
Constructor ends with a backslash \
`
	if said != want {
		t.Errorf("Python says\n%swant\n%s", said, want)
	}
	text, err := os.ReadFile(filepath.Join(dir, "openapi.json"))
	if err != nil || !json.Valid(text) {
		t.Errorf("openapi.json: %v: %s", err, text)
	}
}

// openAPI is what the test reads of a document.
type openAPI struct {
	Paths map[string]struct {
		Post struct {
			RequestBody struct {
				Content map[string]struct{ Example json.RawMessage }
			}
			Responses map[string]any
		}
	}
}

// A fit is a value that fits a schema of a document, or doesn't.
type fit struct {
	Schema string `json:"schema"`
	JSON   string `json:"json"`
	What   string `json:"what"`
	Open   bool   `json:"open,omitempty"`
	Unfit  bool   `json:"unfit,omitempty"`
}

func schemaOf(path, of string) string {
	return "/paths/" + strings.ReplaceAll(path, "/", "~1") + "/post/" + of + "/content/application~1json/schema"
}

// callExamples sends the example of each of a document's operations, and what is
// no JSON, to the services below a URL. It returns the answers with the schemas
// that they are to fit.
func callExamples(t *testing.T, file, url string) []fit {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var document openAPI
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var fits []fit
	for path, operation := range document.Paths {
		send := func(body, wantStatus, schema string) {
			t.Helper()
			status, answer, _ := strings.Cut(post(t, strings.TrimSuffix(url, "/")+path, body), " ")
			if _, said := operation.Post.Responses[status]; !said || status != wantStatus {
				t.Errorf("%s: status %s to %s, want %s: %s", path, status, body, wantStatus, answer)
			}
			fits = append(fits, fit{Schema: schema, JSON: answer, What: "answer of " + path + " to " + body})
		}
		example := operation.Post.RequestBody.Content["application/json"].Example
		if example != nil { // there is none of what only its own methods read
			send(string(example), "200", schemaOf(path, "responses/200"))
		}
		send("{", "400", "/components/responses/400/content/application~1json/schema")
	}
	if len(fits) == 0 {
		t.Fatalf("%s has no operations", file)
	}
	return fits
}

// wantFits has independent validators say that a document is OpenAPI, that its
// examples fit and that values do.
func wantFits(t *testing.T, file string, fits []fit) {
	t.Helper()
	var lines strings.Builder
	for _, f := range fits {
		if err := json.NewEncoder(&lines).Encode(f); err != nil {
			t.Fatal(err)
		}
	}
	values := filepath.Join(t.TempDir(), "values")
	if err := os.WriteFile(values, []byte(lines.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	said := runProgram(t, languages, needNode(t), "openapi.mjs", "../../"+file, values)
	if n, err := strconv.Atoi(strings.TrimSpace(said)); err != nil || n < len(fits) {
		t.Errorf("%s: it says %q, want a number from %d", file, said, len(fits))
	}
}

// The OpenAPI documents are valid, servers take their examples and answer as they
// say, and the edges of all types fit their schemas.
func TestOpenAPI(t *testing.T) {
	npmTool(t, "tsc") // so are the packages beside it
	const ofTaco, ofTorture = "../generated/openapi.json", "../oto/testdata/torture/openapi.json"
	noteSources(languages, ofTaco, ofTorture)
	taco := start(t, "server")
	fits := callExamples(t, ofTaco, taco.URL+"/oto/")
	request := schemaOf("/TacoService.EatTaco", "requestBody")
	fits = append(fits,
		fit{Schema: request, JSON: `{"name":"Ana","tacos":["Fish"]}`, What: "all there is"},
		fit{Schema: request, JSON: `{"name":"Ana"}`, What: "no tacos", Unfit: true},
		fit{Schema: request, JSON: `{"name":"Ana","tacos":"Fish"}`, What: "text for a list", Unfit: true},
	)
	wantFits(t, ofTaco, fits)

	s := startTester(t, taco.URL)
	fits = callExamples(t, ofTorture, s.URL+"/torture/")
	for _, c := range s.cases {
		call := c.Service + "." + c.Method
		for _, of := range []string{"requestBody", "responses/200"} {
			fits = append(fits, fit{Schema: schemaOf("/"+call, of), JSON: c.JSON, What: call, Open: true})
		}
	}
	for _, unfit := range []string{
		`"name":"A"`, `"name":"Ana!"`, `"colour":"odd \"one\""`, `"count":0`, `"ratio":1.6`, `"dice":7`,
		`"tags":[]`, `"tags":["A"]`, `"tags":["a","b","c","d"]`, `"sure":null`, `"maybe":9`, `"items":[]`, `"low":101`,
		`"next":{}`, `"byName":{"a":{"label":""}}`, `"items":[{"label":"x","grid":[[{"text":"long"}]]}]`,
	} {
		valid := `{"name":"Ana","tags":["a"],"sure":true,"count":1,"dice":1,"colour":"red","items":[{"label":"x"}]`
		constrained := schemaOf("/Torture.Constrained", "requestBody")
		fits = append(fits,
			fit{Schema: constrained, JSON: valid + "}", What: "all that is required"},
			fit{Schema: constrained, JSON: valid + "," + unfit + "}", What: "what the server refuses", Unfit: true})
		if got := post(t, s.URL+"/torture/Torture.Constrained", valid+","+unfit+"}"); !strings.HasPrefix(got, "400 ") {
			t.Errorf("to %s the server answers %s", unfit, got)
		}
	}
	wantFits(t, ofTorture, fits)
}

// post calls a method and returns the status and the answer.
func post(t *testing.T, url, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return do(t, request, "Content-Type", "application/json")
}
