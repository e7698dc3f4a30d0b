package h2

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
)

// A reader reads what the other end sends. It never waits for anything else.
type reader struct {
	c       *Conn
	br      *bufio.Reader
	window  int // what may come on the connection
	decoder *hpack.Decoder
	awake   []*stream // have something new to be told of
	head    head
	names   map[string]string // as net/http spells them
}

// Read notes that the other end lives.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.c.nc.Read(p)
	r.c.lastRead.Store(int64(time.Since(r.c.begun)))
	return n, err
}

func (r *reader) run() {
	r.decoder = hpack.NewDecoder(4096, r.field)
	r.decoder.SetMaxStringLength(maxHead)
	r.names = make(map[string]string)
	err := r.frames()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("connection closed by the other end")
	}
	r.wake()
	r.c.fail(err)
}

// wake tells the streams that have something new. That is done when there is
// nothing more to read at once: an answer's head and body wake its reader once.
func (r *reader) wake() {
	for i, s := range r.awake {
		s.notify()
		r.awake[i] = nil
	}
	r.awake = r.awake[:0]
}

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte // valid until the next frame
}

func (f *frame) has(flag byte) bool { return f.flags&flag != 0 }

// next reads a frame.
func (r *reader) next() (f frame, err error) {
	if r.br.Buffered() < frameHead {
		r.wake()
	}
	h, err := r.br.Peek(frameHead)
	if err != nil {
		return f, err
	}
	n := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
	f = frame{kind: h[3], flags: h[4], stream: binary.BigEndian.Uint32(h[5:]) & maxStreamID}
	if n > minMaxFrame {
		return f, &connError{errFrameSize, fmt.Sprintf("a frame of %d bytes", n)}
	}
	if r.br.Buffered() < frameHead+n {
		r.wake()
	}
	if h, err = r.br.Peek(frameHead + n); err != nil {
		return f, err
	}
	f.payload = h[frameHead:]
	_, err = r.br.Discard(frameHead + n) // the bytes stay until more are read
	return f, err
}

func (r *reader) frames() error {
	for first := true; ; first = false {
		f, err := r.next()
		if err != nil {
			return err
		}
		if first && (f.kind != frameSettings || f.has(flagAck)) {
			return &connError{errProtocol, "no SETTINGS first"}
		}
		switch f.kind {
		case frameData:
			err = r.data(f)
		case frameHeaders:
			err = r.headers(f)
		case frameRSTStream:
			err = r.rst(f)
		case frameSettings:
			err = r.settings(f)
		case framePing:
			err = r.ping(f)
		case frameGoAway:
			err = r.goAway(f)
		case frameWindowUpdate:
			err = r.windowUpdate(f)
		case framePushPromise:
			err = &connError{errProtocol, "PUSH_PROMISE, which it was asked not to send"}
		case frameContinuation:
			err = &connError{errProtocol, "CONTINUATION of nothing"}
		}
		// Others are ignored, RFC 9113 section 5.5.
		if err != nil {
			return err
		}
	}
}

// stream returns the stream that a frame is of, nil if that has ended.
func (r *reader) stream(f frame) (*stream, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if f.stream%2 == 0 || f.stream > r.c.opened {
		return nil, &connError{errProtocol, fmt.Sprintf("frame %d of stream %d, which there isn't", f.kind, f.stream)}
	}
	return r.c.streams[f.stream], nil
}

// malformed ends a stream whose answer can't be passed on.
func (r *reader) malformed(s *stream, code errCode, reason string) error {
	s.fail(fmt.Errorf("malformed answer: %s", reason))
	s.cancel(code)
	return nil
}

// unpad returns a payload without its padding.
func (f *frame) unpad() ([]byte, error) {
	p := f.payload
	if f.has(flagPadded) {
		if len(p) == 0 || int(p[0]) >= len(p) {
			return nil, &connError{errProtocol, "more padding than frame"}
		}
		p = p[1 : len(p)-int(p[0])]
	}
	return p, nil
}

