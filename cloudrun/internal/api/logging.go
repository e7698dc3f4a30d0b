package api

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/logs"
)

// loggingSurface is Cloud Logging, to read what the containers wrote.
// https://docs.cloud.google.com/logging/docs/reference/v2/rest
func (s *Server) loggingSurface() *surface {
	return &surface{name: "logging.googleapis.com", routes: []route{
		{http.MethodPost, "v2/entries:list", "logging.logEntries.list", s.listEntries},
	}}
}

func (s *Server) listEntries(c *call) (any, error) {
	var body struct {
		Filter    string `json:"filter"`
		OrderBy   string `json:"orderBy"`
		PageSize  int    `json:"pageSize"`
		PageToken string `json:"pageToken"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	filter, err := parseFilter(body.Filter)
	if err != nil {
		return nil, invalid("Unparseable filter: %v", err)
	}
	skip := 0
	if body.PageToken != "" {
		if skip, err = strconv.Atoi(body.PageToken); err != nil || skip < 0 {
			return nil, invalid("page token %q isn't one of this API", body.PageToken)
		}
	}
	entries := s.Platform.Logs.Entries(nil)
	slices.SortStableFunc(entries, func(a, b logs.Entry) int { return a.Time.Compare(b.Time) })
	switch body.OrderBy {
	case "", "timestamp", "timestamp asc":
	case "timestamp desc":
		slices.Reverse(entries)
	default:
		return nil, invalid("orderBy %q: want timestamp asc or timestamp desc", body.OrderBy)
	}
	if body.PageSize <= 0 || body.PageSize > 1000 {
		body.PageSize = 50
	}
	found := []object{}
	answer := object{}
	matched := 0
	for _, e := range entries {
		entry := s.entryJSON(e)
		if !filter.matches(entry) {
			continue
		}
		if matched++; matched <= skip {
			continue
		}
		if len(found) == body.PageSize {
			answer["nextPageToken"] = strconv.Itoa(skip + len(found))
			break
		}
		found = append(found, entry)
	}
	answer["entries"] = found
	return answer, nil
}

// entryJSON is an entry as Cloud Run's have it.
func (s *Server) entryJSON(e logs.Entry) object {
	stream := "stdout"
	if e.Stream != "" {
		stream = e.Stream
	}
	entry := object{
		"logName":   s.directory.Project() + "/logs/run.googleapis.com%2F" + stream,
		"insertId":  fmt.Sprintf("%x", e.Time.UnixNano()),
		"timestamp": e.Time.UTC().Format(time.RFC3339Nano),
		"severity":  e.Severity,
		"labels":    object{"instanceId": e.Instance},
		"resource": object{"type": "cloud_run_revision", "labels": object{
			"project_id":         s.project,
			"location":           s.Platform.Region,
			"service_name":       e.Service,
			"configuration_name": e.Service,
			"revision_name":      e.Revision,
		}},
	}
	if e.Trace != "" {
		entry["trace"], entry["spanId"] = e.Trace, e.SpanID
	}
	if r := e.Request; r != nil {
		entry["httpRequest"] = object{
			"requestMethod": r.RequestMethod, "requestUrl": r.RequestURL, "status": r.Status,
			"responseSize": r.ResponseSize, "userAgent": r.UserAgent, "latency": r.Latency,
		}
	}
	switch {
	case strings.HasPrefix(e.Line, "{") && e.Line != e.Message:
		payload := object{}
		for key, v := range e.Fields {
			payload[key] = v
		}
		if e.Message != "" {
			payload["message"] = e.Message
		}
		entry["jsonPayload"] = payload
	case e.Message != "" || e.Request == nil:
		entry["textPayload"] = e.Message
	}
	return entry
}
