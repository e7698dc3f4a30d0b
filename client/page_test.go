package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/amammay/otorun/generated/client"
)

// tacoserver answers the two methods and notes what is eaten.
func tacoserver(t *testing.T, eaters client.ListEatersResponse, eaten *[]client.EatTacoRequest) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/oto/TacoService.EatTaco":
			var request client.EatTacoRequest
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
				t.Error(err)
			}
			*eaten = append(*eaten, request)
			json.NewEncoder(w).Encode(client.EatTacoResponse{TacoConsumptionStatus: fmt.Sprintf("%s has consumed %d tacos", request.Name, len(request.Tacos))})
		case "/oto/TacoService.ListEaters":
			json.NewEncoder(w).Encode(eaters)
		}
	}
}

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

// get is a GET with headers.
func get(url string, header ...string) *http.Request {
	return withHeader(httptest.NewRequest(http.MethodGet, url, nil), header...)
}

// post is the page's form, sent.
func post(form url.Values, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form.Encode()))
	return withHeader(r, append([]string{"Content-Type", "application/x-www-form-urlencoded", "Accept", browser}, header...)...)
}

func withHeader(r *http.Request, header ...string) *http.Request {
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func TestWhoGetsThePage(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "text/*": false, "text/plain": false, "text/html;q=0": false, "image/avif,image/webp,*/*": false, "text/htm": false, "text/html;;": false,
		browser: true, "text/html": true, "application/json, TEXT/HTML;q=0.5": true,
	} {
		var eaten []client.EatTacoRequest
		c := newTaco(t, tacoserver(t, client.ListEatersResponse{}, &eaten))
		w := httptest.NewRecorder()
		c.ServeHTTP(w, get("/?name=Ana&taco=Fish", "Accept", accept))
		if page := strings.HasPrefix(w.Body.String(), "<!doctype html>"); page != want || w.Code != 200 || page == (len(eaten) == 1) || w.Header().Get("Vary") != "Accept" {
			t.Errorf("Accept %q: status %d, page %t, want %t; eaten: %v", accept, w.Code, page, want, eaten)
		}
	}
}

// What is hostile stands in the page as text, wherever it comes from.
func TestPageEscapes(t *testing.T) {
	hostile := `</textarea></bdi></style><script>alert("1")</script>'"&`
	var eaten []client.EatTacoRequest
	c := newTaco(t, tacoserver(t, client.ListEatersResponse{
		Eaters:        []client.Eater{{Name: hostile, Count: 4, LastMeal: hostile}, {Name: "\u202eevil", Count: 1}},
		NextPageToken: hostile,
	}, &eaten))
	for _, r := range []*http.Request{
		get("/?"+url.Values{"name": {hostile}, "taco": {hostile}}.Encode(), "Accept", browser),
		post(url.Values{"name": {hostile}, "taco": {hostile}, "others": {hostile}}),
	} {
		status, body := c.do(r)
		if status != 200 || strings.Contains(body, "<script") || strings.Contains(body, hostile) || strings.Count(body, "</style>") != 1 || strings.Count(body, "</textarea>") != 1 {
			t.Errorf("%s: %d %s", r.Method, status, body)
		}
		if !strings.Contains(body, "&lt;script&gt;") || !strings.Contains(body, "<bdi>\u202eevil</bdi>") {
			t.Errorf("%s: the names are not shown: %s", r.Method, body)
		}
	}
}

