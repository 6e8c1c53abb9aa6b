package rotator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// linuxMaxPassword is what PAM and crypt take. Longer ones would be cut.
const linuxMaxPassword = 511

// Set sets the password with chpasswd, right after it has seen that the hash is
// still the expected one. The password is applied when chpasswd says so and the
// hash moved, refused when the hash did not move, and unknown otherwise. Once
// the password is on its way, the end of ctx does not stop it.
func (l *Linux) Set(ctx context.Context, a Authority, c Change) (pam.Outcome, error) {
	if err := checkLinux(a); err != nil {
		return pam.OutcomeNone, err
	}
	expect, err := checkChange(a, c)
	if err != nil {
		return pam.OutcomeNone, err
	}
	h, err := openLinux(ctx, l.dialer, a)
	if err != nil {
		return pam.OutcomeNone, fmt.Errorf("set the password of %s: %w", a.Account.Name, err)
	}
	defer func() { _ = h.Close() }()
	job := "-"
	if pam.IsUID(string(a.Run)) {
		job = string(a.Run)
	}
	body := []byte(a.Account.Name + "\n" + expect + "\n" + job + "\n")
	escaped := linuxEscape(c.Next.Reveal())
	body = append(append(body, escaped...), '\n')
	clear(escaped)
	defer clear(body)
	if ctx.Err() != nil {
		return pam.OutcomeNone, fmt.Errorf("set the password of %s: %w", a.Account.Name, context.Cause(ctx))
	}
	f, err := h.run(context.WithoutCancel(ctx), linuxSet, body)
	return h.outcome(f, err, c.Next)
}

// checkChange refuses a password that cannot arrive, and returns the digest to
// expect, "-" for any.
func checkChange(a Authority, c Change) (string, error) {
	if err := password.Valid(c.Next); err != nil {
		return "", fmt.Errorf("set the password of %s: %w", a.Account.Name, err)
	}
	if c.Next.Len() > linuxMaxPassword {
		return "", pam.Errorf(pam.ErrPolicy, "set the password of %s: it has %d bytes, and Linux takes %d; nothing was changed",
			a.Account.Name, c.Next.Len(), linuxMaxPassword)
	}
	if c.Expect.Mark == "" {
		return "-", nil
	}
	digest, ok := strings.CutPrefix(c.Expect.Mark, linuxMark)
	if !ok || !linuxDigest().MatchString(digest) {
		return "", pam.Errorf(pam.ErrInternal, "set the password of %s: the evidence to compare with is not of a Linux machine",
			a.Account.Name)
	}
	return digest, nil
}

// outcome judges a change by the lines that arrived, whatever became of the
// connection after them.
func (h *linuxHost) outcome(f linuxFrames, err error, next secret.Value) (pam.Outcome, error) {
	name, at := h.a.Account.Name, h.a.Admin.Address()
	var broken *remote.Error
	var silence *linuxSilence
	switch {
	case f.end == "ok":
		return h.judge(f, next)
	case f.end == "drift":
		return pam.OutcomeRefused, pam.Errorf(pam.ErrDrift,
			"%s: the password of %s was changed by somebody else since it was looked at; nothing was changed", at, name).
			WithHint("start again: the next job looks anew")
	case f.end != "":
		return pam.OutcomeRefused, h.accountError(f)
	case errors.As(err, &broken) && !broken.Sent:
		return pam.OutcomeNone, fmt.Errorf("set the password of %s: nothing was changed: %w", name, err)
	case errors.As(err, &silence) && !f.has("acting"):
		// The command ended and all of its output is here: it never came to chpasswd.
		return pam.OutcomeRefused, h.explain(err)
	case errors.As(err, &silence):
		return pam.OutcomeUnknown, pam.Errorf(pam.ErrUnknownOutcome,
			"%s: the change of %s broke off on the machine and may have been made: %w", at, name, err)
	}
	return pam.OutcomeUnknown, fmt.Errorf("set the password of %s: the answer was lost, the change may have been made: %w", name, err)
}

// judge compares the hash before and after.
func (h *linuxHost) judge(f linuxFrames, next secret.Value) (pam.Outcome, error) {
	name, at := h.a.Account.Name, h.a.Admin.Address()
	before, after, code := f.one("before"), f.one("after"), f.one("code")
	known := linuxDigest().MatchString(before) && linuxDigest().MatchString(after)
	said := h.printable([]byte(strings.Join(f.values["message"], "\n")), next)
	switch {
	case known && before != after && code == "0":
		return pam.OutcomeApplied, nil
	case !known || before != after:
		return pam.OutcomeUnknown, pam.Errorf(pam.ErrUnknownOutcome,
			"%s: chpasswd failed for %s (exit code %s, %s), and its hash is not what it was: the change may have been made",
			at, name, code, said)
	case code == "124" || code == "137":
		return pam.OutcomeRefused, pam.Errorf(pam.ErrConflict,
			"%s: chpasswd did not get to %s within 20 s and was ended: another program holds the lock of /etc/shadow; "+
				"nothing was changed", at, name).
			WithHint("on the machine: fuser /etc/.pwd.lock names the program")
	case code == "0":
		return pam.OutcomeRefused, pam.Errorf(pam.ErrPolicy,
			"%s: chpasswd said that it changed %s, and /etc/shadow did not change (%s)", at, name, said)
	}
	return pam.OutcomeRefused, pam.Errorf(pam.ErrPolicy,
		"%s: the machine refused the new password of %s (exit code %s, %s); nothing was changed", at, name, code, said).
		WithHint("fit the complexity of the user's rotation settings to the machine's rules")
}
