package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// chromium returns the browser, or skips the test where there is none. CI has to
// have one.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const reason = "there is no chromium to look at the page with: apt-get install chromium"
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
	return ""
}

// A tab is a page in a browser of its own, of a given size and in light or dark.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	requests []string
	trouble  []string // what the page's console has to say
}

func openTab(t *testing.T, width, height int64, scheme string) *tab {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(chromium(t)),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(60*time.Second),
	)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			b.requests = append(b.requests, e.Request.URL)
		case *cdplog.EventEntryAdded:
			b.trouble = append(b.trouble, e.Entry.Text)
		case *runtime.EventConsoleAPICalled, *runtime.EventExceptionThrown:
			b.trouble = append(b.trouble, fmt.Sprintf("%T", e))
		}
	}); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	b.do(chromedp.EmulateViewport(width, height))
	return b
}

// call sends a command of the browser's protocol.
func call[P any](b *tab, command cdp.Command[P, cdp.Empty], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// keys types as a person does, a key after the other.
func (b *tab) keys(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.do(chromedp.KeyEvent(k))
	}
}

// submit presses Enter, and waits for the page that follows.
func (b *tab) submit() {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, chromedp.KeyEvent(kb.Enter)); err != nil {
		b.t.Fatal(err)
	}
}

// eval returns what an expression is in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	result, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

