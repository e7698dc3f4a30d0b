// Std is EatTaco written by hand with net/http and encoding/json, as one does.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/work"
)

type request struct {
	Name  string   `json:"name"`
	Tacos []string `json:"tacos"`
}

type response struct {
	TacoConsumptionStatus string `json:"tacoConsumptionStatus"`
}

func main() {
	contender.Program{
		Servers: map[string]func(net.Listener, work.Size) error{"std": contender.HTTP(func(work.Size) http.Handler {
			mux := http.NewServeMux()
			mux.HandleFunc("POST /oto/TacoService.EatTaco", eatTaco)
			return mux
		})},
		Clients: map[string]func(contender.Options) (contender.Call, error){"std": client},
	}.Main()
}

func eatTaco(w http.ResponseWriter, r *http.Request) {
	var req request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(response{work.Status(req.Name, len(req.Tacos))})
}

func client(o contender.Options) (contender.Call, error) {
	client := &http.Client{Transport: contender.Transport(o)}
	url := o.To + work.Wires["std"].Path
	return func(ctx context.Context, _ int) error {
		body, err := json.Marshal(request{o.Size.Name, o.Size.Tacos})
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %.100s: %w", answer.Status, text, err)
		}
		var resp response
		if err := json.Unmarshal(text, &resp); err != nil {
			return err
		}
		return o.Size.Check(resp.TacoConsumptionStatus)
	}, nil
}
