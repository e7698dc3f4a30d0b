// Torture serves a definition with everything in it that oto understands of Go:
// each method gives back what it gets.
//
//	go run github.com/pacedotdev/oto/testdata/torture [-addr 127.0.0.1:0]
//	go run github.com/pacedotdev/oto/testdata/torture -cases N [-seed S]
//
// It prints the URL that its services are below, and serves until its standard
// input ends, so that it doesn't outlive the test that started it. With -cases it
// prints N calls of each method instead, a line each, whose values are the edges of
// all types. The tests of every language's client send these, and hold what comes
// back against them.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"reflect"

	"github.com/pacedotdev/oto/otohttp"

	"github.com/pacedotdev/oto/testdata/roundtrip"
	"github.com/pacedotdev/oto/testdata/torture/defs"
	"github.com/pacedotdev/oto/testdata/torture/echo"
	"github.com/pacedotdev/oto/testdata/torture/more"
	"github.com/pacedotdev/oto/testdata/torture/server"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "`address` to listen on")
	cases := flag.Int("cases", 0, "print `N` calls of each method, and end")
	seed := flag.Uint64("seed", 1, "seed of the calls' random values")
	flag.Parse()
	err := func() error {
		if *cases > 0 {
			return printCases(*cases, *seed)
		}
		return run(*addr)
	}()
	if err != nil {
		log.Fatal("torture: ", err)
	}
}

// printCases prints n calls of each method that echoes.
func printCases(n int, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	out := json.NewEncoder(os.Stdout)
	for _, s := range []struct {
		name               string
		definition, server reflect.Type
	}{
		{"Torture", reflect.TypeFor[defs.Torture](), reflect.TypeFor[server.Torture]()},
		{"Signatures", reflect.TypeFor[defs.Signatures](), reflect.TypeFor[server.Signatures]()},
		{"Elsewhere", reflect.TypeFor[more.Elsewhere](), reflect.TypeFor[server.Elsewhere]()},
		{"Client", reflect.TypeFor[defs.Client](), reflect.TypeFor[server.Client]()},
	} {
		all, err := roundtrip.Cases(r, s.name, s.definition, s.server, n, "Constrained")
		if err != nil {
			return err
		}
		for _, c := range all {
			if err := out.Encode(c); err != nil {
				return err
			}
		}
	}
	return nil
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
