package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/amammay/otorun/server/internal/bolt"
)

const childEnv = "OTORUN_TEST_OPEN"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		child(path)
	}
	os.Exit(m.Run())
}

// child opens the file as another process, says how that went, and holds it until
// it is told to end.
func child(path string) {
	s, err := bolt.Open(path)
	fmt.Println(err)
	if err == nil {
		os.Stdin.Read(make([]byte, 1))
		s.Close()
	}
	os.Exit(0)
}

// wantKept fails unless the file has what fill put into it.
func wantKept(t *testing.T, path string, n int) {
	t.Helper()
	s := open(t, path)
	defer s.Close()
	got := 0
	for e, err := range s.List(context.Background(), "", n+1) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Name != fmt.Sprintf("eater %04d", got) || len(e.Tacos) != 2 {
			t.Fatalf("eater %d is %+v", got, e)
		}
		got++
	}
	if got != n {
		t.Errorf("%d eaters, want %d", got, n)
	}
}

func fill(t testing.TB, path string, n int) {
	t.Helper()
	s := open(t, path)
	for i := range n {
		if err := s.Put(context.Background(), fmt.Sprintf("eater %04d", i), []string{"Chicken", strings.Repeat("x", 90)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestKeptWithoutClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "folder", "tacos.db")
	fill(t, path, 10)
	wantKept(t, path, 10)
}

// A second process is told so soon, and gets the file when the first has let go.
func TestHeldByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tacos.db")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), self)
	other.Env = append(os.Environ(), childEnv+"="+path)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 100)
	n, err := out.Read(said)
	if string(said[:n]) != "<nil>\n" {
		t.Fatalf("the other process says %s, %v", said[:n], err)
	}
	begun := time.Now()
	_, err = bolt.Open(path)
	if took := time.Since(begun); err == nil || !strings.Contains(err.Error(), path+": another process has it open") || took > time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	in.Close()
	if err := other.Wait(); err != nil {
		t.Fatal(err)
	}
	wantKept(t, path, 0)
}

// A damaged file is refused by name and left as it is, wherever the damage is.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.db")
	fill(t, whole, 1000)
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	type damage struct {
		name string
		text []byte
	}
	damages := []damage{
		{"text", []byte("name,tacos\nAna,3\n")},
		{"zeroes", make([]byte, len(good))},
		{"one page", good[:page]},
		{"half", good[:len(good)/2]},
		{"both heads", slicesPatch(good, 0, bytes.Repeat([]byte{0xff}, 2*page))},
	}
	for p := 2; p < len(good)/page; p++ {
		damages = append(damages, damage{fmt.Sprint("page ", p, " of zeroes"), slicesPatch(good, p*page, make([]byte, page))})
	}
	refused := 0
	for i, d := range damages {
		path := filepath.Join(dir, fmt.Sprint("damaged-", i, ".db"))
		if err := os.WriteFile(path, d.text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(path)
		if err == nil {
			s.Close()
			if !strings.HasPrefix(d.name, "page ") {
				t.Errorf("%s: opened", d.name)
			} else {
				wantKept(t, path, 1000) // the page was a free one
			}
			continue
		}
		refused++
		if !strings.Contains(err.Error(), "open "+path+": it is damaged, or no file of tacoserver's, and left as it is") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", d.name, err)
		}
		if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, d.text) {
			t.Errorf("%s: the file has changed, %v", d.name, err)
		}
	}
	if refused < 20 {
		t.Errorf("only %d of %d were refused", refused, len(damages))
	}
}

// A single bit that is wrong is found, unless it is in what isn't used.
func TestOneBitDamaged(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.db")
	fill(t, whole, 200)
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for i := range 150 {
		bit := random.IntN(8 * len(good))
		text := bytes.Clone(good)
		text[bit/8] ^= 1 << (bit % 8)
		path := filepath.Join(dir, fmt.Sprint("damaged-", i, ".db"))
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(path)
		if err != nil {
			refused++
			continue
		}
		s.Close()
		wantKept(t, path, 200)
	}
	if refused < 5 {
		t.Errorf("only %d of 150 were refused", refused)
	}
}

func slicesPatch(b []byte, at int, with []byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], with)
	return b
}

func TestAnotherProgramsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("burritos"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := bolt.Open(path); err == nil || !strings.Contains(err.Error(), "it has not the buckets of tacoserver") {
		t.Errorf("opened: %v", err)
	}
}

// A file that has been made and not more is a new one.
func TestEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tacos.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fill(t, path, 3)
	wantKept(t, path, 3)
}

func TestAFileInThePlaceOfTheFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(filepath.Join(file, "tacos.db")); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("opened: %v", err)
	}
}

func TestPutAfterClose(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "tacos.db"))
	s.Close()
	if err := s.Put(t.Context(), "Ana", []string{"a"}); err == nil {
		t.Error("kept in a closed file")
	}
	var err error
	for _, err = range s.List(t.Context(), "", 1) {
	}
	if err == nil {
		t.Error("listed from a closed file")
	}
	if errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Opening reads the whole file: how long that takes.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{0, 10_000} {
		path := filepath.Join(b.TempDir(), "tacos.db")
		s := open(b, path)
		done := make(chan error)
		for w := range 32 {
			go func() {
				var err error
				for i := w; i < n && err == nil; i += 32 {
					err = s.Put(b.Context(), fmt.Sprint("eater ", i), []string{"Chicken", "Chorizo"})
				}
				done <- err
			}()
		}
		for range 32 {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		s.Close()
		b.Run(fmt.Sprint("eaters=", n), func(b *testing.B) {
			for b.Loop() {
				open(b, path).Close()
			}
		})
	}
}

// A record that is the same again is written once more after the file was opened,
// since whoever wrote it may not have come to write it through, and then no more.
func TestTheSameAgainIsNotWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tacos.db")
	var before []byte
	put := func(s *bolt.Store, taco string, wantWritten bool) {
		t.Helper()
		if err := s.Put(t.Context(), "Ana", []string{taco}); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if written := !bytes.Equal(before, after); written != wantWritten {
			t.Errorf("written: %t, want %t", written, wantWritten)
		}
		before = after
	}
	s := open(t, path)
	put(s, "Carnitas", true)
	put(s, "Carnitas", false)
	put(s, "Suadero", true)
	put(s, "Suadero", false)
	s.Close()
	s = open(t, path)
	put(s, "Suadero", true)
	put(s, "Suadero", false)
}
