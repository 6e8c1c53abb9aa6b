package rotator

import (
	"context"
	"errors"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

// Set changes the password when the old one is known: that keeps the account's
// encrypted files and certificates readable. Otherwise it resets it, if allowed.
// A password that was in force before is reset to where that costs nothing, in a
// domain, which keeps a key of its own to what its accounts encrypted.
func (w *Windows) Set(ctx context.Context, a Authority, c Change) (pam.Outcome, error) {
	if c.Again && (c.AllowReset || ofDomain(a.Account)) {
		c.Current, c.AllowReset = secret.Value{}, true
	}
	if c.Current.IsZero() && !c.AllowReset {
		return pam.OutcomeRefused, pam.Errorf(pam.ErrPolicy, "the vault does not know the password of \"%s\" on %s, and a reset makes its "+
			"encrypted files and saved certificates unreadable; nothing changed", a.Account.Name, at(a)).
			WithHint("store the present password in the record, or accept the loss with --allow-reset")
	}
	req := powershell.Request{
		Op: powershell.OpPassword, Secrets: map[string]int{powershell.SecretNew: 0},
		Policy: powershell.Policy{AllowReset: c.AllowReset},
	}
	secrets := []secret.Value{c.Next}
	if !c.Current.IsZero() {
		req.Secrets[powershell.SecretOld] = len(secrets)
		secrets = append(secrets, c.Current)
	}
	s, err := w.dialer.Dial(ctx, a.Admin)
	if err != nil {
		return pam.OutcomeRefused, err
	}
	defer func() { _ = s.Close() }() // the answer is what counts
	answer, err := w.call(ctx, s, a, req, secrets...)
	o, err := outcome(a, answer, err)
	if c.Again && o == pam.OutcomeRefused && errors.Is(err, pam.ErrPolicy) {
		err = pam.Errorf(pam.KindOf(err), "%w", err).WithHint("a machine that remembers passwords refuses a change to one of them; " +
			"--allow-reset sets it all the same, and makes what the account encrypted there unreadable")
	}
	return o, err
}

// ofDomain reports whether a check found the account to be a domain's: a local
// one is told apart by its machine.
func ofDomain(a pam.Account) bool { return a.SID != "" && a.Identity == a.SID }

// outcome settles what is known. Applied is believed only of a whole answer; a
// refusal whose class says that nothing was applied, of any; all else is unknown.
func outcome(a Authority, answer powershell.Answer, err error) (pam.Outcome, error) {
	line, heard := itemOf(answer, "set")
	class := ""
	if heard && line.Err != nil {
		class = line.Err.Class
	}
	switch {
	case heard && refusal(class):
		return pam.OutcomeRefused, refused(a, class)
	case err != nil && powershell.NothingRan(err):
		return pam.OutcomeRefused, err
	case err != nil:
		return pam.OutcomeUnknown, err
	case heard && (line.Status == string(pam.StatusOK) || line.Status == string(pam.StatusNoop)):
		return pam.OutcomeApplied, nil
	}
	return pam.OutcomeUnknown, pam.Errorf(pam.ErrUnknownOutcome, "%s did not say whether it changed the password of \"%s\" (%q); "+
		"the new one may be in force", at(a), a.Account.Name, cut(class))
}

// itemOf is what an answer says of the account in one phase.
func itemOf(answer powershell.Answer, phase string) (powershell.Line, bool) {
	for _, line := range answer.Items {
		if line.Phase == phase {
			return line, true
		}
	}
	return powershell.Line{}, false
}

// refusal reports whether an error class proves that no password was applied.
func refusal(class string) bool {
	switch class {
	case powershell.ClassPasswordPolicy, powershell.ClassRejected, powershell.ClassAccessDenied, powershell.ClassNotFound,
		powershell.ClassResetNotAllowed, powershell.ClassManaged, powershell.ClassVirtual, powershell.ClassBuiltin,
		powershell.ClassAmbiguous, powershell.ClassInvalidAccount, powershell.ClassInvalidParameter,
		powershell.ClassAccountLocked, powershell.ClassAccountDisabled, powershell.ClassAccountExpired,
		powershell.ClassAccountExpiredPW, powershell.ClassAccountRestricted, powershell.ClassNoLogonServer,
		powershell.ClassNotElevated, powershell.ClassLockedByOtherRun:
		return true
	}
	return false
}

// refused says for people why the password was not changed.
func refused(a Authority, class string) error {
	name := a.Account.Name
	switch class {
	case powershell.ClassRejected:
		return pam.Errorf(pam.ErrDrift, "the vault's password of \"%s\" is not the one in force on %s; nothing changed", name, at(a)).
			WithHint("store the one in force in the record: keyturn record-update -r USER password=")
	case powershell.ClassAccessDenied:
		return pam.Errorf(pam.ErrPolicy, "%s denied access to the account \"%s\"; nothing changed", at(a), name).
			WithHint("log in to the machine with an account that may change passwords there")
	case powershell.ClassPasswordPolicy:
		return pam.Errorf(pam.ErrPolicy, "the password policy of %s refused the new password of \"%s\"; nothing changed", at(a), name).
			WithHint("set stricter rules for the user: keyturn pam rotation edit -r USER -x RULES --force; " +
				"a minimum password age also refuses a second change on the same day")
	}
	kind := powershell.KindOf(class)
	if kind == "" || kind == pam.ErrAuthFailed {
		kind = pam.ErrPolicy
	}
	return pam.Errorf(kind, "%s refused to change the password of \"%s\" (%s); nothing changed", at(a), name, class).
		WithHint("%s", powershell.Explain(class))
}
