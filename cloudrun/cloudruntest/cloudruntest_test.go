package cloudruntest_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/amammay/otorun/cloudrun/cloudruntest"
)

// get returns the status and body of an answer.
func get(t *testing.T, client *http.Client, url string, header ...string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

func hello(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }

const ana = "ana@example.com"

func TestGrantAndRevoke(t *testing.T) {
	t.Parallel()
	run := cloudruntest.Start(t, cloudruntest.Service{Name: "shop", Handler: http.HandlerFunc(hello)})
	client := run.Client(ana)
	if got := get(t, client, "http://shop/"); !strings.HasPrefix(got, "403 ") {
		t.Errorf("before the grant: %s", got)
	}
	if allowed, why := run.Why(ana, "shop"); allowed || !strings.Contains(why, "roles/run.invoker") || !strings.Contains(why, "gcloud run services add-iam-policy-binding shop") {
		t.Errorf("why: %t, %s", allowed, why)
	}
	run.Grant("shop", "user:"+ana)
	if got := get(t, client, "http://shop/"); got != "200 hello" {
		t.Errorf("after the grant: %s", got)
	}
	if allowed, why := run.Why(ana, "shop"); !allowed {
		t.Errorf("why: %s", why)
	}
	run.Revoke("shop", "user:"+ana)
	if got := get(t, client, "http://shop/"); !strings.HasPrefix(got, "403 ") {
		t.Errorf("after the revocation: %s", got)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	run := cloudruntest.Start(t,
		cloudruntest.Service{Name: "shop", Handler: http.HandlerFunc(hello), Invokers: []string{"orders"}},
		cloudruntest.Service{Name: "orders", Handler: http.HandlerFunc(hello)},
	)
	client := run.Client("")
	good := run.Token("orders", run.URL("shop"))
	for _, tt := range []struct{ name, token, want, why string }{
		{name: "none", want: "403"},
		{name: "right", token: good, want: "200"},
		{name: "for another service", token: run.Token("orders", run.URL("orders")), want: "401"},
		{name: "cut", token: good[:len(good)-10], want: "401"},
	} {
		header := []string{"X", "y"}
		if tt.token != "" {
			header = append(header, "Authorization", "Bearer "+tt.token)
		}
		if got := get(t, client, "http://shop/", header...); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	run.MoveClock(2 * time.Hour)
	if got := get(t, client, "http://shop/", "Authorization", "Bearer "+good); !strings.HasPrefix(got, "401") {
		t.Errorf("two hours later: %s, want 401", got)
	}
	run.WaitForLog("cloudrun", "expired")
}

func TestScaleToZeroAndKill(t *testing.T) {
	t.Parallel()
	run := cloudruntest.Start(t, cloudruntest.Service{Name: "shop", Handler: http.HandlerFunc(hello), Invokers: []string{"allUsers"}})
	client := run.Client("")
	run.ScaleToZero("shop")
	if n := run.Instances("shop"); n != 0 {
		t.Errorf("%d instances after scaling to zero", n)
	}
	if run.Kill("shop") {
		t.Error("killed an instance where there is none")
	}
	if got := get(t, client, "http://shop/"); got != "200 hello" || run.Instances("shop") != 1 {
		t.Errorf("cold start: %s with %d instances", got, run.Instances("shop"))
	}
	if !run.Kill("shop") {
		t.Error("no instance to kill")
	}
	if got := get(t, client, "http://shop/"); got != "200 hello" {
		t.Errorf("after a kill: %s", got)
	}
}

func TestDeployAgain(t *testing.T) {
	t.Parallel()
	run := cloudruntest.Start(t, cloudruntest.Service{Name: "shop", Handler: http.HandlerFunc(hello), Invokers: []string{"allUsers"}})
	run.Deploy(cloudruntest.Service{Name: "shop", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello again") })})
	if got := get(t, run.Client(""), "http://shop/"); got != "200 hello again" {
		t.Errorf("the new revision: %s", got)
	}
}

func TestHTTP2AndCustomAudience(t *testing.T) {
	t.Parallel()
	const audience = "https://shop.example.com"
	run := cloudruntest.Start(t, cloudruntest.Service{
		Name: "shop", HTTP2: true, CustomAudiences: []string{audience}, Invokers: []string{"user:" + ana},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }),
	})
	for to, want := range map[string]string{audience: "200 HTTP/2.0", run.URL("shop"): "200 HTTP/2.0", "https://other.example.com": "401"} {
		if got := get(t, run.Client(""), "http://shop/", "Authorization", "Bearer "+run.Token(ana, to)); !strings.HasPrefix(got, want) {
			t.Errorf("with a token for %s: %s, want %s", to, got, want)
		}
	}
}

// A revision with a tag is at its own URL, and gets no other requests if it isn't
// to.
func TestTag(t *testing.T) {
	t.Parallel()
	say := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, text) })
	}
	run := cloudruntest.Start(t, cloudruntest.Service{Name: "shop", Handler: say("stable"), Invokers: []string{"allUsers"}})
	run.Deploy(cloudruntest.Service{Name: "shop", Handler: say("next"), Tag: "next", NoTraffic: true})
	client := run.Client("")
	tagged := strings.Replace(run.URL("shop"), "https://", "https://next---", 1)
	for url, want := range map[string]string{
		"http://shop/": "200 stable",
		tagged:         "200 next",
		strings.Replace(tagged, "next", "other", 1): "404",
	} {
		if got := get(t, client, url); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
	run.Deploy(cloudruntest.Service{Name: "shop", Handler: say("newest")})
	if got := get(t, client, "http://shop/"); got != "200 newest" {
		t.Errorf("after the next deployment: %s", got)
	}
	if got := get(t, client, tagged); got != "200 next" {
		t.Errorf("the tag after the next deployment: %s", got)
	}
}

// A command of this module runs in a sandbox, and what it says is in the log.
func TestPackage(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 && os.Getenv("HOME") == "" {
		t.Skip("the go command needs a home")
	}
	run := cloudruntest.Start(t, cloudruntest.Service{Name: "tacoserver", Package: "github.com/amammay/otorun/server", Invokers: []string{"user:" + ana}})
	req, err := http.NewRequest(http.MethodPost, "http://tacoserver/oto/TacoService.EatTaco", strings.NewReader(`{"name":"Ana","tacos":["Carnitas"]}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := run.Client(ana).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if want := `{"tacoConsumptionStatus":"Ana has consumed 1 tacos"}`; string(body) != want {
		t.Errorf("%d %s, want %s", resp.StatusCode, body, want)
	}
	if l := run.WaitForLog("tacoserver", "request from"); l.Trace == "" || l.Revision == "" || l.Severity != "INFO" {
		t.Errorf("log %+v", l)
	}
}