func (r *reader) data(f frame) error {
	s, err := r.stream(f)
	if err != nil {
		return err
	}
	data, err := f.unpad()
	if err != nil {
		return err
	}
	if r.window -= len(f.payload); r.window < 0 {
		return &connError{errFlowControl, "more DATA than the connection's window"}
	}
	if back := connWindow - r.window; back > connWindow/2 {
		r.window += back
		r.c.send(func(b []byte) []byte { return appendWindowUpdate(b, 0, back) })
	}
	if s == nil {
		return nil // it was cancelled
	}
	s.mu.Lock()
	reason, code := "", errProtocol
	s.recvWindow -= len(f.payload)
	s.taken += len(f.payload) - len(data)
	s.left -= int64(len(data))
	switch {
	case s.final == nil:
		reason = "DATA before HEADERS"
	case s.ended:
		reason = "DATA after the end"
	case s.recvWindow < 0:
		reason, code = "more DATA than the stream's window", errFlowControl
	case s.announced && s.left < 0:
		reason = "more DATA than Content-Length"
	}
	if reason != "" {
		s.mu.Unlock()
		return r.malformed(s, code, reason)
	}
	if !s.closed {
		if len(s.body)+len(data) > cap(s.body) && s.read > 0 {
			s.body = s.body[:copy(s.body, s.body[s.read:])]
			s.read = 0
		}
		s.body = append(s.body, data...)
	}
	s.mu.Unlock()
	if f.has(flagEndStream) {
		return r.end(s)
	}
	r.awake = append(r.awake, s)
	return nil
}

// end notes that a stream's answer is complete.
func (r *reader) end(s *stream) error {
	s.mu.Lock()
	if s.announced && s.left != 0 {
		s.mu.Unlock()
		return r.malformed(s, errProtocol, fmt.Sprintf("DATA ended %d bytes before Content-Length", s.left))
	}
	s.ended = true
	done := s.sentAll
	s.mu.Unlock()
	if done {
		r.c.forget(s)
	}
	r.awake = append(r.awake, s)
	return nil
}

// head is a block of header fields while it is taken apart.
type head struct {
	status  string
	header  http.Header
	values  []string // that header's values are slices of
	regular bool     // a field that is no pseudo-header has come
	size    int
	fault   string
}

// field takes a field of the head.
func (r *reader) field(f hpack.HeaderField) {
	h := &r.head
	if h.size += len(f.Name) + len(f.Value) + 32; h.size > maxHead {
		h.fault = fmt.Sprintf("a header of more than %d bytes", maxHead)
		return
	}
	if len(f.Name) > 0 && f.Name[0] == ':' {
		if f.Name != ":status" || h.status != "" || h.regular {
			h.fault = "pseudo-header " + strconv.Quote(f.Name)
		}
		h.status = f.Value
		return
	}
	h.regular = true
	name, ok := r.names[f.Name]
	if !ok {
		if !validName(f.Name) {
			h.fault = "a header of the name " + strconv.Quote(f.Name)
			return
		}
		name = textproto.CanonicalMIMEHeaderKey(f.Name)
		if len(r.names) < 256 {
			r.names[f.Name] = name
		}
	}
	if !validValue(f.Value) {
		h.fault = "header " + name + " has a control character"
		return
	}
	if have := h.header[name]; have != nil {
		h.header[name] = append(have, f.Value)
		return
	}
	h.values = append(h.values, f.Value)
	h.header[name] = h.values[len(h.values)-1 : len(h.values) : len(h.values)]
}

// validName reports whether name is a token without capitals.
func validName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '!', c == '#', c == '$', c == '%', c == '&', c == '\'', c == '*', c == '+', c == '.', c == '^', c == '`', c == '|', c == '~':
		default:
			return false
		}
	}
	return name != ""
}

