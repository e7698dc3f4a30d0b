package main

import (
	"context"
	"fmt"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/amammay/otorun/generated/server"
)

// tacoService is the service behind the interface.
type tacoService struct{}

var _ server.TacoService = tacoService{}

// EatTaco records that a person has consumed tacos.
func (tacoService) EatTaco(_ context.Context, request server.EatTacoRequest) (*server.EatTacoResponse, error) {
	if request.Name == "" {
		return nil, otohttp.Errorf(otohttp.InvalidArgument, "EatTacoRequest.Name is required")
	}
	if len(request.Tacos) == 0 {
		return nil, otohttp.Errorf(otohttp.InvalidArgument, "EatTacoRequest.Tacos is required")
	}
	return &server.EatTacoResponse{
		TacoConsumptionStatus: fmt.Sprintf("%s has consumed %d tacos", request.Name, len(request.Tacos)),
	}, nil
}
