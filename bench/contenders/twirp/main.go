// Twirp is EatTaco on github.com/twitchtv/twirp.
package main

import (
	"context"
	"net"
	"net/http"

	"github.com/twitchtv/twirp"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/tacopb"
	"github.com/amammay/otorun/bench/internal/work"
)

func main() {
	serve := contender.HTTP(func(work.Size) http.Handler { return tacopb.NewTacoServiceServer(service{}) })
	contender.Program{
		Servers: map[string]func(net.Listener, work.Size) error{"twirp-json": serve, "twirp-protobuf": serve},
		Clients: map[string]func(contender.Options) (contender.Call, error){
			"twirp-json":     client(tacopb.NewTacoServiceJSONClient),
			"twirp-protobuf": client(tacopb.NewTacoServiceProtobufClient),
		},
	}.Main()
}

type service struct{}

func (service) EatTaco(_ context.Context, r *tacopb.EatTacoRequest) (*tacopb.EatTacoResponse, error) {
	return &tacopb.EatTacoResponse{TacoConsumptionStatus: work.Status(r.GetName(), len(r.GetTacos()))}, nil
}

func client(make func(string, tacopb.HTTPClient, ...twirp.ClientOption) tacopb.TacoService) func(contender.Options) (contender.Call, error) {
	return func(o contender.Options) (contender.Call, error) {
		tacos := make(o.To, &http.Client{Transport: contender.Transport(o)})
		return func(ctx context.Context, _ int) error {
			response, err := tacos.EatTaco(ctx, &tacopb.EatTacoRequest{Name: o.Size.Name, Tacos: o.Size.Tacos})
			if err != nil {
				return err
			}
			return o.Size.Check(response.GetTacoConsumptionStatus())
		}, nil
	}
}
