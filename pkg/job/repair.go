package job

import (
	"context"
	"slices"
	"strings"

	"keyturn/pkg/dependency"
	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
)

// repairAll starts, on every machine whose restart was cut off, what its saved
// plan stopped. What it restarts is thereby restarted.
func (r *run) repairAll(ctx context.Context) error {
	plans, err := r.cfg.Store.RestartPlans(ctx, r.job.ID)
	if err != nil || len(plans) == 0 {
		return err
	}
	var cut []*site
	for _, s := range r.working() {
		if plan, ok := plans[s.machine.UID]; ok && r.wasCut(s, plan) {
			cut = append(cut, s)
		}
	}
	if len(cut) == 0 {
		return nil
	}
	if err := r.enter(ctx, pam.PhaseRepair); err != nil {
		return err
	}
	r.each(ctx, cut, func(ctx context.Context, s *site) { r.repairSite(ctx, s, plans[s.machine.UID]) })
	return nil
}

// wasCut reports whether something that the machine's saved plan names has not
// ended its restart. The plan decides, not what was noted of the items: a cut
// between two notes must not make the same restart anew.
func (r *run) wasCut(s *site, plan pam.RestartPlan) bool {
	unended := func(kind pam.DependencyKind, name string) bool {
		i, ok := r.steps.get(s.key(kind, name))
		return ok && !i.Status.Done()
	}
	for _, stop := range stopsOf(plan) {
		if unended(pam.KindService, stop.Name) {
			return true
		}
	}
	for _, c := range plan.Recycles {
		if unended(pam.KindPool, c.Name) {
			return true
		}
	}
	return false
}

// repairSite ends a restart that was cut off: what the plan has not stopped yet
// is stopped and started, then everything it left stopped is started. Nothing is
// stopped a second time. A look afterwards settles by process what is restarted.
func (r *run) repairSite(ctx context.Context, s *site, plan pam.RestartPlan) {
	r.forgetFailures(ctx, s, plan)
	err := r.endRestart(ctx, s, plan)
	if err == nil {
		err = r.lookAt(ctx, s)
	}
	if err != nil {
		s.miss(err)
		r.restartsUnheard(ctx, s, err)
		return
	}
	seen := s.seen()
	for _, stop := range stopsOf(plan) {
		r.settleByProcess(ctx, s, stop, seen[s.key(pam.KindService, stop.Name)])
	}
	for _, c := range plan.Recycles {
		r.settleByWorkers(ctx, s, c, seen[s.key(pam.KindPool, c.Name)])
	}
}

// forgetFailures opens again what failed in a former run: a service that comes up
// now is restarted, and must not be stopped once more for its old failure.
func (r *run) forgetFailures(ctx context.Context, s *site, plan pam.RestartPlan) {
	for _, stop := range stopsOf(plan) {
		i, ok := r.steps.get(s.key(pam.KindService, stop.Name))
		if ok && (i.Status == pam.StatusFailed || i.Status == pam.StatusTimeout) && i.Phase != pam.PhaseUpdate {
			i.Phase, i.Status, i.Error = pam.PhaseRepair, pam.StatusUnknown, nil
			r.steps.put(ctx, i, nil)
		}
	}
}

// stopsOf are the stops of a plan, and one for each service that only its starts
// name: an earlier cut left it stopped, and no process is the old one.
func stopsOf(plan pam.RestartPlan) []pam.Stop {
	stops := slices.Clone(plan.Stops)
	for _, start := range plan.Starts {
		if slices.ContainsFunc(plan.Stops, func(s pam.Stop) bool { return strings.EqualFold(s.Name, start.Name) }) {
			continue
		}
		state := "Running"
		if start.Pause {
			state = "Paused"
		}
		stops = append(stops, pam.Stop{Name: start.Name, State: state, PID: -1})
	}
	return stops
}

