package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadme: every defect has a row, every row names a test, and those tests exist.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{"runsd": ".", "runhost": "../internal/runhost"}
	internal, err := filepath.Glob("internal/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range internal {
		dirs[filepath.Base(dir)] = dir
	}
	declared := func(pkg, test string) bool {
		files, _ := filepath.Glob(filepath.Join(dirs[pkg], "*_test.go"))
		for _, f := range files {
			src, _ := os.ReadFile(f)
			if strings.Contains(string(src), "\nfunc "+test+"(") {
				return true
			}
		}
		return false
	}
	rows := 0
	for line := range strings.Lines(string(readme)) {
		if !regexp.MustCompile(`^\| D\d+b? \|`).MatchString(line) {
			continue
		}
		rows++
		cells := strings.Split(strings.TrimSpace(line), "|")
		tests := cells[len(cells)-2]
		named := 0
		for group := range strings.SplitSeq(tests, ";") {
			pkg := regexp.MustCompile("`(\\w+)`").FindStringSubmatch(group)
			if pkg == nil {
				t.Errorf("%q names no package", group)
				continue
			}
			for _, test := range regexp.MustCompile(`Test\w+`).FindAllString(group, -1) {
				named++
				if !declared(pkg[1], test) {
					t.Errorf("%s: no %s in package %s", cells[1], test, pkg[1])
				}
			}
		}
		if named == 0 {
			t.Errorf("%s: no test", cells[1])
		}
	}
	if rows != 29 { // D1 to D28, and D13b
		t.Errorf("%d rows, want 29", rows)
	}
}
