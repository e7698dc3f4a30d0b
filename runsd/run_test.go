package main

import (
	"slices"
	"strings"
	"testing"
)

func TestProxyEnviron(t *testing.T) {
	got := proxyEnviron([]string{"PATH=/bin", "http_proxy=http://old:1", "HTTPS_PROXY=http://old:2", "NO_PROXY=corp.example, localhost", "no_proxy=other.example,*"}, "127.0.0.1:9")
	want := func(e string) {
		t.Helper()
		if !slices.Contains(got, e) {
			t.Errorf("%q lacks %q", got, e)
		}
	}
	want("PATH=/bin")
	want("HTTP_PROXY=http://127.0.0.1:9")
	want("http_proxy=http://127.0.0.1:9")
	want("HTTPS_PROXY=http://old:2")
	list := strings.Join(noProxy, ",") + ",corp.example,other.example"
	want("NO_PROXY=" + list)
	want("no_proxy=" + list)
	if len(got) != 6 {
		t.Errorf("%d variables: %q", len(got), got)
	}
}

func TestAbsolute(t *testing.T) {
	for addr, want := range map[string]string{
		"hello-1.us-east1.run.app:443": "hello-1.us-east1.run.app.:443",
		"example.com.:443":             "example.com.:443",
		"localhost:8080":               "localhost:8080",
		"127.0.0.1:80":                 "127.0.0.1:80",
		"[::1]:80":                     "[::1]:80",
	} {
		if got := absolute(addr); got != want {
			t.Errorf("absolute(%q) = %q, want %q", addr, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	if v := versionString(); v == "" {
		t.Error("no version")
	}
}
