package job

import (
	"context"
	"fmt"
	"slices"
	"time"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
	"keyturn/pkg/schedule"
)

// policyOf is the policy of one job: the account's, with what the job overrides.
func policyOf(s pam.RotationSettings, o pam.JobOptions) (pam.Policy, *schedule.Window, error) {
	p := s.Policy.With(o.Policy)
	if o.NoRestart {
		p.Restart = pam.RestartNever
	}
	if p.Restart != pam.RestartWindow {
		return p, nil, nil
	}
	w, err := schedule.ParseWindow(p.Window)
	return p, &w, err
}

// restartsNothing reports whether the job leaves every restart for another day.
func (r *run) restartsNothing() bool {
	return r.policy.Restart == pam.RestartNever && !r.job.Errand.Restarts()
}

// windowShut reports whether restarts have to wait for their window. It is
// asked between machines, never between a stop and its start. What a superseded job
// starts stands still, and waits for nothing.
func (r *run) windowShut() bool {
	return r.window != nil && r.job.Errand != pam.ErrandRestartNow && !r.superseded() && !r.window.Open(r.cfg.Now())
}

func (r *run) restartText() string { return r.policy.RestartText() }

// A leaving says why a restart is left for later, and how that shows. A service of
// another account that is restarted with what it needs has no password of ours to
// run on with: dependent is its own reason.
type leaving struct {
	phase     pam.Phase
	status    pam.Status
	reason    string
	dependent string
}

var (
	// What was left by choice is no unfinished business of the job.
	leftByChoice   = leaving{pam.PhaseUpdate, pam.StatusOK, dependency.ReasonNoRestart, dependency.ReasonWaits}
	leftToWindow   = leaving{pam.PhaseRestart, pam.StatusDeferred, reasonOutsideWindow, dependency.ReasonWaits}
	leftByFailures = leaving{pam.PhaseRestart, pam.StatusPending, reasonTooManyFailed, reasonTooManyFailed}
	leftRefused    = leaving{pam.PhaseRestart, pam.StatusPending, reasonRefused, reasonRefused}
)

// leave notes what would be restarted on one machine, and the processes that run
// with the old password until somebody does: "pam action restart" finds them.
func (r *run) leave(ctx context.Context, s *site, why leaving) {
	plan := r.planRestart(ctx, s)
	note := func(kind pam.DependencyKind, name string, p pam.Process) {
		i, ok := r.steps.get(s.key(kind, name))
		if !ok {
			return
		}
		i.Phase, i.Status, i.Reason, i.Error, i.Left = why.phase, why.status, why.reason, nil, &p
		if !i.Updated {
			i.Reason = why.dependent
			if why.status.Done() { // nothing was done to it, and the job means to do nothing
				i.Phase, i.Status = pam.PhaseLook, pam.StatusSkipped
			}
		}
		r.steps.put(ctx, i, nil)
	}
	for _, stop := range plan.Stops {
		note(pam.KindService, stop.Name, pam.Process{PID: stop.PID, Started: stop.Started})
	}
	seen := s.seen()
	for _, c := range plan.Recycles {
		// The change of its configuration has recycled most pools already.
		if runsStill(seen[s.key(pam.KindPool, c.Name)], pam.Process{Workers: c.Workers}) {
			note(pam.KindPool, c.Name, pam.Process{Workers: c.Workers})
		}
	}
	r.settleUnplanned(ctx, s)
}

// settleLeft ends the restarts that were left and that nobody needs any more: of
// what stands still now, or runs in another process than it was left in.
func (r *run) settleLeft(ctx context.Context, s *site) {
	seen := s.seen()
	for _, i := range r.steps.of(s.machine.UID) {
		if i.Left == nil {
			continue
		}
		now, found := seen[keyOf(i)]
		var reason string
		switch {
		case !found:
			reason = reasonGone
		case i.Kind == pam.KindService && !running(now):
			reason = reasonStopped
		case !runsStill(now, *i.Left):
			reason = reasonRestarted
		default:
			continue
		}
		i.Phase, i.Status, i.Reason, i.Error, i.Left = pam.PhaseRestart, pam.StatusOK, reason, nil, nil
		r.steps.put(ctx, i, nil)
	}
}

func running(i dependency.Item) bool { return i.State == "Running" || i.State == "Paused" }

// runsStill reports whether an item runs in what it ran in then.
func runsStill(now dependency.Item, then pam.Process) bool {
	if now.Kind == pam.KindPool {
		return slices.ContainsFunc(now.Workers, func(pid int) bool { return slices.Contains(then.Workers, pid) })
	}
	return now.PID == then.PID && now.Started.Equal(then.Started)
}

// concerned reports whether the job's errand has anything to do on a machine.
func (r *run) concerned(machine pam.UID) bool {
	if r.job.Errand == pam.ErrandAll && !r.superseded() {
		return true
	}
	for _, i := range r.steps.all() {
		if i.Machine == machine && i.Kind != pam.KindAccount && r.wanted(i) {
			return true
		}
	}
	return false
}

// wanted reports whether an item is what the job's errand is about.
func (r *run) wanted(i pam.Item) bool {
	switch {
	case r.superseded():
		return i.LeftStopped()
	case r.job.Errand.Restarts():
		return i.Left != nil
	}
	return !i.Status.Done() && i.Status != pam.StatusDeferred
}

// known leaves out what an errand of restarts, and a superseded job, has no business
// with: what runs as the account only since the job.
func (r *run) known(items []pam.Item) []pam.Item {
	if !r.job.Errand.Restarts() && !r.superseded() {
		return items
	}
	return slices.DeleteFunc(items, func(i pam.Item) bool {
		_, ok := r.steps.get(keyOf(i))
		return !ok && (i.Action != pam.ActionRestart || r.superseded())
	})
}

// restartLeft does the restarts that the job left. No password is read for it,
// so none can be sent.
func (r *run) restartLeft(ctx context.Context) error {
	if !r.job.Committed {
		return pam.Errorf(pam.ErrConflict, "job %s has not changed the password: there is nothing to restart", r.job.ID)
	}
	if err := r.repairAll(ctx); err != nil {
		return err
	}
	if err := r.enter(ctx, pam.PhaseRestart); err != nil {
		return err
	}
	return r.restartAll(ctx)
}

// onlyDeferred reports whether all that is left waits for its window.
func (r *run) onlyDeferred() bool {
	for _, i := range r.steps.all() {
		if !i.Status.Done() && i.Status != pam.StatusDeferred {
			return false
		}
	}
	return true
}

// deferredHint says when the restarts can be done, and that nobody does them unasked.
func (r *run) deferredHint() string {
	restart := "keyturn pam action restart " + string(r.job.ID)
	if !r.windowShut() {
		return restart
	}
	return fmt.Sprintf("nothing restarts by itself: from %s on, %s; at once, %s --now", r.opens(), restart, restart)
}

// opens is when the account's window opens next, for people.
func (r *run) opens() string { return r.window.Next(r.cfg.Now()).Format(time.RFC3339) }

// deferredMessage says what waits, and for how long.
func (r *run) deferredMessage() string {
	n, when := 0, ""
	for _, i := range r.steps.all() {
		if i.Status == pam.StatusDeferred {
			n++
		}
	}
	if r.window != nil {
		when = fmt.Sprintf("; the window %s opens %s", r.window, r.opens())
	}
	what := "1 restart waits for its window"
	if n > 1 {
		what = fmt.Sprintf("%d restarts wait for their window", n)
	}
	return fmt.Sprintf("the password of %s was changed and stored everywhere; %s%s", r.account.Name, what, when)
}
