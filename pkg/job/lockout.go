package job

import (
	"context"
	"errors"

	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
)

// mayBeLocked refuses an account that is locked out, unless the job is to let it
// in again: then it says so beforehand.
func (r *run) mayBeLocked() error {
	if !r.authority.findings.Locked {
		return nil
	}
	if r.job.Options.Unlock {
		r.plan.Notes = append(r.plan.Notes, r.account.Name+
			" is locked out: it is unlocked right before its password changes, and what locked it may lock it again")
		return nil
	}
	if r.job.Generation != 0 {
		return pam.Errorf(pam.ErrPolicy, "%s is locked out on %s, and whether it has the new password is not known until "+
			"it is unlocked there; both passwords are kept", r.account.Name, r.authority.machine.Address())
	}
	return pam.Errorf(pam.ErrPolicy, "%s is locked out on %s; nothing changed", r.account.Name, r.authority.machine.Address()).
		WithHint("find what still uses an old password, then: keyturn pam action rotate -r %s --unlock", r.job.User)
}

// letIn ends the lockout of an account, if the job is told to: before that it can
// neither change its password nor log on. While nothing has been sent a failure
// ends the job: the staged password was certainly not used.
func (r *run) letIn(ctx context.Context) error {
	if !r.authority.findings.Locked || !r.job.Options.Unlock {
		return nil
	}
	if err := r.cfg.Store.Unlocking(ctx, r.job.ID); err != nil {
		return r.shutOut(ctx, err)
	}
	_, err := r.atAuthority(ctx, func(a executor.Authority) executor.Request { return executor.Unlock{Authority: a} })
	if err != nil {
		return r.shutOut(ctx, err)
	}
	r.unlocked = true
	return nil
}

// passwordAsItWas ends a message about a password that did not change, where
// something else may have.
const passwordAsItWas = "its password is as it was"

func (r *run) shutOut(ctx context.Context, cause error) error {
	if r.maybeSent {
		return pam.Errorf(pam.ErrUnknownOutcome,
			"%s may still be locked out, and whether it has the new password is not known: %w; both passwords are kept",
			r.account.Name, cause)
	}
	err := pam.Errorf(pam.KindOf(cause), "%s may still be locked out, and %s: %w", r.account.Name, passwordAsItWas, cause).
		WithHint("%s", pam.HintOf(cause))
	r.job.Outcome = pam.OutcomeRefused
	return errors.Join(err, r.cfg.Store.SetOutcome(ctx, r.job.ID, pam.OutcomeRefused, r.evidence))
}
