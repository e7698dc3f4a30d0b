package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/amammay/otorun/cloudrun/internal/logs"
)

// loggingSurface is Cloud Logging, to read what the containers wrote
// and which requests there were.
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
	entries := slices.Concat(s.Platform.Logs.Entries(nil), s.Platform.Requests.Entries(nil))
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
	entry := object{
		"logName":   s.directory.Project() + "/logs/run.googleapis.com%2F" + cmp.Or(e.Stream, "stdout"),
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
	if e.Request != nil {
		request := object{} // which filters can look into
		if err := convert(e.Request, &request); err == nil {
			entry["httpRequest"] = request
		}
	}
	// An entry has one payload. gcloud's logs read takes the text alone, and falls
	// over an entry without one; so those of JSON have their message twice.
	entry["textPayload"] = e.Message
	if e.JSON {
		payload := maps.Clone(e.Fields)
		if payload == nil {
			payload = object{}
		}
		if e.Message != "" {
			payload["message"] = e.Message
		}
		entry["jsonPayload"] = payload
	}
	return entry
}
