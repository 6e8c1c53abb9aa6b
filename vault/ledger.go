package vault

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"keyturn/pkg/pam"
)

// editJob changes a job's own row.
func (v *Vault) editJob(ctx context.Context, doing string, id pam.UID, edit func(*txn, *jobRow) error) error {
	return v.insist(ctx, doing+" "+string(id), func(t *txn) error {
		j, err := t.job(ctx, id)
		if err != nil {
			return err
		}
		if err := edit(t, &j); err != nil {
			return err
		}
		return t.putJob(ctx, j)
	})
}

// Open (barrier) makes the plan's items the job's before anything changes and
// returns the job's fence, higher than any before. Items of an earlier run of the
// job that the plan does not name are kept.
func (v *Vault) Open(ctx context.Context, job pam.UID, p pam.Plan) (fence int64, err error) {
	err = v.editJob(ctx, "open job", job, func(t *txn, j *jobRow) error {
		for _, i := range p.Items {
			if err := t.putItem(ctx, job, i); err != nil {
				return err
			}
		}
		t.meta.Fence++
		j.Fence, fence = t.meta.Fence, t.meta.Fence
		return t.audit(ctx, "job.open", job, "%d items, fence %d", len(p.Items), fence)
	})
	return fence, err
}

func (v *Vault) itemID(job pam.UID, i pam.Item) (string, error) {
	id, err := v.box.Index("item", string(job), string(i.Machine), string(i.Kind), strings.ToLower(i.Name))
	return id, sealError("item", err)
}

// putItem writes the state of one item of a job.
func (t *txn) putItem(ctx context.Context, job pam.UID, i pam.Item) error {
	id, err := t.v.itemID(job, i)
	if err != nil {
		return err
	}
	return t.put(ctx, ownedKey(groupItem, job, id), i)
}

// SetJob (barrier) saves state, phase, message, warnings, times and failure of the job;
// its items are left alone, and so is what other methods decide: cancel request,
// fence, generation, outcome and verdict. ErrConflict when the job has ended and
// another holds its account.
func (v *Vault) SetJob(ctx context.Context, j pam.Job) error {
	return v.editJob(ctx, "save job", j.ID, func(t *txn, own *jobRow) error {
		if own.State.Terminal() && !j.State.Terminal() {
			if err := t.notHeld(ctx, own.Account, "run job "+string(j.ID)+" again"); err != nil {
				return err
			}
		}
		changed := own.State != j.State
		own.State, own.Phase, own.Failure = j.State, j.Phase, j.Failure
		own.Message, own.Hint, own.Window, own.Warnings, own.Notes = j.Message, j.Hint, j.Window, j.Warnings, j.Notes
		own.Started, own.Finished = j.Started, j.Finished
		if j.State.Terminal() {
			own.Errand = pam.ErrandAll
		}
		if !changed {
			return nil
		}
		return t.audit(ctx, "job."+string(j.State), j.ID, "%s", j.Failure)
	})
}

// CancelRequested reports whether somebody asked the job to stop.
func (v *Vault) CancelRequested(ctx context.Context, job pam.UID) (bool, error) {
	var j jobRow
	err := v.view(ctx, func(t *txn) (err error) {
		j, err = t.job(ctx, job)
		return err
	})
	return j.Cancel, err
}

// SaveRestartPlan (barrier) is called before the first stop.
func (v *Vault) SaveRestartPlan(ctx context.Context, job pam.UID, p pam.RestartPlan) error {
	return v.insist(ctx, "save the restart plan of job "+string(job), func(t *txn) error {
		if _, err := t.job(ctx, job); err != nil {
			return err
		}
		return t.put(ctx, ownedKey(groupPlan, job, string(p.Machine)), p)
	})
}

// RestartPlans returns the job's saved plans by machine.
func (v *Vault) RestartPlans(ctx context.Context, job pam.UID) (map[pam.UID]pam.RestartPlan, error) {
	plans := map[pam.UID]pam.RestartPlan{}
	err := v.view(ctx, func(t *txn) error {
		saved, err := all[pam.RestartPlan](ctx, t, groupPlan, job)
		for _, p := range saved {
			plans[p.Machine] = p
		}
		return err
	})
	return plans, err
}

// SaveSteps saves what happened to items; deployments move with them. Steps are
// appended: Steps returns them.
func (v *Vault) SaveSteps(ctx context.Context, steps []pam.Step) error {
	if len(steps) == 0 {
		return nil
	}
	return v.insist(ctx, "save steps of job "+string(steps[0].Job), func(t *txn) error {
		next := map[pam.UID]int64{}
		for _, s := range steps {
			if next[s.Job] == 0 {
				n, err := t.lastStep(ctx, s.Job)
				if err != nil {
					return err
				}
				next[s.Job] = n
			}
			next[s.Job]++
			if err := t.putStep(ctx, s, next[s.Job]); err != nil {
				return err
			}
		}
		return nil
	})
}

// lastStep returns the number of a job's last step, 0 for none.
func (t *txn) lastStep(ctx context.Context, job pam.UID) (int64, error) {
	var n int64
	err := t.db.QueryRowContext(ctx, `SELECT coalesce(max(id), '0') FROM rows WHERE kind = ? AND owner = ?`,
		groupStep, string(job)).Scan(&n)
	return n, err
}

