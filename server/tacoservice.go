package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/amammay/otorun/generated/server"
	"github.com/amammay/otorun/server/internal/eaters"
)

// tacoService is the service behind the interface.
type tacoService struct {
	store store
}

var _ server.TacoService = tacoService{}

// EatTaco makes the tacos the record of the person. That the request has both was
// checked before: the definition says so.
func (s tacoService) EatTaco(ctx context.Context, request server.EatTacoRequest) (*server.EatTacoResponse, error) {
	if err := checkEatTaco(&request); err != nil {
		return nil, err
	}
	if err := s.store.Put(ctx, request.Name, request.Tacos); err != nil {
		return nil, failure(err)
	}
	return &server.EatTacoResponse{
		TacoConsumptionStatus: request.Name + " has consumed " + strconv.Itoa(len(request.Tacos)) + " tacos",
	}, nil
}

// maxPageBytes is how much of names and tacos a page of the list may have, beyond
// its first eater. A hundred who have eaten the most there is are 40 MB, which is
// more than Cloud Run lets through.
const maxPageBytes = 4 << 20

// ListEaters lists who has eaten most.
func (s tacoService) ListEaters(ctx context.Context, request server.ListEatersRequest) (*server.ListEatersResponse, error) {
	limit := cmp.Or(request.Limit, defaultLimit)
	after, err := rankOf(request.PageToken)
	if err != nil {
		return nil, err
	}
	response := &server.ListEatersResponse{Eaters: []server.Eater{}}
	size := 0
	// One more than is asked for tells whether there is another page.
	for e, err := range s.store.List(ctx, after, limit+1) {
		if err != nil {
			return nil, failure(err)
		}
		size += sizeOf(e)
		if n := len(response.Eaters); n == limit || n > 0 && size > maxPageBytes {
			response.NextPageToken = tokenOf(after)
			break
		}
		after = eaters.RankOf(len(e.Tacos), e.Name)
		response.Eaters = append(response.Eaters, server.Eater{
			Name:     e.Name,
			Tacos:    e.Tacos,
			Count:    len(e.Tacos),
			LastMeal: e.LastMeal.UTC().Truncate(time.Microsecond),
		})
	}
	return response, nil
}

// sizeOf is about how long e is in an answer.
func sizeOf(e eaters.Eater) int {
	size := 100 + len(e.Name)
	for _, taco := range e.Tacos {
		size += len(taco) + len(`"",`)
	}
	return size
}

// failure is what the caller is told of a store's error. The error itself is for
// the log.
func failure(err error) error {
	code, message, status := otohttp.Internal, "the store of what is eaten failed", 0
	switch {
	case errors.Is(err, context.Canceled):
		code, message = otohttp.Canceled, "the call was given up"
	case errors.Is(err, eaters.ErrUnavailable):
		code, message = otohttp.Unavailable, "the store of what is eaten can't be reached: try again later"
	case errors.Is(err, context.DeadlineExceeded):
		code, message = otohttp.DeadlineExceeded, "the store of what is eaten took too long to answer"
	case errors.Is(err, syscall.ENOSPC):
		// The code's own status, 429, would blame the caller.
		code, message, status = otohttp.ResourceExhausted, "there is no room left to keep what is eaten", http.StatusInsufficientStorage
	}
	return &otohttp.Error{Code: code, Message: message, Status: status, Cause: err}
}
