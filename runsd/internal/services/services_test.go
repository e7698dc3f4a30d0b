package services_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/amammay/otorun/internal/runhost"
	"github.com/amammay/otorun/runsd/internal/config"
	"github.com/amammay/otorun/runsd/internal/metadata"
	"github.com/amammay/otorun/runsd/internal/services"
)

func project(context.Context) (metadata.Project, error) {
	return metadata.Project{Number: "123456789012", Region: "us-central1"}, nil
}

func directory() *services.Directory {
	return &services.Directory{Zone: "run.internal", Project: project, Log: slog.New(slog.DiscardHandler)}
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

func TestLookup(t *testing.T) {
	long := strings.Repeat("a", 51)
	tests := []struct {
		name, dialed string
		dir          func(*services.Directory)
		want         string
		audience     string
		wantErr      error
	}{
		{name: "bare", dialed: "hello", want: "https://hello-123456789012.us-central1.run.app"},
		{name: "any case, final dot, port", dialed: "HELLO.:8080", want: "https://hello-123456789012.us-central1.run.app"},
		{name: "region", dialed: "hello.us-east1", want: "https://hello-123456789012.us-east1.run.app"},
		{name: "whole", dialed: "hello.US-east1.run.internal.", want: "https://hello-123456789012.us-east1.run.app"},
		{name: "hash", dialed: "hello", dir: func(d *services.Directory) { d.Hash = "dpyb4duzqq" }, want: "https://hello-dpyb4duzqq-uc.a.run.app"},
		{name: "hash, new region", dialed: "hello.mars-north1", dir: func(d *services.Directory) { d.Hash = "dpyb4duzqq" }, want: "https://hello-123456789012.mars-north1.run.app"},
		{name: "region flag", dialed: "hello", dir: func(d *services.Directory) { d.Region = "me-west1" }, want: "https://hello-123456789012.me-west1.run.app"},
		{name: "too long for the hash form", dialed: long[:50], dir: func(d *services.Directory) { d.Hash = "dpyb4duzqq" }, want: "https://" + long[:50] + "-123456789012.us-central1.run.app"},
		{name: "too long for either", dialed: long, dir: func(d *services.Directory) { d.Hash = "dpyb4duzqq" }, wantErr: runhost.ErrTooLong},
		{name: "too long", dialed: long, wantErr: runhost.ErrTooLong},
		{name: "mapped", dialed: "Tacos", dir: func(d *services.Directory) {
			d.Services = []config.Service{{Name: "tacos", URL: mustURL("https://tacos.example"), Audience: "aud"}}
		}, want: "https://tacos.example", audience: "aud"},
		{name: "mapped, last wins, in the zone", dialed: "tacos.run.internal", dir: func(d *services.Directory) {
			d.Services = []config.Service{{Name: "tacos", URL: mustURL("https://a.example")}, {Name: "tacos", URL: mustURL("http://b.example:81")}}
		}, want: "http://b.example:81", audience: "-"},
		{name: "mapped public name", dialed: "api.example.com", dir: func(d *services.Directory) {
			d.Services = []config.Service{{Name: "api.example.com", URL: mustURL("https://x.example"), Audience: "https://x.example"}}
		}, want: "https://x.example"},
		{name: "localhost", dialed: "localhost:80", wantErr: services.ErrNotService},
		{name: "metadata", dialed: "metadata", wantErr: services.ErrNotService},
		{name: "address", dialed: "10.0.0.1", wantErr: services.ErrNotService},
		{name: "IPv6", dialed: "[::1]:80", wantErr: services.ErrNotService},
		{name: "public", dialed: "www.example.com", wantErr: services.ErrNotService},
		{name: "run.app", dialed: "hello-123456789012.us-central1.run.app", wantErr: services.ErrNotService},
		{name: "empty", dialed: "", wantErr: services.ErrNotService},
		{name: "odd", dialed: "a&b", wantErr: services.ErrNotService},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := directory()
			if tt.dir != nil {
				tt.dir(d)
			}
			got, err := d.Lookup(t.Context(), tt.dialed)
			if !errors.Is(err, tt.wantErr) {
				t.Fatalf("Lookup(%q): %v, want %v", tt.dialed, err, tt.wantErr)
			}
			if is := d.Is(tt.dialed); is == errors.Is(tt.wantErr, services.ErrNotService) {
				t.Errorf("Is(%q) = %t", tt.dialed, is)
			}
			if err != nil {
				return
			}
			audience := tt.audience
			switch audience {
			case "":
				audience = tt.want
			case "-":
				audience = ""
			}
			if url := got.Scheme + "://" + got.Host; url != tt.want || got.Audience != audience {
				t.Errorf("Lookup(%q) = %s for %q, want %s for %q", tt.dialed, url, got.Audience, tt.want, audience)
			}
			if !slices.Contains(got.Aliases, got.Host) {
				t.Errorf("Lookup(%q): aliases %q lack the host", tt.dialed, got.Aliases)
			}
			if again, _ := d.Lookup(t.Context(), tt.dialed); again != got {
				t.Errorf("Lookup(%q) twice: not kept", tt.dialed)
			}
		})
	}
}

func TestOneProjectCall(t *testing.T) {
	var calls atomic.Int32
	release := make(chan struct{})
	d := directory()
	d.Project = func(ctx context.Context) (metadata.Project, error) {
		calls.Add(1)
		<-release
		return project(ctx)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := d.Lookup(t.Context(), "hello"); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("50 lookups: %d calls, want 1", n)
	}
}

func TestProjectFailureIsNotKept(t *testing.T) {
	d := directory()
	fail := true
	d.Project = func(ctx context.Context) (metadata.Project, error) {
		if fail {
			return metadata.Project{}, errors.New("metadata server: 503")
		}
		return project(ctx)
	}
	if _, err := d.Lookup(t.Context(), "hello"); err == nil {
		t.Fatal("no error")
	}
	fail = false
	if _, err := d.Lookup(t.Context(), "hello"); err != nil {
		t.Error(err)
	}
}

// TestNoCall: a hash and a region leave nothing to ask.
func TestNoCall(t *testing.T) {
	d := directory()
	d.Hash, d.Region = "dpyb4duzqq", "us-central1"
	d.Project = func(context.Context) (metadata.Project, error) {
		t.Error("the metadata server was asked")
		return metadata.Project{}, errors.New("no")
	}
	if err := d.Prepare(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := d.Lookup(t.Context(), "hello"); err != nil || got.Host != "hello-dpyb4duzqq-uc.a.run.app" {
		t.Errorf("Lookup = %+v, %v", got, err)
	}
}

func TestUnknownRegionWarnsOnce(t *testing.T) {
	var out bytes.Buffer
	d := directory()
	d.Hash, d.Log = "dpyb4duzqq", slog.New(slog.NewTextHandler(&out, nil))
	for _, name := range []string{"a.mars-north1", "b.mars-north1", "c.mars-north1"} {
		if _, err := d.Lookup(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d lines, want 1:\n%s", n, out.String())
	}
}
