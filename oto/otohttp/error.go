package otohttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// An Error is an error with a [Code]. Its Message is for the client; its Cause
// is not sent, only logged, and found by [errors.Is] and [errors.As].
//
// Errors may be wrapped: the first Error in an error's tree says what the client
// gets, and nothing of what is wrapped around it is sent.
type Error struct {
	// Code is the kind of error.
	Code Code

	// Message says to the client what went wrong.
	Message string

	// Status is the HTTP status to answer with, from 400 to 599. Anything else,
	// as the zero value, stands for the Code's own.
	Status int

	// Cause is the error behind this one. It never reaches the client.
	Cause error

	// quoted is the error whose text Message has taken up, by Errorf's %w.
	quoted error

	// acceptEncoding, unless empty, is the value of that header in the answer:
	// the codings that a body may come in (RFC 9110, section 15.5.16).
	acceptEncoding string
}

// Errorf returns an error with a code and a message for the client. As with
// [fmt.Errorf], %w makes the operand part of the error's tree; its text is then
// part of the message and is sent. To keep it from the client use
// [Error.WithCause] instead.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Message: err.Error()}
	switch err.(type) {
	case interface{ Unwrap() error }, interface{ Unwrap() []error }:
		e.quoted = err
	}
	return e
}

// WithCause returns a copy of e whose Cause is err.
func (e *Error) WithCause(err error) *Error {
	with := *e
	with.Cause = err
	return &with
}

// Error returns the message and the cause, for logs: a client gets the Message
// alone.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.message()
	}
	return e.message() + ": " + e.Cause.Error()
}

// Unwrap returns the Cause and the operands of Errorf's %w.
func (e *Error) Unwrap() []error {
	switch {
	case e.Cause == nil && e.quoted == nil:
		return nil
	case e.quoted == nil:
		return []error{e.Cause}
	case e.Cause == nil:
		return []error{e.quoted}
	}
	return []error{e.quoted, e.Cause}
}

// HTTPStatus returns the status that e is answered with: Status where it is an
// error's, otherwise that of the Code.
func (e *Error) HTTPStatus() int {
	if e.Status >= 400 && e.Status <= 599 {
		return e.Status
	}
	return e.Code.Status()
}

// message is what the client is told: never empty, since clients take an
// answer's non-empty "error" for the failure.
func (e *Error) message() string {
	switch {
	case e.Message != "":
		return e.Message
	case e.Code != "":
		return string(e.Code)
	}
	return http.StatusText(e.HTTPStatus())
}

// CodeOf returns the code of the first [Error] in err's tree,
// [DeadlineExceeded] or [Canceled] for the errors of a context, [Unknown] for
// any other error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if code := asError(err).Code; code != "" {
		return code
	}
	return Unknown
}

// asError returns the first Error in err's tree, or one that says what err
// says. The latter has no code unless err is a context's: a service that returns
// a plain error gets the answer it always got, a 500 that holds the error's text.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: DeadlineExceeded, Message: err.Error(), quoted: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: Canceled, Message: err.Error(), quoted: err}
	}
	return &Error{Message: err.Error(), quoted: err}
}

// wireError is an error as it is sent.
type wireError struct {
	Error string `json:"error"`
	Code  Code   `json:"code,omitempty"`
}

// WriteError answers r with err: {"error":"…","code":"…"} and the status of the
// first [Error] in err's tree. The errors of a context have a code of their own,
// any other error is sent as its text with status 500 and no code.
//
// WriteError does not log. It is for a Server's OnErr and for handlers around a
// Server that want to fail as its services do. If w is a Server's and the answer
// has begun, WriteError does nothing.
func WriteError(w http.ResponseWriter, r *http.Request, err error) error {
	if answerBegun(w) {
		return nil
	}
	e := asError(err)
	if e.acceptEncoding != "" {
		w.Header().Set("Accept-Encoding", e.acceptEncoding)
	}
	return Encode(w, r, e.HTTPStatus(), wireError{Error: e.message(), Code: e.Code})
}

// clip keeps what a client sent from filling the message that tells it so.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
