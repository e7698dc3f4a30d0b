// Package more has the name of a variable in functions that decode.
package more

type Unit int
