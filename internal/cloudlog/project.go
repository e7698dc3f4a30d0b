package cloudlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// ProjectID returns a function for [Config.ProjectID]: it says
// $GOOGLE_CLOUD_PROJECT or, on Cloud Run, what the metadata server says. That is
// asked in the background, so neither start nor logging wait for it; until it
// has answered, and off Cloud Run, the function returns "".
func ProjectID(getenv func(string) string) func() string {
	if id := getenv("GOOGLE_CLOUD_PROJECT"); id != "" {
		return func() string { return id }
	}
	if !OnCloudRun(getenv) {
		return func() string { return "" }
	}
	host := getenv("GCE_METADATA_HOST") // where Google's own libraries look first
	if host == "" {
		host = "169.254.169.254"
	}
	var id atomic.Pointer[string]
	go func() {
		// It answers in milliseconds, if at all; five tries outlast a hiccup.
		for wait := 100 * time.Millisecond; wait < 2*time.Second; wait *= 2 {
			if p, err := askProjectID(host); err == nil {
				id.Store(&p)
				return
			}
			time.Sleep(wait)
		}
	}()
	return func() string {
		if p := id.Load(); p != nil {
			return *p
		}
		return ""
	}
}

func askProjectID(host string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/computeMetadata/v1/project/project-id", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Metadata-Flavor", "Google")
	// Never through a proxy: that would name the proxy's own project.
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("metadata server: %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 256))
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(body))
	if id == "" || strings.ContainsAny(id, "/ \t\r\n<>") {
		return "", errors.New("metadata server: no project id in the answer")
	}
	return id, nil
}
