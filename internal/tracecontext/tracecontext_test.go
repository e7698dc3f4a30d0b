package tracecontext

import (
	"net/http"
	"strings"
	"testing"
)

const (
	id   = "4bf92f3577b34da6a3ce929d0e0e4736"
	span = "00f067aa0ba902b7"
)

func TestParseTraceparent(t *testing.T) {
	good := "00-" + id + "-" + span + "-01"
	for _, tt := range []struct {
		name    string
		in      string
		sampled bool
		bad     bool
	}{
		{name: "sampled", in: good, sampled: true},
		{name: "not sampled", in: "00-" + id + "-" + span + "-00"},
		{name: "other flags set", in: "00-" + id + "-" + span + "-fe"},
		{name: "newer version", in: "cc-" + id + "-" + span + "-01", sampled: true},
		{name: "newer version with more fields", in: "cc-" + id + "-" + span + "-01-what-the-future-brings", sampled: true},
		{name: "newer version with a longer flags field", in: "cc-" + id + "-" + span + "-01.x", bad: true},
		{name: "version 00 with more fields", in: good + "-more", bad: true},
		{name: "version ff", in: "ff-" + id + "-" + span + "-01", bad: true},
		{name: "version not hexadecimal", in: "0x-" + id + "-" + span + "-01", bad: true},
		{name: "upper case trace", in: "00-" + strings.ToUpper(id) + "-" + span + "-01", bad: true},
		{name: "upper case span", in: "00-" + id + "-" + strings.ToUpper(span) + "-01", bad: true},
		{name: "trace of zeros", in: "00-" + strings.Repeat("0", 32) + "-" + span + "-01", bad: true},
		{name: "span of zeros", in: "00-" + id + "-" + strings.Repeat("0", 16) + "-01", bad: true},
		{name: "flags not hexadecimal", in: "00-" + id + "-" + span + "-0g", bad: true},
		{name: "too short", in: good[:54], bad: true},
		{name: "wrong separator", in: strings.ReplaceAll(good, "-", "_"), bad: true},
		{name: "space before", in: " " + good, bad: true},
		{name: "empty", in: "", bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parseTraceparent(tt.in)
			if ok == tt.bad {
				t.Fatalf("parseTraceparent(%q) ok = %t, want %t", tt.in, ok, !tt.bad)
			}
			if tt.bad {
				return
			}
			if got.ID != id || got.SpanID != span || got.Sampled != tt.sampled {
				t.Errorf("parseTraceparent(%q) = %+v, want trace %s, span %s, sampled %t", tt.in, got, id, span, tt.sampled)
			}
		})
	}
}

func TestParseCloudTraceContext(t *testing.T) {
	for _, tt := range []struct {
		name    string
		in      string
		span    string
		sampled bool
		bad     bool
	}{
		{name: "sampled", in: id + "/74;o=1", span: "000000000000004a", sampled: true},
		{name: "not sampled", in: id + "/74;o=0", span: "000000000000004a"},
		{name: "without options", in: id + "/18446744073709551615", span: "ffffffffffffffff"},
		{name: "without span", in: id},
		{name: "without span, sampled", in: id + ";o=1", sampled: true},
		{name: "span 0", in: id + "/0;o=1", sampled: true},
		{name: "upper case trace", in: strings.ToUpper(id) + "/74", span: "000000000000004a"},
		{name: "short trace", in: id[1:] + "/74", bad: true},
		{name: "trace of zeros", in: strings.Repeat("0", 32) + "/74", bad: true},
		{name: "trace not hexadecimal", in: "g" + id[1:] + "/74", bad: true},
		{name: "empty span", in: id + "/", bad: true},
		{name: "signed span", in: id + "/+74", bad: true},
		{name: "span too large", in: id + "/18446744073709551616", bad: true},
		{name: "unknown options", in: id + "/74;p=1", bad: true},
		{name: "options not a number", in: id + "/74;o=yes", bad: true},
		{name: "empty", in: "", bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parseCloudTraceContext(tt.in)
			if ok == tt.bad {
				t.Fatalf("parseCloudTraceContext(%q) ok = %t, want %t", tt.in, ok, !tt.bad)
			}
			if tt.bad {
				return
			}
			if got.ID != id || got.SpanID != tt.span || got.Sampled != tt.sampled {
				t.Errorf("parseCloudTraceContext(%q) = %+v, want trace %s, span %s, sampled %t", tt.in, got, id, tt.span, tt.sampled)
			}
		})
	}
}

