package otohttp

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
)

// answer is the ResponseWriter that handlers get: the one of the request, and
// whether the answer has begun, so that a call that fails late is not answered
// twice.
type answer struct {
	http.ResponseWriter
	begun bool
}

// WriteHeader begins the answer, unless status is one of those that precede it.
func (a *answer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		a.begun = true
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(p)
}

// ReadFrom lets io.Copy reach the connection's own way of copying.
func (a *answer) ReadFrom(src io.Reader) (int64, error) {
	a.begun = true
	return io.Copy(a.ResponseWriter, src)
}

// Flush is for handlers that ask for an http.Flusher.
func (a *answer) Flush() { _ = a.FlushError() }

// FlushError is for http.ResponseController.
func (a *answer) FlushError() error {
	err := http.NewResponseController(a.ResponseWriter).Flush()
	if !errors.Is(err, http.ErrNotSupported) {
		a.begun = true
	}
	return err
}

// Hijack is for handlers that ask for an http.Hijacker.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil {
		a.begun = true
	}
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// answerBegun reports whether w, or what it wraps, is a Server's answer that has
// begun.
func answerBegun(w http.ResponseWriter) bool {
	for {
		switch wrapper := w.(type) {
		case *answer:
			if wrapper.begun {
				return true
			}
			w = wrapper.ResponseWriter
		case interface{ Unwrap() http.ResponseWriter }:
			w = wrapper.Unwrap()
		default:
			return false
		}
	}
}
