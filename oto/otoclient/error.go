package otoclient

// Error is a call that failed. What was there before it, a cancelled context
// say, is found by [errors.Is].
type Error struct {
	Service string
	Method  string
	// StatusCode is the HTTP status of the answer; zero if none came.
	StatusCode int
	// Code says what kind of error the service reports, such as
	// invalid_argument; empty if it doesn't.
	Code string
	// Message is the service's own text, or says what went wrong with the call.
	Message string
	// Body is the first part of an answer that isn't the service's.
	Body string

	service bool
	cause   error
}

// Error returns the service's own text as it is. What else went wrong starts
// with the call's name.
func (e *Error) Error() string {
	if e.service {
		return e.Message
	}
	return e.Service + "." + e.Method + ": " + e.Message
}

// Unwrap returns what the call failed of, if it is known.
func (e *Error) Unwrap() error { return e.cause }