func (t *txn) putStep(ctx context.Context, s pam.Step, n int64) error {
	if err := t.put(ctx, ownedKey(groupStep, s.Job, number(n)), s); err != nil {
		return err
	}
	if err := t.putItem(ctx, s.Job, s.Item); err != nil {
		return err
	}
	state := cmp.Or(s.Item.After.State, s.Item.Before.State)
	if s.Deployment == nil {
		return t.noteState(ctx, s, state)
	}
	return t.putDeployment(ctx, *s.Deployment, state)
}

// putDeployment writes a deployment. What it was confirmed to hold is kept when
// this is no confirmation, and so is the state when none was seen.
func (t *txn) putDeployment(ctx context.Context, d pam.Deployment, state string) error {
	k, err := t.deploymentKey(d)
	if err != nil {
		return err
	}
	old, _, err := load[pam.Deployment](ctx, t, k)
	if err != nil {
		return err
	}
	old = completed(old)
	d.State = cmp.Or(state, old.State)
	if d.Held, d.Confirmed = d.Generation, d.Seen; d.Status != pam.DeploymentConfirmed {
		d.Held, d.Confirmed = old.Held, old.Confirmed
	}
	return t.put(ctx, k, d)
}

// completed fills in what deployments of the first builds lack.
func completed(d pam.Deployment) pam.Deployment {
	if d.Held == 0 && d.Status == pam.DeploymentConfirmed {
		d.Held, d.Confirmed = d.Generation, d.Seen
	}
	return d
}

// noteState keeps the state in which a known dependency was seen by a step that
// says nothing of its password: a restart.
func (t *txn) noteState(ctx context.Context, s pam.Step, state string) error {
	if state == "" || s.Item.Kind == pam.KindAccount || s.Item.Kind == pam.KindMachine {
		return nil
	}
	j, err := t.job(ctx, s.Job)
	if err != nil {
		return err
	}
	k, err := t.deploymentKey(pam.Deployment{Account: j.Account, Machine: s.Item.Machine, Kind: s.Item.Kind, Name: s.Item.Name})
	if err != nil {
		return err
	}
	d, found, err := load[pam.Deployment](ctx, t, k)
	if err != nil || !found || d.State == state {
		return err
	}
	d.State = state
	return t.put(ctx, k, d)
}

func (t *txn) deploymentKey(d pam.Deployment) (key, error) {
	id, err := t.v.deploymentID(d)
	return ownedKey(groupDeployment, d.Account, id), err
}

func (v *Vault) deploymentID(d pam.Deployment) (string, error) {
	id, err := v.box.Index("deployment", string(d.Account), string(d.Machine), string(d.Kind), strings.ToLower(d.Name))
	return id, sealError("deployment", err)
}

// Steps returns all that happened in a job, in the order in which it was saved.
func (v *Vault) Steps(ctx context.Context, job pam.UID) ([]pam.Step, error) {
	var steps []pam.Step
	err := v.view(ctx, func(t *txn) (err error) {
		steps, err = all[pam.Step](ctx, t, groupStep, job)
		return err
	})
	return steps, err
}

// Deployments returns what is known of the account's dependencies.
func (v *Vault) Deployments(ctx context.Context, account pam.UID) ([]pam.Deployment, error) {
	var ds []pam.Deployment
	err := v.view(ctx, func(t *txn) (err error) {
		ds, err = all[pam.Deployment](ctx, t, groupDeployment, account)
		return err
	})
	for i := range ds {
		ds[i] = completed(ds[i])
	}
	slices.SortFunc(ds, func(a, b pam.Deployment) int { return compareItems(itemOf(a), itemOf(b)) })
	return ds, err
}

func itemOf(d pam.Deployment) pam.Item {
	return pam.Item{Machine: d.Machine, Kind: d.Kind, Name: d.Name}
}

// KnownDependencies returns what is known of the dependencies of all accounts,
// by account, machine, kind and name.
func (v *Vault) KnownDependencies(ctx context.Context) ([]pam.KnownDependency, error) {
	known := []pam.KnownDependency{}
	err := v.view(ctx, func(t *txn) error {
		ds, err := all[pam.Deployment](ctx, t, groupDeployment, every)
		if err != nil {
			return err
		}
		accounts := map[pam.UID]pam.KnownDependency{}
		for _, d := range ds {
			k, ok := accounts[d.Account]
			if !ok {
				if k, err = t.knownAccount(ctx, d.Account); err != nil {
					return err
				}
				accounts[d.Account] = k
			}
			k.Deployment = completed(d)
			known = append(known, k)
		}
		return nil
	})
	slices.SortFunc(known, func(a, b pam.KnownDependency) int {
		return cmp.Or(compareFold(a.AccountName, b.AccountName), cmp.Compare(a.Account, b.Account),
			compareItems(itemOf(a.Deployment), itemOf(b.Deployment)))
	})
	return known, err
}

// knownAccount is what all dependencies of one account share.
func (t *txn) knownAccount(ctx context.Context, account pam.UID) (pam.KnownDependency, error) {
	k := pam.KnownDependency{}
	a, err := t.account(ctx, account)
	if err != nil {
		return k, err
	}
	k.AccountName = a.Name
	if k.Users, err = t.users(ctx, account); err != nil {
		return k, err
	}
	g, found, err := t.newest(ctx, account, pam.Current)
	if found {
		k.Current = g.Number
		g.Password.Destroy()
	}
	return k, err
}
