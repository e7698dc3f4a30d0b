// Package runhost names Cloud Run services: it turns the short name an app
// dials, "tacoserver" or "tacoserver.us-east1", into the host that serves it,
// "tacoserver-123456789012.us-central1.run.app", and such a host back into the
// service's name.
//
// Cloud Run gives a service two hosts. The deterministic one is made of the
// service, the project's number and the region, and needs no table. The hash one
// ("tacoserver-dpyb4duzqq-uc.a.run.app") needs the project's hash and the
// region's code. Both are described at
// https://docs.cloud.google.com/run/docs/triggering/https-request.
//
// It is a leaf: runsd and the cloudrun emulator both read its region table, and
// it imports only the standard library. Nothing here does I/O.
package runhost

import (
	"errors"
	"fmt"
	"strings"
)

// Domain is the domain under which Cloud Run's hosts live.
const Domain = "run.app"

// maxLabel is the longest DNS label, RFC 1035 section 2.3.4.
const maxLabel = 63

var (
	// ErrUnknownRegion says that the region has no code in the table, so that the
	// hash form of its hosts can't be written.
	ErrUnknownRegion = errors.New("unknown Cloud Run region")
	// ErrTooLong says that the first label of a host would exceed 63 characters.
	ErrTooLong = errors.New("name too long for a DNS label")
	// ErrName says that a name can't be that of a service.
	ErrName = errors.New("not a Cloud Run service name")
)

// A Service is a Cloud Run service of one project: its name and its region.
type Service struct {
	Name   string
	Region string
}

// Parse reads the name an app dials: "SVC", "SVC.REGION", "SVC.run.internal" or
// "SVC.REGION.run.internal", in any case, with or without a final dot. The
// region is empty where the name has none. The error wraps [ErrName].
//
// A region counts as one by its form, so that regions newer than the table work.
func Parse(name string) (Service, error) { return ParseIn(name, "run.internal") }

// ParseIn is [Parse] with another internal zone than run.internal.
func ParseIn(name, zone string) (Service, error) {
	short := strings.ToLower(strings.TrimSuffix(name, "."))
	short = strings.TrimSuffix(short, "."+strings.ToLower(strings.Trim(zone, ".")))
	svc, region, dotted := strings.Cut(short, ".")
	if !IsServiceName(svc) {
		return Service{}, fmt.Errorf("%q: %w", name, ErrName)
	}
	if dotted && !IsRegion(region) {
		return Service{}, fmt.Errorf("%q: %w: %q is not a region", name, ErrName, region)
	}
	return Service{Name: svc, Region: region}, nil
}

// IsServiceName reports whether s has the form of a service's name, lower case:
// letters, digits and hyphens, a letter first, no hyphen last, one DNS label.
// Cloud Run's own limit of 49 characters isn't checked: functions may be longer.
func IsServiceName(s string) bool {
	if s == "" || len(s) > maxLabel || !isLower(s[0]) || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLower(c) && !isDigit(c) && c != '-' {
			return false
		}
	}
	return true
}

// IsRegion reports whether s has the form of a region's name, such as
// "us-central1": words of lower-case letters joined by hyphens, then a number.
func IsRegion(s string) bool {
	words := strings.TrimRight(s, "0123456789")
	if words == s || len(s) > maxLabel {
		return false
	}
	parts := strings.Split(words, "-")
	if len(parts) < 2 {
		return false
	}
	for _, p := range parts {
		if p == "" || strings.ContainsFunc(p, func(r rune) bool { return r < 'a' || r > 'z' }) {
			return false
		}
	}
	return true
}

// Deterministic returns the host made of the service, the project's number and
// the region. The error wraps [ErrTooLong] when Cloud Run gives this service no
// such host.
func (s Service) Deterministic(number string) (string, error) {
	label := s.Name + "-" + number
	if len(label) > maxLabel {
		return "", fmt.Errorf("host %s.%s.%s: label of %d characters: %w", label, s.Region, Domain, len(label), ErrTooLong)
	}
	return label + "." + s.Region + "." + Domain, nil
}

// Hash returns the host made of the service, the project's hash and the region's
// code. The error wraps [ErrUnknownRegion] when the table lacks the region, and
// [ErrTooLong] when Cloud Run would have cut the name, at a place not promised.
func (s Service) Hash(hash string) (string, error) {
	code, ok := Code(s.Region)
	if !ok {
		return "", fmt.Errorf("host of %s.%s: %w %q", s.Name, s.Region, ErrUnknownRegion, s.Region)
	}
	label := s.Name + "-" + hash + "-" + code
	if len(label) > maxLabel {
		return "", fmt.Errorf("host %s.a.%s: label of %d characters: %w", label, Domain, len(label), ErrTooLong)
	}
	return label + ".a." + Domain, nil
}

// A Host is what the host of a service says of it. Exactly one of Number and
// Hash is set, after the form of the host.
type Host struct {
	Tag     string // the part before "---", if any
	Service string
	Region  string // empty when the code isn't in the table
	Number  string // the project's number, of a deterministic host
	Hash    string // the project's hash, of a hash host
	Code    string // the region's code, of a hash host
}

// ParseHost reads a run.app host, in any case, with or without a final dot. It
// reports false for a host of another form.
//
// Google gives no promise for the hash form; what is read here is what its hosts
// have looked like: SERVICE-HASH-CODE.a.run.app.
func ParseHost(host string) (Host, bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	rest, ok := strings.CutSuffix(host, "."+Domain)
	if !ok {
		return Host{}, false
	}
	label, region, ok := strings.Cut(rest, ".")
	if !ok || len(label) > maxLabel {
		return Host{}, false
	}
	var h Host
	if tag, after, ok := strings.Cut(label, "---"); ok {
		h.Tag, label = tag, after
	}
	label, last, ok := cutLast(label, "-")
	if !ok {
		return Host{}, false
	}
	switch {
	case region == "a":
		h.Code = last
		h.Region, _ = RegionOf(last)
		h.Service, h.Hash, ok = cutLast(label, "-")
		if !ok || len(h.Code) != 2 || h.Hash == "" {
			return Host{}, false
		}
	case IsRegion(region):
		h.Service, h.Number, h.Region = label, last, region
		if h.Number == "" || strings.Trim(h.Number, "0123456789") != "" {
			return Host{}, false
		}
	default:
		return Host{}, false
	}
	return h, IsServiceName(h.Service)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
