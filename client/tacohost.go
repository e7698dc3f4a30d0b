package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// probeTimeout bounds the question whether this is Google Cloud. There the
// metadata server answers in milliseconds; elsewhere a network that swallows
// packets must not keep tacoclient from starting.
const probeTimeout = 3 * time.Second

// tacoBase returns the URL, with a slash at its end, under which tacoserver's
// methods are. It asks onGCE only if $TACO_HOST does not say.
func tacoBase(ctx context.Context, getenv func(string) string, onGCE func(context.Context) bool) (string, error) {
	if s := getenv("TACO_HOST"); s != "" {
		base, err := parseTacoHost(s)
		if err != nil {
			return "", fmt.Errorf("TACO_HOST=%q: %w: set it to a host or URL, e.g. tacoserver, localhost:8080 or https://tacos.example/oto/", s, err)
		}
		return base, nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	// A goroutine, so that even a probe that forgets its context can't hang us.
	answer := make(chan bool, 1)
	go func() { answer <- onGCE(ctx) }()
	select {
	case yes := <-answer:
		if yes {
			return "http://tacoserver/oto/", nil
		}
	case <-ctx.Done():
	}
	return "http://localhost:8080/oto/", nil
}

// parseTacoHost completes s to a base URL: http without a scheme, /oto/ without
// a path.
func parseTacoHost(s string) (string, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", errors.Unwrap(err) // without the URL, which the caller names
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("scheme %q is neither http nor https", u.Scheme)
	case u.User != nil:
		return "", errors.New("a user has no place in it")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New("a query or fragment has no place in it")
	case !isHost(u.Hostname()):
		return "", fmt.Errorf("%q is no host", u.Hostname())
	case !isPort(u.Port()) || strings.HasSuffix(u.Host, ":"):
		return "", fmt.Errorf("%q is no port", u.Port())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/oto"
	}
	return strings.TrimRight(u.String(), "/") + "/", nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

func isHost(s string) bool { return net.ParseIP(s) != nil || hostName.MatchString(s) }

func isPort(s string) bool {
	if s == "" {
		return true
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
