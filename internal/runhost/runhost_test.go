package runhost_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/amammay/otorun/internal/runhost"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, dialed string
		want         runhost.Service
		wantErr      bool
	}{
		{name: "bare", dialed: "hello", want: runhost.Service{Name: "hello"}},
		{name: "upper case", dialed: "HELLO", want: runhost.Service{Name: "hello"}},
		{name: "final dot", dialed: "hello.", want: runhost.Service{Name: "hello"}},
		{name: "region", dialed: "hello.us-east1", want: runhost.Service{Name: "hello", Region: "us-east1"}},
		{name: "region in upper case", dialed: "Hello.US-EAST1.", want: runhost.Service{Name: "hello", Region: "us-east1"}},
		{name: "whole", dialed: "hello.us-east1.run.internal", want: runhost.Service{Name: "hello", Region: "us-east1"}},
		{name: "whole with final dot and case", dialed: "hello.us-east1.Run.Internal.", want: runhost.Service{Name: "hello", Region: "us-east1"}},
		{name: "zone without region", dialed: "hello.run.internal", want: runhost.Service{Name: "hello"}},
		{name: "region newer than the table", dialed: "hello.mars-north1", want: runhost.Service{Name: "hello", Region: "mars-north1"}},
		{name: "digits and hyphens", dialed: "a-1-b2", want: runhost.Service{Name: "a-1-b2"}},
		{name: "empty", dialed: "", wantErr: true},
		{name: "dot", dialed: ".", wantErr: true},
		{name: "zone alone", dialed: "run.internal", wantErr: true},
		{name: "address", dialed: "10.0.0.1", wantErr: true},
		{name: "IPv6 address", dialed: "::1", wantErr: true},
		{name: "public name", dialed: "www.example.com", wantErr: true},
		{name: "two labels", dialed: "example.com", wantErr: true},
		{name: "underscore", dialed: "a_b", wantErr: true},
		{name: "hyphen last", dialed: "a-", wantErr: true},
		{name: "digit first", dialed: "1a", wantErr: true},
		{name: "too many labels", dialed: "a.b.us-east1", wantErr: true},
		{name: "two dots", dialed: "hello..", wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := runhost.Parse(tt.dialed)
			if got != tt.want || (err != nil) != tt.wantErr {
				t.Errorf("Parse(%q) = %v, %v, want %v, error %t", tt.dialed, got, err, tt.want, tt.wantErr)
			}
			if err != nil && !errors.Is(err, runhost.ErrName) {
				t.Errorf("Parse(%q): %v doesn't wrap ErrName", tt.dialed, err)
			}
		})
	}
}

func TestServiceHosts(t *testing.T) {
	s := runhost.Service{Name: "tacoserver", Region: "us-central1"}
	if got, err := s.Deterministic("123456789012"); got != "tacoserver-123456789012.us-central1.run.app" || err != nil {
		t.Errorf("Deterministic = %q, %v", got, err)
	}
	if got, err := s.Hash("dpyb4duzqq"); got != "tacoserver-dpyb4duzqq-uc.a.run.app" || err != nil {
		t.Errorf("Hash = %q, %v", got, err)
	}
	s.Region = "mars-north1"
	if got, err := s.Deterministic("1"); got != "tacoserver-1.mars-north1.run.app" || err != nil {
		t.Errorf("Deterministic = %q, %v", got, err)
	}
	if _, err := s.Hash("dpyb4duzqq"); !errors.Is(err, runhost.ErrUnknownRegion) {
		t.Errorf("Hash of an unknown region: %v, want ErrUnknownRegion", err)
	}
}

func TestServiceHostsTooLong(t *testing.T) {
	for _, tt := range []struct {
		length                   int
		deterministicOK, hashOKs bool
	}{
		{49, true, true},
		{50, true, false},
		{51, false, false},
	} {
		s := runhost.Service{Name: strings.Repeat("a", tt.length), Region: "us-central1"}
		_, err := s.Deterministic("123456789012")
		if (err == nil) != tt.deterministicOK || err != nil && !errors.Is(err, runhost.ErrTooLong) {
			t.Errorf("Deterministic of %d characters: %v", tt.length, err)
		}
		_, err = s.Hash("dpyb4duzqq")
		if (err == nil) != tt.hashOKs || err != nil && !errors.Is(err, runhost.ErrTooLong) {
			t.Errorf("Hash of %d characters: %v", tt.length, err)
		}
	}
}

