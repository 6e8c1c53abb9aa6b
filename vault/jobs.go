package vault

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"keyturn/pkg/pam"
)

// A jobRow is a job as it is sealed: without its items, which are rows of their own.
type jobRow struct {
	pam.Job
	SetEvidence pam.Evidence `json:"set_evidence"` // read after the set
}

// queueGrace is how long a queued job may wait for its runner before it is shown
// as open. A running job without a runner is open at once.
const queueGrace = 10 * time.Second

// CreateJob saves a queued job for a user and returns it. ErrConflict, naming
// the job, while another job holds the user's account.
func (v *Vault) CreateJob(ctx context.Context, user pam.UID, o pam.JobOptions) (pam.Job, error) {
	var j pam.Job
	err := v.update(ctx, "create a job", func(t *txn) error {
		s, a, err := t.user(ctx, user)
		if err != nil {
			return err
		}
		h, err := t.mustHead(ctx, user)
		if err != nil {
			return err
		}
		if err := t.notHeld(ctx, a.UID, "rotate "+h.Title); err != nil {
			return err
		}
		if err := t.notRun(ctx, a.UID, o.PlanHash); err != nil {
			return err
		}
		j = pam.Job{
			User: user, UserTitle: h.Title, Account: a.UID, AccountName: a.Name, Options: o,
			State: pam.JobQueued, Phase: pam.PhaseLook, Created: v.now().UTC(), Items: []pam.Item{},
		}
		if j.ID, err = t.newUID(); err != nil {
			return err
		}
		if j.Gateway, err = t.gatewayOf(ctx, s.Configuration); err != nil {
			return err
		}
		if err := t.putJob(ctx, jobRow{Job: j}); err != nil {
			return err
		}
		return t.audit(ctx, "job.create", j.ID, "user %s%s", user, asked(o))
	})
	return j, err
}

// asked is what the audit log says of options that let a job do more than rotate.
func asked(o pam.JobOptions) string {
	text := ""
	if o.To != "" {
		text += " to " + string(o.To)
	}
	if o.AllowReset {
		text += " allow-reset"
	}
	if o.Unlock {
		text += " unlock"
	}
	if o.GrantRights {
		text += " grant-rights"
	}
	return text
}

// Requeue makes an open or partial job wait for a runner again, so that nobody
// takes how it stood for how it ends. ErrConflict when it has ended, when another
// job holds its account, or when a later one took its place.
func (v *Vault) Requeue(ctx context.Context, job pam.UID) error {
	return v.editJob(ctx, "take up job", job, func(t *txn, own *jobRow) error {
		if own.State.Terminal() {
			if err := t.resumable(ctx, own); err != nil {
				return err
			}
		}
		own.State, own.Queued, own.Finished = pam.JobQueued, v.now().UTC(), time.Time{}
		return t.audit(ctx, "job.queued", job, "")
	})
}

// resumable refuses a job that has ended and of which nothing is left to do.
func (t *txn) resumable(ctx context.Context, j *jobRow) error {
	if j.State != pam.JobPartial || j.Abandoned {
		return pam.Errorf(pam.ErrConflict, "job %s is at its end: %s; there is nothing to resume", j.ID, j.State)
	}
	if err := t.place(ctx, &j.Job); err != nil {
		return err
	}
	if j.Overtaken() {
		return t.overtaken(ctx, j.Job)
	}
	return t.notHeld(ctx, j.Account, "run job "+string(j.ID)+" again")
}

// TakeUp queues a job that has ended once more, for an errand, and returns it with
// its items. ErrConflict while
// a job holds its account, or when the errand is about a password that a later
// job has replaced.
func (v *Vault) TakeUp(ctx context.Context, id pam.UID, e pam.Errand) (pam.Job, error) {
	var taken pam.Job
	err := v.editJob(ctx, "take up job", id, func(t *txn, j *jobRow) error {
		if err := t.notHeld(ctx, j.Account, "take up job "+string(id)); err != nil {
			return err
		}
		if e != pam.ErrandAll {
			if err := t.newestOf(ctx, j); err != nil {
				return err
			}
		}
		j.Errand, j.State, j.Phase, j.Cancel = e, pam.JobQueued, pam.PhaseLook, false
		j.Queued, j.Finished = v.now().UTC(), time.Time{}
		taken = j.Job
		var err error
		if taken.Items, err = t.items(ctx, id); err != nil {
			return err
		}
		return t.audit(ctx, "job.take_up", id, "%s", e)
	})
	return taken, err
}

