// Torture serves a definition with everything in it that oto understands of Go:
// each method gives back what it gets.
//
//	go run github.com/pacedotdev/oto/testdata/torture [-addr 127.0.0.1:0]
//
// It prints the URL that its services are below, and serves until its standard
// input ends, so that it doesn't outlive the test that started it. The tests of
// every language's client run against it.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/pacedotdev/oto/testdata/torture/echo"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "`address` to listen on")
	flag.Parse()
	if err := run(*addr); err != nil {
		log.Fatal("torture: ", err)
	}
}

func run(addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	services := otohttp.NewServer()
	echo.Register(services)
	fmt.Printf("http://%s%s\n", listener.Addr(), services.Basepath)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(listener, anyOrigin(services))
}

// anyOrigin lets the page of a test, which another server gave to a browser, call
// the services.
func anyOrigin(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Headers", "*")
		if r.Method == http.MethodOptions {
			return
		}
		h.ServeHTTP(w, r)
	})
}
