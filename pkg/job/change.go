package job

import (
	"context"
	"errors"
	"time"

	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/secret"
)

// change gives the account its new password at the authority and commits it.
// The order is the crash matrix': staged durably before a byte is sent, the
// outcome recorded, verified with one logon, then committed.
func (r *run) change(ctx context.Context) error {
	if err := r.stage(ctx); err != nil {
		return err
	}
	r.job.Phase = pam.PhaseChange
	if err := r.cfg.Store.SetJob(ctx, r.job); err != nil {
		return err
	}
	if err := r.apply(ctx); err != nil {
		r.accountItem(ctx, pam.StatusFailed, err)
		return err
	}
	if err := r.verifyAndCommit(ctx); err != nil {
		r.accountItem(ctx, pam.StatusUnknown, err)
		return err
	}
	r.accountItem(ctx, pam.StatusOK, nil)
	return nil
}

// stage makes a new password durable as pending, unless one is already: a
// password that may be live is used again, never replaced.
func (r *run) stage(ctx context.Context) error {
	if r.job.Generation != 0 {
		g, err := r.cfg.Store.Generation(ctx, r.account.UID, pam.Pending)
		r.pending, r.maybeSent = g, true
		return err
	}
	cancelled, err := r.cfg.Store.CancelRequested(ctx, r.job.ID)
	if err != nil {
		return err
	}
	if cancelled {
		return pam.Errorf(pam.ErrInterrupted, "the rotation of %s was cancelled; nothing changed", r.account.Name)
	}
	next, err := r.nextPassword(ctx)
	if err != nil {
		return err
	}
	if r.pending, err = r.cfg.Store.Stage(ctx, r.job.ID, r.account.UID, next, r.evidence); err != nil {
		return err
	}
	r.job.Generation = r.pending.Number
	// What an earlier job left pending may be in force: that is settled before
	// anything is sent. A fresh password was certainly not sent.
	r.maybeSent = !r.pending.Password.Equal(next)
	return nil
}

// knowsCurrent refuses what the authority would refuse for want of the current
// password: a dry run says so too, and nothing is looked at for it.
func (r *run) knowsCurrent(ctx context.Context) error {
	if !r.authority.findings.NeedsCurrent || r.job.Options.AllowReset || r.job.Generation != 0 {
		return nil
	}
	current, err := r.cfg.Store.Generation(ctx, r.account.UID, pam.Current)
	if err != nil && !errors.Is(err, pam.ErrNotFound) {
		return err
	}
	if !current.Password.IsZero() {
		return nil
	}
	return pam.Errorf(pam.ErrPolicy, "the vault does not know the password of %s, and a reset makes its encrypted files and saved "+
		"certificates on %q unreadable; nothing changed", r.account.Name, r.authority.machine.Title).
		WithHint("store the present password in the record, or accept the loss with --allow-reset")
}

// nextPassword is a fresh password, or the one that the job goes back to.
func (r *run) nextPassword(ctx context.Context) (secret.Value, error) {
	if r.job.Options.To == pam.Previous {
		g, err := r.previous(ctx)
		return g.Password, err
	}
	rules, err := r.rules()
	if err != nil {
		return secret.Value{}, err
	}
	return password.Generate(r.cfg.Random, rules)
}

// rules are what the user's new password is made by.
func (r *run) rules() (password.Rules, error) {
	if r.settings.Complexity == "" {
		return password.DefaultRules(), nil
	}
	return password.ParseAccountRules(r.settings.Complexity)
}

// apply brings the pending password into force, unless it is already.
func (r *run) apply(ctx context.Context) error {
	if r.job.Outcome == pam.OutcomeApplied {
		r.acknowledged = true
		return nil
	}
	if err := r.letIn(ctx); err != nil {
		return err
	}
	if r.maybeSent && !r.onlySetTells() {
		live, err := r.settle(ctx)
		if err != nil || live {
			return err
		}
	}
	return r.send(ctx)
}