// newestOf refuses a job whose password is not its account's current one.
func (t *txn) newestOf(ctx context.Context, j *jobRow) error {
	g, found, err := t.newest(ctx, j.Account, pam.Current)
	if err != nil {
		return err
	}
	defer g.Password.Destroy()
	if j.Committed && found && g.Number == j.Generation {
		return nil
	}
	if err := t.place(ctx, &j.Job); err != nil {
		return err
	}
	if j.SupersededBy != "" {
		return t.overtaken(ctx, j.Job)
	}
	return pam.Errorf(pam.ErrConflict, "job %s is not about the present password of %s; nothing changed", j.ID, j.AccountName).
		WithHint("keyturn pam action rotate -r %s", j.User)
}

// Seal returns a mark of a text that only this vault can make: who shows both
// again shows that the text came from here and was not changed.
func (v *Vault) Seal(purpose, text string) (string, error) {
	mark, err := v.box.Index("seal", purpose, text)
	return mark, sealError("seal", err)
}

// gatewayOf returns the gateway of a configuration, of the first one for "".
func (t *txn) gatewayOf(ctx context.Context, configuration pam.UID) (pam.UID, error) {
	cs, err := all[pam.Configuration](ctx, t, groupConfiguration, every)
	if err != nil || len(cs) == 0 {
		return "", err
	}
	slices.SortFunc(cs, compareConfigurations)
	for _, c := range cs {
		if c.UID == configuration {
			return c.Gateway, nil
		}
	}
	return cs[0].Gateway, nil
}

// job reads a job without its items.
func (t *txn) job(ctx context.Context, id pam.UID) (jobRow, error) {
	rows, err := t.byID(ctx, groupJob, id)
	if err != nil {
		return jobRow{}, err
	}
	if len(rows) == 0 {
		return jobRow{}, pam.Errorf(pam.ErrNotFound, "there is no job %s", id).WithHint("keyturn pam action job-list")
	}
	var j jobRow
	_, err = t.open(rows[0], &j)
	return j, err
}

// items returns a job's items: the account first, then by machine, kind and name.
func (t *txn) items(ctx context.Context, job pam.UID) ([]pam.Item, error) {
	items, err := all[pam.Item](ctx, t, groupItem, job)
	slices.SortFunc(items, compareItems)
	return items, err
}

func compareItems(a, b pam.Item) int {
	account := func(i pam.Item) int {
		if i.Kind == pam.KindAccount {
			return 0
		}
		return 1
	}
	return cmp.Or(
		account(a)-account(b),
		compareFold(a.MachineTitle, b.MachineTitle), cmp.Compare(a.Machine, b.Machine),
		pam.KindRank(a.Kind)-pam.KindRank(b.Kind), compareFold(a.Name, b.Name),
	)
}

// compareFold orders names as people read them: case decides only between equals.
func compareFold(a, b string) int {
	return cmp.Or(strings.Compare(strings.ToLower(a), strings.ToLower(b)), strings.Compare(a, b))
}

// holder returns the account's job that has not ended, nil when there is none.
func (t *txn) holder(ctx context.Context, account pam.UID) (*pam.Job, error) {
	jobs, err := all[jobRow](ctx, t, groupJob, account)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if !j.State.Terminal() {
			return &j.Job, nil
		}
	}
	return nil, nil
}

