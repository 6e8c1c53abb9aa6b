package pam

import (
	"context"
	"errors"
	"fmt"
)

// A Kind is what scripts tell failures apart by: it is the "kind" of a JSON
// error and decides the exit code. A Kind is itself an error, so that
// errors.Is(err, pam.ErrNotFound) asks for it.
type Kind string

// The kinds of failure.
const (
	ErrUsage          Kind = "usage"           // the command line is wrong
	ErrInvalidInput   Kind = "invalid_input"   // a record or file cannot be used for this
	ErrNotFound       Kind = "not_found"       // nothing has that name
	ErrAmbiguous      Kind = "ambiguous"       // several things have that name
	ErrLocked         Kind = "locked"          // the vault is locked, or the master password is wrong
	ErrDenied         Kind = "denied"          // this key slot or vault may not do that
	ErrUnreachable    Kind = "unreachable"     // a target did not answer
	ErrAuthFailed     Kind = "auth_failed"     // a target refused our log-in
	ErrUntrusted      Kind = "untrusted"       // certificate or host key unknown or changed
	ErrPolicy         Kind = "policy"          // the target's policy forbids it
	ErrPartial        Kind = "partial"         // the authority has the new password, some machine has not
	ErrUnknownOutcome Kind = "unknown_outcome" // the authority may or may not have the new password
	ErrConflict       Kind = "conflict"        // another job or a newer change is in the way
	ErrDrift          Kind = "drift"           // reality differs from what the vault or the plan says
	ErrIO             Kind = "io"              // disk or database
	ErrInterrupted    Kind = "interrupted"     // stopped by the user before anything changed
	ErrInternal       Kind = "internal"        // a programmer's mistake
)

// Error makes a Kind usable with errors.Is.
func (k Kind) Error() string { return string(k) }

// Code is the process exit code of a failure of kind k: the table of
// "keyturn help exit-codes".
func (k Kind) Code() int {
	switch k {
	case ErrUsage:
		return 2
	case ErrNotFound, ErrAmbiguous:
		return 3
	case ErrLocked, ErrDenied:
		return 4
	case ErrUnreachable, ErrAuthFailed, ErrUntrusted:
		return 5
	case ErrPartial, ErrUnknownOutcome:
		return 6
	case ErrConflict, ErrDrift:
		return 7
	case ErrInterrupted:
		return 130
	default: // invalid_input, policy, io, internal: it failed, nothing is half done
		return 1
	}
}

// An Error is a failure as people and scripts see it. Message says what
// happened, to what, and whether anything changed; Hint says what to do next
// and may be empty. Neither holds a secret.
type Error struct {
	Kind    Kind
	Message string
	Hint    string
	Err     error // the cause, may be nil; not part of the text
}

// Errorf makes an [Error]; a %w operand becomes its cause.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint returns e with a hint.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the kind of e.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// KindOf returns the kind of the outermost typed failure in err: a cancelled
// context is ErrInterrupted, a passed deadline ErrUnreachable, anything unknown ErrInternal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	if k, ok := errors.AsType[Kind](err); ok {
		return k
	}
	switch {
	case errors.Is(err, context.Canceled):
		return ErrInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return ErrUnreachable
	}
	return ErrInternal
}

// HintOf returns the first hint in err, or "".
func HintOf(err error) string {
	var e *Error
	for errors.As(err, &e) {
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
		if err == nil {
			return ""
		}
	}
	return ""
}
