// Package cloudlog is log/slog for Cloud Run: there one JSON object a line with
// the fields Cloud Logging reads, elsewhere text for a person.
//
//	log := cloudlog.New(os.Stderr, cloudlog.Config{
//		JSON:      cloudlog.OnCloudRun(os.Getenv),
//		ProjectID: cloudlog.ProjectID(os.Getenv),
//	})
//	log.InfoContext(r.Context(), "taco eaten", "name", name)
//
// A record logged with a context that carries a trace (see internal/tracecontext)
// is joined to it, so Cloud Logging shows the lines of one request together, also
// across services.
//
// The server, the client and runsd share it; it imports only the standard library
// and internal/tracecontext.
package cloudlog

import (
	"io"
	"log/slog"
)

// LevelNotice lies between slog's Info and Warn: normal, but worth a look. It is
// Cloud Logging's severity NOTICE.
const LevelNotice = slog.LevelInfo + 2

// Config says how a logger writes. The zero Config writes text from Info up.
type Config struct {
	// JSON chooses Cloud Logging's form over text.
	JSON bool
	// Level is the lowest level written; nil means Info.
	Level slog.Leveler
	// ProjectID returns the project the traces are in, or "" while it is not
	// known. It is called for each record that has a trace, by many goroutines
	// at once, and must not block. Without a project the trace's id stands
	// alone, which Cloud Logging understands too; nil means never known.
	ProjectID func() string
}

// New returns a logger that writes each record to w in one call of Write.
func New(w io.Writer, cfg Config) *slog.Logger {
	if cfg.JSON {
		return slog.New(newJSONHandler(w, cfg))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level:       cfg.Level,
		ReplaceAttr: shortTime,
	}))
}

// shortTime leaves the date out: a person at a terminal knows it.
func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		a.Value = slog.StringValue(a.Value.Time().Format("15:04:05.000"))
	}
	return a
}

// OnCloudRun reports whether this process is part of a Cloud Run service, job or
// worker pool, by the variable that each of them sets.
func OnCloudRun(getenv func(string) string) bool {
	return getenv("K_SERVICE") != "" || getenv("CLOUD_RUN_JOB") != "" || getenv("CLOUD_RUN_WORKER_POOL") != ""
}
