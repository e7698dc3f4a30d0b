package otohttp_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pacedotdev/oto/otohttp"
)

func TestCodeStatus(t *testing.T) {
	t.Parallel()
	want := map[otohttp.Code]int{
		"canceled": 499, "unknown": 500, "invalid_argument": 400, "deadline_exceeded": 504,
		"not_found": 404, "already_exists": 409, "permission_denied": 403, "unauthenticated": 401,
		"resource_exhausted": 429, "failed_precondition": 400, "aborted": 409, "out_of_range": 400,
		"unimplemented": 501, "internal": 500, "unavailable": 503, "data_loss": 500,
		"": 500, "made_up": 500,
	}
	for code, status := range want {
		if got := code.Status(); got != status {
			t.Errorf("Code(%q).Status() = %d, want %d", code, got, status)
		}
	}
}

func TestErrorsAsAnswers(t *testing.T) {
	t.Parallel()
	secret := errors.New("secret")
	tests := []struct {
		name       string
		err        error
		wantStatus int
		wantBody   string
		wantCode   otohttp.Code
		wantLog    string // "" is no line at all
	}{
		{
			name: "typed", err: otohttp.Errorf(otohttp.InvalidArgument, "EatTacoRequest.Name is required"),
			wantStatus: 400, wantBody: `{"error":"EatTacoRequest.Name is required","code":"invalid_argument"}`,
			wantCode: otohttp.InvalidArgument,
		}, {
			name: "wrapped", err: fmt.Errorf("secret: %w", otohttp.Errorf(otohttp.NotFound, "no such person")),
			wantStatus: 404, wantBody: `{"error":"no such person","code":"not_found"}`, wantCode: otohttp.NotFound,
		}, {
			name: "cause", err: otohttp.Errorf(otohttp.Unavailable, "try later").WithCause(secret),
			wantStatus: 503, wantBody: `{"error":"try later","code":"unavailable"}`, wantCode: otohttp.Unavailable,
			wantLog: `error="try later: secret"`,
		}, {
			name: "cause of a context", err: otohttp.Errorf(otohttp.Unavailable, "try later").WithCause(context.DeadlineExceeded),
			wantStatus: 503, wantBody: `{"error":"try later","code":"unavailable"}`, wantCode: otohttp.Unavailable,
			wantLog: `error="try later: context deadline exceeded"`,
		}, {
			name: "own status", err: &otohttp.Error{Code: otohttp.FailedPrecondition, Message: "stale", Status: 412},
			wantStatus: 412, wantBody: `{"error":"stale","code":"failed_precondition"}`, wantCode: otohttp.FailedPrecondition,
		}, {
			name: "status that is no error", err: &otohttp.Error{Code: otohttp.Aborted, Message: "lost the race", Status: 200},
			wantStatus: 409, wantBody: `{"error":"lost the race","code":"aborted"}`, wantCode: otohttp.Aborted,
		}, {
			name: "no message", err: &otohttp.Error{Code: otohttp.Aborted, Cause: secret},
			wantStatus: 409, wantBody: `{"error":"aborted","code":"aborted"}`, wantCode: otohttp.Aborted,
		}, {
			name: "nothing but a status", err: &otohttp.Error{Status: 418},
			wantStatus: 418, wantBody: `{"error":"I'm a teapot"}`, wantCode: otohttp.Unknown,
		}, {
			name: "code of one's own", err: otohttp.Errorf("too_spicy", "habanero"),
			wantStatus: 500, wantBody: `{"error":"habanero","code":"too_spicy"}`, wantCode: "too_spicy", wantLog: `code=too_spicy`,
		}, {
			name: "plain", err: errors.New("no more tacos"),
			wantStatus: 500, wantBody: `{"error":"no more tacos"}`, wantCode: otohttp.Unknown, wantLog: `error="no more tacos"`,
		}, {
			name: "plain and empty", err: errors.New(""),
			wantStatus: 500, wantBody: `{"error":"Internal Server Error"}`, wantCode: otohttp.Unknown, wantLog: `status=500`,
		}, {
			name: "deadline", err: fmt.Errorf("store: %w", context.DeadlineExceeded),
			wantStatus: 504, wantBody: `{"error":"store: context deadline exceeded","code":"deadline_exceeded"}`,
			wantCode: otohttp.DeadlineExceeded, wantLog: `code=deadline_exceeded`,
		}, {
			name: "cancelled", err: context.Canceled,
			wantStatus: 499, wantBody: `{"error":"context canceled","code":"canceled"}`, wantCode: otohttp.Canceled,
		}, {
			name: "escapes", err: otohttp.Errorf(otohttp.OutOfRange, "<b> & \"\xff\""),
			wantStatus: 400, wantBody: `{"error":"\u003cb\u003e \u0026 \"\ufffd\"","code":"out_of_range"}`,
			wantCode: otohttp.OutOfRange,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := tacoServer(func(context.Context, eatTacoRequest) (*eatTacoResponse, error) { return nil, tt.err })
			log := logTo(server)
			got := do(t, listen(t, server)+"/oto/TacoService.EatTaco", request{body: sammy})
			wantReply(t, got, tt.wantStatus, tt.wantBody)
			if code := otohttp.CodeOf(tt.err); code != tt.wantCode {
				t.Errorf("CodeOf(%v) = %q, want %q", tt.err, code, tt.wantCode)
			}
			if tt.wantLog == "" && log.String() != "" || !strings.Contains(log.String(), tt.wantLog) {
				t.Errorf("log = %q, want %q", log, tt.wantLog)
			}
		})
	}
}