func validValue(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func (r *reader) headers(f frame) error {
	s, err := r.stream(f)
	if err != nil {
		return err
	}
	block, err := f.unpad()
	if err != nil {
		return err
	}
	if f.has(flagPriority) {
		if len(block) < 5 {
			return &connError{errFrameSize, "HEADERS too short for its priority"}
		}
		block = block[5:]
	}
	id, last := f.stream, f.has(flagEndStream)
	if !f.has(flagEndHeaders) {
		block = append([]byte(nil), block...)
		for !f.has(flagEndHeaders) {
			if f, err = r.next(); err != nil {
				return err
			}
			if f.kind != frameContinuation || f.stream != id {
				return &connError{errProtocol, "a head without its end"}
			}
			if block = append(block, f.payload...); len(block) > maxHead {
				return &connError{errEnhanceYourCalm, fmt.Sprintf("a head of more than %d bytes", maxHead)}
			}
		}
	}
	r.head = head{header: make(http.Header, 8), values: make([]string, 0, 8)}
	if _, err := r.decoder.Write(block); err != nil {
		return &connError{errCompression, err.Error()}
	}
	if err := r.decoder.Close(); err != nil {
		return &connError{errCompression, err.Error()}
	}
	if s == nil {
		return nil // cancelled; but its fields had to be decoded
	}
	if r.head.fault != "" {
		return r.malformed(s, errProtocol, r.head.fault)
	}
	s.mu.Lock()
	final, ended := s.final != nil, s.ended
	s.mu.Unlock()
	switch {
	case ended:
		return r.malformed(s, errProtocol, "HEADERS after the end")
	case final:
		return r.trailers(s, last)
	default:
		return r.answer(s, last)
	}
}

// answer takes the head of an answer.
func (r *reader) answer(s *stream, last bool) error {
	h := r.head
	status, err := strconv.Atoi(h.status)
	if err != nil || len(h.status) != 3 || status < 100 || status == http.StatusSwitchingProtocols {
		return r.malformed(s, errProtocol, "status "+strconv.Quote(h.status))
	}
	if status < 200 {
		if last {
			return r.malformed(s, errProtocol, "it ends with an informational status")
		}
		s.mu.Lock()
		many := len(s.infos) >= 32
		s.infos = append(s.infos, informational{status, h.header})
		s.mu.Unlock()
		if many {
			return r.malformed(s, errEnhanceYourCalm, "informational answers without end")
		}
		r.awake = append(r.awake, s)
		return nil
	}
	resp := &http.Response{
		StatusCode: status, Status: h.status + " " + http.StatusText(status),
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: h.header, ContentLength: -1, Request: s.req, Body: answer{s},
	}
	lengths := h.header["Content-Length"]
	for _, l := range lengths {
		if l != lengths[0] {
			return r.malformed(s, errProtocol, "two lengths")
		}
	}
	if len(lengths) > 0 {
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil {
			return r.malformed(s, errProtocol, "Content-Length "+strconv.Quote(lengths[0]))
		}
		resp.ContentLength = int64(n)
		h.header["Content-Length"] = lengths[:1]
	} else if last && s.req.Method != http.MethodHead {
		resp.ContentLength = 0
	}
	if names := h.header["Trailer"]; names != nil {
		resp.Trailer = make(http.Header)
		for _, list := range names {
			for name := range strings.SplitSeq(list, ",") {
				if name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)); name != "" {
					resp.Trailer[name] = nil
				}
			}
		}
		delete(h.header, "Trailer")
	}
	bodiless := s.req.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	s.mu.Lock()
	s.resp, s.final = resp, resp
	s.announced, s.left = len(lengths) > 0 && !bodiless, max(resp.ContentLength, 0)
	s.mu.Unlock()
	if last {
		return r.end(s)
	}
	r.awake = append(r.awake, s)
	return nil
}

// trailers takes the fields after an answer's body.
func (r *reader) trailers(s *stream, last bool) error {
	if !last || r.head.status != "" {
		return r.malformed(s, errProtocol, "a second head")
	}
	s.mu.Lock()
	s.trailer = r.head.header
	s.mu.Unlock()
	return r.end(s)
}

func (r *reader) rst(f frame) error {
	s, err := r.stream(f)
	if err != nil || len(f.payload) != 4 {
		return errors.Join(err, shortFrame(f, len(f.payload) != 4))
	}
	if s == nil {
		return nil
	}
	code := errCode(binary.BigEndian.Uint32(f.payload))
	if code == errRefused {
		s.fail(&NotHandledError{code.String()})
	} else {
		// An answer that is complete stays so: the rest of the request isn't wanted.
		s.fail(fmt.Errorf("the other end reset the stream: %s", code))
	}
	r.c.forget(s)
	return nil
}

