package commands

import (
	"strings"
	"testing"
)

func TestFingerprintsAreComparedAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	pin := "sha256:" + strings.Repeat("0af1", 16)
	colons := "SHA256:" + strings.TrimSuffix(strings.Repeat("0A:F1:", 32), ":")
	for _, c := range []struct {
		what, a, b string
		alike      bool
	}{
		{"the same", pin, pin, true},
		{"capitals and colons", pin, "SHA256:" + strings.TrimSuffix(strings.Repeat("0A:F1:", 16), ":"), true},
		{"twice as long", pin, colons, false},
		{"another", pin, strings.Replace(pin, "0", "1", 1), false},
		{"nothing is like nothing", "", "", false},
		{"a part", pin, pin[:40], false},
		{"host keys", "SHA256:AbC+/d", "SHA256:AbC+/d", true},
		{"host keys in another case are others", "SHA256:AbC+/d", "SHA256:abc+/d", false},
	} {
		if alike(c.a, c.b) != c.alike {
			t.Errorf("%s: %q and %q", c.what, c.a, c.b)
		}
	}
}

// A certificate is compared by its pin, a host key by its fingerprint: that is what
// the pages tell to print on the machine.
func TestWhatIsComparedIsWhatTheMachinePrints(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"sha256:00ff", "SHA256:00:FF", "sha256:00ff"}, {"ssh-ed25519 AAAA", "SHA256:x", "SHA256:x"}, {"ssh-ed25519 AAAA", "", "ssh-ed25519 AAAA"}, {"", "", ""},
	} {
		if got := compared(c[0], c[1]); got != c[2] {
			t.Errorf("%q, %q: %q", c[0], c[1], got)
		}
	}
}
