package otoclient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// rawServer answers the first request of each connection with bytes as they are.
type rawServer struct {
	net.Listener
	// answer is called when a request has come.
	answer func(net.Conn)
}

// serveRaw starts a server that reads requests, has answer write what it likes, and
// closes the connection.
func serveRaw(t testing.TB, answer func(net.Conn)) *rawServer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &rawServer{l, answer}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *rawServer) serve(c net.Conn) {
	defer c.Close()
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		s.answer(c)
	}
}

func (s *rawServer) target(t testing.TB) *target {
	to, err := newTarget("http://" + s.Addr().String() + "/oto/TacoService.EatTaco")
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// newTransport returns one like shared, of the test's own.
func newTransport(t testing.TB) *transport {
	tr := &transport{conns: newPool(dialer.DialContext), std: &http.Transport{DisableCompression: true, Proxy: http.ProxyFromEnvironment}}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// outcome is all that a caller sees of an answer. Of another protocol, to which
// nobody asked the server to switch, there is nothing to see here.
func outcome(t testing.TB, rt http.RoundTripper, to *target, own bool) string {
	answer, err := rt.RoundTrip(to.newRequest(t.Context(), []byte(`{"name":"Ana"}`), own))
	if err != nil {
		return "no answer"
	}
	defer rt.(interface{ CloseIdleConnections() }).CloseIdleConnections() // the server closes them at some time
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return "101"
	}
	body, err := io.ReadAll(answer.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.ErrUnexpectedEOF
	} else if err != nil {
		err = errors.New("broken")
	}
	return fmt.Sprintf("%s %d %q\n%v\nlength %d, %v, close %t, trailer %v\n%q, %v", answer.Proto, answer.StatusCode, answer.Status,
		answer.Header, answer.ContentLength, answer.TransferEncoding, answer.Close, answer.Trailer, body, err)
}

// sent are answers as servers send them, and as they shouldn't.
var sent = map[string]string{
	"of known length":              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
	"without a body":               "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"204":                          "HTTP/1.1 204 No Content\r\n\r\n",
	"204 with a body":              "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
	"304":                          "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
	"to its end":                   "HTTP/1.1 200 OK\r\n\r\n{}",
	"to its end, HTTP/1.0":         "HTTP/1.0 200 OK\r\n\r\n{}",
	"kept, HTTP/1.0":               "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
	"HTTP/1.0 without a length":    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n{}",
	"closed":                       "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
	"chunked":                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n",
	"chunked with a trailer":       "HTTP/1.1 200 OK\r\nTrailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-A: a\r\n\r\n",
	"chunked and of a length":      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"chunked, cut off":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
	"chunked, no number":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n",
	"chunked twice":                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
	"packed":                       "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
	"100":                          "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
	"several 1xx":                  strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 20) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
	"1xx with a length":            "HTTP/1.1 102 Processing\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
	"only 1xx":                     "HTTP/1.1 100 Continue\r\n\r\n",
	"101":                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nabc",
	"099":                          "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\n{}",
	"999":                          "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}",
	"no reason":                    "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
	"many blanks":                  "HTTP/1.1   200   OK\r\nContent-Length:    2   \r\n\r\n{}",
	"only line feeds":              "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
	"folded header":                "HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
	"lengths that agree":           "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
	"lengths that don't":           "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
	"list of lengths":              "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
	"negative length":              "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
	"length with a plus":           "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
	"length beyond 64 bits":        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
	"huge length":                  "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n{}",
	"more than the length":         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{}",
	"less than the length":         "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
	"several values":               "HTTP/1.1 200 OK\r\nX-A: a\r\nx-a: b\r\nX-a:\r\nContent-Length: 2\r\n\r\n{}",
	"name with a blank":            "HTTP/1.1 200 OK\r\nX-A : a\r\nContent-Length: 2\r\n\r\n{}",
	"no name":                      "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\n{}",
	"no colon":                     "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 2\r\n\r\n{}",
	"name beyond ASCII":            "HTTP/1.1 200 OK\r\nX-\xe4: a\r\nContent-Length: 2\r\n\r\n{}",
	"value beyond ASCII":           "HTTP/1.1 200 OK\r\nX-A: \xe4\r\nContent-Length: 2\r\n\r\n{}",
	"zero byte in a value":         "HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
	"carriage return in a value":   "HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 2\r\n\r\n{}",
	"pragma":                       "HTTP/1.1 200 OK\r\nPragma: no-cache\r\nContent-Length: 2\r\n\r\n{}",
	"two answers":                  strings.Repeat("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 2),
	"nothing":                      "",
	"half a line":                  "HTTP/1.1 20",
	"half a head":                  "HTTP/1.1 200 OK\r\nContent-Len",
	"no answer of HTTP":            "SSH-2.0-OpenSSH_9\r\n",
	"HTTP/2":                       "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
	"odd version":                  "HTTP/1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
	"status of two digits":         "HTTP/1.1 20 OK\r\n\r\n",
	"status of letters":            "HTTP/1.1 2xx OK\r\n\r\n",
	"large head":                   "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 100<<10) + "\r\nContent-Length: 2\r\n\r\n{}",
	"head beyond the limit":        "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", maxHead) + "\r\nContent-Length: 2\r\n\r\n{}",
	"1xx beyond the limit":         strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("a", 1<<20)+"\r\n\r\n", 11) + "HTTP/1.1 200 OK\r\n\r\n",
	"large body":                   "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("0123456789", 30000),
	"large body, chunked, cut off": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + strings.Repeat("0123456789", 3000),
}

