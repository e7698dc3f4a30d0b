package eaterstest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// Benchmark measures a store with 200 eaters: records that change, and the first
// ten of the list, by one caller and by 32.
func Benchmark(b *testing.B, s Store) {
	const eaters = 200
	for i := range eaters {
		if err := s.Put(b.Context(), fmt.Sprint("eater ", i), make([]string, i%20+1)); err != nil {
			b.Fatal(err)
		}
	}
	var n atomic.Int64 // over all, so that each write changes something
	for _, op := range []struct {
		name string
		do   func() error
	}{
		{name: "put", do: func() error {
			i := n.Add(1)
			return s.Put(b.Context(), fmt.Sprint("eater ", i%eaters), []string{"Chicken", fmt.Sprint(i)})
		}},
		{name: "list 10", do: func() error {
			for _, err := range s.List(b.Context(), "", 10) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		for _, callers := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/c=%d", op.name, callers), func(b *testing.B) {
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							if err := op.do(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			})
		}
	}
}