func TestRegions(t *testing.T) {
	n, seen := 0, map[string]string{}
	for region, code := range runhost.Regions() {
		n++
		if !runhost.IsRegion(region) {
			t.Errorf("IsRegion(%q) = false", region)
		}
		if other, ok := seen[code]; ok {
			t.Errorf("code %q stands for %s and %s", code, other, region)
		}
		seen[code] = region
		if back, ok := runhost.RegionOf(code); !ok || back != region {
			t.Errorf("RegionOf(%q) = %q, %t, want %q", code, back, ok, region)
		}
		s := runhost.Service{Name: "hello", Region: region}
		for _, host := range []func() (string, error){
			func() (string, error) { return s.Hash("dpyb4duzqq") },
			func() (string, error) { return s.Deterministic("123456789012") },
		} {
			name, err := host()
			if err != nil {
				t.Fatal(err)
			}
			if h, ok := runhost.ParseHost(name); !ok || h.Service != "hello" || h.Region != region {
				t.Errorf("ParseHost(%q) = %+v, %t", name, h, ok)
			}
		}
	}
	if n != 43 {
		t.Errorf("%d regions, want 43", n)
	}
}

func TestParseHost(t *testing.T) {
	tests := []struct {
		host string
		want runhost.Host
		ok   bool
	}{
		{"tacoserver-123456789012.us-central1.run.app", runhost.Host{Service: "tacoserver", Region: "us-central1", Number: "123456789012"}, true},
		{"TACO-server-dpyb4duzqq-UC.a.run.app.", runhost.Host{Service: "taco-server", Region: "us-central1", Hash: "dpyb4duzqq", Code: "uc"}, true},
		{"green---hello-1.us-east1.run.app", runhost.Host{Tag: "green", Service: "hello", Region: "us-east1", Number: "1"}, true},
		{"green---hello-dpyb4duzqq-ue.a.run.app", runhost.Host{Tag: "green", Service: "hello", Region: "us-east1", Hash: "dpyb4duzqq", Code: "ue"}, true},
		{"hello-dpyb4duzqq-qq.a.run.app", runhost.Host{Service: "hello", Hash: "dpyb4duzqq", Code: "qq"}, true},
		{"hello.us-east1.run.app", runhost.Host{}, false},
		{"hello-x.us-east1.run.app", runhost.Host{}, false},
		{"run.app", runhost.Host{}, false},
		{"a.run.app", runhost.Host{}, false},
		{"hello-uc.a.run.app", runhost.Host{}, false},
		{"hello-1.us-east1.run.app.example.com", runhost.Host{}, false},
		{"", runhost.Host{}, false},
	}
	for _, tt := range tests {
		got, ok := runhost.ParseHost(tt.host)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("ParseHost(%q) = %+v, %t, want %+v, %t", tt.host, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"hello", "Hello.us-east1.run.internal.", "1.2.3.4", "a..b", "-", "run.internal"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, dialed string) {
		s, err := runhost.Parse(dialed)
		if err != nil {
			return
		}
		if !runhost.IsServiceName(s.Name) || s.Region != "" && !runhost.IsRegion(s.Region) {
			t.Fatalf("Parse(%q) = %+v", dialed, s)
		}
		if s.Region == "" {
			s.Region = "us-central1"
		}
		host, err := s.Deterministic("123456789012")
		if err != nil {
			return
		}
		h, ok := runhost.ParseHost(host)
		// A name with "---" reads back as a tag: Cloud Run's hosts can't tell the two.
		if !ok && !strings.Contains(s.Name, "---") {
			t.Fatalf("ParseHost(%q) of %q: not a host", host, dialed)
		}
		if ok && h.Tag == "" && h.Service != s.Name {
			t.Fatalf("ParseHost(%q) = %+v, want service %q", host, h, s.Name)
		}
	})
}
