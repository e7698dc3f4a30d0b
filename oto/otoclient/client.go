package otoclient

import (
	"net/http"
	"time"
)

// Client sends the calls. Its fields may be set before the first one; the zero
// Client lacks only RemoteHost.
type Client struct {
	// RemoteHost is the URL that the services are below, such as
	// http://localhost:8080/oto/.
	RemoteHost string
	// HTTPClient sends the requests; nil is one of our own. Ours keeps up to 80
	// connections to a host, or to a proxy for all that is behind it, over which
	// further calls take turns (a service that calls itself needs one of its own),
	// and ends a call whose context has no deadline after 10 seconds.
	HTTPClient *http.Client
	// BeforeRequest may change a request just before it is sent, or stop it with
	// an error, which the call then returns.
	BeforeRequest func(*http.Request) error
	// Debug is told what is sent, bodies included.
	Debug func(string)
	// MaxResponseBytes is the size that an answer may have, unpacked; zero is
	// 32 MiB, which is Cloud Run's limit.
	MaxResponseBytes int64
	// CopyStrings gives each string of an answer memory of its own. Otherwise they
	// are parts of one copy of the answer, and who keeps one of them, in a map say,
	// keeps the whole answer in memory, unless it is a [strings.Clone].
	CopyStrings bool
}

// New returns a Client of the services below remoteHost.
func New(remoteHost string) *Client {
	return &Client{RemoteHost: remoteHost, HTTPClient: newHTTPClient()}
}

const (
	defaultTimeout          = 10 * time.Second
	defaultMaxResponseBytes = 32 << 20
	maxErrorText            = 512
)

// ownClient is the HTTPClient of a Client that has none.
var ownClient = newHTTPClient()

func newHTTPClient() *http.Client {
	return &http.Client{Transport: shared, CheckRedirect: checkRedirect}
}

// checkRedirect stops where net/http would go on with a GET, which calls nothing:
// whatever it ends at is no answer. The redirect itself is the answer then.
func checkRedirect(r *http.Request, via []*http.Request) error {
	if r.Method != http.MethodPost || len(via) >= 10 {
		return http.ErrUseLastResponse
	}
	return nil
}
