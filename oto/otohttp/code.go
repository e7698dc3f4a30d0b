package otohttp

import "net/http"

// A Code is the kind of an error, for programs to act on. The codes are those
// that Twirp and Connect share, spelled alike on the wire.
type Code string

// The codes. The comment says when to use which; Status says what each is in
// HTTP.
const (
	// Canceled: the call was given up, usually by its caller.
	Canceled Code = "canceled"
	// Unknown: nothing better is known.
	Unknown Code = "unknown"
	// InvalidArgument: the request is wrong whatever the state of the system.
	InvalidArgument Code = "invalid_argument"
	// DeadlineExceeded: time ran out; the call may yet have taken effect.
	DeadlineExceeded Code = "deadline_exceeded"
	// NotFound: what the request names does not exist.
	NotFound Code = "not_found"
	// AlreadyExists: what the request is to create exists.
	AlreadyExists Code = "already_exists"
	// PermissionDenied: the caller is known and may not do this.
	PermissionDenied Code = "permission_denied"
	// ResourceExhausted: a quota, or room, is used up.
	ResourceExhausted Code = "resource_exhausted"
	// FailedPrecondition: the system must be put into another state first;
	// repeating the call alone does not help.
	FailedPrecondition Code = "failed_precondition"
	// Aborted: another call was in the way; repeat from the reading onwards.
	Aborted Code = "aborted"
	// OutOfRange: past the end, as of now.
	OutOfRange Code = "out_of_range"
	// Unimplemented: this server does not offer it.
	Unimplemented Code = "unimplemented"
	// Internal: something that must hold does not.
	Internal Code = "internal"
	// Unavailable: not now; an idempotent call may be repeated after a while.
	Unavailable Code = "unavailable"
	// DataLoss: data is gone or corrupt.
	DataLoss Code = "data_loss"
	// Unauthenticated: it is not known who calls.
	Unauthenticated Code = "unauthenticated"
)

// statusClientClosedRequest is nginx's status for a call whose client has gone:
// nobody reads it but access logs, and it keeps them free of false 5xx.
const statusClientClosedRequest = 499

// statuses is the HTTP status of each code. Where Twirp and Connect differ it
// follows Connect and google/rpc/code.proto: a 408 invites clients to repeat a
// call that may have taken effect.
var statuses = map[Code]int{
	Canceled:           statusClientClosedRequest,
	Unknown:            http.StatusInternalServerError,
	InvalidArgument:    http.StatusBadRequest,
	DeadlineExceeded:   http.StatusGatewayTimeout,
	NotFound:           http.StatusNotFound,
	AlreadyExists:      http.StatusConflict,
	PermissionDenied:   http.StatusForbidden,
	ResourceExhausted:  http.StatusTooManyRequests,
	FailedPrecondition: http.StatusBadRequest,
	Aborted:            http.StatusConflict,
	OutOfRange:         http.StatusBadRequest,
	Unimplemented:      http.StatusNotImplemented,
	Internal:           http.StatusInternalServerError,
	Unavailable:        http.StatusServiceUnavailable,
	DataLoss:           http.StatusInternalServerError,
	Unauthenticated:    http.StatusUnauthorized,
}

// Status returns the HTTP status that an error with code c is answered with:
// 500 for a code that is none of this package's.
func (c Code) Status() int {
	if status, ok := statuses[c]; ok {
		return status
	}
	return http.StatusInternalServerError
}
