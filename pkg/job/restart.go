package job

import (
	"context"
	"errors"
	"sync"

	"keyturn/pkg/dependency"
	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// Restarts stop being started when more than this many of them failed, or this
// share of those begun, whichever is larger.
const (
	breakFailures = 3
	breakPercent  = 2
)

// restartAll restarts what was running, one machine first, then twice as many
// in each wave. Each machine's plan is durable before its first stop.
func (r *run) restartAll(ctx context.Context) error {
	sites := r.working()
	begun := 0
	if r.ration.shut(r.newCredential()) {
		r.holdBack(ctx, sites, leftRefused)
		return nil
	}
	for wave := 1; len(sites) > 0; wave *= 2 {
		if r.windowShut() {
			r.holdBack(ctx, sites, leftToWindow)
			return nil
		}
		n := min(wave, len(sites))
		var mu sync.Mutex
		var errs []error
		r.each(ctx, sites[:n], func(ctx context.Context, s *site) {
			if err := r.restartSite(ctx, s); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
		if len(errs) > 0 {
			return r.joined(sortedErrors(errs))
		}
		begun += n
		sites = sites[n:]
		if r.tooManyFailed(begun) {
			r.holdBack(ctx, sites, leftByFailures)
			return nil
		}
	}
	return nil
}

// tooManyFailed reports whether enough went wrong in this run to leave what has
// not been begun alone: more failed items than the policy allows, by default more
// failed restarts than a few.
func (r *run) tooManyFailed(begun int) bool {
	items, updates, restarts := r.steps.failed()
	if most, ok := r.policy.MaxFailures.Of(items); ok {
		return updates+restarts > most
	}
	return restarts >= max(breakFailures, begun*breakPercent/100+1)
}

// holdBack leaves the restarts of the remaining machines for later.
func (r *run) holdBack(ctx context.Context, sites []*site, why leaving) {
	for _, s := range sites {
		r.leave(ctx, s, why)
	}
}

// restartSite makes one machine's restart plan from the fresh inventory, saves
// it, and has it carried out. The error is for a plan that could not be saved:
// nothing was stopped then.
func (r *run) restartSite(ctx context.Context, s *site) error {
	plan := r.planRestart(ctx, s)
	if plan.Empty() {
		r.settleUnplanned(ctx, s)
		return nil
	}
	if err := r.cfg.Store.SaveRestartPlan(ctx, r.job.ID, plan); err != nil {
		return err
	}
	r.beginRestarts(ctx, s, plan)
	_, err := r.atMachine(ctx, s, executor.Restart{Run: r.job.ID, Plan: plan}, nil,
		func(e executor.Event) { r.restarted(ctx, s, e.Item) })
	r.restartsUnheard(ctx, s, err)
	r.settleUnplanned(ctx, s)
	return nil
}

// planRestart plans from the newest look what is restarted on one machine, and
// ends the items that are not.
func (r *run) planRestart(ctx context.Context, s *site) pam.RestartPlan {
	r.settleLeft(ctx, s)
	needs := func(i dependency.Item) bool { return r.needsRestart(s, i) }
	o := r.planOptions(s)
	o.NoRestart = false // what is left by choice is planned all the same, to be found again
	plan, skips := dependency.PlanRestart(s.inventory, needs, o)
	r.settleDependents(ctx, s, plan)
	for _, skip := range skips {
		if i, ok := r.steps.get(s.key(skip.Kind, skip.Name)); ok && isUnproven(i) {
			continue // it says so already
		}
		r.restarted(ctx, s, dependency.ItemResult{
			Phase: pam.PhaseRestart, Kind: skip.Kind, Name: skip.Name, Status: pam.StatusSkipped, Reason: skip.Text(),
		})
	}
	return plan
}

// settleDependents ends the wait of services that were to be restarted later with
// what they need, and are not any more: nothing they need is.
func (r *run) settleDependents(ctx context.Context, s *site, plan pam.RestartPlan) {
	stops := map[itemKey]bool{}
	for _, stop := range plan.Stops {
		stops[s.key(pam.KindService, stop.Name)] = true
	}
	for _, i := range r.steps.of(s.machine.UID) {
		if i.Left == nil || i.Updated || stops[keyOf(i)] {
			continue
		}
		i.Phase, i.Status, i.Reason, i.Error, i.Left = pam.PhaseRestart, pam.StatusSkipped, reasonNotNeeded, nil, nil
		r.steps.put(ctx, i, nil)
	}
}

// needsRestart reports whether an item holds the new password and still runs
// with the old one. Restarts that were left are all that an errand of restarts
// does: an item that was inactive then needs none, whatever runs in it now.
func (r *run) needsRestart(s *site, i dependency.Item) bool {
	item, ok := r.steps.get(s.key(i.Kind, i.Name))
	if !ok || !item.Updated {
		return false
	}
	if r.superseded() {
		return stoppedPool(i) && !item.Status.Done()
	}
	if r.job.Errand.Restarts() {
		return item.Left != nil
	}
	return item.Left != nil || item.Phase != pam.PhaseRestart || !item.Status.Done()
}

// beginRestarts notes, before anything is sent, which items are about to be
// stopped: a resume knows from it that they may be.
func (r *run) beginRestarts(ctx context.Context, s *site, plan pam.RestartPlan) {
	begin := func(kind pam.DependencyKind, name string) {
		i, ok := r.steps.get(s.key(kind, name))
		if !ok {
			return
		}
		i.Phase, i.Status = pam.PhaseRestart, pam.StatusUnknown
		r.steps.put(ctx, i, nil)
	}
	for _, stop := range plan.Stops {
		begin(pam.KindService, stop.Name)
	}
	for _, c := range plan.Recycles {
		begin(pam.KindPool, c.Name)
	}
}

// restarted saves what became of the restart of one item.
func (r *run) restarted(ctx context.Context, s *site, res dependency.ItemResult) {
	old, ok := r.steps.get(s.key(res.Kind, res.Name))
	if !ok {
		return
	}
	if old.Left != nil || old.Action == pam.ActionUpdate && res.Status == pam.StatusOK {
		old.Reason = "" // why it was left, or why it was not to be restarted, does not matter any more
	}
	if res.Status.Done() {
		old.Left = nil
	}
	r.steps.put(ctx, apply(old, res), nil)
}

// restartsUnheard leaves what the machine did not answer for as unknown, with
// the reason; a plan that certainly did not arrive stopped nothing.
func (r *run) restartsUnheard(ctx context.Context, s *site, err error) {
	if err == nil {
		return
	}
	r.cfg.Log.WarnContext(ctx, "restart cut off", "job", r.job.ID, "machine_uid", s.machine.UID, "error", err)
	for _, i := range r.steps.of(s.machine.UID) {
		if i.Phase != pam.PhaseRestart || i.Status != pam.StatusUnknown {
			continue
		}
		i.Error = &pam.ItemError{Class: string(pam.KindOf(err)), Message: err.Error()}
		if !wasSent(err) {
			i.Phase, i.Status = pam.PhaseUpdate, pam.StatusPending
		}
		r.steps.put(ctx, i, nil)
	}
}

// settleUnplanned ends items that were waiting for a restart they do not need:
// a pool whose configuration change gave it new workers, a service that stopped
// meanwhile, a dependent of something that was not restarted.
func (r *run) settleUnplanned(ctx context.Context, s *site) {
	for _, i := range r.steps.of(s.machine.UID) {
		if i.Status != pam.StatusPending || i.Error != nil {
			continue
		}
		switch {
		case i.Updated && i.Phase == pam.PhaseUpdate && i.Kind == pam.KindPool:
			i.Phase, i.Status, i.Reason = pam.PhaseRestart, pam.StatusOK, reasonRecycled
		case i.Updated && i.Phase == pam.PhaseUpdate:
			i.Status, i.Reason = pam.StatusOK, reasonStopped
		case i.Action == pam.ActionRestart && i.Phase == pam.PhaseLook:
			i.Phase, i.Status, i.Reason = pam.PhaseRestart, pam.StatusSkipped, reasonNotNeeded
		default:
			continue
		}
		r.steps.put(ctx, i, nil)
	}
}

// wasSent reports whether a failed call may have done something on the machine.
func wasSent(err error) bool {
	if e, ok := errors.AsType[*remote.Error](err); ok {
		return e.Sent
	}
	// Before a session there was no call: what refused us there sent nothing.
	return !errors.Is(err, pam.ErrUnreachable) && !errors.Is(err, pam.ErrAuthFailed) && !errors.Is(err, pam.ErrUntrusted)
}
