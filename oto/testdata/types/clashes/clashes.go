// Package clashes has names that templates have themselves, and keywords.
package clashes

import (
	"github.com/pacedotdev/oto/testdata/types/clashes/ext/more"
	"github.com/pacedotdev/oto/testdata/types/clashes/request"
)

// Client has the name of what sends the calls.
type Client interface {
	Echo(Error) Error
	Lists(Lists) Lists
}

// Variables has types and packages with the names of variables where functions for
// the JSON of something without a name are passed on.
type Variables interface {
	Pointers([]*server) []*ctx
	Maps([]*service) map[string]*s
	Packages([]*request.Unit) []*request.Unit
}

// Lists has those with the names of variables where a field is decoded or encoded.
type Lists struct {
	Units []*more.Unit
	D     []*d
	I     []*i
	Key   map[string]*key
	Value map[string]*value
}

type (
	server  int
	service int
	ctx     int
	s       int
	d       int
	i       int
	key     int
	value   int
)

// Error has the name of a client's errors.
type Error struct {
	Type, Func, Range, Class, Default, None string
	Next                                    *New
	Client                                  NewClient
	Any                                     json
}

// New, NewClient and RegisterClient are functions of the templates; json and those
// below it are what they import.
type (
	New            struct{ Context context }
	NewClient      struct{ Register RegisterClient }
	RegisterClient struct{ A string }
	json           struct{ B string }
	context        struct{ C otoclient }
	otoclient      struct{ D otohttp }
	otohttp        struct{ E string }
)