// send sets the pending password, and finds out what became of that.
func (r *run) send(ctx context.Context) error {
	outcome, serr := r.set(ctx)
	if outcome == pam.OutcomeRefused && r.maybeSent && r.onlySetTells() { // this time; the time before may have succeeded
		return r.notTold(serr)
	}
	r.job.Outcome = outcome
	if err := r.cfg.Store.SetOutcome(ctx, r.job.ID, outcome, r.evidence); err != nil {
		return errors.Join(serr, err)
	}
	switch outcome {
	case pam.OutcomeApplied:
		r.acknowledged = true
		return nil
	case pam.OutcomeRefused:
		return serr
	case pam.OutcomeUnknown, pam.OutcomeNone:
	}
	r.cfg.Log.WarnContext(ctx, "answer of the authority lost", "job", r.job.ID, "error", serr)
	if r.onlySetTells() {
		return r.notTold(serr)
	}
	live, err := r.settle(ctx)
	if err == nil && !live {
		return pam.Errorf(pam.ErrUnknownOutcome,
			"%s did not get the new password: %w; the old one is still in force, and resume sends the same one again", r.account.Name, serr)
	}
	return err
}

func (r *run) set(ctx context.Context) (pam.Outcome, error) {
	r.setAt = r.cfg.Now()
	current, err := r.cfg.Store.Generation(ctx, r.account.UID, pam.Current)
	if err != nil && !errors.Is(err, pam.ErrNotFound) {
		return pam.OutcomeRefused, err
	}
	index := 2
	if current.Password.IsZero() {
		index = -1
	}
	res, err := r.atAuthority(ctx, func(a executor.Authority) executor.Request {
		return executor.Set{
			Authority: a, Next: 1, Current: index, Expect: r.evidence, AllowReset: r.job.Options.AllowReset,
			Again: r.job.Options.To == pam.Previous,
		}
	}, r.pending.Password, current.Password)
	if res.Outcome == pam.OutcomeNone { // refused before the executor began
		return pam.OutcomeRefused, err
	}
	return res.Outcome, err
}

// settle finds out whether the pending password is in force, by evidence where
// there is any, else by one logon with it and at most one with the current one.
// A drift, both refused, freezes the job.
func (r *run) settle(ctx context.Context) (live bool, err error) {
	now, err := r.readEvidence(ctx)
	if err != nil {
		return false, pam.Errorf(pam.ErrUnknownOutcome,
			"whether %s has the new password is not known: %w; both passwords are kept", r.account.Name, err)
	}
	if r.pending.Evidence.Same(now) {
		r.evidence = now
		return false, nil
	}
	v, err := r.verify(ctx, r.pending.Password)
	if err != nil {
		return false, err
	}
	switch v {
	case pam.VerdictRight, pam.VerdictRestricted:
		r.job.Verdict = v
		r.job.Outcome = pam.OutcomeApplied
		return true, r.cfg.Store.SetOutcome(ctx, r.job.ID, pam.OutcomeApplied, now)
	case pam.VerdictWrong:
		return false, r.settleByCurrent(ctx, now)
	default:
		return false, pam.Errorf(pam.ErrUnknownOutcome,
			"whether %s has the new password is not known: no log-on as it is possible; both passwords are kept", r.account.Name)
	}
}

// settleByCurrent is the last question of settle: is the old password in force?
func (r *run) settleByCurrent(ctx context.Context, now pam.Evidence) error {
	current, err := r.cfg.Store.Generation(ctx, r.account.UID, pam.Current)
	if err != nil {
		return err
	}
	v, err := r.verify(ctx, current.Password)
	if err != nil {
		return err
	}
	if v == pam.VerdictRight || v == pam.VerdictRestricted {
		r.evidence = now
		return nil
	}
	// The pending password is proven not to be in force: it moves to the rejected
	// ones, where it is kept, and the record can be edited again.
	r.job.Outcome = pam.OutcomeRefused
	drift := pam.Errorf(pam.ErrDrift, "%s accepts neither the pending nor the current password of the vault: "+
		"somebody else changed it; both are kept in its history", r.account.Name).
		WithHint("tell the vault the one in force: keyturn record-update -r %s password=", r.job.User)
	if err := r.cfg.Store.SetOutcome(ctx, r.job.ID, pam.OutcomeRefused, now); err != nil {
		return errors.Join(drift, err)
	}
	return drift
}

