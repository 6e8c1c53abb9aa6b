package commands

import (
	"context"
	"strings"
	"testing"

	"keyturn/pkg/pam"
)

// An agent that does not answer may hold the key: it is told of, the session is
// locked all the same, and a rekey, which leaves that key good for nothing, is done.
func TestAnAgentThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	d, _, rekey := ringed(t)
	d.StopAgent = func(context.Context) (bool, error) {
		return false, pam.Errorf(pam.ErrIO, "the agent of this vault does not answer")
	}
	if code, out := rekey("", nil); code != 0 || !strings.Contains(out, "does not answer: it had the old key") ||
		!strings.Contains(out, "The vault has a new key") {
		t.Errorf("rekey ended with %d:\n%s", code, out)
	}
	locked := false
	d.Lock = func() { locked = true }
	if code := Run(t.Context(), d, []string{"logout"}); code != 1 || !locked || !d.Session.Locked {
		t.Errorf("logout ended with %d; forgotten: %v, locked: %v", code, locked, d.Session.Locked)
	}
}
