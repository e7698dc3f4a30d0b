package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// lockTimeout is how long Open waits for another process to let go of the file:
// one that is about to end, say.
const lockTimeout = 500 * time.Millisecond

// Open opens the file, or makes it and its folder. It reads all of it, so it takes
// as long as the file is large: one that is damaged anywhere is refused, and left
// as it is.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", path, err)
	}
	info, err := os.Stat(path)
	isNew := errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0
	s, err := open(path, isNew)
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: another process has it open: end that one, or choose another file", path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("open %s for writing: %w", path, err)
	case isNew:
		os.Remove(path) // what there is of it would be refused as damaged the next time
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return nil, fmt.Errorf("open %s: it is damaged, or no file of tacoserver's, and left as it is: move it away, or choose another file: %w", path, err)
}

func open(path string, isNew bool) (s *Store, err error) {
	// The file is mapped into memory: what it lacks at its end is a fault there.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var file *os.File
	s = new(Store)
	defer func() {
		if r := recover(); r != nil { // bbolt's answer to pages that make no sense
			err = fmt.Errorf("%v", r)
		}
		if err == nil {
			return
		}
		if s.db != nil { // else it is the process that ends which lets go of the file
			s.db.Close()
		}
		s = nil
	}()
	s.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	if err != nil {
		return s, err
	}
	empty := false
	if err := s.db.View(func(tx *bbolt.Tx) error {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if missing := tx.Size() - info.Size(); missing > 0 {
			return fmt.Errorf("its last %d bytes are missing", missing)
		}
		if key, _ := tx.Cursor().First(); key == nil {
			empty = true
			return nil
		}
		return check(tx)
	}); err != nil || !empty {
		return s, err
	}
	if err := s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{byName, byRank} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return nil
	}); err != nil || !isNew {
		return s, err
	}
	return s, syncDir(filepath.Dir(path))
}

// check reads all that there is.
func check(tx *bbolt.Tx) error {
	records, ranks := tx.Bucket(byName), tx.Bucket(byRank)
	if records == nil || ranks == nil {
		return errors.New("it has not the buckets of tacoserver")
	}
	eaters := 0
	if err := records.ForEach(func(name, value []byte) error {
		r, err := decode(string(name), value)
		if err != nil {
			return err
		}
		if key, _ := ranks.Cursor().Seek(r.rank(string(name))); string(key) != string(r.rank(string(name))) {
			return fmt.Errorf("%q is not in the list", name)
		}
		eaters++
		return nil
	}); err != nil {
		return err
	}
	listed := 0
	if err := ranks.ForEach(func(_, _ []byte) error { listed++; return nil }); err != nil {
		return err
	}
	if listed != eaters {
		return fmt.Errorf("%d eaters are listed, of %d", listed, eaters)
	}
	var damage []error
	for err := range tx.Check() {
		if len(damage) < 3 {
			damage = append(damage, err)
		}
	}
	return errors.Join(damage...)
}
