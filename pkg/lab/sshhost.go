package lab

import (
	"context"
	"io"

	"keyturn/pkg/lab/sshd"
)

// sshProfile is what the shells of the machines say first, in the code page of
// a German Windows: whoever takes output for UTF-8, or for the script's alone,
// stumbles over it.
const sshProfile = "Profil geladen f\x81r diese Sitzung\r\n"

// An sshHost is a host as its SSH service sees it.
type sshHost struct{ *host }

// Authenticate accepts administrators of the machine by password, and the
// practice admin by its key. OpenSSH for Windows lets every user in; the lab does
// not, so that both ways show the same.
func (h sshHost) Authenticate(ctx context.Context, l sshd.Login) (string, bool) {
	if l.Check == nil {
		return h.byKey(ctx, l.User, l.Domain, l.Key)
	}
	return h.admit(ctx, l.User, l.Domain, l.Check)
}

// Run carries out a command line.
func (h sshHost) Run(ctx context.Context, c sshd.Command, in io.Reader, out, errs io.Writer) int {
	return h.runLine(ctx, c.Owner, c.Line, in, out, errs)
}
