// Keeper is the floor beneath tacoserver, which may answer only when it has kept
// the record: net/http, and a commit of bbolt for each request, of the body as it
// came and under one name, in the file BENCH_DB. What answers a constant does less
// than tacoserver has to.
//
// It is a program of its own, so that the floor doesn't link bbolt.
package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/amammay/otorun/bench/internal/contender"
	"github.com/amammay/otorun/bench/internal/work"
)

func main() {
	contender.Program{Servers: map[string]func(net.Listener, work.Size) error{"keeper": serve}}.Main()
}

var bucket, name = []byte("eaters"), []byte("Sammy Sosa")

func serve(ln net.Listener, size work.Size) error {
	db, err := bbolt.Open(os.Getenv("BENCH_DB"), 0o600, nil)
	if err != nil {
		return err
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	}); err != nil {
		return err
	}
	return contender.HTTP(func(size work.Size) http.Handler { return keep(db, size) })(ln, size)
}

var buffers = sync.Pool{New: func() any { return new([1 << 10]byte) }}

var contentType = []string{"application/json"}

func keep(db *bbolt.DB, size work.Size) http.Handler {
	answer := size.AnswerJSON()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buffer := buffers.Get().(*[1 << 10]byte)
		defer buffers.Put(buffer)
		if r.ContentLength < 0 || r.ContentLength > int64(len(buffer)) {
			http.Error(w, "want a body of up to 1 KiB", http.StatusBadRequest)
			return
		}
		body := buffer[:r.ContentLength]
		_, err := io.ReadFull(r.Body, body)
		if err == nil {
			err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(name, body) })
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header()["Content-Type"] = contentType
		w.Write(answer)
	})
}
