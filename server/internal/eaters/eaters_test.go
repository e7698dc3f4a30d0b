package eaters

import (
	"slices"
	"testing"
)

func TestRank(t *testing.T) {
	ranks := []Rank{RankOf(1000, "z"), RankOf(3, "Ana"), RankOf(2, "Sammy Sosa"), RankOf(2, "Zoe"), RankOf(2, "🌮"), RankOf(1, "Ana"), RankOf(0, "A")}
	if !slices.IsSorted(ranks) {
		t.Errorf("not in ascending order: %q", ranks)
	}
	for _, r := range ranks {
		if !IsRank(string(r)) {
			t.Errorf("IsRank(%q) is false", r)
		}
	}
	if got := RankOf(2, "🌮").Name(); got != "🌮" {
		t.Errorf("name %q", got)
	}
	for _, s := range []string{"", "2147483645", "214748364xAna", "2147483645\xff", "Ana"} {
		if IsRank(s) {
			t.Errorf("IsRank(%q) is true", s)
		}
	}
}
