package rotator

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// WindowsOptions are what a Windows rotator works with.
type WindowsOptions struct {
	Random io.Reader // of nonces; required
}

// A Windows rotates accounts that one Windows machine decides about: its local
// ones, and on a domain controller those of the domain. It is safe for
// concurrent use.
type Windows struct {
	dialer  remote.Dialer
	options WindowsOptions
}

var _ Unlocker = (*Windows)(nil)

// NewWindows returns a rotator that logs in through d.
func NewWindows(d remote.Dialer, o WindowsOptions) *Windows {
	return &Windows{dialer: d, options: o}
}

// Check asks the machine who the account is and whether its password can be
// changed there.
func (w *Windows) Check(ctx context.Context, a Authority) (Findings, error) {
	answer, err := w.ask(ctx, a, powershell.Request{Op: powershell.OpLook})
	if err != nil {
		return Findings{}, err
	}
	who, err := account(a, answer)
	if err != nil {
		return Findings{}, err
	}
	if err := answer.NeedAdmin(); err != nil {
		return Findings{}, err
	}
	f := Findings{
		Identity:     pam.Identity{Alias: who.SID, SID: who.SID, Name: who.Name},
		MachineID:    machineID(answer.Machine.GUID),
		Disabled:     who.Disabled,
		Locked:       who.Locked,
		SelfRotation: who.SelfRotation,
		NeedsCurrent: true,
		BadCount:     max(0, min(who.BadCount, maxBadCount)),
	}
	if n := answer.Machine.LockoutThreshold; n != nil && *n >= 0 && *n <= 999 {
		f.LockoutThreshold = n
	}
	if !domainAccount(answer.Machine, who) {
		if f.MachineID == "" {
			return Findings{}, pam.Errorf(pam.ErrIO, "%s did not say which machine it is (MachineGuid): its local accounts cannot be told "+
				"from those of another; nothing changed", at(a))
		}
		f.Identity.Alias = f.MachineID + "/" + who.SID
	}
	if !who.StatusKnown {
		f.Warnings = append(f.Warnings, "whether the account is disabled or locked could not be read at its machine")
	}
	return f, usable(a, who)
}

// maxBadCount bounds what a machine may say of failed logons: no threshold is higher.
const maxBadCount = 999

func domainAccount(machine, who powershell.Line) bool { return machine.DC || who.Scope == "domain" }

const maxName = 512

// account is the answer's account line, if it names an ordinary account that
// this machine decides about.
func account(a Authority, answer powershell.Answer) (powershell.Line, error) {
	name := a.Account.Name
	if answer.Account == nil || answer.Account.Class == "unresolved" || answer.Account.SID == "" {
		return powershell.Line{}, pam.Errorf(pam.ErrInvalidInput, "there is no account \"%s\" on %s; nothing changed", name, at(a)).
			WithHint("check the login of the record and the machine it is linked to: keyturn pam rotation info -r USER")
	}
	who := *answer.Account
	switch who.Class {
	case "user":
	case "managed", "virtual", "builtin":
		return who, pam.Errorf(pam.ErrPolicy, "\"%s\" on %s is a %s account (%s_account): Windows itself looks after its password, "+
			"if it has one; nothing changed", name, at(a), who.Class, who.Class)
	default:
		return who, pam.Errorf(pam.ErrIO, "%s answered with an account of an unknown class (%q); nothing changed", at(a), cut(who.Class))
	}
	if !pam.IsSID(who.SID) || who.Name == "" || len(who.Name) > maxName {
		return who, pam.Errorf(pam.ErrIO, "%s answered with an account that cannot be (%q, %q); nothing changed",
			at(a), cut(who.Name), cut(who.SID))
	}
	return who, decidedThere(a, answer, who)
}

