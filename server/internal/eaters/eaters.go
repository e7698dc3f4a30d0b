// Package eaters says what is kept of those who eat tacos and in which order they
// are listed: what tacoserver's stores have in common.
//
//	eaters.RankOf(3, "Ana") < eaters.RankOf(2, "Sammy Sosa") && eaters.RankOf(2, "Sammy Sosa") < eaters.RankOf(2, "Zoe")
package eaters

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Eater is what is kept of one person.
type Eater struct {
	Name  string
	Tacos []string
	// LastMeal is when the tacos last became others than before.
	LastMeal time.Time
}

// ErrUnavailable is wrapped by a store's error if the store can't be reached now:
// to try again later may help.
var ErrUnavailable = errors.New("the store is unavailable")

// Rank is an eater's place in the list. In ascending order, byte by byte, come
// those who have eaten most, and who has eaten as much as another by name. No two
// eaters have the same, so one field of it needs no second to order by.
type Rank string

// digits is how many of a Rank's bytes are the tacos.
const digits = 10

// RankOf returns the place of the person name who has eaten so many tacos.
func RankOf(tacos int, name string) Rank {
	return Rank(fmt.Sprintf("%0*d%s", digits, math.MaxInt32-tacos, name))
}

// Name returns whose place r is.
func (r Rank) Name() string { return string(r[digits:]) }

// IsRank reports whether s can be the Rank of somebody.
func IsRank(s string) bool {
	if len(s) <= digits || !utf8.ValidString(s) {
		return false
	}
	for _, c := range s[:digits] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
