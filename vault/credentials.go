package vault

import (
	"context"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// Generation returns the account's newest generation of that status; ErrNotFound.
func (v *Vault) Generation(ctx context.Context, account pam.UID, status pam.GenerationStatus) (pam.Generation, error) {
	var g pam.Generation
	err := v.view(ctx, func(t *txn) error {
		var found bool
		var err error
		g, found, err = t.newest(ctx, account, status)
		if err == nil && !found {
			err = pam.Errorf(pam.ErrNotFound, "account %s has no %s password", account, status)
		}
		return err
	})
	return g, err
}

// Stage (barrier) makes next the account's pending generation of this job. A
// pending generation that is there already is returned in its place, with the
// evidence that was read before it may have been sent: a password that may be
// live is never discarded. The caller uses what is returned. ErrInterrupted when
// somebody asked the job to stop: from Stage on that is too late.
func (v *Vault) Stage(ctx context.Context, job, account pam.UID, next secret.Value, ev pam.Evidence) (pam.Generation, error) {
	var g pam.Generation
	err := v.editJob(ctx, "stage the new password of job", job, func(t *txn, j *jobRow) error {
		switch {
		case j.Account != account || j.State.Terminal() || j.Committed:
			return pam.Errorf(pam.ErrInternal, "stage: job %s (%s) is not about to change account %s", job, j.State, account)
		case j.Cancel && j.Generation == 0:
			return pam.Errorf(pam.ErrInterrupted, "job %s was cancelled; nothing changed", job)
		case next.IsZero():
			return pam.Errorf(pam.ErrInternal, "stage: job %s: the new password is empty", job)
		}
		var found bool
		var err error
		if g, found, err = t.newest(ctx, account, pam.Pending); err != nil {
			return err
		}
		if found {
			g, err = t.takeOver(ctx, g, job)
		} else if err = v.reserve(); err != nil {
			err = v.errNoBallast(err)
		} else {
			j.Outcome = pam.OutcomeNone
			g, err = t.addGeneration(ctx, pam.Generation{
				Account: account, Status: pam.Pending, Source: pam.SourceRotation, Job: job, Evidence: ev, Password: next.Clone(),
			})
		}
		if err != nil {
			return err
		}
		j.Generation = g.Number
		return t.audit(ctx, "job.stage", job, "account %s generation %d", account, g.Number)
	})
	if err != nil {
		g.Password.Destroy()
		return pam.Generation{}, err
	}
	return g, nil
}

// pending returns the generation that a job staged.
func (t *txn) pending(ctx context.Context, j *jobRow) (pam.Generation, error) {
	g, found, err := t.newest(ctx, j.Account, pam.Pending)
	if err != nil {
		return g, err
	}
	if !found || g.Job != j.ID {
		g.Password.Destroy()
		return pam.Generation{}, pam.Errorf(pam.ErrInternal, "job %s has no pending password", j.ID)
	}
	return g, nil
}

// SetOutcome (barrier) records what is known of the set. Refused moves the
// pending generation to rejected.
func (v *Vault) SetOutcome(ctx context.Context, job pam.UID, o pam.Outcome, ev pam.Evidence) error {
	return v.editJob(ctx, "save the outcome of job", job, func(t *txn, j *jobRow) error {
		g, err := t.pending(ctx, j)
		if err != nil {
			return err
		}
		defer g.Password.Destroy()
		j.Outcome, j.SetEvidence = o, ev
		if o == pam.OutcomeRefused {
			g.Status = pam.Rejected
			if err := t.putGeneration(ctx, g); err != nil {
				return err
			}
		}
		return t.audit(ctx, "job.outcome", job, "generation %d: %s", g.Number, o)
	})
}

// Unlocking (barrier) notes in the audit log that the job is about to unlock its
// account at the authority. Whether it came to that is the job's message.
func (v *Vault) Unlocking(ctx context.Context, job pam.UID) error {
	return v.insist(ctx, "note the unlocking of job "+string(job), func(t *txn) error {
		j, err := t.job(ctx, job)
		if err != nil {
			return err
		}
		return t.audit(ctx, "job.unlock", job, "account %s", j.Account)
	})
}

// Commit (barrier): pending becomes current, current becomes previous.
// VerdictCannotTell commits as unverified. A job that has committed already is
// left as it is.
func (v *Vault) Commit(ctx context.Context, job pam.UID, verdict pam.Verdict) error {
	return v.editJob(ctx, "commit the new password of job", job, func(t *txn, j *jobRow) error {
		if j.Committed {
			return nil
		}
		if verdict != pam.VerdictRight && verdict != pam.VerdictRestricted && verdict != pam.VerdictCannotTell {
			return pam.Errorf(pam.ErrInternal, "commit job %s: verdict %q does not allow it", job, verdict)
		}
		g, err := t.pending(ctx, j)
		if err != nil {
			return err
		}
		defer g.Password.Destroy()
		if err := t.retire(ctx, j.Account); err != nil {
			return err
		}
		g.Status, g.Unverified = pam.Current, verdict == pam.VerdictCannotTell
		if err := t.putGeneration(ctx, g); err != nil {
			return err
		}
		j.Generation, j.Committed, j.Verdict = g.Number, true, verdict
		if err := t.touchUsers(ctx, j.Account, ""); err != nil {
			return err
		}
		return t.audit(ctx, "job.commit", job, "account %s generation %d: %s", j.Account, g.Number, verdict)
	})
}