// decidedThere refuses an account whose password is decided somewhere else.
func decidedThere(a Authority, answer powershell.Answer, who powershell.Line) error {
	switch {
	case who.Scope == "entra":
		return pam.Errorf(pam.ErrPolicy, "%q is an account of Microsoft Entra ID: its password is decided in the cloud, "+
			"and not by %s; nothing changed", cut(who.Name), at(a))
	case who.Scope == "domain" && !answer.Machine.DC:
		return pam.Errorf(pam.ErrInvalidInput, "%q is an account of a domain, and %s is no domain controller: its password is not "+
			"decided there; nothing changed", cut(who.Name), at(a)).
			WithHint("link the user to a domain controller: keyturn pam rotation edit -r USER -rs MACHINE --force")
	}
	return nil
}

// usable refuses an account that cannot log on: its password could be changed,
// and not be verified. A lockout can be ended, and is told of in the findings.
func usable(a Authority, who powershell.Line) error {
	refuse := func(what, hint string) error {
		return pam.Errorf(pam.ErrPolicy, "%q on %s %s; nothing changed", cut(who.Name), at(a), what).WithHint("%s", hint)
	}
	switch {
	case who.Disabled:
		return refuse("is disabled", powershell.Explain(powershell.ClassAccountDisabled))
	case who.MustChange:
		return refuse("must change its password at the next logon", powershell.Explain(powershell.ClassAccountExpiredPW))
	}
	return nil
}

// Evidence is none: Windows does not tell one local password from another.
func (*Windows) Evidence(context.Context, Authority) (pam.Evidence, error) {
	return pam.Evidence{}, nil
}

// Verify tries the password with one network logon on the machine itself.
func (w *Windows) Verify(ctx context.Context, a Authority, password secret.Value) (pam.Verdict, error) {
	answer, err := w.ask(ctx, a, powershell.Request{
		Op: powershell.OpVerify, Secrets: map[string]int{powershell.SecretNew: 0},
	}, password)
	if len(answer.Proofs) == 1 && (err == nil || answer.Proofs[0].Code != 0) {
		return verdict(answer.Proofs[0].Code), nil
	}
	if err != nil {
		return pam.VerdictNone, err
	}
	return pam.VerdictNone, pam.Errorf(pam.ErrIO, "%s did not say whether it accepts the password of \"%s\" (%d answers)",
		at(a), a.Account.Name, len(answer.Proofs))
}

// verdict reads the code of one logon.
func verdict(code int) pam.Verdict {
	switch code {
	case 0:
		return pam.VerdictRight
	case 1385, 1327, 1328, 1329: // the right to log on this way, hours, workstations
		return pam.VerdictRestricted
	case 1326:
		return pam.VerdictWrong
	default: // expired, disabled, locked, no logon server, and what is not known
		return pam.VerdictCannotTell
	}
}

// ask logs in, runs one request about the account, and ends the session.
func (w *Windows) ask(ctx context.Context, a Authority, req powershell.Request, secrets ...secret.Value) (powershell.Answer, error) {
	s, err := w.dialer.Dial(ctx, a.Admin)
	if err != nil {
		return powershell.Answer{}, err
	}
	defer func() { _ = s.Close() }() // the answer is what counts
	return w.call(ctx, s, a, req, secrets...)
}

func (w *Windows) call(
	ctx context.Context, s remote.Session, a Authority, req powershell.Request, secrets ...secret.Value,
) (powershell.Answer, error) {
	target := powershell.SubjectAccount(a.Account.Name, pam.Identity{Alias: a.Account.Identity, SID: a.Account.SID})
	if target.LogonDomain == "" && !strings.Contains(target.LogonUser, "@") {
		target.LogonDomain = "." // a bare name is this machine's: it decides the password
	}
	req.Run, req.Target = string(a.Run), &target
	return powershell.Call(ctx, s, w.options.Random, req, secrets, nil)
}

// at names the machine for people.
func at(a Authority) string { return a.Admin.Address() }

// cut bounds what a machine said before it is quoted.
func cut(s string) string {
	if len(s) <= maxName {
		return s
	}
	return fmt.Sprintf("%s...", s[:maxName])
}

func machineID(guid string) string {
	id := strings.ToLower(strings.Trim(guid, "{}"))
	if !regexp.MustCompile(`^[0-9a-f-]{1,64}$`).MatchString(id) {
		return ""
	}
	return id
}
