package vault

import (
	"context"
	"slices"

	"keyturn/pkg/pam"
)

// settled reports whether nothing is left of a job: it has ended, and not
// partially, or what is left was given up.
func settled(j pam.Job) bool {
	return j.State.Terminal() && (j.State != pam.JobPartial || j.Abandoned)
}

// putJob saves a job without its items, and keeps the list of unsettled ones.
func (t *txn) putJob(ctx context.Context, j jobRow) error {
	j.Items = nil
	if err := t.put(ctx, ownedKey(groupJob, j.Account, string(j.ID)), j); err != nil {
		return err
	}
	t.changed = true
	t.meta.Unsettled = slices.DeleteFunc(t.meta.Unsettled, func(id pam.UID) bool { return id == j.ID })
	if j.Committed { // it brings every machine to its own password: what older jobs left is its business now
		if err := t.supersede(ctx, j.Job); err != nil {
			return err
		}
	}
	if !settled(j.Job) {
		t.meta.Unsettled = append(t.meta.Unsettled, j.ID)
	}
	return nil
}

// supersede takes the earlier partial jobs of a job's account off the list, but for
// those whose restarts did not end: what such a job stopped and did not start runs
// no more, so that no later job knows of it.
func (t *txn) supersede(ctx context.Context, by pam.Job) error {
	var kept []pam.UID
	for _, id := range t.meta.Unsettled {
		other, err := t.job(ctx, id)
		if err != nil {
			return err
		}
		keep := other.Account != by.Account || !other.State.Terminal() || other.Generation >= by.Generation
		if !keep {
			if keep, err = t.leftStopped(ctx, id); err != nil {
				return err
			}
		}
		if keep {
			kept = append(kept, id)
		}
	}
	t.meta.Unsettled = kept
	return nil
}

// leftStopped reports whether a restart of the job was begun and did not end.
func (t *txn) leftStopped(ctx context.Context, job pam.UID) (bool, error) {
	items, err := t.items(ctx, job)
	return slices.ContainsFunc(items, pam.Item.LeftStopped), err
}

// nothingStopped is ErrConflict while a job may have stopped what only it starts
// again, for a user on a machine that concerns the caller: a job reaches what is
// mapped, and would not come there any more.
func (t *txn) nothingStopped(ctx context.Context, what string, concerns func(user, machine pam.UID) bool) error {
	jobs, err := t.unsettled(ctx)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		items, err := t.items(ctx, j.ID)
		if err != nil {
			return err
		}
		for _, i := range items {
			if i.LeftStopped() && concerns(j.User, i.Machine) {
				return pam.Errorf(pam.ErrConflict, "%s: job %s (%s) may have left %s %s stopped on %q; nothing changed",
					what, j.ID, j.State, i.Kind.Label(), i.Name, i.MachineTitle).
					WithHint("keyturn pam action resume %s starts what it left stopped", j.ID)
			}
		}
	}
	return nil
}

// place fills in whether a later one of its account's jobs took the place of a job.
// Whoever runs a job asks for it often, and it changes nothing then.
func (t *txn) place(ctx context.Context, j *pam.Job) error {
	if !j.Committed || j.State == pam.JobRunning {
		return nil
	}
	jobs, err := all[jobRow](ctx, t, groupJob, j.Account)
	if err == nil {
		t.placeIn(j, latest(jobs))
	}
	return err
}

func (t *txn) placeIn(j *pam.Job, latest map[pam.UID]pam.Job) {
	if last := latest[j.Account]; j.Committed && last.Generation > j.Generation {
		j.SupersededBy, j.LeftStopped = last.ID, slices.Contains(t.meta.Unsettled, j.ID)
	}
}

// latest are the jobs that set each account's newest password, as far as jobs did.
func latest(jobs []jobRow) map[pam.UID]pam.Job {
	found := map[pam.UID]pam.Job{}
	for _, j := range jobs {
		if j.Committed && j.Generation > found[j.Account].Generation {
			found[j.Account] = j.Job
		}
	}
	return found
}

// overtaken refuses a job whose place a later one took.
func (t *txn) overtaken(ctx context.Context, j pam.Job) error {
	by, err := t.job(ctx, j.SupersededBy)
	if err != nil {
		return err
	}
	refused := pam.Errorf(pam.ErrConflict, "job %s is not about the present password of %s: job %s (%s) took its place; nothing changed",
		j.ID, j.AccountName, by.ID, by.State)
	switch {
	case j.LeftStopped:
		return refused.WithHint("keyturn pam action resume %s starts what it left stopped", j.ID)
	case settled(by.Job):
		return refused.WithHint("keyturn pam action job-info %s", by.ID)
	default:
		return refused.WithHint("keyturn pam action resume %s", by.ID)
	}
}

// unsettled reads the jobs that are not at a good end.
func (t *txn) unsettled(ctx context.Context) ([]pam.Job, error) {
	var jobs []pam.Job
	for _, id := range t.meta.Unsettled {
		j, err := t.job(ctx, id)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j.Job)
	}
	return jobs, nil
}

// Unsettled returns the jobs that are not at a good end, with their items: open
// ones, partial ones that no later job took over, and those that run.
func (v *Vault) Unsettled(ctx context.Context) ([]pam.Job, error) {
	var jobs []pam.Job
	err := v.view(ctx, func(t *txn) (err error) {
		if jobs, err = t.unsettled(ctx); err != nil {
			return err
		}
		for i := range jobs {
			if jobs[i].Items, err = t.items(ctx, jobs[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, j := range jobs {
		if jobs[i], err = v.standing(ctx, j); err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// Abandon gives up what a partial job left: its machines keep the passwords they
// have, and its records are free. ErrConflict for a job in any other state.
func (v *Vault) Abandon(ctx context.Context, job pam.UID) error {
	return v.editJob(ctx, "give up job", job, func(t *txn, own *jobRow) error {
		if own.State != pam.JobPartial || own.Abandoned {
			return pam.Errorf(pam.ErrConflict, "job %s is %s: only what a partial job left can be given up; nothing changed",
				job, own.State)
		}
		own.Abandoned = true
		return t.audit(ctx, "job.abandon", job, "")
	})
}
