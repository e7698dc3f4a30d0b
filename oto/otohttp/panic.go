package otohttp

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// panicError is the cause of the error that stands for a panic.
type panicError struct{ value any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// Unwrap returns what the handler panicked with, if that is an error.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// recoverPanic, deferred, ends the panic of a handler: it is logged, and the call
// fails. http.ErrAbortHandler goes on to net/http, as does the panic that it
// raises to cut off an answer that has begun.
func (s *Server) recoverPanic(w *answer, r *http.Request) {
	value := recover()
	if value == nil {
		return
	}
	if value == http.ErrAbortHandler {
		panic(value)
	}
	cause := &panicError{value}
	s.logCall(r.Context(), slog.LevelError, "otohttp: panic in a handler", r,
		slog.String("error", cause.Error()), slog.String("stack", string(debug.Stack())))
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	s.fail(w, r, Errorf(Internal, "internal error").WithCause(cause))
}
