package script

import (
	"context"
	"slices"
	"strings"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

// poll is how often a pending service is looked at.
const poll = 250 * time.Millisecond

// A record is one service of a plan: what was done to it and what came of it.
type record struct {
	id      string
	status  string
	reason  string
	err     *powershell.Err
	stopped bool // a stop was asked for, so a start is owed
	tried   bool // a start was owed and begun
	before  powershell.ItemState
	after   *powershell.ItemState
	running *model.Service // as it was when it ran again
	began   time.Time
}

func (rec *record) fail(status string, err *powershell.Err) { rec.status, rec.err = status, err }

func (rec *record) ended(err error) { rec.fail("failed", errorOf(err, powershell.ClassUnknown)) }

func stateOf(s model.Service) powershell.ItemState {
	return powershell.ItemState{State: string(s.State), PID: s.PID, Started: s.Started}
}

func (r *run) newRecord(id string) *record {
	return &record{id: id, status: "ok", began: r.m.Clock().Now()}
}

func (r *run) service(ctx context.Context, name string) (model.Service, error) {
	return ask(ctx, func() (model.Service, error) { return r.m.Service(name) })
}

func (r *run) control(ctx context.Context, name string, verb model.Verb) error {
	return do(ctx, func() error { return r.m.Control(name, verb) })
}

func (r *run) sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil || r.m.Clock().Sleep(ctx, d) != nil {
		return errDead
	}
	return nil
}

// wait polls until the service is in one of states, or d has passed; it returns
// what it saw last either way.
func (r *run) wait(ctx context.Context, name string, d time.Duration, states ...model.State) (model.Service, error) {
	deadline := r.m.Clock().Now().Add(d)
	for {
		s, err := r.service(ctx, name)
		if err != nil || slices.Contains(states, s.State) || !r.m.Clock().Now().Before(deadline) {
			return s, err
		}
		if err := r.sleep(ctx, poll); err != nil {
			return s, err
		}
	}
}

type times struct{ stop, start, settle time.Duration }

func (r *run) times() times {
	t := times{powershell.StopTimeout, powershell.StartTimeout, powershell.Settle}
	if r.req.Plan == nil {
		return t
	}
	for _, f := range []struct {
		ms int64
		d  *time.Duration
	}{{r.req.Plan.StopTimeoutMs, &t.stop}, {r.req.Plan.StartTimeoutMs, &t.start}, {r.req.Plan.SettleMs, &t.settle}} {
		if f.ms > 0 {
			*f.d = time.Duration(f.ms) * time.Millisecond
		}
	}
	return t
}

// restart carries out the plan. What it stops it starts again, whatever happens
// in between, unless it is killed.
func (r *run) restart(ctx context.Context) error {
	plan := powershell.Plan{}
	if r.req.Plan != nil {
		plan = *r.req.Plan
	}
	t := r.times()
	var records []*record
	for _, s := range plan.Stops {
		rec, err := r.stop(ctx, s, t.stop)
		if err != nil {
			return err
		}
		records = append(records, rec)
	}
	if err := r.startOwed(ctx, records, plan.Starts, t.start); err != nil {
		return err
	}
	owed := func(rec *record) bool { return rec.stopped }
	if err := r.report(ctx, records, "restart", owed, t.settle); err != nil {
		return err
	}
	for _, p := range plan.Recycles {
		if err := r.recyclePool(ctx, p, t.settle); err != nil {
			return err
		}
	}
	return nil
}

