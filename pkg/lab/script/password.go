package script

import (
	"context"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

// setPassword changes the password of an account that this machine decides
// about, or resets it when that is allowed.
func (r *run) setPassword(ctx context.Context) error {
	began := r.m.Clock().Now()
	next, err := r.secret(powershell.SecretNew)
	if err != nil {
		return err
	}
	old, missing := r.secret(powershell.SecretOld)
	l := powershell.Line{Phase: "set", Kind: "account", ID: r.who.sam, Status: "ok"}
	l.Err = r.passwordBar()
	if l.Err == nil && missing != nil && !r.req.Policy.AllowReset {
		l.Err = failure(powershell.ClassResetNotAllowed, 0, "")
	}
	if l.Err == nil {
		if l.Err, err = r.sendPassword(ctx, old, next); err != nil {
			return err
		}
	}
	if l.Err != nil {
		l.Status = "failed"
	}
	l.Ms = r.since(began)
	return r.item(ctx, l)
}

// passwordBar is why the password cannot be set here, or nil.
func (r *run) passwordBar() *powershell.Err {
	switch r.who.class {
	case "managed", "virtual", "builtin":
		return failure(r.who.class+"_account", 0, "")
	case "user":
	default:
		return codeError(model.NoSuchUser)
	}
	if !r.who.local(r.info) {
		return failure(powershell.ClassInvalidAccount, 0, "the password of this account is not decided on this machine")
	}
	return nil
}

func (r *run) sendPassword(ctx context.Context, old, next secret.Value) (*powershell.Err, error) {
	code, err := ask(ctx, func() (model.Errno, error) {
		if old.IsZero() {
			return r.m.ResetPassword(r.who.sam, next)
		}
		return r.m.ChangePassword(r.who.sam, old, next)
	})
	if err != nil || code == model.OK {
		return nil, err
	}
	return codeError(code), nil
}

// unlockAccount clears the lockout of an account that this machine decides about.
func (r *run) unlockAccount(ctx context.Context) error {
	began := r.m.Clock().Now()
	l := powershell.Line{Phase: "unlock", Kind: "account", ID: r.who.sam, Status: "ok", Err: r.passwordBar()}
	if l.Err == nil {
		v, err := ask(ctx, func() (model.AccountView, error) { return r.m.Account(r.who.sids[0]) })
		switch {
		case dead(err):
			return err
		case err != nil:
			l.Err = codeError(model.NoSuchUser)
		case !v.Locked:
			l.Status = "noop"
		default:
			code, err := ask(ctx, func() (model.Errno, error) { return r.m.UnlockAccount(r.who.sam) })
			if err != nil {
				return err
			}
			if code != model.OK {
				l.Err = codeError(code)
			}
		}
	}
	if l.Err != nil {
		l.Status = "failed"
	}
	l.Ms = r.since(began)
	return r.item(ctx, l)
}
