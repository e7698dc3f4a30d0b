package logs

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

var source = Source{Service: "tacoserver", Revision: "tacoserver-00001-abc", Instance: "1"}

func entryOf(severity, line string) Entry {
	var s Store
	s.Append(source, severity, line)
	return s.Entries(nil)[0]
}

func TestLineOfJSON(t *testing.T) {
	line := `{"severity":"ERROR","time":"2026-11-23T21:29:02.683034117Z","message":"it broke","logging.googleapis.com/trace":"projects/p/traces/t",` +
		`"logging.googleapis.com/spanId":"s","httpRequest":{"requestMethod":"GET","requestUrl":"/x","status":502,"latency":"0.5s"},"status":400,"a":"b"}`
	e := entryOf("DEFAULT", line)
	if e.Severity != "ERROR" || e.Message != "it broke" || e.Trace != "projects/p/traces/t" || e.SpanID != "s" || e.Line != line {
		t.Errorf("Append made %+v", e)
	}
	if e.Request == nil || e.Request.Status != 502 || e.Request.RequestURL != "/x" {
		t.Errorf("request %+v", e.Request)
	}
	if want := time.Date(2026, 11, 23, 21, 29, 2, 683034117, time.UTC); !e.Time.Equal(want) {
		t.Errorf("time %v, want %v", e.Time, want)
	}
	if got, want := summary(e), "it broke  GET /x 502 0.5s  a=b  status=400"; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
}

func TestOtherLinesAreMessages(t *testing.T) {
	for _, line := range []string{"", "plain", `{"half": `, "[1]", `"text"`} {
		if e := entryOf("ERROR", line); e.Message != line || e.Severity != "ERROR" {
			t.Errorf("of %q Append made %+v", line, e)
		}
	}
}

func TestWriterMakesLines(t *testing.T) {
	var s Store
	w := s.Writer(source, "DEFAULT")
	for _, part := range []string{"one\ntw", "o\r\n", "\n", strings.Repeat("x", maxLine), "yy\n", "last"} {
		if n, err := io.WriteString(w, part); n != len(part) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	w.Close()
	w.Close()
	var got []string
	for _, e := range s.Entries(nil) {
		got = append(got, e.Line)
	}
	if want := []string{"one", "two", "", strings.Repeat("x", maxLine), "last"}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%d lines: %.40q", len(got), got)
	}
}

func TestStoreKeepsTheNewest(t *testing.T) {
	var s Store
	followed := 0
	stop := s.Follow(func(Entry) { followed++ })
	for i := range 3 * kept {
		s.Append(source, "DEFAULT", fmt.Sprint(i))
	}
	stop()
	s.Append(source, "DEFAULT", "end")
	all := s.Entries(nil)
	if len(all) < kept || len(all) > 2*kept || all[len(all)-1].Line != "end" || followed != 3*kept {
		t.Errorf("%d entries, followed %d", len(all), followed)
	}
	if got := s.Entries(func(e Entry) bool { return e.Line == "end" }); len(got) != 1 {
		t.Errorf("found %d", len(got))
	}
}

// Who follows and who asks later see the same, whenever a line was taken apart.
func TestFollowersSeeEntriesTakenApart(t *testing.T) {
	var s Store
	const line = `{"severity":"ERROR","message":"it broke"}`
	s.Append(source, "DEFAULT", line)
	var followed []Entry
	stop := s.Follow(func(e Entry) { followed = append(followed, e) })
	s.Append(source, "DEFAULT", line)
	stop()
	s.Append(source, "DEFAULT", line)
	all := s.Entries(func(e Entry) bool { return e.Severity == "ERROR" && e.Message == "it broke" && e.JSON })
	if len(all) != 3 || len(followed) != 1 || followed[0].Severity != "ERROR" || !followed[0].JSON {
		t.Errorf("followed %+v, all that match %+v", followed, all)
	}
}

// BenchmarkLine is what a line of a request costs the platform when nobody reads it
// and when somebody follows.
func BenchmarkLine(b *testing.B) {
	line := []byte(`{"severity":"INFO","time":"2026-11-23T21:29:02.683034117Z","message":"request from Go-http-client/1.1","logging.googleapis.com/trace":"projects/local-project/traces/4bf92f3577b34da6a3ce929d0e0e4736","logging.googleapis.com/spanId":"00f067aa0ba902b7","logging.googleapis.com/trace_sampled":true,` +
		`"httpRequest":{"requestMethod":"POST","requestUrl":"/oto/TacoService.EatTaco","status":200,"requestSize":"51","responseSize":"59","userAgent":"Go-http-client/1.1","remoteIp":"127.0.0.1","latency":"0.000045s","protocol":"HTTP/1.1"}}` + "\n")
	for name, followers := range map[string]int{"unread": 0, "followed": 1} {
		b.Run(name, func(b *testing.B) {
			var s Store
			for range followers {
				defer s.Follow(func(Entry) {})()
			}
			w := s.Writer(source, "DEFAULT")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.Write(line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestConsole(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	entry := func(service, severity, message string) Entry {
		return Entry{Source: Source{Service: service}, Time: at, Severity: severity, Message: message}
	}
	var plain, painted bytes.Buffer
	for w, color := range map[io.Writer]bool{&plain: false, &painted: true} {
		c := NewConsole(w, color)
		c.Name("tacoclient")
		c.Print(entry("tacoclient", "INFO", "hello"))
		c.Print(entry("taco", "ERROR", "bad\x1b[2Jnews"))
	}
	if want := "tacoclient 03:04:05.000 hello\ntaco       03:04:05.000 ERROR bad�[2Jnews\n"; plain.String() != want {
		t.Errorf("plain %q, want %q", plain.String(), want)
	}
	if want := "\x1b[36mtacoclient\x1b[0m 03:04:05.000 hello\n\x1b[35mtaco      \x1b[0m 03:04:05.000\x1b[31m ERROR\x1b[0m bad�[2Jnews\n"; painted.String() != want {
		t.Errorf("painted %q, want %q", painted.String(), want)
	}
}
