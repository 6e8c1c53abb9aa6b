package directory

import (
	"context"
	"encoding/binary"
	"errors"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// maxPassword is what unicodePwd takes, in UTF-16 units.
const maxPassword = 256

// Reset gives an account a new password, as an administrator does: the history
// and the minimum age of passwords do not bind it, and what the user has
// encrypted stays readable, because the domain keeps a key for it. The outcome
// says what is known; OutcomeUnknown comes with the failure that hid the answer.
func (c *Conn) Reset(ctx context.Context, a Account, next secret.Value) (pam.Outcome, error) {
	if n := len(utf16.Encode([]rune(string(next.Reveal())))); n > maxPassword {
		return pam.OutcomeRefused, pam.Errorf(pam.ErrPolicy, "a password of %d characters is too long: %s takes %d; nothing changed",
			n, c.domain.DNS, maxPassword)
	}
	q := ldap.NewModifyRequest(a.dn, nil)
	q.Replace("unicodePwd", []string{unicodePwd(next)})
	err := c.wire.during(ctx, "set the password", true, func() error { return c.wire.ldap.Modify(q) })
	if err == nil {
		return pam.OutcomeApplied, nil
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.outcome(), r.asReset(c, a)
	}
	return pam.OutcomeUnknown, err
}

// Unlock lets an account that is locked out log on again, and forgets the failed
// log-ons that are counted of it (MS-ADTS 3.1.1.3.1.5.2: lockoutTime is set to 0).
func (c *Conn) Unlock(ctx context.Context, a Account) error {
	q := ldap.NewModifyRequest(a.dn, nil)
	q.Replace("lockoutTime", []string{"0"})
	err := c.wire.during(ctx, "unlock the account", true, func() error { return c.wire.ldap.Modify(q) })
	r, ok := errors.AsType[*refusal](err)
	switch {
	case !ok:
		return err
	case r.code == ldap.LDAPResultInsufficientAccessRights:
		return pam.Errorf(pam.ErrPolicy, "\"%s\" may not unlock \"%s\" (access_denied): %w; nothing changed", c.target.User, a.Name, r).
			WithHint("let the admin write its lockoutTime: dsacls %q /G \"ADMIN:WP;lockoutTime\", or unlock it by hand", a.dn)
	}
	return c.wire.failed("unlock the account", pam.ErrPolicy, r)
}

// unicodePwd is a password as the attribute of that name takes it: in quotes, as
// UTF-16LE (MS-ADTS 3.1.1.3.1.5.1). Quotes inside stand for themselves.
func unicodePwd(password secret.Value) string {
	units := utf16.Encode([]rune(`"` + string(password.Reveal()) + `"`))
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	clear(units)
	defer clear(b)
	return string(b)
}

// Errors of Windows behind a refused change.
const (
	win32Insecure = 0x1f  // ERROR_GEN_FAILURE: the connection is not encrypted
	win32Policy   = 0x52d // ERROR_PASSWORD_RESTRICTION
)

// outcome is refused where the code proves that nothing was done, which most do.
func (r *refusal) outcome() pam.Outcome {
	switch r.code {
	case ldap.LDAPResultOperationsError, ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultAdminLimitExceeded, ldap.LDAPResultOther:
		return pam.OutcomeUnknown
	}
	return pam.OutcomeRefused
}

// asReset says for people why a password was not set.
func (r *refusal) asReset(c *Conn, a Account) error {
	switch {
	case r.outcome() == pam.OutcomeUnknown:
		return c.wire.failed("set the password", pam.ErrIO, r)
	case r.code == ldap.LDAPResultInsufficientAccessRights:
		return pam.Errorf(pam.ErrPolicy, "\"%s\" may not reset the password of \"%s\" (access_denied): %w; nothing changed",
			c.target.User, a.Name, r).
			WithHint("let the admin \"Reset password\" on the account: dsacls %q /G \"ADMIN:CA;Reset Password\"", a.dn)
	case r.win32 == win32Policy:
		return pam.Errorf(pam.ErrPolicy, "the password policy of %s refused the new password of \"%s\": %w; nothing changed",
			c.domain.DNS, a.Name, r).
			WithHint("set stricter rules for the user: keyturn pam rotation edit -r USER -x RULES --force")
	case r.code == ldap.LDAPResultUnwillingToPerform && r.win32 == win32Insecure, r.code == ldap.LDAPResultConfidentialityRequired:
		return pam.Errorf(pam.ErrPolicy, "the controller does not take passwords over this connection (ldap_insecure): %w; "+
			"nothing changed", r).
			WithHint("use LDAPS: keyturn record-update -r DIRECTORY pamHostname=HOST:636 checkbox.useSSL=true")
	case r.code == ldap.LDAPResultNoSuchObject:
		return pam.Errorf(pam.ErrInvalidInput, "the account \"%s\" is gone: %w; nothing changed", a.Name, r)
	}
	return pam.Errorf(pam.ErrPolicy, "the controller refused the new password of \"%s\": %w; nothing changed", a.Name, r)
}