func TestPageHeaders(t *testing.T) {
	var eaten []client.EatTacoRequest
	c := newTaco(t, tacoserver(t, client.ListEatersResponse{}, &eaten))
	w := httptest.NewRecorder()
	c.ServeHTTP(w, get("/", "Accept", browser))
	for key, want := range map[string]string{
		"Content-Type":            "text/html; charset=utf-8",
		"Content-Security-Policy": contentSecurityPolicy,
		"X-Content-Type-Options":  "nosniff",
		"Referrer-Policy":         "same-origin",
		"Cache-Control":           "no-store",
	} {
		if got := w.Header().Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if strings.Contains(contentSecurityPolicy, "unsafe") || strings.Contains(contentSecurityPolicy, "http") || !strings.HasPrefix(contentSecurityPolicy, "default-src 'none'; ") {
		t.Errorf("the policy is not tight: %s", contentSecurityPolicy)
	}
	// No attribute or element that the policy would keep from working, or that
	// asks for something outside.
	for _, unwanted := range []string{"<script", " style=", " onclick", "http://", "https://", "@import", "url("} {
		page := strings.ReplaceAll(w.Body.String(), "http://www.w3.org/2000/svg", "") // a name, not an address
		if strings.Contains(page, unwanted) {
			t.Errorf("the page has %s", unwanted)
		}
	}
}

func TestChart(t *testing.T) {
	var eaten []client.EatTacoRequest
	c := newTaco(t, tacoserver(t, client.ListEatersResponse{Eaters: []client.Eater{
		{Name: "Ana", Count: 1000, LastMeal: "2026-11-24T12:34:56.789Z"}, {Name: "Bea", Count: 333, LastMeal: "then"}, {Name: "Cid", Count: 1},
	}}, &eaten))
	_, body := c.do(get("/", "Accept", browser))
	for _, want := range []string{
		`<bdi>Ana</bdi>`, `1000 tacos`, `<rect class="eaten" width="100" `, `<time datetime="2026-11-24T12:34:56.789Z">24 November 2026, 12:34 UTC</time>`,
		`<bdi>Bea</bdi>`, `<rect class="eaten" width="33.3" `, `<time datetime="then"></time>`,
		`1 taco<`, `<rect class="eaten" width="0.1" `,
	} {
		_, after, ok := strings.Cut(body, want)
		if !ok {
			t.Fatalf("no %s, or not in its place, in %s", want, body)
		}
		body = after
	}
	c = newTaco(t, tacoserver(t, client.ListEatersResponse{}, &eaten))
	if _, body := c.do(get("/", "Accept", browser)); !strings.Contains(body, "Nobody has eaten anything yet.") {
		t.Errorf("without eaters: %s", body)
	}
}

func TestSubmit(t *testing.T) {
	var eaten []client.EatTacoRequest
	c := newTaco(t, tacoserver(t, client.ListEatersResponse{Eaters: []client.Eater{{Name: "Ana", Count: 4}, {Name: "Bea", Count: 1}}}, &eaten))
	status, body := c.do(post(url.Values{"name": {" Ana"}, "taco": {"Chicken", "Fish"}, "others": {"\r\nChicken\r\n  Tongue \r\n\r\n"}}))
	if got, want := fmt.Sprint(eaten), "[{ Ana [Chicken Fish Chicken Tongue]}]"; got != want {
		t.Errorf("eaten %s, want %s", got, want)
	}
	if status != 200 || !strings.Contains(body, "Ana has consumed 4 tacos") {
		t.Errorf("%d %s", status, body)
	}
	// What was eaten is still in the form, for one more to be added.
	for _, want := range []string{`value=" Ana"`, `value="Chicken" checked>`, `value="Fish" checked>`, `value="Veggie">`, "\nChicken\nTongue</textarea>", `<li class="now">`} {
		if strings.Count(body, want) != 1 {
			t.Errorf("%d times %s in %s", strings.Count(body, want), want, body)
		}
	}
}

func TestSubmitRefused(t *testing.T) {
	for _, tt := range []struct {
		name, message, want, field string
		errors                     int
	}{
		{"name", "EatTacoRequest.Name is required", `<p class="error" id="name-error">Name is required</p>`, `aria-describedby="name-error" autofocus>`, 1},
		{"tacos", "EatTacoRequest.Tacos[3] has 101 characters", `<p class="error" id="tacos-error">Tacos[3] has 101 characters</p>`, `aria-describedby="tacos-error" autofocus>`, 1},
		{"both", "EatTacoRequest.Name is required; EatTacoRequest.Tacos is required", `<p class="error" id="name-error">Name is required</p>`, `<p class="error" id="tacos-error">Tacos is required</p>`, 2},
		{"tacos, twice", "EatTacoRequest.Tacos[0] is a; EatTacoRequest.Tacos[1] is b", `<p class="error" id="tacos-error">Tacos[0] is a; Tacos[1] is b</p>`, ``, 1},
		{"another", "no <b>way</b>", `<p class="error" id="failure" role="alert">no &lt;b&gt;way&lt;/b&gt;</p>`, ``, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newTaco(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "ListEaters") {
					json.NewEncoder(w).Encode(client.ListEatersResponse{})
					return
				}
				w.WriteHeader(400)
				json.NewEncoder(w).Encode(map[string]string{"error": tt.message, "code": "invalid_argument"})
			})
			status, body := c.do(post(url.Values{"name": {"Ana"}, "others": {"Tongue"}}))
			if status != 400 || !strings.Contains(body, tt.want) || strings.Count(body, `class="error"`) != tt.errors || !strings.Contains(body, tt.field) {
				t.Errorf("%d %s, want %s", status, body, tt.want)
			}
			if !strings.Contains(body, `value="Ana"`) || !strings.Contains(body, "Tongue</textarea>") {
				t.Errorf("what was typed is lost: %s", body)
			}
		})
	}
}