// The same bytes are the same answer as over net/http.
func TestAnswersAsOverNetHTTP(t *testing.T) {
	t.Parallel()
	for name, text := range sent {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, func(c net.Conn) { io.WriteString(c, text) })
			own := newTransport(t)
			got, want := outcome(t, own, s.target(t), true), outcome(t, own.std, s.target(t), false)
			if got != want {
				t.Errorf("got  %.1000s\nwant %.1000s", got, want)
			}
			wantEmpty(t, own.conns)
		})
	}
}

// However an answer comes in pieces, it is the same.
func TestAnswersInPieces(t *testing.T) {
	t.Parallel()
	for name, text := range sent {
		if len(text) > 1000 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveRaw(t, func(c net.Conn) {
				for i := range len(text) {
					io.WriteString(c, text[i:i+1])
				}
			})
			whole := serveRaw(t, func(c net.Conn) { io.WriteString(c, text) })
			own := newTransport(t)
			got, want := outcome(t, own, s.target(t), true), outcome(t, own, whole.target(t), true)
			if got != want {
				t.Errorf("got  %.1000s\nwant %.1000s", got, want)
			}
		})
	}
}

func FuzzAnswers(f *testing.F) {
	for _, text := range sent {
		if len(text) < 1000 {
			f.Add([]byte(text))
		}
	}
	var text []byte
	s := serveRaw(f, func(c net.Conn) { c.Write(text) })
	own := newTransport(f)
	f.Fuzz(func(t *testing.T, answer []byte) {
		text = answer
		got, want := outcome(t, own, s.target(t), true), outcome(t, own.std, s.target(t), false)
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// wantEmpty waits until the pool has nothing, which it must have once the other
// ends have closed: idle connections are found closed when they are looked at.
func wantEmpty(t *testing.T, p *pool) {
	t.Helper()
	p.closeIdle()
	p.mu.Lock()
	defer p.mu.Unlock()
	for by, h := range p.hosts {
		t.Errorf("%v has still %d connections, %d of them idle, and %d calls wait", by, h.open, len(h.idle), len(h.waiting))
	}
}

// What is wrong with an answer is said.
func TestErrorsOfAnswers(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"nothing":               "connection closed before an answer: EOF",
		"half a head":           "connection closed within the head of an answer: unexpected EOF",
		"no answer of HTTP":     `malformed HTTP response "SSH-2.0-OpenSSH_9"`,
		"head beyond the limit": "the head of the answer is larger than 10485760 bytes",
		"1xx beyond the limit":  "the head of the answer is larger than 10485760 bytes",
		"status of letters":     `malformed HTTP status code "2xx"`,
		"lengths that don't":    `http: message cannot contain multiple Content-Length headers; got ["2" "3"]`,
	} {
		s := serveRaw(t, func(c net.Conn) { io.WriteString(c, sent[name]) })
		to := s.target(t)
		_, err := newTransport(t).post(t.Context(), time.Now().Add(time.Minute), to, []byte("{}"))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", name, err, want)
		}
	}
}

// A connection is kept after an answer that has an end and leaves nothing over.
func TestAnswersThatKeepTheConnection(t *testing.T) {
	t.Parallel()
	for name, kept := range map[string]bool{
		"of known length": true, "without a body": true, "204": true, "chunked": true, "chunked with a trailer": true, "100": true, "kept, HTTP/1.0": true, "large body": true,
		"closed": false, "more than the length": false, "two answers": false, "204 with a body": false, "101": false, "099": false, "several 1xx": true,
	} {
		done := make(chan struct{})
		s := serveRaw(t, func(c net.Conn) {
			io.WriteString(c, sent[name])
			if strings.HasPrefix(name, "101") {
				return
			}
			<-done
		})
		tr := newTransport(t)
		answer, err := tr.post(t.Context(), time.Now().Add(time.Minute), s.target(t), []byte("{}"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			close(done)
			continue
		}
		var body bytes.Buffer
		if _, err := body.ReadFrom(answer.Body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		answer.Body.Close()
		if got := idle(tr.conns) == 1; got != kept {
			t.Errorf("%s: kept %t, want %t", name, got, kept)
		}
		close(done)
	}
}

// idle counts the idle connections.
func idle(p *pool) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.hosts {
		n += len(h.idle)
	}
	return n
}
