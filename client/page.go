package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/amammay/otorun/generated/client"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// contentSecurityPolicy lets the page have its own style and icon and send its
// form here, and nothing else: no script, no other host, no frame around it.
var contentSecurityPolicy = func() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

// menu is what one can choose without typing.
var menu = []string{"Chicken", "Chorizo", "Al pastor", "Carnitas", "Carne asada", "Suadero", "Barbacoa", "Fish", "Veggie"}

// pageEaters is how many eaters the page shows: as many as tacoserver lists at
// once, so that all bars have one scale.
const pageEaters = 100

// maxForm is a form with the most tacos there may be, each byte of them escaped.
const maxForm = 2 << 20

// page is what the template shows.
type page struct {
	Style template.CSS

	// What is in the form.
	Name   string
	Menu   []choice
	Others string

	// What came of it.
	Answer                         string
	NameError, TacosError, Failure string

	Bars        []bar
	ListFailure string
	Next        string // where the list goes on
}

type choice struct {
	Name   string
	Chosen bool
}

// bar is an eater in the chart.
type bar struct {
	Name                   string
	Count                  int
	Percent                float64 // of the longest bar
	LastMeal, LastMealText string
	Now                    bool // it is who has just eaten
}

// wantsPage tells a browser from curl by what it accepts.
func wantsPage(r *http.Request) bool {
	for _, accepted := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		if kind, params, err := mime.ParseMediaType(accepted); err == nil && kind == "text/html" && params["q"] != "0" {
			return true
		}
	}
	return false
}

// fill puts a request into the form: tacos that aren't on the menu, or are there
// more than once, are typed.
func (p *page) fill(request client.EatTacoRequest) {
	p.Name = request.Name
	var others []string
	chosen := make(map[string]bool)
	for _, taco := range request.Tacos {
		if slices.Contains(menu, taco) && !chosen[taco] {
			chosen[taco] = true
		} else {
			others = append(others, taco)
		}
	}
	for _, taco := range menu {
		p.Menu = append(p.Menu, choice{taco, chosen[taco]})
	}
	p.Others = strings.Join(others, "\n")
}

// show answers with the page, its form filled from the query. Nothing is eaten by
// that: it takes the button.
func (h *handler) show(w http.ResponseWriter, r *http.Request) {
	var p page
	q := r.URL.Query()
	p.fill(client.EatTacoRequest{Name: q.Get("name"), Tacos: q["taco"]})
	status := h.list(r, &p, "")
	h.write(w, r, status, &p)
}

// submit eats what is in the form and answers with the page. It can be sent again
// without harm, so the answer is no redirect.
func (h *handler) submit(w http.ResponseWriter, r *http.Request) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		w.Header().Set("Accept-Post", "application/x-www-form-urlencoded")
		http.Error(w, "415 unsupported media type: send the page's form", http.StatusUnsupportedMediaType)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			http.Error(w, "413 the form is larger than 2 MiB", http.StatusRequestEntityTooLarge)
		} else {
			http.Error(w, "bad form: "+err.Error(), http.StatusBadRequest)
		}
		return
	}
	request := client.EatTacoRequest{Name: r.PostForm.Get("name"), Tacos: r.PostForm["taco"]}
	for line := range strings.Lines(r.PostForm.Get("others")) {
		if taco := strings.TrimSpace(line); taco != "" {
			request.Tacos = append(request.Tacos, taco)
		}
	}
	var p page
	p.fill(request)
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout)
	defer cancel()
	response, err := h.taco.EatTaco(ctx, request)
	status, justEaten := http.StatusOK, ""
	if err != nil {
		var message string
		status, message = h.explain(ctx, r, err)
		p.refuse(status, message)
	} else {
		p.Answer, justEaten = response.TacoConsumptionStatus, strings.TrimSpace(request.Name)
	}
	h.list(r, &p, justEaten)
	h.write(w, r, status, &p)
}

// refuse puts what is wrong beside the fields it is about.
func (p *page) refuse(status int, message string) {
	const field = "EatTacoRequest."
	if status != http.StatusBadRequest || !strings.HasPrefix(message, field) {
		p.Failure = message
		return
	}
	for _, text := range strings.Split(strings.TrimPrefix(message, field), "; "+field) {
		where := &p.Failure
		switch {
		case strings.HasPrefix(text, "Name"):
			where = &p.NameError
		case strings.HasPrefix(text, "Tacos"):
			where = &p.TacosError
		}
		if *where != "" {
			text = *where + "; " + text
		}
		*where = text
	}
}

// list puts the chart into the page, and returns the page's status: OK, or why
// there is no chart.
func (h *handler) list(r *http.Request, p *page, justEaten string) int {
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout)
	defer cancel()
	response, err := h.taco.ListEaters(ctx, client.ListEatersRequest{Limit: pageEaters})
	if err != nil {
		var status int
		status, p.ListFailure = h.explain(ctx, r, err)
		return status
	}
	for _, e := range response.Eaters {
		b := bar{Name: e.Name, Count: e.Count, LastMeal: e.LastMeal, Now: e.Name == justEaten}
		// To a tenth: SVG takes no number with an exponent everywhere.
		b.Percent = math.Round(1000*float64(e.Count)/float64(response.Eaters[0].Count)) / 10
		if at, err := time.Parse(time.RFC3339, e.LastMeal); err == nil {
			b.LastMealText = at.UTC().Format("2 January 2006, 15:04 UTC")
		}
		p.Bars = append(p.Bars, b)
	}
	if response.NextPageToken != "" {
		p.Next = "/eaters?" + url.Values{"page_token": {response.NextPageToken}}.Encode()
	}
	return http.StatusOK
}

func (h *handler) write(w http.ResponseWriter, r *http.Request, status int, p *page) {
	p.Style = template.CSS(pageCSS)
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		h.log.ErrorContext(r.Context(), "make the page", "error", err)
		http.Error(w, "500 the page can't be made", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", contentSecurityPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	// no-referrer would take the form's Origin away, which tells where it is from.
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}
