package templates_test

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/pacedotdev/oto/otohttp"
)

// The statuses and codes of the document are those that otohttp answers with.
func TestOpenAPIErrors(t *testing.T) {
	text, err := os.ReadFile("../generated/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]struct {
			Post struct{ Responses map[string]any }
		}
		Components struct {
			Schemas struct {
				CallError struct {
					Properties struct {
						Code struct{ Enum []otohttp.Code }
					}
				}
			}
			Responses map[string]struct {
				Content map[string]struct {
					Examples map[otohttp.Code]struct {
						Value struct{ Code otohttp.Code }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	codes := document.Components.Schemas.CallError.Properties.Code.Enum
	want := []otohttp.Code{
		otohttp.Aborted, otohttp.AlreadyExists, otohttp.Canceled, otohttp.DataLoss, otohttp.DeadlineExceeded, otohttp.FailedPrecondition,
		otohttp.Internal, otohttp.InvalidArgument, otohttp.NotFound, otohttp.OutOfRange, otohttp.PermissionDenied, otohttp.ResourceExhausted,
		otohttp.Unauthenticated, otohttp.Unavailable, otohttp.Unimplemented, otohttp.Unknown,
	}
	if !slices.Equal(codes, want) {
		t.Errorf("codes %q, want %q", codes, want)
	}
	for _, code := range want {
		status := strconv.Itoa(code.Status())
		example, ok := document.Components.Responses[status].Content["application/json"].Examples[code]
		if !ok || example.Value.Code != code {
			t.Errorf("status %s has no example of %s", status, code)
		}
		for path, operation := range document.Paths {
			if operation.Post.Responses[status] == nil {
				t.Errorf("%s has no status %s", path, status)
			}
		}
	}
}
