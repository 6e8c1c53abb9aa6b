package directory_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain stops the domain controller after the tests, and sees that nothing
// goes on running.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := closeSamba(); err != nil && code == 0 {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}
