// App is a container's program for tests: what it does is its first argument.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	switch os.Args[1] {
	case "serve":
		serve(":" + os.Getenv("PORT"))
	case "loopback":
		serve("127.0.0.1:" + os.Getenv("PORT"))
	case "grpc": // is well the third time, and sick from the sixth on
		l, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		s := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(s, new(health))
		s.Serve(l)
	case "crash":
		fmt.Println("about to crash")
		fmt.Fprintln(os.Stderr, "no database")
		os.Exit(3)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		serve(":" + os.Getenv("PORT"))
	}
}

type health struct {
	grpc_health_v1.UnimplementedHealthServer
	checks atomic.Int64
}

func (h *health) Check(_ context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	answer := &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING}
	if n := h.checks.Add(1); r.Service == "taco" && n >= 3 && n < 6 {
		answer.Status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	return answer, nil
}

func serve(addr string) {
	var probes atomic.Int64
	http.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if probes.Add(1) < 3 {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("GET /well", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Probe") == "" || probes.Add(1) > 3 {
			http.Error(w, "sick", http.StatusInternalServerError)
		}
	})
	http.HandleFunc("GET /env", func(w http.ResponseWriter, r *http.Request) {
		for _, e := range os.Environ() {
			fmt.Fprintln(w, e)
		}
	})
	http.HandleFunc("GET /read", func(w http.ResponseWriter, r *http.Request) {
		b, err := os.ReadFile(r.URL.Query().Get("name"))
		if err != nil {
			b = []byte(err.Error())
		}
		w.Write(b)
	})
	http.HandleFunc("GET /dial", func(w http.ResponseWriter, r *http.Request) {
		conn, err := net.DialTimeout("tcp", r.URL.Query().Get("addr"), 5*time.Second)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "hello")
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(w, conn)
	})
	http.HandleFunc("GET /fetch", func(w http.ResponseWriter, r *http.Request) {
		req, _ := http.NewRequest(http.MethodGet, r.URL.Query().Get("url"), nil)
		req.Header.Set("Metadata-Flavor", "Google")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		io.Copy(w, resp.Body)
	})
	fmt.Println("listening on", addr)
	if err := http.ListenAndServe(addr, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
