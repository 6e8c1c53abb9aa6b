// Package needtest is how a test says that something it needs is not here: a
// server, a program, root, a terminal. It is imported by tests only, and knows
// nothing of Keyturn.
//
// The PowerShell engine is no such need: most machines have none, and a test
// without it skips everywhere.
package needtest

import (
	"os"
	"testing"
)

// Env is the variable that, set to 1, turns every such skip into a failure: CI
// sets it, where everything must be here and a skip would pass for a success.
const Env = "KEYTURN_TEST_REQUIRE"

// Missing skips the test for want of something, or fails it under [Env].
func Missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv(Env) == "1" {
		tb.Fatalf("%s, and %s=1", what, Env)
	}
	tb.Skip(what)
}
