package otohttp_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pacedotdev/oto/otohttp"
)

func TestViolations(t *testing.T) {
	var none, item, v otohttp.Violations
	if none.Any() || none.Err("Order") != nil {
		t.Errorf("no violations are %v", none.Err("Order"))
	}
	item.Add("Taco", "is required")
	item.Add("", "must have at most 2 items")
	v.Add("Name", "is required")
	v.Add("Tags", "must match a", 3)
	v.Below(item, "Lines", 1, 2)
	v.Below(item, "ByName", "a\"b", 7)
	v.Below(item, "", 0)
	err := v.Err("Order")
	want := `Order.Name is required; Order.Tags[3] must match a; ` +
		`Order.Lines[1][2].Taco is required; Order.Lines[1][2] must have at most 2 items; ` +
		`Order.ByName["a\"b"][7].Taco is required; Order.ByName["a\"b"][7] must have at most 2 items; ` +
		`Order[0].Taco is required; Order[0] must have at most 2 items`
	if err == nil || err.Error() != want || otohttp.CodeOf(err) != otohttp.InvalidArgument {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// A request with a violation in each of its many items is not answered with more
// than it is long.
func TestViolationsEnd(t *testing.T) {
	var v otohttp.Violations
	for i := range 60 {
		var below otohttp.Violations
		for j := range 30 {
			below.Add("X", "is required", j)
		}
		v.Below(below, "Y", i, strings.Repeat("long", 1000))
	}
	text := v.Err("R").Error()
	if n := strings.Count(text, "is required"); n != 100 || !strings.HasSuffix(text, "; and 1700 more") || len(text) > 30_000 {
		t.Errorf("%d bytes tell %d violations and end %q", len(text), n, text[len(text)-20:])
	}
}

func TestCheck(t *testing.T) {
	called := 0
	server := otohttp.NewServer()
	otohttp.HandleJSON(server, "Orders", "Order", nil, otohttp.Check("Order", func(r *int) (v otohttp.Violations) {
		if *r < 0 {
			v.Add("", "must be at least 0")
		}
		return v
	}), nil, func(_ context.Context, r int) (*int, error) { called++; return &r, nil })
	url := listen(t, server) + "/oto/Orders.Order"
	if got := do(t, url, request{body: `-1`}); got.status != 400 || got.body != `{"error":"Order must be at least 0","code":"invalid_argument"}` || called != 0 {
		t.Errorf("-1 is answered with %d %s after %d calls", got.status, got.body, called)
	}
	if got := do(t, url, request{body: `1`}); got.status != 200 || got.body != `1` || called != 1 {
		t.Errorf("1 is answered with %d %s after %d calls", got.status, got.body, called)
	}
}

func TestSortedKeys(t *testing.T) {
	if got := fmt.Sprint(otohttp.SortedKeys(map[string]int{"b": 1, "a": 2, "c": 3})); got != "[a b c]" {
		t.Errorf("SortedKeys = %s", got)
	}
	if got := otohttp.SortedKeys[bool, int](nil); !slices.Equal(got, nil) {
		t.Errorf("SortedKeys of nil = %v", got)
	}
}
