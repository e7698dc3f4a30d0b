// App is an image's program for tests. MODE says how it misbehaves, and it tells
// by HTTP what it sees of its surroundings.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// version is set by the linker.
var version = "1"

func main() {
	log.SetFlags(0)
	log.Printf("version %s with %q", version, os.Args[1:])
	port := os.Getenv("PORT")
	switch mode := os.Getenv("MODE"); mode {
	case "crash":
		log.Print("the database is missing")
		os.Exit(3)
	case "deaf": // to all but itself
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			log.Fatal(err)
		}
		http.Serve(l, nil)
	}
	var sick atomic.Bool
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "version %s", version)
	})
	http.HandleFunc("GET /seen", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "args %q\nprotocol %s\nuid %d\n", os.Args[1:], r.Proto, os.Getuid())
		for _, pair := range os.Environ() {
			fmt.Fprintln(w, "env", pair)
		}
	})
	http.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(r.URL.Query().Get("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		w.Write(text)
	})
	http.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		time.Sleep(d)
	})
	http.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("GET /well", func(w http.ResponseWriter, r *http.Request) {
		if sick.Load() {
			http.Error(w, "sick", http.StatusInternalServerError)
		}
	})
	http.HandleFunc("GET /sicken", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	http.HandleFunc("GET /log", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(strings.ReplaceAll(r.URL.Query().Get("line"), "\n", " "))
	})
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Addr: ":" + port, Protocols: &protocols}
	log.Fatal(server.ListenAndServe())
}