func TestCodeOfNil(t *testing.T) {
	t.Parallel()
	if got := otohttp.CodeOf(nil); got != "" {
		t.Errorf("CodeOf(nil) = %q, want none", got)
	}
}

func TestErrorTree(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		err       *otohttp.Error
		wantIs    []error
		wantText  string
		wantToo   string // the message
		wantNotIs error
	}{
		{name: "alone", err: otohttp.Errorf(otohttp.Internal, "a"), wantText: "a", wantToo: "a", wantNotIs: fs.ErrExist},
		{
			name: "cause", err: otohttp.Errorf(otohttp.Internal, "a").WithCause(fs.ErrExist),
			wantIs: []error{fs.ErrExist}, wantText: "a: file already exists", wantToo: "a", wantNotIs: fs.ErrClosed,
		}, {
			name: "%w", err: otohttp.Errorf(otohttp.Internal, "a: %w", fs.ErrExist),
			wantIs: []error{fs.ErrExist}, wantText: "a: file already exists", wantToo: "a: file already exists", wantNotIs: fs.ErrClosed,
		}, {
			name: "two of %w and a cause", err: otohttp.Errorf(otohttp.Internal, "%w, %w", fs.ErrExist, fs.ErrInvalid).WithCause(fs.ErrClosed),
			wantIs: []error{fs.ErrExist, fs.ErrInvalid, fs.ErrClosed}, wantText: "file already exists, invalid argument: file already closed",
			wantToo: "file already exists, invalid argument", wantNotIs: fs.ErrPermission,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.err.Error(); got != tt.wantText {
				t.Errorf("Error() = %q, want %q", got, tt.wantText)
			}
			if tt.err.Message != tt.wantToo {
				t.Errorf("Message = %q, want %q", tt.err.Message, tt.wantToo)
			}
			for _, want := range tt.wantIs {
				if !errors.Is(tt.err, want) {
					t.Errorf("errors.Is(%v, %v) = false", tt.err, want)
				}
			}
			if errors.Is(tt.err, tt.wantNotIs) {
				t.Errorf("errors.Is(%v, %v) = true", tt.err, tt.wantNotIs)
			}
		})
	}
}

func TestWithCauseLeavesTheOriginal(t *testing.T) {
	t.Parallel()
	shared := otohttp.Errorf(otohttp.NotFound, "nobody")
	if with := shared.WithCause(fs.ErrNotExist); shared.Cause != nil || with.Cause != fs.ErrNotExist {
		t.Errorf("shared.Cause = %v, with.Cause = %v", shared.Cause, with.Cause)
	}
}

func TestWriteErrorOutsideOfAServer(t *testing.T) {
	t.Parallel()
	guard := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = otohttp.WriteError(w, r, otohttp.Errorf(otohttp.Unauthenticated, "who are you?"))
	})
	recorder := httptest.NewRecorder()
	guard.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/", nil))
	if got, want := recorder.Body.String(), `{"error":"who are you?","code":"unauthenticated"}`; recorder.Code != 401 || got != want {
		t.Errorf("answer = %d %s, want 401 %s", recorder.Code, got, want)
	}
}
