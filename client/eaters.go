package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/amammay/otorun/generated/client"
)

// eaters answers with a page of the list, as text or as JSON. Where there is
// another, a Link header leads to it (RFC 8288).
func (h *handler) eaters(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		http.Error(w, "bad query: "+err.Error(), http.StatusBadRequest)
		return
	}
	format := q.Get("format")
	if format != "" && format != "text" && format != "json" {
		http.Error(w, fmt.Sprintf("format %q is none: ask for text or json", format), http.StatusBadRequest)
		return
	}
	request := client.ListEatersRequest{PageToken: q.Get("page_token")}
	if s := q.Get("limit"); s != "" {
		if request.Limit, err = strconv.Atoi(s); err != nil {
			http.Error(w, fmt.Sprintf("limit %q is no number", s), http.StatusBadRequest)
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout)
	defer cancel()
	response, err := h.taco.ListEaters(ctx, request)
	if err != nil {
		h.fail(ctx, w, r, err)
		return
	}
	header := w.Header()
	if response.NextPageToken != "" {
		q.Set("page_token", response.NextPageToken)
		header.Set("Link", fmt.Sprintf(`</eaters?%s>; rel="next"`, q.Encode()))
	}
	header.Set("X-Content-Type-Options", "nosniff")
	if format == "json" {
		header.Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(response)
		return
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	for _, e := range response.Eaters {
		fmt.Fprintf(w, "%d\t%s\n", e.Count, e.Name)
	}
}
