// Package eaterstest holds the test that every store of eaters has to pass.
package eaterstest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amammay/otorun/server/internal/eaters"
)

// A Store is what tacoserver needs of a store.
type Store interface {
	Put(ctx context.Context, name string, tacos []string) error
	List(ctx context.Context, after eaters.Rank, limit int) iter.Seq2[eaters.Eater, error]
}

// Contract tests a store. Each call of empty returns one without a record in it.
func Contract(t *testing.T, empty func(t *testing.T) Store) {
	t.Run("nobody", func(t *testing.T) {
		wantList(t, empty(t), "")
	})
	t.Run("kept and listed", func(t *testing.T) {
		s := empty(t)
		begun := time.Now().Truncate(time.Microsecond)
		put(t, s, "Sammy Sosa", "Chicken", "Chorizo")
		got := list(t, s, "", 10)
		if len(got) != 1 || got[0].Name != "Sammy Sosa" || !slices.Equal(got[0].Tacos, []string{"Chicken", "Chorizo"}) {
			t.Fatalf("list: %v", got)
		}
		if at := got[0].LastMeal; at.Before(begun) || at.After(time.Now()) {
			t.Errorf("last meal %v, want between %v and now", at, begun)
		}
	})
	t.Run("the same again changes nothing", func(t *testing.T) {
		s := empty(t)
		put(t, s, "Ana", "Carnitas", "Suadero")
		before := list(t, s, "", 10)
		put(t, s, "Ana", "Carnitas", "Suadero")
		if after := list(t, s, "", 10); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("list %v, before %v", after, before)
		}
		put(t, s, "Ana", "Suadero", "Carnitas")
		if after := list(t, s, "", 10); len(after) != 1 || !after[0].LastMeal.After(before[0].LastMeal) || after[0].Tacos[0] != "Suadero" {
			t.Errorf("after other tacos the list is %v, before %v", after, before)
		}
	})
	t.Run("the record is replaced", func(t *testing.T) {
		s := empty(t)
		put(t, s, "Ana", "a", "b", "c")
		put(t, s, "Bea", "a", "b")
		wantList(t, s, "3 Ana, 2 Bea")
		put(t, s, "Ana", "d")
		wantList(t, s, "2 Bea, 1 Ana")
		put(t, s, "Ana", make([]string, 1000)...)
		wantList(t, s, "1000 Ana, 2 Bea")
	})
	t.Run("ties are ordered by name", func(t *testing.T) {
		s := empty(t)
		for _, name := range []string{"b", "é", "B", "a", "日本", "z", "A", "🌮"} {
			put(t, s, name, "a")
		}
		put(t, s, "zz", "a", "b")
		wantList(t, s, "2 zz, 1 A, 1 B, 1 a, 1 b, 1 z, 1 é, 1 日本, 1 🌮")
	})
	t.Run("any name", func(t *testing.T) {
		s := empty(t)
		names := []string{
			".", "..", "__x__", "a/b", "a%2Fb", "/", `\`, "eater a", "<script>alert(1)</script>", "'; drop table eaters", "%d",
			"שלום", "\u202eevil", "👩‍👩‍👧‍👦", "e\u0301", "é", strings.Repeat("𝒳", 100), "0000000001", "*", "`a`", "a.b",
		}
		for _, name := range names {
			put(t, s, name, name)
		}
		got := make(map[string]string)
		for _, e := range list(t, s, "", 100) {
			got[e.Name] = e.Tacos[0]
		}
		for _, name := range names {
			if got[name] != name {
				t.Errorf("%q has eaten %q", name, got[name])
			}
		}
		if len(got) != len(names) {
			t.Errorf("%d eaters, want %d", len(got), len(names))
		}
	})
	t.Run("the largest record", func(t *testing.T) {
		s := empty(t)
		tacos := slices.Repeat([]string{strings.Repeat("𝒳", 100)}, 1000)
		put(t, s, "Ana", tacos...)
		if got := list(t, s, "", 1); len(got) != 1 || !slices.Equal(got[0].Tacos, tacos) {
			t.Errorf("%d eaters, or not what was put", len(got))
		}
	})
	t.Run("page by page", func(t *testing.T) {
		s := empty(t)
		want := fill(t, s, 25)
		for _, limit := range []int{1, 7, 25, 100} {
			var got []string
			for after := eaters.Rank(""); ; {
				page := list(t, s, after, limit)
				if len(page) == 0 {
					break
				}
				if len(page) > limit {
					t.Fatalf("%d eaters, want at most %d", len(page), limit)
				}
				got = append(got, names(page)...)
				after = rank(page[len(page)-1])
			}
			if !slices.Equal(got, want) {
				t.Errorf("by %d: %v, want %v", limit, got, want)
			}
		}
	})
	// Those who don't eat between two pages are on one of them, whatever the
	// others do: also if the last one of the page has moved.
	t.Run("pages under writes", func(t *testing.T) {
		s := empty(t)
		want := fill(t, s, 12)
		first := list(t, s, "", 6)
		put(t, s, "new", make([]string, 900)...)
		put(t, s, want[5], "a")
		put(t, s, want[2], make([]string, 999)...)
		put(t, s, want[9], make([]string, 998)...)
		got := slices.Concat(names(first), names(list(t, s, rank(first[5]), 100)))
		for i, name := range want {
			n := 0
			for _, g := range got {
				if g == name {
					n++
				}
			}
			if moved := i == 5 || i == 2 || i == 9; !moved && n != 1 {
				t.Errorf("%s is listed %d times: %v", name, n, got)
			}
		}
	})
	t.Run("a list that isn't read to its end", func(t *testing.T) {
		s := empty(t)
		fill(t, s, 3)
		for _, err := range s.List(t.Context(), "", 100) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		put(t, s, "Ana", make([]string, 1000)...)
		if got := list(t, s, "", 1); len(got) != 1 || got[0].Name != "Ana" {
			t.Errorf("list: %v", got)
		}
	})
	t.Run("a list that is given up", func(t *testing.T) {
		s := empty(t)
		fill(t, s, 3)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var err error
		for _, err = range s.List(ctx, "", 100) {
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
	})
	const writers = 32
	t.Run("32 writers of one name", func(t *testing.T) {
		s := empty(t)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for range 4 {
					put(t, s, "Ana", slices.Repeat([]string{fmt.Sprint("writer ", w)}, w+1)...)
				}
			})
		}
		wg.Wait()
		got := list(t, s, "", 100)
		if len(got) != 1 {
			t.Fatalf("list: %v", got)
		}
		for _, taco := range got[0].Tacos {
			if taco != fmt.Sprint("writer ", len(got[0].Tacos)-1) {
				t.Fatalf("two writers' tacos: %v", got[0].Tacos)
			}
		}
	})
	t.Run("32 writers of many names", func(t *testing.T) {
		s := empty(t)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range 3 {
					put(t, s, fmt.Sprintf("%02d-%d", w, i), make([]string, w+1)...)
					for range s.List(t.Context(), "", 3) {
					}
				}
			})
		}
		wg.Wait()
		got := list(t, s, "", 100)
		if len(got) != 3*writers {
			t.Errorf("%d eaters, want %d", len(got), 3*writers)
		}
		if !slices.IsSortedFunc(got, func(a, b eaters.Eater) int { return strings.Compare(string(rank(a)), string(rank(b))) }) {
			t.Errorf("not in order: %v", names(got))
		}
	})
}

func put(t *testing.T, s Store, name string, tacos ...string) {
	t.Helper()
	if err := s.Put(t.Context(), name, tacos); err != nil {
		t.Error(err)
	}
}

// fill has n people eat, and returns them in the order of the list.
func fill(t *testing.T, s Store, n int) []string {
	t.Helper()
	var ranks []string
	for i := range n {
		name, tacos := fmt.Sprintf("eater %02d", i), i*7%5+1
		put(t, s, name, make([]string, tacos)...)
		ranks = append(ranks, string(eaters.RankOf(tacos, name)))
	}
	slices.Sort(ranks)
	for i, r := range ranks {
		ranks[i] = eaters.Rank(r).Name()
	}
	return ranks
}

func list(t *testing.T, s Store, after eaters.Rank, limit int) []eaters.Eater {
	t.Helper()
	var all []eaters.Eater
	for e, err := range s.List(t.Context(), after, limit) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func rank(e eaters.Eater) eaters.Rank { return eaters.RankOf(len(e.Tacos), e.Name) }

func names(list []eaters.Eater) []string {
	var all []string
	for _, e := range list {
		all = append(all, e.Name)
	}
	return all
}

func wantList(t *testing.T, s Store, want string) {
	t.Helper()
	var got []string
	for _, e := range list(t, s, "", 100) {
		got = append(got, fmt.Sprint(len(e.Tacos), " ", e.Name))
	}
	if strings.Join(got, ", ") != want {
		t.Errorf("list: %v, want %s", got, want)
	}
}
