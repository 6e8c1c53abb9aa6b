package remote

import (
	"context"
	"errors"
	"strings"
	"unicode"

	"keyturn/pkg/pam"
)

// maxText is how much of a foreign text is kept, in characters.
const maxText = 300

// Clean makes a foreign text fit to be shown: white space folded, what does not
// print left out, cut to length.
func Clean(s string) string {
	if len(s) > 16*maxText {
		s = s[:16*maxText]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsPrint(r) && r != unicode.ReplacementChar:
			return r
		}
		return -1
	}, s)
	r := []rune(strings.Join(strings.Fields(s), " "))
	if len(r) > maxText {
		return string(r[:maxText]) + "..."
	}
	return string(r)
}

// Typed makes err an *[Error] of what was done to address. A context that ended
// names the kind, since it is why the machine was left; but what a machine said
// of our log-in stands, because somebody counts attempts.
func Typed(ctx context.Context, address, op string, err error, sent bool) *Error {
	var re *Error
	if !errors.As(err, &re) {
		re = &Error{Kind: pam.ErrIO, Op: op, Err: err}
	}
	out := *re
	out.Address, out.Sent = address, sent
	switch cause := ctx.Err(); {
	case cause == nil || out.Kind == pam.ErrAuthFailed || out.Kind == pam.ErrUntrusted:
	case errors.Is(cause, context.Canceled):
		out.Kind, out.Err = pam.ErrInterrupted, cause
	default:
		out.Kind, out.Err = pam.ErrUnreachable, cause
	}
	return &out
}