// readEvidence reads the evidence with retries: reading changes nothing.
func (r *run) readEvidence(ctx context.Context) (pam.Evidence, error) {
	wait := r.cfg.Limits.Backoff
	for try := 1; ; try++ {
		res, err := r.atAuthority(ctx, func(a executor.Authority) executor.Request { return executor.ReadEvidence{Authority: a} })
		if err == nil || !errors.Is(err, pam.ErrUnreachable) || try >= r.cfg.Limits.Retries {
			return res.Evidence, err
		}
		select {
		case <-time.After(wait):
			wait *= 2
		case <-ctx.Done():
			return pam.Evidence{}, ctx.Err()
		}
	}
}

// verify tries a password with one logon as the account. A lost answer is not
// tried again: the attempt counts.
func (r *run) verify(ctx context.Context, pw secret.Value) (pam.Verdict, error) {
	res, err := r.atAuthority(ctx, func(a executor.Authority) executor.Request {
		return executor.Verify{Authority: a, Password: 1}
	}, pw)
	if err != nil {
		return pam.VerdictNone, pam.Errorf(pam.ErrUnknownOutcome,
			"the new password of %s could not be verified: %w; both passwords are kept", r.account.Name, err)
	}
	return res.Verdict, nil
}

// verifyAndCommit tries the new password once and makes it the current one. An
// account that nobody may log on as from here is committed unverified when the
// authority acknowledged the change and no exact evidence speaks against it.
func (r *run) verifyAndCommit(ctx context.Context) error {
	if r.job.Verdict == pam.VerdictNone {
		v, err := r.verify(ctx, r.pending.Password)
		if err != nil {
			return err
		}
		r.job.Verdict = v
	}
	switch r.job.Verdict {
	case pam.VerdictRight, pam.VerdictRestricted:
	case pam.VerdictCannotTell:
		if err := r.mayCommitUnverified(ctx); err != nil {
			return err
		}
	default:
		r.job.Verdict = pam.VerdictNone
		return pam.Errorf(pam.ErrUnknownOutcome, "%q acknowledged the new password of %s and then refused it: "+
			"a replica may lag behind; both passwords are kept", r.authority.machine.Title, r.account.Name)
	}
	if err := r.cfg.Store.Commit(ctx, r.job.ID, r.job.Verdict); err != nil {
		return err
	}
	r.job.Committed = true
	r.ration.trust(r.newCredential())
	return nil
}

func (r *run) mayCommitUnverified(ctx context.Context) error {
	now, err := r.readEvidence(ctx)
	if err != nil {
		return err
	}
	if r.acknowledged && !r.pending.Evidence.Same(now) {
		return nil
	}
	return pam.Errorf(pam.ErrUnknownOutcome,
		"the new password of %s could not be verified: nobody may log on as it from here; both passwords are kept", r.account.Name)
}

// newCredential names the committed password to the ration.
func (r *run) newCredential() string { return "account:" + string(r.account.UID) }

func (r *run) accountKey() itemKey {
	return keyOf(pam.Item{Machine: r.authority.machine.UID, Kind: pam.KindAccount, Name: r.account.Name})
}

// accountItem saves where the account itself stands.
func (r *run) accountItem(ctx context.Context, status pam.Status, err error) {
	i := pam.Item{
		Machine: r.authority.machine.UID, MachineTitle: r.authority.machine.Title, Kind: pam.KindAccount, Name: r.account.Name,
		Phase: pam.PhaseChange, Status: status, Action: pam.ActionSet, Updated: status == pam.StatusOK,
	}
	if !r.setAt.IsZero() {
		i.Took = r.cfg.Now().Sub(r.setAt)
	}
	if err != nil {
		i.Error = &pam.ItemError{Class: string(pam.KindOf(err)), Message: err.Error()}
	}
	r.steps.put(ctx, i, nil)
}
