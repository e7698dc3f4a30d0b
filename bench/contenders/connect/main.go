// Connect is EatTaco on connectrpc.com/connect/v2.
package main

import (
	"context"
	"net"
	"net/http"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/tacopb"
	"github.com/amammay/otorun/bench/internal/tacopb/tacopbconnect"
	"github.com/amammay/otorun/bench/internal/work"
)

func main() {
	serve := contender.HTTP(func(work.Size) http.Handler {
		server := connect.NewServer()
		tacopbconnect.RegisterTacoServiceHandler(server, service{})
		mux := http.NewServeMux()
		connecthttp.Mount(mux, server)
		return mux
	})
	contender.Program{
		Servers: map[string]func(net.Listener, work.Size) error{
			"connect-json": serve, "connect-protobuf": serve, "connect-json-h2c": serve, "connect-protobuf-h2c": serve,
		},
		Clients: map[string]func(contender.Options) (contender.Call, error){
			"connect-json":         client(false, connecthttp.WithProtoJSON()),
			"connect-protobuf":     client(false),
			"connect-json-h2c":     client(true, connecthttp.WithProtoJSON()),
			"connect-protobuf-h2c": client(true),
		},
	}.Main()
}

type service struct{}

func (service) EatTaco(_ context.Context, r *tacopb.EatTacoRequest) (*tacopb.EatTacoResponse, error) {
	return &tacopb.EatTacoResponse{TacoConsumptionStatus: work.Status(r.GetName(), len(r.GetTacos()))}, nil
}

func client(h2c bool, options ...connecthttp.Option) func(contender.Options) (contender.Call, error) {
	return func(o contender.Options) (contender.Call, error) {
		transport := contender.Transport(o)
		if h2c {
			transport = contender.H2C()
		}
		tacos := tacopbconnect.NewTacoServiceClient(connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: transport}, o.To, options...)))
		return func(ctx context.Context, _ int) error {
			response, err := tacos.EatTaco(ctx, &tacopb.EatTacoRequest{Name: o.Size.Name, Tacos: o.Size.Tacos})
			if err != nil {
				return err
			}
			return o.Size.Check(response.GetTacoConsumptionStatus())
		}, nil
	}
}
