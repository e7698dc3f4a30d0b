package warden

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImports holds what the package comment says of its init's turn.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	for _, late := range []string{"net", "net/netip", "encoding/json", "regexp"} {
		if slices.Contains(deps, late) {
			t.Errorf("the warden imports %s, through whatever: its init comes later then", late)
		}
	}
}
