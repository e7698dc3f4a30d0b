package cloudlog

import (
	"fmt"
	"log/slog"
	"strconv"
	"time"
)

// HTTPRequest is what Cloud Logging shows of an HTTP request: log it with [HTTP].
// Empty fields are left out.
type HTTPRequest struct {
	Method       string
	URL          string
	Status       int
	RequestSize  int64 // bytes of the body
	ResponseSize int64 // bytes of the body
	UserAgent    string
	RemoteIP     string
	Latency      time.Duration
	Protocol     string // e.g. HTTP/1.1
}

// HTTP returns the attribute that Cloud Logging looks for: "httpRequest". In
// text it is one short summary.
func HTTP(r HTTPRequest) slog.Attr { return slog.Any("httpRequest", r) }

// MarshalText is the summary for a terminal: "GET / 200 31B 1.2ms".
func (r HTTPRequest) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%s %s %d %dB %s", r.Method, r.URL, r.Status, r.ResponseSize, r.Latency.Round(time.Microsecond)), nil
}

// MarshalJSON is Cloud Logging's HttpRequest.
func (r HTTPRequest) MarshalJSON() ([]byte, error) { return r.appendJSON(nil), nil }

// appendJSON is written for speed: there is a line a request. Keys come quoted.
func (r HTTPRequest) appendJSON(buf []byte) []byte {
	text := func(key, value string) {
		if value != "" {
			buf = appendString(appendQuotedKey(buf, key), value)
		}
	}
	// Sizes are 64-bit numbers, which Google's JSON writes as text.
	size := func(key string, n int64) {
		if n > 0 {
			buf = append(appendQuotedKey(buf, key), '"')
			buf = append(strconv.AppendInt(buf, n, 10), '"')
		}
	}
	buf = append(buf, '{')
	text(`"requestMethod":`, r.Method)
	text(`"requestUrl":`, r.URL)
	if r.Status != 0 {
		buf = strconv.AppendInt(appendQuotedKey(buf, `"status":`), int64(r.Status), 10)
	}
	size(`"requestSize":`, r.RequestSize)
	size(`"responseSize":`, r.ResponseSize)
	text(`"userAgent":`, r.UserAgent)
	text(`"remoteIp":`, r.RemoteIP)
	if r.Latency > 0 {
		buf = append(appendQuotedKey(buf, `"latency":`), '"')
		buf = append(strconv.AppendFloat(buf, r.Latency.Seconds(), 'f', -1, 64), `s"`...)
	}
	text(`"protocol":`, r.Protocol)
	return append(buf, '}')
}
