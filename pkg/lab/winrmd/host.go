package winrmd

import (
	"context"
	"io"
)

// A Login is one attempt to log in. User and Domain are as the client sent
// them: `LAB\admin` is split, `admin@lab.test` and a bare name leave Domain "".
type Login struct {
	User   string
	Domain string
	// Check reports whether password is the one that the client has, or, with
	// NTLM, the one that its answer to the challenge was computed from.
	Check func(password string) bool
}

// A Command is one command line and who runs it.
type Command struct {
	Owner string // as Authenticate returned it
	Line  string // command and arguments, joined by single spaces
}

// A Host is the machine behind a server. Its methods are called from many
// goroutines.
type Host interface {
	// Authenticate decides whether the log-in is accepted, and under which
	// name. It counts wrong passwords and refuses locked accounts.
	Authenticate(ctx context.Context, l Login) (owner string, ok bool)
	// Run runs a command to its end and returns its exit code. When ctx ends
	// the command has been killed: Run must return soon, doing nothing more.
	Run(ctx context.Context, c Command, stdin io.Reader, stdout, stderr io.Writer) int
}
