package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/amammay/otorun/generated/client"
	"github.com/amammay/otorun/internal/httpservice"
)

// statusClientClosedRequest is what the log shows of a request whose caller went
// away before the answer. The caller never sees it; the number is nginx's.
const statusClientClosedRequest = 499

// A tacoService is what of the generated client the handler needs.
type tacoService interface {
	EatTaco(context.Context, client.EatTacoRequest) (*client.EatTacoResponse, error)
	ListEaters(context.Context, client.ListEatersRequest) (*client.ListEatersResponse, error)
}

type handler struct {
	taco    tacoService
	timeout time.Duration
	log     *slog.Logger
	// origins tells what another site's page had a browser send.
	origins *http.CrossOriginProtection
}

func (h *handler) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept")
		if wantsPage(r) {
			h.show(w, r)
			return
		}
		// Other sites' pages may have a browser GET whatever they like, an image
		// say; by a GET that eats they may not.
		eating := *r
		eating.Method = http.MethodPost
		if err := h.origins.Check(&eating); err != nil {
			http.Error(w, "403 "+err.Error(), http.StatusForbidden)
			return
		}
		h.eat(w, r)
	})
	mux.Handle("POST /{$}", h.origins.Handler(http.HandlerFunc(h.submit)))
	mux.HandleFunc("GET /eaters", h.eaters)
	return mux
}

// eat answers with tacoserver's sentence on the person and the tacos of the
// query.
func (h *handler) eat(w http.ResponseWriter, r *http.Request) {
	request, err := requestFrom(r.URL.RawQuery)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.timeout)
	defer cancel()
	response, err := h.taco.EatTaco(ctx, request)
	if err != nil {
		h.fail(ctx, w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, response.TacoConsumptionStatus)
}

// requestFrom reads ?name=Ana&taco=Al+pastor&taco=Carnitas. A query with neither
// of the two stands for Sammy Sosa's lunch; one with only one of them goes to
// tacoserver as it is: what is required is said there.
func requestFrom(query string) (client.EatTacoRequest, error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return client.EatTacoRequest{}, fmt.Errorf("bad query: %w", err)
	}
	if !q.Has("name") && !q.Has("taco") {
		return client.EatTacoRequest{Name: "Sammy Sosa", Tacos: []string{"Chicken", "Chorizo"}}, nil
	}
	return client.EatTacoRequest{Name: q.Get("name"), Tacos: q["taco"]}, nil
}

// fail answers r for a call, made with ctx, of tacoserver that ended in err. The
// answer says which way it failed; the cause is for the log alone.
func (h *handler) fail(ctx context.Context, w http.ResponseWriter, r *http.Request, err error) {
	status, message := h.explain(ctx, r, err)
	http.Error(w, message, status)
}

// explain is [explain] for r, with the cause in the log.
func (h *handler) explain(ctx context.Context, r *http.Request, err error) (status int, message string) {
	status, message = explain(r.Context(), ctx, err)
	level := slog.LevelError
	if status < 500 { // the caller's doing
		level = slog.LevelInfo
	}
	h.log.Log(ctx, level, "call of tacoserver failed", "status", status, "answer", message, "error", err)
	return status, message
}

// explain returns the status and the words for a call that ended in err. The
// call was made with the context call, within request's.
func explain(request, call context.Context, err error) (status int, message string) {
	e, _ := errors.AsType[*client.Error](err)
	if e == nil {
		e = new(client.Error)
	}
	opErr, _ := errors.AsType[*net.OpError](err)
	netErr, _ := errors.AsType[net.Error](err)
	switch {
	case errors.Is(context.Cause(request), httpservice.ErrShuttingDown):
		return http.StatusServiceUnavailable, "tacoclient is shutting down: try again"
	case errors.Is(request.Err(), context.Canceled):
		return statusClientClosedRequest, "the caller went away"
	case e.Code == "invalid_argument":
		return http.StatusBadRequest, e.Message
	case call.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, "tacoserver took too long to answer"
	case opErr != nil && opErr.Op == "dial":
		return http.StatusBadGateway, "tacoserver is unreachable"
	case e.Code == "unavailable":
		return http.StatusServiceUnavailable, "tacoserver can't answer now: try again later"
	case e.Code == "resource_exhausted":
		return http.StatusInsufficientStorage, "tacoserver has no room left"
	case e.StatusCode == http.StatusGatewayTimeout, e.Code == "deadline_exceeded", netErr != nil && netErr.Timeout():
		return http.StatusGatewayTimeout, "tacoserver took too long to answer"
	case e.StatusCode == http.StatusUnauthorized, e.StatusCode == http.StatusForbidden:
		return http.StatusBadGateway, fmt.Sprintf("tacoserver does not let tacoclient in (status %d)", e.StatusCode)
	case e.StatusCode >= 300:
		return http.StatusBadGateway, fmt.Sprintf("tacoserver failed (status %d)", e.StatusCode)
	case e.StatusCode != 0:
		return http.StatusBadGateway, "tacoserver failed: its answer is not one of tacoserver's"
	default:
		return http.StatusBadGateway, "tacoserver failed: the connection broke before its answer"
	}
}
