package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/amammay/otorun/cloudrun/internal/iam"
)

// An Error is an API's refusal, as Google's APIs word theirs.
type Error struct {
	Code    int
	Status  string
	Message string
}

func (e *Error) Error() string { return e.Message }

func invalid(format string, args ...any) *Error {
	return &Error{http.StatusBadRequest, "INVALID_ARGUMENT", fmt.Sprintf(format, args...)}
}

// unsupported refuses what Google does and the local platform doesn't. It is a 400,
// as gcloud tries a 501 again.
func unsupported(format string, args ...any) *Error {
	return &Error{http.StatusBadRequest, "FAILED_PRECONDITION", "cloudrun: " + fmt.Sprintf(format, args...)}
}

func denied(format string, args ...any) *Error {
	return &Error{http.StatusForbidden, "PERMISSION_DENIED", fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) *Error {
	return &Error{http.StatusNotFound, "NOT_FOUND", fmt.Sprintf(format, args...)}
}

func exists(format string, args ...any) *Error {
	return &Error{http.StatusConflict, "ALREADY_EXISTS", fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) *Error {
	return &Error{http.StatusConflict, "ABORTED", fmt.Sprintf(format, args...)}
}

// errorOf makes an Error of any error. One that isn't foreseen is the caller's
// too: a 5xx would be tried again.
func errorOf(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, iam.ErrExists):
		return exists("%v", err)
	case errors.Is(err, iam.ErrNotFound):
		return notFound("%v", err)
	case errors.Is(err, iam.ErrConflict):
		return conflict("There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff: %v", err)
	}
	return invalid("%v", err)
}

// refuse answers with an error, in gRPC's form for a gRPC client.
func refuse(w http.ResponseWriter, r *http.Request, e *Error) {
	h := w.Header()
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		const unimplemented = "12"
		h.Set("Content-Type", "application/grpc")
		h.Set("Grpc-Status", unimplemented)
		h.Set("Grpc-Message", url.PathEscape(e.Message))
		return
	}
	if r.URL.Path == "/token" { // OAuth's form, RFC 6749 section 5.2
		writeJSON(w, e.Code, map[string]string{"error": e.Status, "error_description": e.Message})
		return
	}
	writeJSON(w, e.Code, map[string]any{"error": map[string]any{"code": e.Code, "message": e.Message, "status": e.Status}})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v)
}
