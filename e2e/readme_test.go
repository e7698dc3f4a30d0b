package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A readmeStep is a numbered step of the README with its block of code.
type readmeStep struct {
	text     string
	language string
	code     string
}

var stepPattern = regexp.MustCompile("(?ms)^\\d\\. ([^\n]*(?:\n   [^`\n][^\n]*)*)\n\n   ```(\\w+)\n(.*?)\n   ```$")

// readmeSteps returns the steps of the section called title.
func readmeSteps(t *testing.T, readme, title string) []readmeStep {
	t.Helper()
	_, section, ok := strings.Cut(readme, "\n## "+title+"\n")
	if !ok {
		t.Fatalf("the README has no section %q", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var steps []readmeStep
	for _, m := range stepPattern.FindAllStringSubmatch(section, -1) {
		code := strings.ReplaceAll("\n"+m[3], "\n   ", "\n")
		steps = append(steps, readmeStep{text: m[1], language: m[2], code: code[1:] + "\n"})
	}
	return steps
}

var inBackquotes = regexp.MustCompile("`([^`]+)`")

// TestReadmeAddService follows the README's steps to the letter on a copy: it
// writes the files they show, runs what they run, and makes the call at the end.
func TestReadmeAddService(t *testing.T) {
	onlyProcesses(t)
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(text)
	steps := readmeSteps(t, readme, "Add a service")
	if len(steps) != 5 {
		t.Fatalf("read %d steps, want 5: %+v", len(steps), steps)
	}
	dir := copyRepository(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range steps[:4] {
		switch file := inBackquotes.FindStringSubmatch(step.text); {
		case step.language == "sh":
			runIn(t, dir, "bash", "-c", step.code)
		case strings.HasPrefix(step.text, "Register it"):
			old, err := os.ReadFile(filepath.Join(dir, file[1]))
			if err != nil {
				t.Fatal(err)
			}
			below := regexp.MustCompile(`(?m)^\tserver\.RegisterTacoService\(.*\)\n`)
			if !below.Match(old) {
				t.Fatalf("%s registers no TacoService", file[1])
			}
			write(file[1], below.ReplaceAllString(string(old), "$0"+step.code))
		default:
			write(file[1], step.code)
		}
	}
	if steps[4].code != "go run ./server\n" {
		t.Fatalf("the last step runs %q", steps[4].code)
	}
	runIn(t, dir, "go", "build", "-o", "server.exe", "./server")
	p := startFile(t, filepath.Join(dir, "server.exe"))
	calls := regexp.MustCompile(`(?m)^ +\$ (curl --json .*localhost:8080/oto/BurritoService.*)\n +(.*)$`).FindStringSubmatch(readme)
	if calls == nil {
		t.Fatal("the README doesn't call BurritoService")
	}
	call := strings.NewReplacer("curl", "curl -sS", "localhost:8080", strings.TrimPrefix(p.URL, "http://")).Replace(calls[1])
	got := runIn(t, dir, "bash", "-c", call)
	if got != calls[2] {
		t.Errorf("%s answers %q, want %q", calls[1], got, calls[2])
	}
	// The generated client of the last step compiles as it stands there.
	_, after, _ := strings.Cut(readme, "From Go it is `")
	call, _, _ = strings.Cut(after, "`")
	write("server/call_test.go", `package main

import (
	"context"

	"github.com/amammay/otorun/generated/client"
)

var _ = func(ctx context.Context) {
	`+call+`
}
`)
	runIn(t, dir, "go", "vet", "./...")
}

// The definition that the README shows is the one there is.
func TestReadmeShowsTheDefinition(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	definition, err := os.ReadFile("../definitions/taco.go")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "\n## Change a service\n")
	_, after, _ = strings.Cut(after, "```go\n")
	shown, _, ok := strings.Cut(after, "```")
	if !ok || !strings.Contains(string(definition), shown) {
		t.Errorf("definitions/taco.go doesn't have\n%s", shown)
	}
}
