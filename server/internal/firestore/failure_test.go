package firestore

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/amammay/otorun/server/internal/eaters"
)

// Each way of not reaching Firestore has its error, within the call's time.
func TestNotReached(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, tt := range []struct {
		name, addr string
		cancel     bool
		want       error
		say        string
	}{
		{name: "nobody listens", addr: closed.Addr().String(), want: eaters.ErrUnavailable, say: "connection refused"},
		{name: "it hangs", addr: l.Addr().String(), want: context.DeadlineExceeded},
		{name: "the caller gives up", addr: l.Addr().String(), cancel: true, want: context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("FIRESTORE_EMULATOR_HOST", tt.addr)
			s := New("p")
			s.timeout = 500 * time.Millisecond
			defer s.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.cancel {
				s.timeout = time.Hour
				time.AfterFunc(100*time.Millisecond, cancel)
			}
			begun := time.Now()
			put := s.Put(ctx, "Ana", []string{"Fish"})
			var list error
			for _, list = range s.List(ctx, "", 1) {
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("two calls took %v", took)
			}
			for _, err := range []error{put, list} {
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.say) {
					t.Errorf("error %v, want %v: %s", err, tt.want, tt.say)
				}
			}
		})
	}
}

func TestKind(t *testing.T) {
	slow := status.Error(codes.DeadlineExceeded, "slow")
	for _, tt := range []struct {
		name      string
		err, last error
		want      error
		say       string
	}{
		{name: "contention", err: status.Error(codes.Aborted, "too much"), want: eaters.ErrUnavailable},
		{name: "quota", err: status.Error(codes.ResourceExhausted, "quota"), want: eaters.ErrUnavailable},
		{name: "retried until time was up", err: context.DeadlineExceeded, last: status.Error(codes.Unavailable, "refused"), want: eaters.ErrUnavailable, say: "refused"},
		{name: "slow", err: slow, want: context.DeadlineExceeded, say: "slow"},
		{name: "not let in", err: status.Error(codes.PermissionDenied, "no"), say: "roles/datastore.user"},
		{name: "not let in, retried", err: slow, last: status.Error(codes.PermissionDenied, "no"), say: "roles/datastore.user"},
		{name: "no database", err: status.Error(codes.NotFound, "The database (default) does not exist"), say: "does not exist"},
	} {
		got := kind(tt.err, tt.last)
		if tt.want != nil && !errors.Is(got, tt.want) || !strings.Contains(got.Error(), tt.say) {
			t.Errorf("%s: %v, want %v: %s", tt.name, got, tt.want, tt.say)
		}
		if tt.want == nil && errors.Is(got, eaters.ErrUnavailable) {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