// shortFrame is an error if a frame's size is wrong.
func shortFrame(f frame, wrong bool) error {
	if !wrong {
		return nil
	}
	return &connError{errFrameSize, fmt.Sprintf("frame %d has %d bytes", f.kind, len(f.payload))}
}

func (r *reader) settings(f frame) error {
	if f.stream != 0 {
		return &connError{errProtocol, "SETTINGS of a stream"}
	}
	if f.has(flagAck) {
		return shortFrame(f, len(f.payload) != 0)
	}
	if len(f.payload)%6 != 0 {
		return shortFrame(f, true)
	}
	c := r.c
	table := -1
	c.mu.Lock()
	for p := f.payload; len(p) > 0; p = p[6:] {
		v := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingHeaderTable:
			table = int(min(v, maxWindow))
		case settingMaxStreams:
			c.maxStreams = int(min(v, maxWindow))
		case settingMaxFrame:
			if v < minMaxFrame || v > maxMaxFrame {
				c.mu.Unlock()
				return &connError{errProtocol, fmt.Sprintf("SETTINGS_MAX_FRAME_SIZE %d", v)}
			}
			c.maxFrame = int(min(v, 64<<10)) // larger ones would only keep others waiting
		case settingMaxHeaderList:
			c.maxHeaderList = uint64(v)
		case settingInitialWindow:
			by := int64(v) - c.initialWindow
			c.initialWindow = int64(v)
			over := v > maxWindow
			for _, s := range c.streams {
				s.sendWindow += by
				over = over || s.sendWindow > maxWindow
			}
			if over {
				c.mu.Unlock()
				return &connError{errFlowControl, fmt.Sprintf("SETTINGS_INITIAL_WINDOW_SIZE %d", v)}
			}
		}
	}
	c.window.Broadcast()
	c.mu.Unlock()
	c.wmu.Lock()
	if table >= 0 {
		c.encoder.SetMaxDynamicTableSize(uint32(min(table, 4096)))
	}
	c.unsent = appendSettingsAck(c.unsent)
	c.flush()
	return nil
}

func (r *reader) ping(f frame) error {
	if f.stream != 0 {
		return &connError{errProtocol, "PING of a stream"}
	}
	if len(f.payload) != 8 {
		return shortFrame(f, true)
	}
	if !f.has(flagAck) {
		data := [8]byte(f.payload)
		r.c.send(func(b []byte) []byte { return appendPing(b, true, data) })
	}
	return nil
}

func (r *reader) goAway(f frame) error {
	if f.stream != 0 {
		return &connError{errProtocol, "GOAWAY of a stream"}
	}
	if len(f.payload) < 8 {
		return shortFrame(f, true)
	}
	last := binary.BigEndian.Uint32(f.payload) & maxStreamID
	code := errCode(binary.BigEndian.Uint32(f.payload[4:]))
	c := r.c
	c.mu.Lock()
	c.leaving = true
	var unhandled []*stream
	for id, s := range c.streams {
		if id > last {
			unhandled = append(unhandled, s)
		}
	}
	none := len(c.streams)+c.reserved == 0
	c.mu.Unlock()
	for _, s := range unhandled {
		s.fail(&NotHandledError{"GOAWAY " + code.String()})
		c.forget(s)
	}
	if none {
		c.fail(errClosed)
	}
	return nil
}

func (r *reader) windowUpdate(f frame) error {
	if len(f.payload) != 4 {
		return shortFrame(f, true)
	}
	by := int64(binary.BigEndian.Uint32(f.payload) & maxWindow)
	c := r.c
	if f.stream == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.sendWindow += by; by == 0 || c.sendWindow > maxWindow {
			return &connError{errFlowControl, fmt.Sprintf("WINDOW_UPDATE by %d", by)}
		}
		c.window.Broadcast()
		return nil
	}
	s, err := r.stream(f)
	if err != nil || s == nil {
		return err
	}
	c.mu.Lock()
	s.sendWindow += by
	over := by == 0 || s.sendWindow > maxWindow
	c.window.Broadcast()
	c.mu.Unlock()
	if over {
		return r.malformed(s, errFlowControl, fmt.Sprintf("WINDOW_UPDATE by %d", by))
	}
	return nil
}
