// Package definitions says what the services are: oto reads it and nothing
// else does. Change it first, then run ./generate.sh.
package definitions

import "time"

//go:generate ../generate.sh

// TacoService keeps track of who eats which tacos.
type TacoService interface {
	// EatTaco records that a person has consumed tacos. They are all that the
	// person has consumed: what was recorded before is replaced.
	// idempotent: true
	EatTaco(EatTacoRequest) EatTacoResponse
	// ListEaters lists who has eaten most, a page at a time.
	// idempotent: true
	ListEaters(ListEatersRequest) ListEatersResponse
}

// EatTacoRequest says who has eaten what.
type EatTacoRequest struct {
	// Name is the person who eats: up to 100 characters, without control
	// characters. White space around it doesn't count.
	// example: "Sammy Sosa"
	// required: true
	Name string
	// Tacos are all the tacos the person has consumed, one item a taco: up to
	// 1000, of up to 100 characters each.
	// example: ["Chicken","Chorizo"]
	// required: true
	Tacos []string
}

// EatTacoResponse tells how it went.
type EatTacoResponse struct {
	// TacoConsumptionStatus is one sentence for a person to read.
	// example: "Sammy Sosa has consumed 2 tacos"
	TacoConsumptionStatus string
}

// ListEatersRequest says which part of the list is wanted.
type ListEatersRequest struct {
	// Limit is how many eaters the page may have, at most 100: 10 if zero. It may
	// have fewer although there are more, if they have eaten a lot.
	// example: 10
	// min: 0
	// max: 100
	Limit int
	// PageToken is an earlier page's NextPageToken, to go on behind it. Whoever
	// doesn't eat between the pages is on one of them, whatever others eat.
	// example: ""
	PageToken string
}

// ListEatersResponse is a page of the list.
type ListEatersResponse struct {
	// Eaters are those who have eaten most first; who has eaten as much as
	// another is ordered by name.
	Eaters []Eater
	// NextPageToken leads to the page behind this one. It is empty on the last.
	// example: ""
	NextPageToken string
}

// Eater is what one person has eaten.
type Eater struct {
	// Name is the person.
	// example: "Sammy Sosa"
	Name string
	// Tacos are the tacos the person has consumed.
	// example: ["Chicken","Chorizo"]
	Tacos []string
	// Count is how many they are.
	// example: 2
	Count int
	// LastMeal is when the record was last changed.
	// example: "2026-11-24T12:00:00Z"
	LastMeal time.Time
}
