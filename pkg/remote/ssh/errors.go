package ssh

import (
	"bytes"
	"context"
	"errors"
	"strconv"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// What was being done when it failed.
const (
	opConnect = "connect"
	opHostKey = "check host key"
	opLogIn   = "log in"
	opStart   = "start the command"
	opRun     = "run the command"
)

// maxText bounds what a server can put into an error.
const maxText = 300

func fail(t remote.Target, op string, kind pam.Kind, err error) *remote.Error {
	return &remote.Error{Kind: kind, Address: t.Address(), Op: op, Err: err}
}

// contextKind is the kind of a step that its context ended.
func contextKind(err error) pam.Kind {
	if errors.Is(err, context.DeadlineExceeded) {
		return pam.ErrUnreachable
	}
	return pam.ErrInterrupted
}

// A hidden error shows the text of err in a form that a server cannot abuse.
type hidden struct {
	text string
	err  error
}

// Error returns the cleaned text.
func (h *hidden) Error() string { return h.text }

// Unwrap returns the error as it came.
func (h *hidden) Unwrap() error { return h.err }

// hide wraps an error whose text may quote the server.
func hide(err error, password secret.Value) error {
	text := err.Error()
	if !password.IsZero() && bytes.Contains([]byte(text), password.Reveal()) {
		return &hidden{text: "its answer quoted the password and is left out"}
	}
	return &hidden{text: clean(text), err: err}
}

// clean escapes control and other unprintable characters and cuts the text.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	q := strconv.QuoteToGraphic(s)
	return q[1 : len(q)-1]
}
