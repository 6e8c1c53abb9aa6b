package script

import (
	"context"
	"slices"
	"strings"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

func findPool(all []model.Pool, name string) *model.Pool {
	for i := range all {
		if strings.EqualFold(all[i].Name, name) {
			return &all[i]
		}
	}
	return nil
}

// reasonRecycled is why a pool is not recycled whose workers are new already:
// the commit did it.
const reasonRecycled = "already_recycled"

// recyclePool recycles a pool whose workers are still the planned ones.
func (r *run) recyclePool(ctx context.Context, p powershell.PlanRecycle, settle time.Duration) error {
	began := r.m.Clock().Now()
	l := powershell.Line{Phase: "recycle", Kind: kindPool, ID: p.ID, Status: "ok"}
	err := r.rotatePool(ctx, p, settle, &l)
	if dead(err) {
		return err
	}
	if err != nil {
		l.Status, l.Err = "failed", errorOf(err, powershell.ClassUnknown)
	}
	l.Ms = r.since(began)
	return r.item(ctx, l)
}

func (r *run) poolNow(ctx context.Context, name string) (*model.Pool, error) {
	if !r.info.IIS {
		return nil, nil
	}
	all, err := ask(ctx, r.m.Pools)
	if err != nil {
		return nil, err
	}
	return findPool(all, name), nil
}

func (r *run) rotatePool(ctx context.Context, plan powershell.PlanRecycle, settle time.Duration, l *powershell.Line) error {
	p, err := r.poolNow(ctx, plan.ID)
	if err != nil {
		return err
	}
	if p == nil {
		l.Status, l.Err = "failed", failure(powershell.ClassNotFound, 0, "there is no such pool")
		return nil
	}
	l.Before = &powershell.ItemState{State: poolState(*p)}
	planned := slices.Sorted(slices.Values(plan.Workers))
	switch {
	case len(planned) == 0:
		l.Status, l.Reason = "noop", powershell.ClassNotRunning
		return nil
	case p.State == "Stopped":
		return r.stopped(ctx, p.Name, l)
	case p.State != "Started":
		skip(l, powershell.ClassStateChanged)
		return nil
	case !slices.Equal(slices.Sorted(slices.Values(p.Workers)), planned):
		l.Status, l.Reason = "noop", reasonRecycled
	default:
		if err := do(ctx, func() error { return r.m.RecyclePool(p.Name) }); err != nil {
			return err
		}
	}
	return r.waitForWorkers(ctx, p.Name, planned, settle, l)
}

// stopped says why a pool stands still that ran when the plan was made: the
// activation service's own words, or, without them, that somebody stopped it.
func (r *run) stopped(ctx context.Context, name string, l *powershell.Line) error {
	events, err := ask(ctx, r.m.PoolFailures)
	if err != nil {
		return err
	}
	for _, e := range slices.Backward(events) {
		if !strings.EqualFold(e.Name, name) || r.m.Clock().Now().Sub(e.Time) > time.Hour {
			continue
		}
		l.Status, l.Reason = "failed", ""
		l.Err = failure(powershell.ClassServiceLogon, 0, "the pool stopped when its new worker started. "+
			"WAS event %d: Application pool %s has been disabled.", e.ID, e.Name)
		return nil
	}
	skip(l, powershell.ClassStateChanged)
	return nil
}

// waitForWorkers waits until the old workers are gone and a new one is there; a
// pool that does not always run may get it with the next request only. One that
// cannot log on shows only here: the pool stops.
func (r *run) waitForWorkers(ctx context.Context, name string, old []int, settle time.Duration, l *powershell.Line) error {
	began := r.m.Clock().Now()
	for {
		if err := r.sleep(ctx, poll); err != nil {
			return err
		}
		p, err := r.poolNow(ctx, name)
		if err != nil {
			return err
		}
		if p == nil {
			return model.NotFoundHR
		}
		l.After = &powershell.ItemState{State: poolState(*p)}
		if len(p.Workers) > 0 {
			l.After.PID = slices.Min(p.Workers)
		}
		if p.State != "Started" {
			return r.stopped(ctx, p.Name, l)
		}
		left := slices.ContainsFunc(old, func(pid int) bool { return slices.Contains(p.Workers, pid) })
		limit := settle
		if left || p.AlwaysRunning {
			limit += 30 * time.Second
		}
		if !left && len(p.Workers) > 0 || r.m.Clock().Now().Sub(began) >= limit {
			confirmWorkers(*p, left, l)
			return nil
		}
	}
}

// confirmWorkers says what is wrong with a pool's workers after the wait, if
// anything is; left says that an old one is still there.
func confirmWorkers(p model.Pool, left bool, l *powershell.Line) {
	switch {
	case left:
		l.Status, l.Err = "timeout", failure(powershell.ClassStopTimeout, 0, "the old worker is still there")
	case len(p.Workers) == 0 && p.AlwaysRunning:
		l.Status, l.Err = "timeout", failure(powershell.ClassStartTimeout, 0, "the pool always runs, and no new worker was seen")
	}
}
