package discover

import (
	"os"
	"strings"
	"testing"
)

// What gateway-info tells an administrator to type, the page tells him in the same
// words, and says what it means.
func TestFixesAreThoseOfThePage(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../docs/windows.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(b)), " ")
	for _, fix := range []string{
		fixFilteredToken, fixLanguage, fixStorage, fixWinRM, fixListener, fixFirewall, fixNegotiate, fixCapability, fixWinSSH,
		fixCluster, fixLockout, fixAskLockout,
	} {
		if !strings.Contains(text, fix) {
			t.Errorf("docs/windows.md does not tell of %s", fix)
		}
	}
}