func (r *run) endRestart(ctx context.Context, s *site, plan pam.RestartPlan) error {
	on := func(e executor.Event) { r.repaired(ctx, s, e.Item) }
	// Outside its window, a machine is only given back what the cut left stopped, and
	// so it is when a later job took the place of this one.
	if rest, more := remaining(plan, s); more && !r.restartsNothing() && !r.windowShut() && !r.superseded() {
		if err := r.cfg.Store.SaveRestartPlan(ctx, r.job.ID, rest); err != nil {
			return err
		}
		plan = rest
		if _, err := r.atMachine(ctx, s, executor.Restart{Run: r.job.ID, Plan: rest}, nil, on); err != nil {
			return err
		}
	}
	_, err := r.atMachine(ctx, s, executor.Repair{Run: r.job.ID, Plan: plan}, nil, on)
	return err
}

// remaining is the part of a cut plan that is still to be done, and whether
// there is any: the services that still run in the process that the plan saw.
// What it left stopped stays among the starts, so that no later cut forgets it.
func remaining(plan pam.RestartPlan, s *site) (rest pam.RestartPlan, more bool) {
	rest = plan
	rest.Stops, rest.Starts = nil, nil
	seen, done := s.seen(), map[itemKey]bool{}
	for _, stop := range plan.Stops {
		key := s.key(pam.KindService, stop.Name)
		switch now := seen[key]; {
		case sameProcess(stop, now):
			rest.Stops = append(rest.Stops, stop)
			more = more || stop.Target
		case now.State == stop.State:
			done[key] = true
		}
	}
	for _, start := range plan.Starts {
		if !done[s.key(pam.KindService, start.Name)] {
			rest.Starts = append(rest.Starts, start)
		}
	}
	return rest, more
}

func sameProcess(stop pam.Stop, now dependency.Item) bool {
	return now.State == stop.State && now.PID == stop.PID && now.Started.Equal(stop.Started)
}

// seen is the newest look by item.
func (s *site) seen() map[itemKey]dependency.Item {
	seen := map[itemKey]dependency.Item{}
	for _, i := range s.inventory.Items {
		seen[s.key(i.Kind, i.Name)] = i
	}
	return seen
}

// repaired saves a failed repair; a good one is confirmed by the look after it.
func (r *run) repaired(ctx context.Context, s *site, res dependency.ItemResult) {
	if !res.Status.Done() {
		res.Phase = pam.PhaseRepair
		r.restarted(ctx, s, res)
	}
}

func (r *run) settleByProcess(ctx context.Context, s *site, stop pam.Stop, now dependency.Item) {
	i, ok := r.steps.get(s.key(pam.KindService, stop.Name))
	if !ok || (i.Phase == pam.PhaseRestart && i.Status.Done()) || i.Status == pam.StatusFailed {
		return
	}
	same := sameProcess(stop, now)
	switch {
	case now.State == stop.State && !same:
		i.Phase, i.Status, i.Error, i.Reason = pam.PhaseRestart, pam.StatusOK, nil, reasonRepaired
		i.After = pam.Snapshot{RunAs: now.RunAs, State: now.State, StartMode: now.StartMode}
	case same:
		i.Phase, i.Status, i.Error = pam.PhaseUpdate, pam.StatusPending, nil // still to be restarted
	default:
		i.Phase, i.Status = pam.PhaseRepair, pam.StatusFailed
		i.After = pam.Snapshot{RunAs: now.RunAs, State: now.State, StartMode: now.StartMode}
		i.Error = &pam.ItemError{Class: "start_failed", Message: "it was running before the job and is " + now.State + " now"}
	}
	r.steps.put(ctx, i, nil)
}

func (r *run) settleByWorkers(ctx context.Context, s *site, c pam.Recycle, now dependency.Item) {
	i, ok := r.steps.get(s.key(pam.KindPool, c.Name))
	if !ok || i.Status.Done() {
		return
	}
	i.Phase, i.Status, i.Error = pam.PhaseRestart, pam.StatusOK, nil
	for _, pid := range now.Workers {
		if slices.Contains(c.Workers, pid) {
			i.Phase, i.Status = pam.PhaseUpdate, pam.StatusPending // an old worker still runs
			s.workers[now.Name] = c.Workers
		}
	}
	if stoppedPool(now) { // it ran when the plan was made: the machine is asked why
		i.Phase, i.Status = pam.PhaseUpdate, pam.StatusPending
		s.workers[now.Name] = c.Workers
	}
	r.steps.put(ctx, i, nil)
}
