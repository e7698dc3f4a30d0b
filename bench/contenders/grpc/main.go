// Grpc is EatTaco on google.golang.org/grpc: its client has one connection, or
// one for each caller.
package main

import (
	"context"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/tacopb"
	"github.com/amammay/otorun/bench/internal/work"
)

func main() {
	contender.Program{
		Servers: map[string]func(net.Listener, work.Size) error{"grpc-one": serve, "grpc-each": serve},
		Clients: map[string]func(contender.Options) (contender.Call, error){
			"grpc-one":  func(o contender.Options) (contender.Call, error) { return client(o, 1) },
			"grpc-each": func(o contender.Options) (contender.Call, error) { return client(o, o.Callers) },
		},
	}.Main()
}

type service struct {
	tacopb.UnimplementedTacoServiceServer
}

func (service) EatTaco(_ context.Context, r *tacopb.EatTacoRequest) (*tacopb.EatTacoResponse, error) {
	return &tacopb.EatTacoResponse{TacoConsumptionStatus: work.Status(r.GetName(), len(r.GetTacos()))}, nil
}

func serve(ln net.Listener, _ work.Size) error {
	s := grpc.NewServer()
	tacopb.RegisterTacoServiceServer(s, service{})
	return s.Serve(ln)
}

func client(o contender.Options, connections int) (contender.Call, error) {
	clients := make([]tacopb.TacoServiceClient, connections)
	for i := range clients {
		conn, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(o.To, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		clients[i] = tacopb.NewTacoServiceClient(conn)
	}
	return func(ctx context.Context, caller int) error {
		response, err := clients[caller%connections].EatTaco(ctx, &tacopb.EatTacoRequest{Name: o.Size.Name, Tacos: o.Size.Tacos})
		if err != nil {
			return err
		}
		return o.Size.Check(response.GetTacoConsumptionStatus())
	}, nil
}
