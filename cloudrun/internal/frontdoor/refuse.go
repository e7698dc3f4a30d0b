package frontdoor

import (
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/amammay/otorun/cloudrun/internal/identity"
)

// WhyHeader says on a refusal which check failed and what mends it. It is this
// emulator's own: Cloud Run sends nothing like it.
const WhyHeader = "X-Cloudrun-Why"

const server = "Google Frontend"

// A Refusal is an answer that the front door gives itself.
type Refusal struct {
	Status int
	// Reason is the check that a token failed, if it is about one.
	Reason identity.Reason
	// Why is one line for a person.
	Why string
	// Fix is the command that mends it, if there is one.
	Fix string
}

// String is the text of X-Cloudrun-Why.
func (r Refusal) String() string {
	if r.Fix == "" {
		return r.Why
	}
	return r.Why + "; to mend it: " + r.Fix
}

// refuse answers and logs a refusal. The trace is nil if no service was asked.
func (d *Door) refuse(w http.ResponseWriter, r *http.Request, t *trace, f Refusal) {
	attrs := []any{"status", f.Status, "why", f.Why}
	if f.Fix != "" {
		attrs = append(attrs, "fix", f.Fix)
	}
	attrs = append(attrs, "method", r.Method, "host", r.Host, "path", r.URL.Path)
	if t != nil {
		attrs = append(attrs, "trace", t.id)
	}
	level := slog.LevelWarn
	if f.Status >= 500 {
		level = slog.LevelError
	}
	d.log.Log(r.Context(), level, "request refused", attrs...)

	h := w.Header()
	h.Set(WhyHeader, headerText(f.String()))
	h.Set("Server", server)
	h.Del("Content-Length")
	body, kind := page(f.Status, r)
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if f.Status == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close") // the rest of the body isn't read
	}
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead {
		io.WriteString(w, body)
	}
}

const (
	htmlText  = "text/html; charset=UTF-8"
	plainText = "text/plain"
)

// page is the body that Google's front end shows with a status.
func page(status int, r *http.Request) (body, kind string) {
	path := html.EscapeString(r.URL.EscapedPath())
	switch status {
	case http.StatusForbidden:
		return errorPage("403 Forbidden", "Error: Forbidden", "Your client does not have permission to get URL <code>"+path+"</code> from this server."), htmlText
	case http.StatusUnauthorized:
		return errorPage("401 Unauthorized", "Error: Unauthorized", "Your client does not have permission to the requested URL <code>"+path+"</code>."), htmlText
	case http.StatusNotFound:
		if reserved(r.URL.Path) {
			return robotPage("404", "Not Found", "The requested URL <code>"+path+"</code> was not found on this server."), htmlText
		}
		return errorPage("404 Page not found", "Error: Page not found", "The requested URL was not found on this server."), htmlText
	case http.StatusMethodNotAllowed:
		return robotPage("405", "Method Not Allowed", "The request method <code>"+html.EscapeString(r.Method)+"</code> is inappropriate for the URL <code>"+path+"</code>."), htmlText
	case http.StatusRequestEntityTooLarge:
		return robotPage("413", "Request Entity Too Large", "Your client issued a request that was too large."), htmlText
	case http.StatusInternalServerError:
		return errorPage("500 Server Error", "Error: Server Error", "The server encountered an error and could not complete your request.<p>Please try again in 30 seconds."), htmlText
	case http.StatusTooManyRequests:
		return "Rate exceeded.", plainText
	case http.StatusServiceUnavailable:
		return "Service Unavailable", plainText
	case http.StatusGatewayTimeout:
		return "upstream request timeout", plainText
	}
	return http.StatusText(status), plainText
}

func errorPage(title, heading, text string) string {
	return "\n<html><head>\n<meta http-equiv=\"content-type\" content=\"text/html;charset=utf-8\">\n<title>" + title +
		"</title>\n</head>\n<body text=#000000 bgcolor=#ffffff>\n<h1>" + heading + "</h1>\n<h2>" + text + "</h2>\n<h2></h2>\n</body></html>\n"
}

func robotPage(number, name, text string) string {
	return fmt.Sprintf("<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error %s (%s)!!1</title>\n"+
		"  <p><b>%s.</b> <ins>That’s an error.</ins>\n  <p>%s  <ins>That’s all we know.</ins>\n", number, name, number, text)
}

// maxQuoted is how much of a caller's text is repeated to it.
const maxQuoted = 100

func quote(s string) string {
	if len(s) > maxQuoted {
		s = s[:maxQuoted] + "..."
	}
	return strconv.Quote(s)
}

// headerText makes one line of visible ASCII: outside text may be in it.
func headerText(s string) string {
	const limit = 1500
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