func TestHeadersTravelOnUnchanged(t *testing.T) {
	const other = "aaaabbbbccccddddeeeeffff00001111"
	for _, tt := range []struct {
		name     string
		in       http.Header
		wantID   string
		travelOn http.Header
	}{
		{
			name:   "both",
			in:     header("traceparent", "00-"+id+"-"+span+"-01", "tracestate", "a=1", "tracestate", "b=2", "X-Cloud-Trace-Context", other+"/74;o=1"),
			wantID: id,
			travelOn: header("traceparent", "00-"+id+"-"+span+"-01", "tracestate", "a=1", "tracestate", "b=2",
				"X-Cloud-Trace-Context", other+"/74;o=1"),
		},
		{
			name:     "Google's alone",
			in:       header("X-Cloud-Trace-Context", strings.ToUpper(other)+"/74"),
			wantID:   other,
			travelOn: header("X-Cloud-Trace-Context", strings.ToUpper(other)+"/74"),
		},
		{
			name:     "malformed traceparent",
			in:       header("traceparent", "00-"+id, "tracestate", "a=1", "X-Cloud-Trace-Context", other+"/74"),
			wantID:   other,
			travelOn: header("X-Cloud-Trace-Context", other+"/74"),
		},
		{
			name:     "malformed X-Cloud-Trace-Context",
			in:       header("traceparent", "00-"+id+"-"+span+"-00", "X-Cloud-Trace-Context", "none"),
			wantID:   id,
			travelOn: header("traceparent", "00-"+id+"-"+span+"-00"),
		},
		{
			name:     "two traceparents",
			in:       header("traceparent", "00-"+id+"-"+span+"-00", "traceparent", "00-"+other+"-"+span+"-00"),
			travelOn: header(),
		},
		{name: "none", in: header("tracestate", "a=1"), travelOn: header()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trace, ok := FromHeader(tt.in)
			if trace.ID != tt.wantID || ok != (tt.wantID != "") {
				t.Errorf("FromHeader(%v) = %q, %t, want %q", tt.in, trace.ID, ok, tt.wantID)
			}
			ctx := NewContext(t.Context(), trace)
			trace, ok = FromContext(ctx)
			if !ok || trace.ID != tt.wantID {
				t.Errorf("FromContext = %q, %t, want %q", trace.ID, ok, tt.wantID)
			}
			out := http.Header{}
			trace.SetHeader(out)
			if got, want := flat(out), flat(tt.travelOn); got != want {
				t.Errorf("headers sent on:\n%swant:\n%s", got, want)
			}
		})
	}
}

func TestFromContextWithoutTrace(t *testing.T) {
	if trace, ok := FromContext(t.Context()); ok {
		t.Errorf("FromContext of an empty context = %+v, want none", trace)
	}
}

func FuzzFromHeader(f *testing.F) {
	f.Add("00-"+id+"-"+span+"-01", id+"/74;o=1")
	f.Add("cc-"+id+"-"+span+"-01-x", "/;o=")
	f.Fuzz(func(t *testing.T, tp, ct string) {
		in := header("traceparent", tp, "X-Cloud-Trace-Context", ct)
		trace, ok := FromHeader(in)
		if ok != (len(trace.ID) == 32) {
			t.Fatalf("FromHeader(%q, %q) = %+v, %t", tp, ct, trace, ok)
		}
		if n := len(trace.SpanID); n != 0 && n != 16 {
			t.Fatalf("FromHeader(%q, %q): span %q", tp, ct, trace.SpanID)
		}
		out := http.Header{}
		trace.SetHeader(out)
		again, _ := FromHeader(out)
		if again.ID != trace.ID || again.SpanID != trace.SpanID || again.Sampled != trace.Sampled {
			t.Fatalf("FromHeader(%q, %q) = %+v, after a hop %+v", tp, ct, trace, again)
		}
	})
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func flat(h http.Header) string {
	var b strings.Builder
	h.Write(&b)
	return b.String()
}