// report lets what was started settle, sees whether it still stands, and tells.
func (r *run) report(ctx context.Context, records []*record, phase string, started func(*record) bool, settle time.Duration) error {
	if slices.ContainsFunc(records, started) {
		if err := r.sleep(ctx, settle); err != nil {
			return err
		}
	}
	for _, rec := range records {
		if err := r.confirm(ctx, rec); err != nil {
			return err
		}
		l := powershell.Line{
			Phase: phase, Kind: kindService, ID: rec.id, Status: rec.status, Reason: rec.reason, Err: rec.err,
			Before: &rec.before, After: rec.after, Ms: r.since(rec.began),
		}
		if err := r.item(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) stop(ctx context.Context, s powershell.PlanStop, timeout time.Duration) (*record, error) {
	rec := r.newRecord(s.ID)
	now, err := r.service(ctx, s.ID)
	if dead(err) {
		return nil, err
	}
	if err != nil {
		rec.ended(err)
		return rec, nil
	}
	rec.before = stateOf(now)
	if barred, err := r.stopBar(ctx, s, now, rec); barred || err != nil {
		return rec, err
	}
	r.intend("stopping", s.ID)
	rec.stopped = true
	err = r.control(ctx, s.ID, model.Stop)
	if err == nil {
		now, err = r.wait(ctx, s.ID, timeout, model.Stopped)
	}
	switch {
	case dead(err):
		return nil, err
	case err != nil:
		rec.ended(err)
	case now.State != model.Stopped:
		if killed, err := r.kill(ctx, rec, now); killed || err != nil {
			return rec, err
		}
		rec.fail("timeout", failure(powershell.ClassStopTimeout, 0, "the service is %s", now.State))
		return rec, r.item(ctx, powershell.Line{Phase: "stop", Kind: kindService, ID: s.ID, Status: "timeout", Err: rec.err})
	}
	return rec, nil
}

// kill ends the process of a service that does not stop, when the plan says so
// and no other service lives in it. Its failure actions may start it again.
func (r *run) kill(ctx context.Context, rec *record, now model.Service) (bool, error) {
	switch {
	case now.State != model.StopPending, r.req.Plan.OnStopTimeout != powershell.KillOwnProcess, now.Type&model.OwnProcess == 0,
		now.PID <= 0, now.PID != rec.before.PID, now.Started != rec.before.Started:
		return false, nil
	}
	if err := do(ctx, func() error { return r.m.Kill(now.PID) }); err != nil {
		return false, deadOnly(err)
	}
	now, err := r.wait(ctx, rec.id, killTimeout, model.Stopped, model.StartPending, model.Running)
	if dead(err) || err == nil && now.State == model.StopPending {
		return false, deadOnly(err)
	}
	rec.reason = powershell.ClassKilled
	return true, nil
}

// killTimeout is how long a service whose process was ended may take to say so.
const killTimeout = 30 * time.Second

// deadOnly is err when the script ends with it, and nil otherwise.
func deadOnly(err error) error {
	if dead(err) {
		return err
	}
	return nil
}

// stopBar reports whether a planned stop is left out, and notes why.
func (r *run) stopBar(ctx context.Context, s powershell.PlanStop, now model.Service, rec *record) (bool, error) {
	switch {
	case string(now.State) != s.State, now.PID != s.PID, s.Started != "" && now.Started != s.Started:
		rec.status, rec.reason = "skipped", powershell.ClassStateChanged
		return true, nil
	case r.overdue():
		rec.fail("pending", failure(powershell.ClassDeadline, 0, "the time was over before its turn"))
		return true, nil
	case now.StartMode == model.Disabled:
		rec.status, rec.reason = "skipped", powershell.ClassDisabled
		return true, nil
	}
	for _, d := range now.Dependents {
		dependent, err := r.service(ctx, d)
		if dead(err) {
			return false, err
		}
		if err == nil && dependent.State != model.Stopped {
			rec.fail("failed", failure(powershell.ClassDependentsBlocked, 1051, "services that need it are still running"))
			return true, nil
		}
	}
	return false, nil
}

// startOwed starts everything that was stopped, in the plan's order; what the
// plan forgets comes after, last stopped first.
func (r *run) startOwed(ctx context.Context, records []*record, starts []powershell.PlanStart, timeout time.Duration) error {
	order := slices.Clone(starts)
	for _, rec := range slices.Backward(records) {
		order = append(order, powershell.PlanStart{ID: rec.id, Pause: rec.before.State == string(model.Paused)})
	}
	done := map[*record]bool{}
	for _, s := range order {
		i := slices.IndexFunc(records, func(rec *record) bool { return rec.stopped && strings.EqualFold(rec.id, s.ID) })
		if i < 0 || done[records[i]] {
			continue
		}
		done[records[i]] = true
		if err := r.completeStart(ctx, records[i], s, timeout); err != nil {
			return err
		}
	}
	return nil
}

// completeStart starts what is owed for a record. The error is errDead.
func (r *run) completeStart(ctx context.Context, rec *record, s powershell.PlanStart, timeout time.Duration) error {
	now, err := r.service(ctx, rec.id)
	if dead(err) {
		return err
	}
	if err != nil {
		rec.ended(err)
		return nil
	}
	if now.State == model.StopPending {
		if rec.status == "ok" {
			rec.fail("timeout", failure(powershell.ClassStopTimeout, 0, "the service is %s", now.State))
		}
		return nil
	}
	rec.tried = true
	if now.State == model.Stopped {
		if failed, err := r.startAgain(ctx, rec, timeout); failed || err != nil {
			return err
		}
	}
	if s.Pause {
		if err := r.suspend(ctx, rec); err != nil {
			return err
		}
	}
	now, err = r.service(ctx, rec.id)
	if dead(err) {
		return err
	}
	rec.running = &now
	return nil
}

func (r *run) startAgain(ctx context.Context, rec *record, timeout time.Duration) (failed bool, err error) {
	e, err := r.startBar(ctx, rec.id)
	if err != nil {
		return false, err
	}
	if e == nil {
		r.intend("starting", rec.id)
		if e, err = r.start(ctx, rec.id, timeout); err != nil {
			return false, err
		}
	}
	if e != nil {
		if e.Class == powershell.ClassServiceLogon {
			r.noLogon[strings.ToUpper(rec.id)] = true
		}
		rec.fail("failed", e)
		return true, r.item(ctx, powershell.Line{Phase: "start", Kind: kindService, ID: rec.id, Status: "failed", Err: e})
	}
	r.intend("started", rec.id)
	if rec.status == "timeout" { // it stopped in the end
		rec.fail("ok", nil)
	}
	return false, nil
}

// startBar is why a service is not tried, or nil: Windows would start what it
// needs first, and each logon of those counts towards a lockout.
func (r *run) startBar(ctx context.Context, name string) (*powershell.Err, error) {
	if len(r.noLogon) == 0 {
		return nil, nil
	}
	s, err := r.service(ctx, name)
	if err != nil {
		return nil, deadOnly(err)
	}
	for _, n := range s.DependsOn {
		if r.noLogon[strings.ToUpper(n)] {
			r.noLogon[strings.ToUpper(name)] = true
			return failure(powershell.ClassDependencyFailed, 1068, "%s, which it needs, could not log on: it was not tried", n), nil
		}
	}
	return nil, nil
}

// retried are the codes after which another start can help and costs no logon.
var retried = []int64{1053, 1055, 1068}

const startTries = 3

// start starts a service and waits for it. It returns why it does not run, or
// nil; the error is errDead.
func (r *run) start(ctx context.Context, name string, timeout time.Duration) (*powershell.Err, error) {
	for try := 1; ; try++ {
		err := r.control(ctx, name, model.Start)
		var now model.Service
		if err == nil {
			now, err = r.wait(ctx, name, timeout, model.Running, model.Stopped, model.Paused)
		}
		if dead(err) {
			return nil, err
		}
		var e *powershell.Err
		switch {
		case err != nil:
			e = errorOf(err, powershell.ClassUnknown)
		case now.State == model.Running, now.State == model.Paused:
			return nil, nil
		case now.State != model.Stopped:
			return failure(powershell.ClassStartTimeout, 1053, "the service is %s", now.State), nil
		default:
			e = endedBecause(now.Exit)
		}
		if e.Native == int64(model.AlreadyRunning) {
			return nil, nil
		}
		if try >= startTries || !slices.Contains(retried, e.Native) {
			return e, nil
		}
		if err := r.sleep(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// endedBecause is the error of a service that stopped again while it started.
func endedBecause(exit uint32) *powershell.Err {
	switch exit {
	case 0, 1066, 1077:
		return failure(powershell.ClassDied, exit, "the service stopped right after its start")
	case 1053, 1068, 1069:
		return codeError(model.Errno(exit))
	default:
		return failure(powershell.ClassDied, exit, "the service ended with code %d", exit)
	}
}

const pauseTimeout = 30 * time.Second

func (r *run) suspend(ctx context.Context, rec *record) error {
	err := r.control(ctx, rec.id, model.Pause)
	if err == nil {
		_, err = r.wait(ctx, rec.id, pauseTimeout, model.Paused)
	}
	if dead(err) {
		return err
	}
	if err != nil {
		rec.ended(err)
	}
	return nil
}

// confirm notes what is true of a started service once it had time to fall over.
func (r *run) confirm(ctx context.Context, rec *record) error {
	now, err := r.service(ctx, rec.id)
	if dead(err) {
		return err
	}
	after := stateOf(now) // of a service that is gone: nothing
	rec.after = &after
	if rec.status != "ok" || rec.running == nil {
		return nil
	}
	switch {
	case now.State != model.Running && now.State != model.Paused:
		rec.fail("failed", failure(powershell.ClassDied, now.Exit, "the service is %s", now.State))
	case now.PID != rec.running.PID:
		rec.fail("failed", failure(powershell.ClassFlapping, 0, "the service was restarted again within moments"))
	case rec.stopped && now.PID == rec.before.PID && now.Started == rec.before.Started && now.Type&model.OwnProcess != 0:
		rec.fail("failed", failure(powershell.ClassUnknown, 0, "the service still runs in the same process"))
	}
	return nil
}
