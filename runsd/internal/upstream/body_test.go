package upstream

import (
	"io"
	"strings"
	"sync"
	"testing"
)

// TestTryBody: of two tries of a request, the one that failed first either has
// begun to read its body, and then there is no second, or never reads of it.
func TestTryBody(t *testing.T) {
	for range 1000 {
		app := io.NopCloser(strings.NewReader("taco"))
		first := &tryBody{ReadCloser: app}
		var late string
		var wg sync.WaitGroup
		wg.Go(func() {
			b, _ := io.ReadAll(first)
			late = string(b)
		})
		left := first.leave()
		if left {
			b, err := io.ReadAll(&tryBody{ReadCloser: app})
			if string(b) != "taco" || err != nil {
				t.Fatalf("the second try read %q, %v", b, err)
			}
		}
		wg.Wait()
		if left == (late != "") {
			t.Fatalf("left %v, and the first try read %q", left, late)
		}
	}
}
