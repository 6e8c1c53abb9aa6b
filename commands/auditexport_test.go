package commands

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAVeryLongLineIsNoEntryOfATrail(t *testing.T) {
	t.Parallel()
	d, _, stderr := withVault(t)
	name := filepath.Join(t.TempDir(), "kept.jsonl")
	if err := os.WriteFile(name, []byte("\n"+strings.Repeat("x", maxAuditLine)), 0o600); err != nil {
		t.Fatal(err)
	}
	code := Run(t.Context(), d, []string{"audit", "verify", "--against", name})
	if code != 1 || !strings.Contains(stderr.String(), "line 2 of "+name+" is no entry of an audit trail\nhint: ") {
		t.Errorf("%d\n%s", code, stderr)
	}
}
