package sandbox_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/amammay/otorun/cloudrun/internal/sandbox"
)

var app string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	app = filepath.Join(dir, "app")
	build := exec.Command("go", "build", "-o", app, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Println(string(out), err)
		return 1
	}
	return m.Run()
}

func TestSmoke(t *testing.T) {
	if err := sandbox.Available(); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	c, err := sandbox.Start(t.Context(), sandbox.Spec{
		Args: []string{"/app", "report"}, Files: []sandbox.File{{Path: "/app", Source: app}},
		Stdout: &out, Stderr: &errs,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(c.Wait(), out.String(), errs.String())
	c.Close()
}
