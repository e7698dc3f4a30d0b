package main

import (
	"context"
	"fmt"

	"github.com/amammay/otorun/generated/server"
)

// tacoService is the service behind the interface.
type tacoService struct{}

var _ server.TacoService = tacoService{}

// EatTaco records that a person has consumed tacos. That the request names both
// has been checked: the definition says so.
func (tacoService) EatTaco(_ context.Context, request server.EatTacoRequest) (*server.EatTacoResponse, error) {
	return &server.EatTacoResponse{
		TacoConsumptionStatus: fmt.Sprintf("%s has consumed %d tacos", request.Name, len(request.Tacos)),
	}, nil
}
