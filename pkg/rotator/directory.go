package rotator

import (
	"context"

	"keyturn/pkg/directory"
	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// A Directory rotates accounts of an Active Directory domain over LDAP, at the
// domain's PDC emulator. It is safe for concurrent use.
type Directory struct {
	options directory.Options
}

var _ Unlocker = (*Directory)(nil)

// NewDirectory returns a rotator that connects by itself.
func NewDirectory(o directory.Options) *Directory { return &Directory{options: o} }

// Check asks the domain who the account is and whether it may have a new password.
func (d *Directory) Check(ctx context.Context, a Authority) (Findings, error) {
	c, who, err := d.find(ctx, a)
	if err != nil {
		return Findings{}, err
	}
	defer func() { _ = c.Close() }() // all is read
	f := Findings{
		Identity:         pam.Identity{Alias: who.SID, SID: who.SID, Name: who.Name},
		MachineID:        c.Domain().SID,
		Disabled:         who.Disabled,
		Locked:           who.Locked,
		SelfRotation:     who.Self,
		LockoutThreshold: who.Threshold,
		BadCount:         who.BadCount,
	}
	if who.Threshold == nil {
		f.Warnings = append(f.Warnings, "a password policy of its own is in force for the account, and it may not be read: "+
			"how many wrong passwords lock the account is not known")
	}
	return f, rotatable(who)
}

// PingDirectory logs in at the PDC emulator of a domain and says which one it is.
func PingDirectory(ctx context.Context, admin remote.Target, o directory.Options) (directory.Domain, error) {
	c, err := directory.Open(ctx, admin, o)
	if err != nil {
		return directory.Domain{}, err
	}
	return c.Domain(), c.Close()
}

// find connects and looks the account up.
func (d *Directory) find(ctx context.Context, a Authority) (*directory.Conn, directory.Account, error) {
	c, err := directory.Open(ctx, a.Admin, d.options)
	if err != nil {
		return nil, directory.Account{}, err
	}
	who, err := c.Find(ctx, a.Account.Name)
	if err != nil {
		_ = c.Close()
		return nil, directory.Account{}, err
	}
	return c, who, nil
}

// rotatable refuses an account whose password people do not decide, or that
// could not be verified after a change. A lockout can be ended, and is told of in
// the findings.
func rotatable(who directory.Account) error {
	_, name := pam.SplitName(who.Name)
	refuse := func(what, hint string) error {
		return pam.Errorf(pam.ErrPolicy, "\"%s\" %s; nothing changed", who.Name, what).WithHint("%s", hint)
	}
	switch who.Class {
	case directory.ClassUser:
	case directory.ClassManaged:
		return refuse("is a managed account (managed_account)", "the domain itself looks after its password")
	case directory.ClassComputer:
		return refuse("is the account of a computer", "the computer changes its password itself")
	case directory.ClassBuiltin, directory.ClassTrust:
		return refuse("is an account of the domain itself ("+string(who.Class)+")", "use the tools of the domain for it")
	}
	switch {
	case who.SmartCard:
		return refuse("must log on with a smart card: no password is in use", "take \"Smart card is required\" off the account")
	case who.Disabled:
		return refuse("is disabled", "enable it: Enable-ADAccount "+name)
	case who.Expired:
		return refuse("has expired", "extend it: Clear-ADAccountExpiration "+name)
	case who.MustChange:
		return refuse("must change its password at the next logon", "clear that: Set-ADUser "+name+" -ChangePasswordAtLogon $false")
	}
	return nil
}

// Evidence is when and how often the password was changed: exact.
func (d *Directory) Evidence(ctx context.Context, a Authority) (pam.Evidence, error) {
	c, who, err := d.find(ctx, a)
	if err != nil {
		return pam.Evidence{}, err
	}
	return evidence(who), c.Close()
}

func evidence(who directory.Account) pam.Evidence {
	if who.Mark == "" {
		return pam.Evidence{}
	}
	return pam.Evidence{Mark: "ad:" + who.Mark, Exact: true}
}

// Set resets the password, right after it has seen that the account is the same
// one, and its password still the expected one.
func (d *Directory) Set(ctx context.Context, a Authority, c Change) (pam.Outcome, error) {
	if err := password.Valid(c.Next); err != nil {
		return pam.OutcomeRefused, err
	}
	conn, who, err := d.find(ctx, a)
	if err != nil {
		return pam.OutcomeRefused, err
	}
	defer func() { _ = conn.Close() }() // the answer is what counts
	if err := rotatable(who); err != nil {
		return pam.OutcomeRefused, err
	}
	if a.Account.SID != "" && a.Account.SID != who.SID {
		return pam.OutcomeRefused, pam.Errorf(pam.ErrDrift, "\"%s\" is another account than before (%s, and was %s); nothing changed",
			who.Name, who.SID, a.Account.SID)
	}
	if who.Locked { // a reset would be taken, and leave it locked
		return pam.OutcomeRefused, pam.Errorf(pam.ErrPolicy, "\"%s\" is locked out; nothing changed", who.Name).
			WithHint("find what still uses an old password, then: keyturn pam action rotate -r USER --unlock")
	}
	if now := evidence(who); c.Expect.Moved(now) {
		return pam.OutcomeRefused, pam.Errorf(pam.ErrDrift, "the password of \"%s\" was changed by somebody else since it was "+
			"looked at; nothing changed", who.Name).WithHint("look at it anew: keyturn pam action rotate -r USER --dry-run")
	}
	return conn.Reset(ctx, who, c.Next)
}

// Unlock lets a locked account log on again.
func (d *Directory) Unlock(ctx context.Context, a Authority) error {
	c, who, err := d.find(ctx, a)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // the answer is what counts
	if !who.Locked {
		return nil
	}
	return c.Unlock(ctx, who)
}

// Verify tries the password with one log-on at the PDC emulator.
func (d *Directory) Verify(ctx context.Context, a Authority, pw secret.Value) (pam.Verdict, error) {
	c, who, err := d.find(ctx, a)
	if err != nil {
		return pam.VerdictNone, err
	}
	defer func() { _ = c.Close() }() // the answer is what counts
	return c.LogOn(ctx, who, pw)
}