func (b *tab) want(what, expression, want string) {
	b.t.Helper()
	if got := eval[string](b, expression); got != want {
		b.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// focused is what the next key goes to.
const focused = `document.activeElement.id || document.activeElement.value || document.activeElement.textContent`

// barWidth is how long somebody's bar is on the screen.
func (b *tab) barWidth(name string) float64 {
	b.t.Helper()
	return eval[float64](b, fmt.Sprintf(`[...document.querySelectorAll("li")].find(l => l.querySelector(".name").textContent === %q).querySelector(".eaten").getBoundingClientRect().width`, name))
}

// eat calls tacoserver as tacoclient does.
func eat(t *testing.T, server *process, name string, tacos ...string) string {
	t.Helper()
	return callServer(t, server, "EatTaco", map[string]any{"name": name, "tacos": tacos})
}

// callServer calls a method and returns the status and the body of the answer.
func callServer(t *testing.T, server *process, method string, request any) string {
	t.Helper()
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/oto/TacoService."+method, strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return do(t, r)
}

// A person eats by keyboard alone, sees the bar grow and is refused, and nothing
// is asked of anybody but tacoclient.
func TestPageByKeyboard(t *testing.T) {
	client, server := startPair(t)
	eat(t, server, "Bea", "Fish", "Fish", "Fish", "Fish")
	b := openTab(t, 1280, 900, "light")
	b.do(chromedp.Navigate(client.URL))
	b.want("title", `document.title`, "Who has eaten which tacos")

	b.keys(kb.Tab)
	b.want("first stop", focused, "name")
	b.keys("A", "n", "a", kb.Tab, " ") // the first on the menu
	for range 9 {
		b.keys(kb.Tab)
	}
	b.want("behind the menu", focused, "others")
	b.keys(kb.Tab)
	b.want("last stop", focused, "Eat")
	b.submit()
	b.want("answer", `document.querySelector("#answer").textContent`, "Ana has consumed 1 tacos")
	b.want("the focus is on the answer", focused, "answer")
	b.want("chart", `[...document.querySelectorAll("li")].map(l => l.querySelector(".name").textContent + " " + l.querySelector(".count").textContent).join(", ")`, "Bea 4 tacos, Ana 1 taco")
	bea, before := b.barWidth("Bea"), b.barWidth("Ana")
	if before < bea*0.24 || before > bea*0.26 {
		t.Errorf("Ana's bar is %v, Bea's %v, want a quarter", before, bea)
	}

	// One more is typed; what was chosen is still there.
	b.do(chromedp.Focus("#others"))
	b.keys("T", "o", "n", "g", "u", "e", kb.Enter, "T", "o", "n", "g", "u", "e", kb.Tab)
	b.submit()
	b.want("answer", `document.querySelector("#answer").textContent`, "Ana has consumed 3 tacos")
	if after := b.barWidth("Ana"); after < before*2.9 || after > before*3.1 {
		t.Errorf("Ana's bar was %v and is %v, want three times that", before, after)
	}

	// Refused: the reason is below the field, and the field is where one is.
	b.do(chromedp.SetValue("#name", " "), chromedp.Focus("button"))
	b.submit()
	b.want("error", `document.getElementById(document.querySelector("#name").getAttribute("aria-describedby")).textContent`, "Name is required")
	b.want("the focus is on the field", focused, "name")
	if gap := eval[float64](b, `document.querySelector("#name-error").getBoundingClientRect().top - document.querySelector("#name").getBoundingClientRect().bottom`); gap < 0 || gap > 20 {
		t.Errorf("the error is %v below its field", gap)
	}
	b.want("what was typed", `document.querySelector("#others").value`, "Tongue\nTongue")
	b.keys("A", "n", "a", kb.Tab, " ")
	b.do(chromedp.SetValue("#others", strings.Repeat("x", 101)), chromedp.Focus("button"))
	b.submit()
	b.want("error", `document.querySelector("#tacos-error").textContent`, "Tacos[0] has 101 characters, at most 100 are allowed")
	b.want("the focus is on the field", focused, "others")
	if gap := eval[float64](b, `document.querySelector("#tacos-error").getBoundingClientRect().top - document.querySelector("#others").getBoundingClientRect().bottom`); gap < 0 || gap > 20 {
		t.Errorf("the error is %v below its field", gap)
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	for _, url := range b.requests {
		if !strings.HasPrefix(url, client.URL+"/") && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asks for %s", url)
		}
	}
	for _, text := range b.trouble {
		if !strings.Contains(text, "400 (Bad Request)") { // the two refusals
			t.Errorf("the console says %q", text)
		}
	}
}

var hostileNames = []string{
	`<script>window.hacked = 1</script>`, `<img src=x onerror="window.hacked = 1">`, `"><svg onload=window.hacked=1>`,
	"שלום עולם", "\u202eevil", "👩‍👩‍👧‍👦 🌮", "مرحبا (1)", strings.Repeat("W", 100), strings.Repeat("字", 100), "&lt;", `{{.}}`,
}

// Hostile names are shown as what they are, and fit on any screen, in light and
// dark, with letters that stand out. With OTORUN_SCREENSHOTS=FOLDER what it looks
// like is kept there.
func TestPageLooks(t *testing.T) {
	client, server := startPair(t)
	for i, name := range hostileNames {
		eat(t, server, name, make([]string, 3*(len(hostileNames)-i))...)
	}
	eat(t, server, "Sammy Sosa", "Chicken", "Chorizo")
	for _, width := range []int64{360, 1280} {
		for _, scheme := range []string{"light", "dark"} {
			t.Run(fmt.Sprint(width, " ", scheme), func(t *testing.T) {
				b := openTab(t, width, 900, scheme)
				b.do(chromedp.Navigate(client.URL + "/?name=Ana&taco=Fish&taco=Tongue"))
				got := eval[[]string](b, `[...document.querySelectorAll("li .name")].map(n => n.textContent)`)
				if want := append(slices.Clone(hostileNames), "Sammy Sosa"); !slices.Equal(got, want) {
					t.Errorf("names %q, want %q", got, want)
				}
				if eval[bool](b, `"hacked" in window`) {
					t.Error("a name's script has run")
				}
				if sideways := eval[int](b, `document.documentElement.scrollWidth - window.innerWidth`); sideways > 0 {
					t.Errorf("the page is %d wider than the screen", sideways)
				}
				if small := eval[[]string](b, `[...document.querySelectorAll("input:not([type]), textarea, button, .menu label")].filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML)`); len(small) > 0 {
					t.Errorf("too small for a finger: %q", small)
				}
				dark := eval[float64](b, luminance+`luminance(getComputedStyle(document.body).backgroundColor)`) < 0.2
				if dark != (scheme == "dark") {
					t.Errorf("the page is dark: %t", dark)
				}
				b.screenshot(fmt.Sprintf("page-%d-%s", width, scheme))
				b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#name").value = ""`), chromedp.Focus("button"))
				b.submit()
				if faint := eval[[]string](b, luminance+faint); len(faint) > 0 {
					t.Errorf("hard to read: %q", faint)
				}
				b.screenshot(fmt.Sprintf("refused-%d-%s", width, scheme))
				if width == 1280 && scheme == "dark" {
					b.do(chromedp.SetValue("#name", "Ana"), chromedp.Focus("button"))
					b.submit()
					b.screenshot("eaten-1280-dark")
				}
			})
		}
	}
}

// luminance is WCAG 2's relative luminance of a colour.
const luminance = `function luminance(colour) {
	const [r, g, b] = colour.match(/[\d.]+/g).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
	return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
`

// faint lists the texts whose contrast to what is behind them is below 4.5.
const faint = `[...document.querySelectorAll("body *")].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.value).map(e => {
	let behind = e;
	while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
	const [a, b] = [luminance(getComputedStyle(e).color), luminance(getComputedStyle(behind).backgroundColor)].sort((a, b) => b - a);
	return [(a + 0.05) / (b + 0.05), e.textContent];
}).filter(([contrast]) => contrast < 4.5).map(String)`

func (b *tab) screenshot(name string) {
	dir := os.Getenv("OTORUN_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o666); err != nil {
		b.t.Fatal(err)
	}
}

// A page of another site has the browser send a form, an image and a fetch to
// tacoclient: none of them eats.
func TestPageCrossSite(t *testing.T) {
	client, server := startPair(t)
	done := make(chan bool, 1)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<iframe name="there"></iframe>
<form method="post" action="%[1]s/" target="there"><input name="name" value="Eve"><input name="taco" value="Fish"></form>
<script>
const loaded = element => new Promise(resolve => { element.onload = element.onerror = resolve });
(async () => {
	const image = new Image();
	image.src = "%[1]s/?name=Eve&taco=Fish";
	await loaded(image);
	await fetch("%[1]s/", {method: "POST", mode: "no-cors", body: new URLSearchParams({name: "Eve", taco: "Fish"})}).catch(() => {});
	await fetch("%[1]s/?name=Eve&taco=Fish", {mode: "no-cors"}).catch(() => {});
	const sent = loaded(document.querySelector("iframe"));
	document.querySelector("form").submit();
	await sent;
	fetch("/done");
})();
</script>`, client.URL)
		case "/done":
			done <- true
		}
	}))
	defer evil.Close()
	b := openTab(t, 800, 600, "light")
	b.do(chromedp.Navigate(evil.URL)) // 127.0.0.1, where tacoclient is localhost
	select {
	case <-done:
	case <-b.ctx.Done():
		t.Fatal("the other site's page doesn't come to its end")
	}
	if got := callServer(t, server, "ListEaters", struct{}{}); got != `200 {"eaters":[],"nextPageToken":""}` {
		t.Errorf("the other site has eaten: %s", got)
	}
	if n := strings.Count(strings.Join(client.log(), "\n"), " 403 "); n != 4 {
		t.Errorf("%d requests were refused, want 4", n)
	}
}
