// Oto is EatTaco as this project generates it: generated/server on otohttp, and
// generated/client.
package main

import (
	"context"
	"net"
	"net/http"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/work"
	"github.com/amammay/otorun/generated/client"
	"github.com/amammay/otorun/generated/server"
)

func main() {
	contender.Program{
		Servers: map[string]func(net.Listener, work.Size) error{"oto": contender.HTTP(func(work.Size) http.Handler {
			s := otohttp.NewServer()
			server.RegisterTacoService(s, service{})
			return s
		})},
		Clients: map[string]func(contender.Options) (contender.Call, error){"oto": call},
	}.Main()
}

// service has EatTaco alone: nothing else is called.
type service struct{ server.TacoService }

func (service) EatTaco(_ context.Context, r server.EatTacoRequest) (*server.EatTacoResponse, error) {
	return &server.EatTacoResponse{TacoConsumptionStatus: work.Status(r.Name, len(r.Tacos))}, nil
}

func call(o contender.Options) (contender.Call, error) {
	tacos := client.NewTacoService(client.New(o.To + "/oto/"))
	return func(ctx context.Context, _ int) error {
		response, err := tacos.EatTaco(ctx, client.EatTacoRequest{Name: o.Size.Name, Tacos: o.Size.Tacos})
		if err != nil {
			return err
		}
		return o.Size.Check(response.TacoConsumptionStatus)
	}, nil
}
