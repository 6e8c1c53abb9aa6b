package sshd

import (
	"context"
	"io"
)

// A Login is one attempt to log in. User and Domain are as the client sent
// them: `LAB\admin` is split, `admin@lab.test` and a bare name leave Domain "".
// Exactly one of Check and Key is set.
type Login struct {
	User   string
	Domain string
	// Check reports whether password is the one that the client sent.
	Check func(password string) bool
	// Key is the public key that the client has the private one of, in the form
	// of authorized_keys. With Authority it is the key of the authority that
	// signed the client's certificate, which is valid for User in all else.
	Key       string
	Authority bool
}

// A Command is one command line and who runs it.
type Command struct {
	Owner string // as Authenticate returned it
	Line  string // what the default shell starts
}

// A Host is the machine behind a server. Its methods are called from many
// goroutines.
type Host interface {
	// Authenticate decides whether the log-in is accepted, and under which
	// name. It counts wrong passwords and refuses locked accounts. For a key it
	// may be asked more than once in one log-in.
	Authenticate(ctx context.Context, l Login) (owner string, ok bool)
	// Run runs a command to its end and returns its exit code. When ctx ends
	// the command has been killed: Run must return soon, doing nothing more.
	// Once the connection is cut, writing fails and the command runs on.
	Run(ctx context.Context, c Command, stdin io.Reader, stdout, stderr io.Writer) int
}
