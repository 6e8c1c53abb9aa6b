package commands

import "testing"

// What lists every record leaves little to garbage, until its last line is written.
func TestListsAreThrifty(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"ls": 1, "list": 1, "whoami": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, out, stderr := withVault(t)
			begun, atEnd := 0, -1
			d.Thrift = func() func() {
				begun++
				return func() { atEnd = out.Len() }
			}
			if code := Run(t.Context(), d, []string{name}); code != 0 {
				t.Fatalf("exit %d: %s", code, stderr)
			}
			if begun != want || want > 0 && atEnd != out.Len() {
				t.Errorf("begun %d times instead of %d; ended after %d of %d bytes", begun, want, atEnd, out.Len())
			}
		})
	}
}
