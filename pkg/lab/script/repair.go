package script

import (
	"context"
	"strings"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

// Reasons of repaired items.
const (
	reasonByRun   = "stopped_by_run"
	reasonByOther = "stopped_by_other"
)

// repair starts what the plan's run left stopped.
func (r *run) repair(ctx context.Context) error {
	t := r.times()
	var records []*record
	if r.req.Plan != nil {
		for _, s := range r.req.Plan.Starts {
			rec, err := r.repairService(ctx, s, t)
			if err != nil {
				return err
			}
			records = append(records, rec)
		}
	}
	return r.report(ctx, records, "repair", func(rec *record) bool { return rec.tried }, t.settle)
}

func (r *run) repairService(ctx context.Context, s powershell.PlanStart, t times) (*record, error) {
	rec := r.newRecord(s.ID)
	now, err := r.steady(ctx, rec, t)
	if dead(err) {
		return nil, err
	}
	if err != nil {
		rec.ended(err)
		return rec, nil
	}
	byRun := r.stoppedByThis[strings.ToUpper(s.ID)]
	switch now.State {
	case model.Stopped:
		rec.reason = reasonByOther
		if byRun {
			rec.reason = reasonByRun
		}
		return rec, r.completeStart(ctx, rec, s, t.start)
	case model.Running, model.Paused:
		rec.status, rec.reason = "noop", powershell.ClassAlreadyRunning
		if s.Pause && now.State == model.Running && byRun { // cut off between the start and the pause
			rec.status = "ok"
			return rec, r.suspend(ctx, rec)
		}
	default:
		rec.fail("timeout", failure(powershell.ClassTransitioning, 0, "the service is %s", now.State))
	}
	return rec, nil
}

// steady is the service once it is on its way no more, or still is after the
// time for it.
func (r *run) steady(ctx context.Context, rec *record, t times) (model.Service, error) {
	now, err := r.service(ctx, rec.id)
	if err != nil {
		return now, err
	}
	rec.before = stateOf(now)
	limit := t.start
	switch now.State {
	case model.StopPending:
		limit = t.stop
	case model.StartPending:
	default:
		return now, nil
	}
	return r.wait(ctx, rec.id, limit, model.Stopped, model.Running, model.Paused)
}