// Jobs returns all jobs, newest first, without items. A job that claims to run
// while nobody holds its account's lock is JobOpen; so is a queued one that no
// runner took up within ten seconds.
func (v *Vault) Jobs(ctx context.Context) ([]pam.Job, error) {
	var rows []jobRow
	err := v.view(ctx, func(t *txn) (err error) {
		rows, err = all[jobRow](ctx, t, groupJob, every)
		last := latest(rows)
		for i := range rows {
			t.placeIn(&rows[i].Job, last)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b jobRow) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	jobs := make([]pam.Job, len(rows))
	for i, r := range rows {
		if jobs[i], err = v.standing(ctx, r.Job); err != nil {
			return nil, err
		}
	}
	return jobs, nil
}

// Job returns a job with its items; ErrNotFound.
func (v *Vault) Job(ctx context.Context, id pam.UID) (pam.Job, error) {
	var j jobRow
	err := v.view(ctx, func(t *txn) (err error) {
		if j, err = t.job(ctx, id); err != nil {
			return err
		}
		if j.Items, err = t.items(ctx, id); err != nil {
			return err
		}
		return t.place(ctx, &j.Job)
	})
	if err != nil {
		return pam.Job{}, err
	}
	return v.standing(ctx, j.Job)
}

// standing corrects the state of a job whose runner is gone. The runner holds
// the lock from before it says "running" until after it says how it ended, so a
// job that still says so after the lock was seen free has no runner.
func (v *Vault) standing(ctx context.Context, j pam.Job) (pam.Job, error) {
	abandoned, err := v.abandoned(j)
	if err != nil || !abandoned {
		return j, err
	}
	var again jobRow
	before, items := j, j.Items
	err = v.view(ctx, func(t *txn) (err error) {
		if again, err = t.job(ctx, j.ID); err != nil || items == nil {
			return err
		}
		items, err = t.items(ctx, j.ID)
		return err
	})
	if err != nil {
		return j, err
	}
	j, j.Items = again.Job, items
	j.SupersededBy, j.LeftStopped = before.SupersededBy, before.LeftStopped
	if !j.State.Terminal() {
		j.State = pam.JobOpen
	}
	return j, nil
}

func (v *Vault) abandoned(j pam.Job) (bool, error) {
	switch j.State {
	case pam.JobRunning:
	case pam.JobQueued:
		waits := j.Queued
		if waits.IsZero() {
			waits = j.Created
		}
		if v.now().Sub(waits) < queueGrace {
			return false, nil
		}
	default:
		return false, nil
	}
	held, err := v.held(j.Account)
	return !held, err
}

// RequestCancel asks a job to stop; it is honoured until Stage. A job that
// nobody runs and that has staged nothing ends here. ErrConflict for a job that
// has ended, or whose new password may be live already.
func (v *Vault) RequestCancel(ctx context.Context, job pam.UID) error {
	j, err := v.Job(ctx, job)
	if err != nil {
		return err
	}
	var lock *Lock
	if j.State == pam.JobOpen || j.State == pam.JobQueued {
		if lock, err = v.tryAccount(ctx, j.Account); err != nil {
			return pam.Errorf(pam.ErrIO, "cancel job %s: %w", job, err)
		}
	}
	if lock != nil {
		defer lock.Release() //nolint:errcheck // the descriptor is closed in any case
	}
	return v.update(ctx, "cancel job "+string(job), func(t *txn) error {
		j, err := t.job(ctx, job)
		switch {
		case err != nil:
			return err
		case j.State.Terminal():
			return pam.Errorf(pam.ErrConflict, "job %s has ended already (%s)", job, j.State)
		case j.Generation != 0 && j.Outcome != pam.OutcomeRefused:
			return pam.Errorf(pam.ErrConflict, "job %s has a new password under way and cannot be stopped any more; it goes on", job).
				WithHint("keyturn pam action job-info %s", job)
		}
		j.Cancel = true
		if lock != nil {
			j.State, j.Failure, j.Finished = pam.JobCancelled, pam.ErrInterrupted, v.now().UTC()
			j.Message = "cancelled; nothing changed"
		}
		if err := t.putJob(ctx, j); err != nil {
			return err
		}
		return t.audit(ctx, "job.cancel", job, "")
	})
}
