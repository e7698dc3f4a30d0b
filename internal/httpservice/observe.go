package httpservice

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/amammay/otorun/internal/cloudlog"
	"github.com/amammay/otorun/internal/tracecontext"
)

// healthy answers GET /health before next sees it. Cloud Run keeps /healthz for
// itself.
func healthy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			next.ServeHTTP(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "405 method not allowed: GET /health", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "ok\n")
	})
}

// observe puts the request's trace into its context, logs the request once it
// is answered, answers a panic, counts the requests that are being served and,
// while draining, has the connection closed after the answer.
func observe(next http.Handler, log *slog.Logger, draining *atomic.Bool, requests *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		requests.Add(1)
		defer requests.Add(-1)
		ctx := r.Context()
		if t, ok := tracecontext.FromHeader(r.Header); ok {
			ctx = tracecontext.NewContext(ctx, t)
			r = r.WithContext(ctx)
		}
		a := &answer{ResponseWriter: w, draining: draining}
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				log.ErrorContext(ctx, "panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				if a.status == 0 {
					http.Error(a, "500 internal server error", http.StatusInternalServerError)
					p = nil
				}
			}
			if a.status == 0 && p == nil {
				a.WriteHeader(http.StatusOK) // as net/http does for a handler that sends nothing
			}
			// The message names the caller, so that a glance at the log shows
			// which requests came by way of runsd.
			userAgent := clip(first(r.Header["User-Agent"]), 256)
			record(ctx, log, "request from "+orUnknown(userAgent), cloudlog.HTTP(cloudlog.HTTPRequest{
				Method:       r.Method,
				URL:          clip(r.URL.RequestURI(), 2048),
				Status:       a.status,
				RequestSize:  r.ContentLength,
				ResponseSize: a.size,
				UserAgent:    userAgent,
				RemoteIP:     remoteIP(r),
				Latency:      time.Since(begun),
				Protocol:     r.Proto,
			}))
			if p != nil { // the answer has begun: net/http cuts the connection
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(a, r)
	})
}

// record logs at Info as log.LogAttrs does, but doesn't look for the place in the
// source that it is called from: that takes a fifth of the time of the line, and is
// the same for each.
func record(ctx context.Context, log *slog.Logger, message string, attr slog.Attr) {
	if !log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	r := slog.NewRecord(time.Now(), slog.LevelInfo, message, 0)
	r.AddAttrs(attr)
	log.Handler().Handle(ctx, r)
}

// An answer notes what is written through it.
type answer struct {
	http.ResponseWriter
	draining *atomic.Bool
	status   int // 0 until the header is written
	size     int64
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 { // 1xx are not the answer yet
		a.status = status
		if a.draining.Load() {
			a.Header().Set("Connection", "close")
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(b)
	a.size += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// remoteIP returns the address of who called: what Google's front end added
// last to X-Forwarded-For, else the peer. It is for the log alone: off Cloud
// Run anyone can write that header.
func remoteIP(r *http.Request) string {
	if f := first(r.Header["X-Forwarded-For"]); f != "" {
		return clip(strings.TrimSpace(f[strings.LastIndexByte(f, ',')+1:]), 64)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// first is the first of a header's values. Header.Get returns the same, but looks
// first at how the name is spelled.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func orUnknown(userAgent string) string {
	if userAgent == "" {
		return "unknown"
	}
	return userAgent
}

// clip keeps what a caller may make as long as it likes from filling the log.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}
