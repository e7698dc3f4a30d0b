// Bare is the least that a service can be, for tacoserver to be measured against.
package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	http.ListenAndServe(":"+os.Getenv("PORT"), nil)
}
