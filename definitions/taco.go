// Package definitions says what the services are: oto reads it and nothing
// else does. Change it first, then run ./generate.sh.
package definitions

//go:generate ../generate.sh

// TacoService keeps track of who eats which tacos.
type TacoService interface {
	// EatTaco records that a person has consumed tacos.
	EatTaco(EatTacoRequest) EatTacoResponse
}

// EatTacoRequest says who has eaten what.
type EatTacoRequest struct {
	// Name is the person who eats.
	// example: "Sammy Sosa"
	// required: true
	Name string
	// Tacos are the tacos the person has consumed, one item a taco.
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