// Without a list the page has its form, and says why.
func TestPageWithoutTacoserver(t *testing.T) {
	c := newTaco(t, says(503, `{"error":"down","code":"unavailable"}`))
	status, body := c.do(get("/", "Accept", browser))
	if status != 503 || !strings.Contains(body, `id="list-failure" role="alert">tacoserver can&#39;t answer now`) || !strings.Contains(body, "<button>Eat") {
		t.Errorf("%d %s", status, body)
	}
	status, body = c.do(post(url.Values{"name": {"Ana"}}))
	if status != 503 || !strings.Contains(body, `id="failure" role="alert">tacoserver can&#39;t answer now`) {
		t.Errorf("%d %s", status, body)
	}
}

// Only the page itself, and what is no browser, eats.
func TestCrossSite(t *testing.T) {
	form := url.Values{"name": {"Ana"}, "taco": {"Fish"}}
	for _, tt := range []struct {
		name string
		r    *http.Request
		want int
	}{
		{"curl", get("/"), 200},
		{"curl, form", post(form), 200},
		{"the page's form", post(form, "Sec-Fetch-Site", "same-origin", "Origin", "http://example.com"), 200},
		{"the page's form, sent by the user again", post(form, "Sec-Fetch-Site", "none"), 200},
		{"the page's form, in an old browser", post(form, "Origin", "http://example.com"), 200},
		{"another site's form", post(form, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"), 403},
		{"a neighbour's form", post(form, "Sec-Fetch-Site", "same-site", "Origin", "https://other.example.com"), 403},
		{"another site's form, in an old browser", post(form, "Origin", "https://evil.example"), 403},
		{"a form without an origin", post(form, "Origin", "null"), 403},
		{"another site's image", get("/?name=Ana&taco=Fish", "Sec-Fetch-Site", "cross-site", "Accept", "image/*,*/*;q=0.8"), 403},
		{"another site's text", get("/", "Sec-Fetch-Site", "same-site", "Accept", "text/plain"), 403},
		{"the page's own", get("/", "Sec-Fetch-Site", "same-origin", "Accept", "*/*"), 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var eaten []client.EatTacoRequest
			c := newTaco(t, tacoserver(t, client.ListEatersResponse{}, &eaten))
			status, body := c.do(tt.r)
			if status != tt.want || (len(eaten) == 1) != (tt.want == 200) {
				t.Errorf("%d %s, want %d; eaten: %v", status, body, tt.want, eaten)
			}
		})
	}
	// A link from another site leads to the page, and eats nothing.
	var eaten []client.EatTacoRequest
	c := newTaco(t, tacoserver(t, client.ListEatersResponse{}, &eaten))
	if status, body := c.do(get("/?name=Ana&taco=Fish", "Sec-Fetch-Site", "cross-site", "Accept", browser)); status != 200 || len(eaten) > 0 || !strings.Contains(body, `value="Ana"`) {
		t.Errorf("%d %s; eaten: %v", status, body, eaten)
	}
}

func TestOtherForms(t *testing.T) {
	for _, tt := range []struct {
		name, contentType, body string
		want                    int
	}{
		{"JSON", "application/json", `{"name":"Ana"}`, 415},
		{"nothing", "", "", 415},
		{"parts", "multipart/form-data; boundary=x", "--x--", 415},
		{"too large", "application/x-www-form-urlencoded", "name=" + strings.Repeat("a", maxForm), 413},
		{"malformed", "application/x-www-form-urlencoded", "name=%zz", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var eaten []client.EatTacoRequest
			c := newTaco(t, tacoserver(t, client.ListEatersResponse{}, &eaten))
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body))
			if status, body := c.do(withHeader(r, "Content-Type", tt.contentType)); status != tt.want || len(eaten) > 0 {
				t.Errorf("%d %s, want %d; eaten: %v", status, body, tt.want, eaten)
			}
		})
	}
	// The most there may be fits.
	var eaten []client.EatTacoRequest
	c := newTaco(t, tacoserver(t, client.ListEatersResponse{}, &eaten))
	if status, _ := c.do(post(url.Values{"name": {"Ana"}, "others": {strings.Repeat(strings.Repeat("🌮", 100)+"\r\n", 1000)}})); status != 200 || len(eaten) != 1 || len(eaten[0].Tacos) != 1000 {
		t.Errorf("status %d for the most tacos", status)
	}
}

