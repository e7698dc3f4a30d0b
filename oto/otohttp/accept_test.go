package otohttp

import (
	"strings"
	"testing"
)

func TestAcceptsGzip(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		headers []string
		want    bool
	}{
		{name: "no header", headers: nil, want: false},
		{name: "empty", headers: []string{""}, want: false},
		{name: "gzip", headers: []string{"gzip"}, want: true},
		{name: "case", headers: []string{"GZIP"}, want: true},
		{name: "old name", headers: []string{"x-gzip"}, want: true},
		{name: "among others", headers: []string{"deflate, br;q=1.0, gzip;q=0.8"}, want: true},
		{name: "browser", headers: []string{"gzip, deflate, br, zstd"}, want: true},
		{name: "second line", headers: []string{"br", "gzip"}, want: true},
		{name: "without spaces", headers: []string{"br,gzip"}, want: true},
		{name: "tabs", headers: []string{"br\t,\tgzip\t;\tq=1"}, want: true},
		{name: "empty elements", headers: []string{", ,gzip,,"}, want: true},
		{name: "other names that hold it", headers: []string{"notgzip, gzipped, x-x-gzip"}, want: false},
		{name: "name of a parameter", headers: []string{"br;gzip"}, want: false},
		{name: "others", headers: []string{"deflate, br"}, want: false},
		{name: "identity", headers: []string{"identity"}, want: false},
		{name: "star", headers: []string{"*"}, want: true},
		{name: "star refused", headers: []string{"*;q=0"}, want: false},
		{name: "star but gzip", headers: []string{"*, gzip;q=0"}, want: false},
		{name: "gzip but star", headers: []string{"gzip, *;q=0"}, want: true},
		{name: "identity before star", headers: []string{"identity, *;q=0.1"}, want: false},
		{name: "q=0", headers: []string{"gzip;q=0"}, want: false},
		{name: "q=0.000", headers: []string{"gzip;q=0.000"}, want: false},
		{name: "q=0.", headers: []string{"gzip;q=0."}, want: false},
		{name: "q=0.001", headers: []string{"gzip;q=0.001"}, want: true},
		{name: "q=1", headers: []string{"gzip;q=1"}, want: true},
		{name: "q=1.", headers: []string{"gzip;q=1."}, want: true},
		{name: "q=1.000", headers: []string{"gzip;q=1.000"}, want: true},
		{name: "Q=0.5", headers: []string{"gzip;Q=0.5"}, want: true},
		{name: "spaces around q", headers: []string{"gzip ; q=0 , br"}, want: false},
		{name: "all the digits of a float", headers: []string{"gzip;q=0.30000001192092896"}, want: true},
		{name: "small float", headers: []string{"gzip;q=0.00001"}, want: true},
		{name: "more than 1", headers: []string{"gzip;q=1.001"}, want: false},
		{name: "2", headers: []string{"gzip;q=2"}, want: false},
		{name: "negative", headers: []string{"gzip;q=-1"}, want: false},
		{name: "no number", headers: []string{"gzip;q=high"}, want: false},
		{name: "no digit", headers: []string{"gzip;q="}, want: false},
		{name: "point alone", headers: []string{"gzip;q=.5"}, want: false},
		{name: "exponent", headers: []string{"gzip;q=1e-3"}, want: false},
		{name: "other parameter", headers: []string{"gzip;level=1"}, want: true},
		{name: "q after another parameter", headers: []string{"gzip;level=1;q=0"}, want: false},
		{name: "identity preferred", headers: []string{"gzip;q=0.5, identity"}, want: false},
		{name: "gzip preferred", headers: []string{"gzip, identity;q=0.5"}, want: true},
		{name: "both alike", headers: []string{"identity, gzip"}, want: true},
		{name: "identity refused", headers: []string{"gzip;q=0.1, identity;q=0"}, want: true},
		{name: "both ways", headers: []string{"gzip, gzip;q=0"}, want: false},
		{name: "both ways by the old name", headers: []string{"x-gzip;q=0", "gzip"}, want: false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := acceptsGzip(tt.headers); got != tt.want {
				t.Errorf("acceptsGzip(%q) = %t, want %t", tt.headers, got, tt.want)
			}
		})
	}
}

func FuzzAcceptsGzip(f *testing.F) {
	for _, header := range []string{
		"", "gzip", "gzip;q=0", "br, *;q=0.1", "identity, gzip;q=0.5", "x-gzip ; q=1.000", ",;=,q", "gzip;q=0.30000001192092896", "*",
	} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got := acceptsGzip([]string{header})
		if got && !strings.Contains(strings.ToLower(header), "gzip") && !strings.Contains(header, "*") {
			t.Errorf("acceptsGzip(%q) = true, but neither gzip nor * is in it", header)
		}
		if acceptsGzip([]string{header, "gzip;q=0"}) {
			t.Errorf("acceptsGzip(%q and gzip;q=0) = true", header)
		}
		if other := acceptsGzip([]string{"br;q=0.5", header}); other != got {
			t.Errorf("acceptsGzip(%q) = %t, with br before it %t", header, got, other)
		}
		if lines := acceptsGzip(strings.Split(header, ",")); lines != got {
			t.Errorf("acceptsGzip(%q) = %t, as a line for each element %t", header, got, lines)
		}
		if isASCII(header) {
			if upper := acceptsGzip([]string{strings.ToUpper(header)}); upper != got {
				t.Errorf("acceptsGzip(%q) = %t, in upper case %t", header, got, upper)
			}
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7f })
}
