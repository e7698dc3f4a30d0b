// Package bolt keeps eaters in one file, by bbolt. A record is on the disk before
// Put returns, so a process may be killed at any time, and nothing has to be
// closed.
//
//	store, err := bolt.Open("tacos.db")
//	err = store.Put(ctx, "Sammy Sosa", []string{"Chicken", "Chorizo"})
//
// The file has two buckets: eaters, a record by name, and ranks, which has only
// keys, the [eaters.Rank] of each.
package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/amammay/otorun/server/internal/eaters"
)

var (
	byName = []byte("eaters")
	byRank = []byte("ranks")
)

// Store is an open file.
type Store struct {
	db *bbolt.DB

	mu      sync.Mutex
	waiting []*put

	writing sync.Mutex
	onDisk  bool // what there is of records: the last write has succeeded
}

// A put is a record that is to be written, and is told what came of it.
type put struct {
	name  string
	tacos []byte // as JSON
	count int
	done  chan error
}

// Put makes tacos the record of the person name. The ctx is not looked at: what
// has to be waited for is the disk, which can't be told to stop.
func (s *Store) Put(_ context.Context, name string, tacos []string) error {
	text, err := json.Marshal(tacos)
	if err != nil {
		return err
	}
	p := &put{name: name, tacos: text, count: len(tacos), done: make(chan error, 1)}
	s.mu.Lock()
	s.waiting = append(s.waiting, p)
	first := len(s.waiting) == 1
	s.mu.Unlock()
	if first {
		s.write()
	}
	if err := <-p.done; err != nil {
		return fmt.Errorf("keep what %q has eaten in %s: %w", name, s.db.Path(), err)
	}
	return nil
}

// errUnchanged ends a transaction that has nothing to write.
var errUnchanged = errors.New("nothing has changed")

// write writes what waits, in one transaction. While it waits for the one before
// to be on the disk, more comes and is written with it: bbolt's Batch does the
// same, but has even a single writer wait for company.
//
// Records that are as they are to be cost nothing, if they are known to be on the
// disk. They aren't from the start: whoever wrote the file may have been killed
// before it was written through.
func (s *Store) write() {
	s.writing.Lock()
	defer s.writing.Unlock()
	var group []*put
	take := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		group, s.waiting = s.waiting, nil
	}
	err := errors.New("the write was broken off")
	defer func() { // also if bbolt panics, or the others would wait for ever
		if group == nil { // the transaction didn't begin
			take()
		}
		for _, p := range group {
			p.done <- err
		}
	}()
	err = s.db.Update(func(tx *bbolt.Tx) error {
		take()
		now, unchanged := time.Now(), s.onDisk
		for _, p := range group {
			changed, err := p.apply(tx, now)
			if err != nil {
				return err
			}
			unchanged = unchanged && !changed
		}
		if unchanged {
			return errUnchanged
		}
		s.onDisk = false
		return nil
	})
	if err == errUnchanged {
		err = nil
	}
	s.onDisk = s.onDisk || err == nil
}

// apply makes the record, and says whether it was another one before.
func (p *put) apply(tx *bbolt.Tx, now time.Time) (changed bool, err error) {
	records := tx.Bucket(byName)
	r := record{lastMeal: now, count: p.count, tacos: p.tacos}
	if was := records.Get([]byte(p.name)); was != nil {
		old, err := decode(p.name, was)
		switch {
		case err != nil:
			return false, err
		case bytes.Equal(old.tacos, p.tacos):
			return false, nil
		case old.count == p.count: // the rank stays
			return true, records.Put([]byte(p.name), r.encode(p.name))
		}
		if err := tx.Bucket(byRank).Delete(old.rank(p.name)); err != nil {
			return false, err
		}
	}
	if err := records.Put([]byte(p.name), r.encode(p.name)); err != nil {
		return false, err
	}
	return true, tx.Bucket(byRank).Put(r.rank(p.name), nil)
}

// List returns up to limit eaters behind a rank, or from the first on if that is
// empty. No Put may be waited for between two of them.
func (s *Store) List(ctx context.Context, after eaters.Rank, limit int) iter.Seq2[eaters.Eater, error] {
	return func(yield func(eaters.Eater, error) bool) {
		err := s.db.View(func(tx *bbolt.Tx) error {
			records, c := tx.Bucket(byName), tx.Bucket(byRank).Cursor()
			rank, _ := c.Seek([]byte(after))
			if rank != nil && string(rank) == string(after) {
				rank, _ = c.Next()
			}
			for ; rank != nil && limit > 0; limit-- {
				if err := ctx.Err(); err != nil {
					return err
				}
				name := eaters.Rank(rank).Name()
				e, err := decodeEater(name, records.Get([]byte(name)))
				if err != nil {
					return err
				}
				if !yield(e, nil) {
					return nil
				}
				rank, _ = c.Next()
			}
			return nil
		})
		if err != nil {
			yield(eaters.Eater{}, fmt.Errorf("list who has eaten, from %s: %w", s.db.Path(), err))
		}
	}
}

// Close gives the file free for another process.
func (s *Store) Close() error { return s.db.Close() }

// record is the value kept of a person: a checksum of the name and what follows,
// the time in nanoseconds since 1970, the number of tacos, and the tacos as JSON.
type record struct {
	lastMeal time.Time
	count    int
	tacos    []byte
}

const (
	sumSize    = 4
	headerSize = sumSize + 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r record) encode(name string) []byte {
	b := make([]byte, sumSize, headerSize+len(r.tacos))
	b = binary.BigEndian.AppendUint64(b, uint64(r.lastMeal.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, uint32(r.count))
	b = append(b, r.tacos...)
	binary.BigEndian.PutUint32(b, checksum(name, b))
	return b
}

func checksum(name string, value []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(name), castagnoli), castagnoli, value[sumSize:])
}

func (r record) rank(name string) []byte { return []byte(eaters.RankOf(r.count, name)) }

var errDamaged = errors.New("the record is damaged")

func decode(name string, value []byte) (record, error) {
	if len(value) < headerSize || binary.BigEndian.Uint32(value) != checksum(name, value) {
		return record{}, fmt.Errorf("%q: %w", name, errDamaged)
	}
	return record{
		lastMeal: time.Unix(0, int64(binary.BigEndian.Uint64(value[sumSize:]))),
		count:    int(binary.BigEndian.Uint32(value[sumSize+8:])),
		tacos:    value[headerSize:],
	}, nil
}

func decodeEater(name string, value []byte) (eaters.Eater, error) {
	r, err := decode(name, value)
	if err != nil {
		return eaters.Eater{}, err
	}
	e := eaters.Eater{Name: name, LastMeal: r.lastMeal}
	if err := json.Unmarshal(r.tacos, &e.Tacos); err != nil {
		return eaters.Eater{}, fmt.Errorf("%q: %w: %w", name, errDamaged, err)
	}
	return e, nil
}