func TestEaters(t *testing.T) {
	var asked string
	c := newTaco(t, func(w http.ResponseWriter, r *http.Request) {
		var request client.ListEatersRequest
		json.NewDecoder(r.Body).Decode(&request)
		asked = fmt.Sprint(request.Limit, " ", request.PageToken)
		response := client.ListEatersResponse{Eaters: []client.Eater{
			{Name: "Ana", Tacos: []string{"Fish", "<b>"}, Count: 2, LastMeal: "2026-11-24T12:00:00Z"},
			{Name: "<script>", Tacos: []string{"a"}, Count: 1, LastMeal: "2026-11-24T12:00:01Z"},
		}}
		if request.PageToken == "" {
			response.NextPageToken = "x+y"
		}
		json.NewEncoder(w).Encode(response)
	})
	for _, tt := range []struct {
		name, url, want, asked, contentType, link string
		status                                    int
	}{
		{name: "text", url: "/eaters", asked: "0 ", want: "2\tAna\n1\t<script>\n", contentType: "text/plain; charset=utf-8", link: `</eaters?page_token=x%2By>; rel="next"`},
		{name: "by name", url: "/eaters?format=text&limit=5", asked: "5 ", want: "2\tAna\n1\t<script>\n", contentType: "text/plain; charset=utf-8", link: `</eaters?format=text&limit=5&page_token=x%2By>; rel="next"`},
		{name: "last page", url: "/eaters?page_token=x%2By", asked: "0 x+y", want: "2\tAna\n1\t<script>\n", contentType: "text/plain; charset=utf-8"},
		{
			name: "JSON", url: "/eaters?format=json&page_token=t", asked: "0 t", contentType: "application/json",
			want: `{"eaters":[{"name":"Ana","tacos":["Fish","\u003cb\u003e"],"count":2,"lastMeal":"2026-11-24T12:00:00Z"},{"name":"\u003cscript\u003e","tacos":["a"],"count":1,"lastMeal":"2026-11-24T12:00:01Z"}],"nextPageToken":""}` + "\n",
		},
		{name: "no such format", url: "/eaters?format=xml", status: 400, want: "format \"xml\" is none: ask for text or json\n"},
		{name: "no limit", url: "/eaters?limit=ten", status: 400, want: "limit \"ten\" is no number\n"},
		{name: "malformed", url: "/eaters?limit=%zz", status: 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked = ""
			w := httptest.NewRecorder()
			c.ServeHTTP(w, get(tt.url))
			if tt.status == 0 {
				tt.status = 200
			}
			if w.Code != tt.status || tt.want != "" && w.Body.String() != tt.want || asked != tt.asked {
				t.Errorf("%d %q, asked %q; want %d %q, %q", w.Code, w.Body, asked, tt.status, tt.want, tt.asked)
			}
			if h := w.Header(); tt.contentType != "" && h.Get("Content-Type") != tt.contentType || h.Get("Link") != tt.link {
				t.Errorf("header %v", h)
			}
		})
	}
	refusing := newTaco(t, says(400, `{"error":"ListEatersRequest.Limit is 101, 1 to 100 is allowed","code":"invalid_argument"}`))
	if status, body := refusing.do(get("/eaters?limit=101")); status != 400 || body != "ListEatersRequest.Limit is 101, 1 to 100 is allowed\n" {
		t.Errorf("%d %q", status, body)
	}
}
