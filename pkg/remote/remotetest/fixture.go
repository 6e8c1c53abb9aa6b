// Package remotetest is what every [remote.Dialer] must do, as one suite of
// tests that winrm, ssh and the lab's own sessions run unchanged.
//
// It knows no transport: a test of a transport starts a machine, describes it
// in a [Fixture] and calls [Suite]:
//
//	func TestConformance(t *testing.T) {
//		remotetest.Suite(t, func(t *testing.T) remotetest.Fixture {
//			srv := startServer(t) // stopped by t.Cleanup
//			return remotetest.Fixture{Dialer: ssh.NewDialer(...), Target: srv.target, ...}
//		})
//	}
//
// start is called once for each test of the suite, from parallel tests, and
// gives each a machine of its own, so that counters start at nought. What a
// machine cannot observe is left nil: the check is skipped by name, and under
// KEYTURN_TEST_REQUIRE=1 that skip is a failure.
package remotetest

import (
	"keyturn/pkg/remote"
)

// A Fixture is one machine that a transport reaches, and how to make it do
// what the suite asks for.
type Fixture struct {
	// Dialer is what is tested.
	Dialer remote.Dialer
	// Target logs in. The suite changes copies of it: another password, a port
	// that nobody listens on.
	Target remote.Target
	// Untrusted is Target with a pin or a host key that the machine does not have.
	Untrusted remote.Target
	// Trust returns t so that it accepts exactly the server that remote.Error.Server
	// showed: what a user does who compares the fingerprint and says yes.
	Trust func(t remote.Target, server string) remote.Target
	// Lines names the command lines that the machine understands.
	Lines Lines
	// Exits, when set, says what the machine's shell makes of an exit code:
	// PowerShell tells only success from failure.
	Exits func(code int) int
	// LogIns, when set, reports the log-ins that the machine accepted and refused
	// so far, a refused one counted once however many messages it took.
	LogIns func() (accepted, refused int)
	// Running, when set, reports how many commands run on the machine now.
	Running func() int
}

// Lines are the command lines of a [Fixture]. Real programs (sh, cmd) and a
// fake's own words do equally well. All but Hang end by themselves.
type Lines struct {
	// Cat copies standard input to standard output until its end, exit 0.
	Cat string
	// Digest prints the SHA-256 of standard input in hex and a line end, exit 0.
	Digest string
	// Exit reads standard input to its end and exits with code.
	Exit func(code int) string
	// Both prints "out\n" on standard output and "err\n" on standard error, exit 0.
	Both string
	// Big prints n bytes "x" on standard output, exit 0.
	Big func(n int) string
	// Slow prints "tick 1\n", "tick 2\n", "tick 3\n", each written at once, with
	// pauses of some 100 ms between them, exit 0.
	Slow string
	// Hang prints "started\n", reads no input, and stays until it is killed. The
	// fixture ends a leftover itself, in t.Cleanup.
	Hang string
}
