package job

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
)

// findEarlier finds the account's partial jobs that this one takes the place of, and
// tells of each what it left: a rotation never passes over one without a word.
func (r *run) findEarlier(ctx context.Context) error {
	unsettled, err := r.cfg.Store.Unsettled(ctx)
	if err != nil {
		return err
	}
	for _, j := range unsettled {
		newer := r.job.Generation != 0 && j.Generation >= r.job.Generation
		if j.Account != r.account.UID || j.ID == r.job.ID || j.State != pam.JobPartial || newer {
			continue
		}
		r.earlier = append(r.earlier, j)
		taken := func(i pam.Item) bool { return !i.Status.Done() && !i.LeftStopped() }
		if left := leftOf(j.Items, taken); left != "" && !r.job.Committed {
			r.plan.Warnings = append(r.plan.Warnings, fmt.Sprintf(
				"job %s is partial, and this is left of it: %s; this rotation takes its place", j.ID, left))
		}
		if left := leftOf(j.Items, pam.Item.LeftStopped); left != "" {
			r.plan.Warnings = append(r.plan.Warnings, fmt.Sprintf(
				"job %s may have left this stopped: %s; this rotation does not start it: keyturn pam action resume %s", j.ID, left, j.ID))
		}
	}
	return nil
}

// orResume adds to what helps against a machine that cannot be reached that an
// earlier job waits for it, too.
func (r *run) orResume(err error) error {
	if len(r.earlier) == 0 || r.job.Committed || !errors.Is(err, pam.ErrUnreachable) {
		return err
	}
	hints := []string{pam.HintOf(err)}
	for _, j := range r.earlier {
		hints = append(hints, fmt.Sprintf("job %s is partial and waits for its machines, too: keyturn pam action resume %s", j.ID, j.ID))
	}
	return pam.Errorf(pam.KindOf(err), "%w", err).WithHint("%s", strings.Join(hints, "; "))
}

// superseded reports whether a later job took the place of this one. All that is
// left to do in it then is to start what it stopped: of that no later job knows.
func (r *run) superseded() bool { return r.job.SupersededBy != "" }

// startStopped starts what a superseded job left stopped, and leaves the rest to the
// job that took its place: no password is sent, and nothing that runs is stopped.
func (r *run) startStopped(ctx context.Context) error {
	if err := r.repairAll(ctx); err != nil {
		return err
	}
	r.handOver(ctx)
	return r.restartAll(ctx) // pools that stand still: starting them is a recycle
}

// handOver ends the items that are the later job's business: all but what stands
// still, and machines that could not be asked.
func (r *run) handOver(ctx context.Context) {
	kept := map[itemKey]bool{}
	for _, s := range r.sites {
		kept[keyOf(s.item("", ""))] = s.skipped != ""
		for _, i := range s.inventory.Items {
			kept[s.key(i.Kind, i.Name)] = stoppedPool(i) && r.holds(s, i)
		}
	}
	for _, i := range r.steps.all() {
		if i.Status.Done() || i.LeftStopped() || kept[keyOf(i)] {
			continue
		}
		i.Status, i.Reason, i.Error, i.Left = pam.StatusSkipped, reasonSuperseded, nil, nil
		r.steps.put(ctx, i, nil)
	}
}

func stoppedPool(i dependency.Item) bool { return i.Kind == pam.KindPool && i.State == "Stopped" }

// replaced ends a job whose password is not the record's any more: somebody typed
// another one there. What the job left stopped is started; no password is sent, for
// neither is known to be the one in force.
func (r *run) replaced(ctx context.Context) error {
	if err := r.repairAll(ctx); err != nil {
		return err
	}
	left := leftOf(r.steps.all(), func(i pam.Item) bool { return !i.Status.Done() })
	return pam.Errorf(pam.ErrConflict, "the password in the record of %s was changed by hand since job %s set its own: "+
		"nothing was sent to the machines, and this is left as it was: %s", r.account.Name, r.job.ID, left).
		WithHint("with the password that is in force in the record, a new rotation brings every machine up to date: "+
			"keyturn pam action rotate -r %s; to leave them as they are: keyturn pam action job-cancel %s --abandon", r.job.User, r.job.ID)
}
