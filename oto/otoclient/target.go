package otoclient

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
)

// target is where the calls of a method go.
type target struct {
	text    string       // the URL
	request http.Request // without a body, to be copied
	// direct says that it is on route, over a connection of our own, and that head
	// is all of a request to it up to the number of bytes in the body.
	direct bool
	route  route
	head   []byte
}

// Header values that all requests share; they are full, so that who adds another
// gets a copy.
var (
	contentType = []string{"application/json; charset=utf-8"}
	accept      = []string{"application/json"}
)

func newHeader() http.Header {
	return http.Header{"Content-Type": contentType[:1:1], "Accept": accept[:1:1]}
}

// method names a target.
type method struct{ remoteHost, service, method string }

// targets are those called before. The map isn't changed but replaced by a larger
// one, since there are few targets and many calls. Who calls ever other hosts
// must not fill the memory with them: it starts again from maxTargets.
var targets atomic.Pointer[map[method]*target]

const maxTargets = 1000

// lookUp returns the target of a method, which is made but once.
func lookUp(remoteHost, service, name string) (*target, error) {
	key := method{remoteHost, service, name}
	old := targets.Load()
	if old != nil {
		if to, ok := (*old)[key]; ok {
			return to, nil
		}
	}
	to, err := newTarget(strings.TrimSuffix(remoteHost, "/") + "/" + service + "." + name)
	if err != nil {
		return nil, err
	}
	all := make(map[method]*target)
	if old != nil && len(*old) < maxTargets {
		maps.Copy(all, *old)
	}
	all[key] = to
	targets.CompareAndSwap(old, &all) // or somebody else was first: then next time
	return to, nil
}

func newTarget(text string) (*target, error) {
	r, err := http.NewRequest(http.MethodPost, text, nil)
	if err != nil {
		return nil, err
	}
	r.Header = newHeader()
	to := &target{text: text, request: *r}
	// What the environment says of proxies is read but once.
	if by, ok := shared.route(r); ok && r.URL.User == nil {
		to.direct, to.route, to.head = true, by, appendHead(nil, r, by.proxy)
	}
	return to, nil
}

// newRequest returns a request with body to the target, for own's transport or
// another's.
func (to *target) newRequest(ctx context.Context, body []byte, own bool) *http.Request {
	r := to.request.WithContext(ctx)
	u := *r.URL
	r.URL, r.Header = &u, newHeader()
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) {
		if own {
			return newBody(body), nil
		}
		// Of this kind net/http knows that it is in memory, and sends it together
		// with the head.
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	r.Body, _ = r.GetBody()
	return r
}

// body is that of a request, whose bytes are at hand.
type body struct {
	bytes.Reader
	data []byte
}

func newBody(data []byte) *body {
	b := &body{data: data}
	b.Reset(data)
	return b
}

func (b *body) Close() error { return nil }
