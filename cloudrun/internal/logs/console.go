package logs

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Console prints entries for a person: a line each, with the service's name, in
// one colour a service.
type Console struct {
	w     io.Writer
	color bool

	mu    sync.Mutex
	order map[string]int // of services, as they came
	width int            // of the longest name
}

// NewConsole returns a Console that prints to w.
func NewConsole(w io.Writer, color bool) *Console {
	return &Console{w: w, color: color, order: make(map[string]int)}
}

// colors are those of a terminal that can be read on light and dark: cyan,
// magenta, green, yellow, blue.
var colors = []int{36, 35, 32, 33, 34}

const red = 31

// Name reserves a colour and the room for a service's name.
func (c *Console) Name(service string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index(service)
}

func (c *Console) index(service string) int {
	i, ok := c.order[service]
	if !ok {
		i = len(c.order)
		c.order[service] = i
		c.width = max(c.width, len(service))
	}
	return i
}

// Print prints an entry.
func (c *Console) Print(e Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.index(e.Service)
	name := c.paint(colors[i%len(colors)], fmt.Sprintf("%-*s", c.width, e.Service))
	severity := ""
	if e.Severity != "" && e.Severity != "DEFAULT" && e.Severity != "INFO" {
		severity = " " + e.Severity
		if e.Severity != "DEBUG" && e.Severity != "NOTICE" {
			severity = c.paint(red, severity)
		}
	}
	fmt.Fprintf(c.w, "%s %s%s %s\n", name, e.Time.Local().Format("15:04:05.000"), severity, printable(summary(e)))
}

func (c *Console) paint(color int, text string) string {
	if !c.color {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", color, text)
}

// summary is an entry on one line: the message, the request, and the other fields
// by name.
func summary(e Entry) string {
	parts := []string{e.Message}
	if r := e.Request; r != nil {
		parts = append(parts, fmt.Sprintf("%s %s %d %s", r.RequestMethod, r.RequestURL, r.Status, r.Latency))
	}
	for _, key := range slices.Sorted(maps.Keys(e.Fields)) {
		if strings.HasPrefix(key, "logging.googleapis.com/") {
			continue
		}
		parts = append(parts, fmt.Sprintf("%s=%v", key, e.Fields[key]))
	}
	return strings.Join(parts, "  ")
}

// printable shows control characters as such, so that a log can't move the
// terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return '�'
		}
		return r
	}, s)
}
