package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that FIDELITY.md names exists.
func TestFidelity(t *testing.T) {
	page, err := os.ReadFile("FIDELITY.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, pattern := range []string{"internal/*/*_test.go", "cloudruntest/*_test.go", "../e2e/*_test.go", "../e2e/deploy/*_test.go", "../e2e/*/*_test.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	var code strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	named := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`).FindAllString(string(page), -1)
	if len(named) < 60 {
		t.Errorf("read %d names", len(named))
	}
	for _, name := range named {
		if !strings.Contains(code.String(), "func "+name+"(") {
			t.Errorf("FIDELITY.md names %s, which there isn't", name)
		}
	}
}
