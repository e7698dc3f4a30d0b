// Package clashes has names that templates have themselves, and keywords.
package clashes

// Client has the name of what sends the calls.
type Client interface{ Echo(Error) Error }

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
