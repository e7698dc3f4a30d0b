package config_test

import (
	"errors"
	"flag"
	"io"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/amammay/otorun/runsd/internal/config"
)

func env(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

func TestParse(t *testing.T) {
	def := config.Config{Args: []string{"/app"}, Mode: "auto", Domain: "run.internal", Ndots: 1, ResolvConf: "/etc/resolv.conf", HTTPProxyPort: 80, DNSPort: 53}
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want func(*config.Config)
	}{
		{name: "defaults", args: []string{"--", "/app"}, want: func(c *config.Config) {}},
		{name: "without --", args: []string{"/app", "-x"}, want: func(c *config.Config) { c.Args = []string{"/app", "-x"} }},
		{name: "two dashes", args: []string{"--v=5", "--", "/app"}, want: func(c *config.Config) { c.Verbosity = 5 }},
		{name: "every original flag", args: []string{
			"-domain=corp.", "-ndots=4", "-nameserver=8.8.8.8", "-resolv_conf_file=/tmp/r", "-gcp_region=us-east1", "-gcp_project_hash=abc",
			"-http_proxy_port=8080", "-dns_port=5353", "-skip_dns_hijack", "-skip_http_proxy", "-user=nobody", "--", "/app",
		}, want: func(c *config.Config) {
			c.Domain, c.Ndots, c.ResolvConf, c.Region, c.ProjectHash = "corp", 4, "/tmp/r", "us-east1", "abc"
			c.Nameservers = []netip.AddrPort{netip.MustParseAddrPort("8.8.8.8:53")}
			c.HTTPProxyPort, c.PortSet, c.DNSPort, c.SkipDNS, c.SkipProxy, c.User, c.Forced = 8080, true, 5353, true, true, "nobody", true
		}},
		{name: "klog's flags", args: []string{
			"-vmodule=a=1", "-logtostderr=false", "-alsologtostderr", "-stderrthreshold=2", "-log_dir=/x", "-log_file=/y", "-log_file_max_size=1",
			"-add_dir_header", "-skip_headers", "-skip_log_headers", "-one_output", "-log_backtrace_at=a.go:1", "-v=2", "--", "/app",
		}, want: func(c *config.Config) { c.Verbosity = 2 }},
		{name: "environment", args: []string{"--", "/app"}, env: map[string]string{
			"CLOUD_RUN_PROJECT_HASH": "envhash", "CLOUD_RUN_ID_TOKEN": " tok\n", "GCE_METADATA_HOST": "127.0.0.1:1", "PORT": "80", "K_SERVICE": "s",
		}, want: func(c *config.Config) {
			c.ProjectHash, c.IDToken, c.MetadataHost, c.AppPort, c.CloudRun = "envhash", "tok", "127.0.0.1:1", "80", true
		}},
		{name: "flag before environment", args: []string{"-gcp_project_hash=flaghash", "--", "/app"}, env: map[string]string{"CLOUD_RUN_PROJECT_HASH": "envhash"},
			want: func(c *config.Config) { c.ProjectHash = "flaghash" }},
		{name: "a job", args: []string{"--", "/app"}, env: map[string]string{"CLOUD_RUN_JOB": "j"}, want: func(c *config.Config) { c.CloudRun = true }},
		{name: "a worker pool", args: []string{"--", "/app"}, env: map[string]string{"CLOUD_RUN_WORKER_POOL": "p"}, want: func(c *config.Config) { c.CloudRun = true }},
		{name: "mode forces", args: []string{"-mode=proxy", "--", "/app"}, want: func(c *config.Config) { c.Mode, c.Forced = "proxy", true }},
		{name: "auto doesn't", args: []string{"-mode=auto", "--", "/app"}, want: func(c *config.Config) {}},
		{name: "services", args: []string{"-service", "Tacos=https://tacos.example.com/,audience=my-aud", "-service=local=http://localhost:8080", "--", "/app"},
			env: map[string]string{"RUNSD_SERVICES": "a=https://a.example b=http://b:1,audience=x"},
			want: func(c *config.Config) {
				c.Services = []config.Service{
					{Name: "a", URL: &url.URL{Scheme: "https", Host: "a.example"}, Audience: "https://a.example"},
					{Name: "b", URL: &url.URL{Scheme: "http", Host: "b:1"}, Audience: "x"},
					{Name: "tacos", URL: &url.URL{Scheme: "https", Host: "tacos.example.com"}, Audience: "my-aud"},
					{Name: "local", URL: &url.URL{Scheme: "http", Host: "localhost:8080"}},
				}
			}},
		{name: "resolvers", args: []string{"-nameserver=1.1.1.1,127.0.0.1:5300", "--", "/app"}, want: func(c *config.Config) {
			c.Nameservers = []netip.AddrPort{netip.MustParseAddrPort("1.1.1.1:53"), netip.MustParseAddrPort("127.0.0.1:5300")}
		}},
		{name: "version without an app", args: []string{"-version"}, want: func(c *config.Config) { c.Version, c.Args = true, []string{} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := config.Parse(tt.args, env(tt.env), io.Discard)
			if err != nil {
				t.Fatalf("Parse(%q): %v", tt.args, err)
			}
			want := def
			tt.want(&want)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("Parse(%q) = %+v, want %+v", tt.args, got, want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--"}, {"-mode=x", "--", "/app"}, {"-domain=.", "--", "/app"}, {"-ndots=99", "--", "/app"}, {"-dns_port=70000", "--", "/app"},
		{"-nameserver=dns.example", "--", "/app"}, {"-nosuchflag", "--", "/app"},
		{"-service=x", "--", "/app"}, {"-service==https://x", "--", "/app"}, {"-service=x=ftp://y", "--", "/app"}, {"-service=x=https://y/path", "--", "/app"},
		{"-service=x=https://y?q", "--", "/app"}, {"-service=x=https://u:p@y", "--", "/app"}, {"-service=x=https://y,audience=", "--", "/app"},
		{"-service=x=https://y:99999", "--", "/app"},
	} {
		if _, err := config.Parse(args, env(nil), io.Discard); err == nil {
			t.Errorf("Parse(%q): no error", args)
		}
	}
}

func TestParseHelpHidesEnvironment(t *testing.T) {
	var out strings.Builder
	_, err := config.Parse([]string{"-h"}, func(string) string { return "sekrit" }, &out)
	if !errors.Is(err, flag.ErrHelp) {
		t.Errorf("Parse(-h): %v, want ErrHelp", err)
	}
	if strings.Contains(out.String(), "sekrit") || !strings.Contains(out.String(), "runsd [flags] -- APP") {
		t.Errorf("usage: %s", out.String())
	}
}
