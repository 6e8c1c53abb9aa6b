package vault_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"keyturn/pkg/pam"
)

func TestOneJobHoldsAnAccount(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, machine := rotatable(t, v, "svc")
	mapped := add(t, v, machineRecord("SRV1", "srv1", "windows"))
	planned := add(t, v, machineRecord("SRV2", "srv2", "windows"))
	must(t, v.SetMapping(ctx, pam.Mapping{User: user, Machine: mapped, Kinds: pam.MapAll}))
	j := newJob(t, v, user)
	if j.State != pam.JobQueued || j.AccountName != `LAB\svc` || j.UserTitle != "svc" || j.Gateway == "" || j.Created.IsZero() {
		t.Errorf("got %+v", j)
	}
	_, err := v.Open(ctx, j.ID, pam.Plan{Items: []pam.Item{{Machine: planned, Kind: pam.KindService, Name: "s"}}})
	must(t, err)
	r, err := v.Record(ctx, user)
	must(t, err)
	renamed, typed, moved := r, r, r
	renamed.Title = "new title"
	must(t, v.UpdateRecord(ctx, renamed))
	r, err = v.Record(ctx, user)
	must(t, err)
	typed.Fields = []pam.Field{{Type: "login", Values: []string{`LAB\svc`}}, {Type: "password", Secret: word("typed")}}
	moved.Fields = []pam.Field{{Type: "login", Values: []string{`LAB\second`}}, {Type: "password", Secret: word("first-svc")}}
	typed.Revision, moved.Revision = r.Revision, r.Revision

	refused := func(state string) {
		t.Helper()
		_, err := v.CreateJob(ctx, user, pam.JobOptions{})
		wants(t, err, pam.ErrConflict, string(j.ID), state)
		wants(t, v.UpdateRecord(ctx, typed), pam.ErrConflict, string(j.ID), "nothing changed")
		wants(t, v.UpdateRecord(ctx, moved), pam.ErrConflict, string(j.ID))
		for _, uid := range []pam.UID{user, machine, mapped, planned} {
			wants(t, v.DeleteRecord(ctx, uid), pam.ErrConflict, string(j.ID))
		}
	}
	refused("queued")
	j.State = pam.JobOpen
	must(t, v.SetJob(ctx, j))
	refused("open")
	j.State = pam.JobPartial
	must(t, v.SetJob(ctx, j))
	must(t, v.UpdateRecord(ctx, typed))
	if got := passwordOf(t, v, user); got != "typed" {
		t.Errorf("the record shows %q", got)
	}
	wants(t, v.DeleteRecord(ctx, planned), pam.ErrConflict, string(j.ID), "--abandon") // partial: its machines wait for it
	if open, err := v.Unsettled(ctx); err != nil || len(open) != 1 || open[0].ID != j.ID || len(open[0].Items) == 0 {
		t.Errorf("unsettled: %+v, %v", open, err)
	}
	must(t, v.Abandon(ctx, j.ID))
	wants(t, v.Abandon(ctx, j.ID), pam.ErrConflict, "nothing changed")
	wants(t, v.Requeue(ctx, j.ID), pam.ErrConflict, "nothing to resume")
	must(t, v.DeleteRecord(ctx, planned))

	second := newJob(t, v, user)
	j.State = pam.JobRunning
	wants(t, v.SetJob(ctx, j), pam.ErrConflict, string(second.ID))
}

func TestSetJobLeavesAloneWhatIsNotItsBusiness(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	lock, err := v.LockAccount(ctx, j.Account) // as the runner does
	must(t, err)
	t.Cleanup(func() { _ = lock.Release() })
	fence, err := v.Open(ctx, j.ID, pam.Plan{Items: []pam.Item{{Kind: pam.KindAccount, Name: "svc"}}})
	must(t, err)
	must(t, v.RequestCancel(ctx, j.ID))
	stale := j // knows nothing of fence, items and cancel
	stale.State, stale.Phase, stale.Message, stale.Hint, stale.Failure = pam.JobRunning, pam.PhaseUpdate, "m", "h", pam.ErrPartial
	stale.Started, stale.Window, stale.Warnings = time.Unix(1, 0).UTC(), time.Minute, []string{"w"}
	must(t, v.SetJob(ctx, stale))
	got, err := v.Job(ctx, j.ID)
	must(t, err)
	want := stale
	want.Cancel, want.Fence, want.Items = true, fence, []pam.Item{{Kind: pam.KindAccount, Name: "svc"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if yes, err := v.CancelRequested(ctx, j.ID); !yes || err != nil {
		t.Errorf("the cancel request is lost: %v", err)
	}
	_, err = v.Stage(ctx, j.ID, j.Account, word("x"), pam.Evidence{})
	wants(t, err, pam.ErrInterrupted, "nothing changed")
	_, err = v.Job(ctx, "nosuch")
	wants(t, err, pam.ErrNotFound)
	wants(t, v.SetJob(ctx, pam.Job{ID: "nosuch"}), pam.ErrNotFound)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	must(t, v.RequestCancel(ctx, j.ID))
	got, err := v.Job(ctx, j.ID)
	if err != nil || got.State != pam.JobCancelled || got.Finished.IsZero() || got.ExitCode() != 130 {
		t.Errorf("a job that nobody runs is %+v, %v", got, err)
	}
	wants(t, v.RequestCancel(ctx, j.ID), pam.ErrConflict, "cancelled")

	j = newJob(t, v, user)
	_, err = v.Stage(ctx, j.ID, j.Account, word("x"), pam.Evidence{})
	must(t, err)
	wants(t, v.RequestCancel(ctx, j.ID), pam.ErrConflict, "cannot be stopped")
}

func TestAJobWhoseRunnerIsGoneIsOpen(t *testing.T) {
	t.Parallel()
	c := newClock()
	o := options()
	o.Now = c.Now
	v, _ := createWith(t, o)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	state := func() pam.JobState {
		t.Helper()
		one, err := v.Job(ctx, j.ID)
		must(t, err)
		all, err := v.Jobs(ctx)
		must(t, err)
		if len(all) != 1 || all[0].State != one.State || all[0].Items != nil {
			t.Errorf("Jobs says %+v, Job says %s", all, one.State)
		}
		return one.State
	}
	if got := state(); got != pam.JobQueued {
		t.Errorf("a new job is %s", got)
	}
	c.advance(11 * time.Second)
	if got := state(); got != pam.JobOpen {
		t.Errorf("a job that no runner took up is %s", got)
	}
	lock, err := v.LockAccount(ctx, j.Account)
	must(t, err)
	if got := state(); got != pam.JobQueued {
		t.Errorf("a queued job with a runner is %s", got)
	}
	j.State, j.Started = pam.JobRunning, c.Now()
	must(t, v.SetJob(ctx, j))
	if got := state(); got != pam.JobRunning {
		t.Errorf("a running job with a runner is %s", got)
	}
	must(t, lock.Release())
	if got := state(); got != pam.JobOpen {
		t.Errorf("a running job without a runner is %s", got)
	}
	j.State = pam.JobFinished
	must(t, v.SetJob(ctx, j))
	if got := state(); got != pam.JobFinished {
		t.Errorf("an ended job is %s", got)
	}
}

func TestStepsMoveItemsAndDeployments(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, _ := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	item := func(title string, kind pam.DependencyKind, name string) pam.Item {
		return pam.Item{Machine: pam.UID("uid of " + title), MachineTitle: title, Kind: kind, Name: name, Status: pam.StatusPending}
	}
	plan := []pam.Item{
		item("DC01", pam.KindAccount, "svc"), item("SRV2", pam.KindTask, "backup"), item("SRV1", pam.KindPool, "pool"),
		item("SRV1", pam.KindService, "zeta"), item("SRV1", pam.KindService, "alpha"), item("SRV1", pam.KindMachine, ""),
	}
	first, err := v.Open(ctx, j.ID, pam.Plan{Items: plan})
	must(t, err)
	second, err := v.Open(ctx, j.ID, pam.Plan{Items: plan[:2]})
	must(t, err)
	if second <= first {
		t.Errorf("fence %d after %d", second, first)
	}
	done := plan[3]
	done.Status, done.Updated, done.Name = pam.StatusOK, true, "ZETA"
	d := pam.Deployment{Account: j.Account, Machine: done.Machine, Kind: done.Kind, Name: "ZETA", Generation: 2, Status: pam.DeploymentConfirmed}
	must(t, v.SaveSteps(ctx, []pam.Step{{Job: j.ID, Item: plan[3]}, {Job: j.ID, Item: done, Deployment: &d}}))
	d.Name, d.Generation = "zeta", 3
	must(t, v.SaveSteps(ctx, []pam.Step{{Job: j.ID, Item: done, Deployment: &d}}))
	must(t, v.SaveSteps(ctx, nil))
	got, err := v.Job(ctx, j.ID)
	must(t, err)
	want := []pam.Item{plan[0], plan[5], plan[4], done, plan[2], plan[1]}
	if !reflect.DeepEqual(got.Items, want) {
		t.Errorf("got  %+v\nwant %+v", got.Items, want)
	}
	ds, err := v.Deployments(ctx, j.Account)
	d.Held, d.Confirmed = d.Generation, d.Seen
	if err != nil || !reflect.DeepEqual(ds, []pam.Deployment{d}) {
		t.Errorf("got %+v, %v", ds, err)
	}
	steps, err := v.Steps(ctx, j.ID)
	if err != nil || len(steps) != 3 || steps[0].Item.Status != pam.StatusPending || steps[2].Deployment.Generation != 3 {
		t.Errorf("got %+v, %v", steps, err)
	}
}

func TestRestartPlans(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, machine := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	p := pam.RestartPlan{Machine: machine, Stops: []pam.Stop{{Name: "a", State: "Running", PID: 7}}, Settle: time.Second}
	must(t, v.SaveRestartPlan(ctx, j.ID, pam.RestartPlan{Machine: machine}))
	must(t, v.SaveRestartPlan(ctx, j.ID, p))
	got, err := v.RestartPlans(ctx, j.ID)
	if err != nil || !reflect.DeepEqual(got, map[pam.UID]pam.RestartPlan{machine: p}) {
		t.Errorf("got %+v, %v", got, err)
	}
	wants(t, v.SaveRestartPlan(ctx, "nosuch", p), pam.ErrNotFound)
}

func TestStepsSavedInParallelAreAllThere(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	user, _ := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	var wg sync.WaitGroup
	for m := range 8 {
		wg.Go(func() {
			for n := range 10 {
				i := pam.Item{Machine: pam.UID(rune('a' + m)), Kind: pam.KindService, Name: string(rune('a' + n))}
				if err := v.SaveSteps(t.Context(), []pam.Step{{Job: j.ID, Item: i}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	steps, err := v.Steps(t.Context(), j.ID)
	got, jerr := v.Job(t.Context(), j.ID)
	if len(steps) != 80 || len(got.Items) != 80 || err != nil || jerr != nil {
		t.Errorf("%d steps, %d items, %v", len(steps), len(got.Items), errors.Join(err, jerr))
	}
}

func TestNobodysRowsAreNotEverybodys(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	user, _ := rotatable(t, v, "svc")
	newJob(t, v, user)
	if g, err := v.Generation(t.Context(), "", pam.Current); err == nil {
		t.Errorf("an empty account has generation %d of somebody", g.Number)
	}
	if steps, err := v.Steps(t.Context(), ""); err == nil {
		t.Errorf("an empty job has %d steps", len(steps))
	}
}

func TestAVaultPutBackWithoutItsLocksLocks(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	user, _ := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	must(t, os.RemoveAll(filepath.Join(dir, "locks")))
	l, err := v.LockAccount(t.Context(), j.Account)
	must(t, err)
	must(t, l.Release())
}

func TestWhatADependencyWasConfirmedToHoldIsKept(t *testing.T) {
	t.Parallel()
	v, _ := create(t)
	ctx := t.Context()
	user, machine := rotatable(t, v, "svc")
	j := newJob(t, v, user)
	at := func(second int64) time.Time { return time.Unix(second, 0).UTC() }
	save := func(status pam.DeploymentStatus, generation int, seen int64, state string) {
		t.Helper()
		item := pam.Item{Machine: machine, Kind: pam.KindService, Name: "App", After: pam.Snapshot{State: state}}
		d := &pam.Deployment{
			Account: j.Account, Machine: machine, Kind: pam.KindService, Name: "App", Generation: generation, Status: status, Seen: at(seen),
		}
		if status == "" {
			d = nil
		}
		must(t, v.SaveSteps(ctx, []pam.Step{{Job: j.ID, Item: item, Deployment: d}}))
	}
	for _, c := range []struct {
		name      string
		save      func()
		held      int
		confirmed int64
		state     string
		standing  string
	}{
		{"never confirmed", func() { save(pam.DeploymentStale, 1, 1, "") }, 0, 0, "", "stale"},
		{"confirmed", func() { save(pam.DeploymentConfirmed, 1, 2, "Running") }, 1, 2, "Running", "current"},
		{"a later failure forgets neither", func() { save(pam.DeploymentStale, 4, 3, "") }, 1, 2, "Running", "stale"},
		{"nor does an update that was cut off", func() { save(pam.DeploymentUnknown, 5, 4, "") }, 1, 2, "Running", "unknown"},
		{"a restart tells the state alone", func() { save("", 0, 0, "Stopped") }, 1, 2, "Stopped", "unknown"},
	} {
		c.save()
		known, err := v.KnownDependencies(ctx)
		if err != nil || len(known) != 1 {
			t.Fatalf("%s: %v, %v", c.name, known, err)
		}
		k := known[0]
		var confirmed time.Time
		if c.confirmed != 0 {
			confirmed = at(c.confirmed)
		}
		if k.Held != c.held || !k.Confirmed.Equal(confirmed) || k.State != c.state || k.Standing() != c.standing {
			t.Errorf("%s: %+v is %s", c.name, k, k.Standing())
		}
		if k.Current != 1 || k.AccountName != `LAB\svc` || !reflect.DeepEqual(k.Users, []pam.UID{user}) {
			t.Errorf("%s: %+v", c.name, k)
		}
	}
}

// A later rotation brings every machine to its own password, but it does not
// know of what an older job stopped and did not start.
func TestALaterJobTakesOverAllButWhatIsStopped(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		item pam.Item
		kept bool
	}{
		{"a machine that was down is the later job's business", pam.Item{Phase: pam.PhaseLook, Status: pam.StatusPending}, false},
		{"a service that did not start is not", pam.Item{Phase: pam.PhaseRestart, Status: pam.StatusFailed}, true},
		{"nor one that nobody heard of", pam.Item{Phase: pam.PhaseRestart, Status: pam.StatusUnknown}, true},
		{"a restart that ended is", pam.Item{Phase: pam.PhaseRestart, Status: pam.StatusOK}, false},
		{
			"so is one that waits for its window: what it is about runs",
			pam.Item{Phase: pam.PhaseRestart, Status: pam.StatusDeferred, Left: &pam.Process{PID: 7}},
			false,
		},
		{
			"and one that was begun when its window opened is not",
			pam.Item{Phase: pam.PhaseRestart, Status: pam.StatusUnknown, Left: &pam.Process{PID: 7}},
			true,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v, _ := create(t)
			ctx := t.Context()
			user, machine := rotatable(t, v, "svc")
			first := newJob(t, v, user)
			row.item.Machine, row.item.Kind, row.item.Name = machine, pam.KindService, "App"
			must(t, v.SaveSteps(ctx, []pam.Step{{Job: first.ID, Item: row.item}}))
			commit := func(j pam.Job, pw string) {
				_, err := v.Stage(ctx, j.ID, j.Account, word(pw), pam.Evidence{})
				must(t, err)
				must(t, v.SetOutcome(ctx, j.ID, pam.OutcomeApplied, pam.Evidence{}))
				must(t, v.Commit(ctx, j.ID, pam.VerdictRight))
				j.State = pam.JobPartial
				must(t, v.SetJob(ctx, j))
			}
			commit(first, "first")
			second := newJob(t, v, user)
			commit(second, "next")
			left, err := v.Unsettled(ctx)
			must(t, err)
			if kept := left[0].ID == first.ID; kept != row.kept || kept && left[1].ID != second.ID {
				t.Errorf("left: %+v", left)
			}
			got, err := v.Job(ctx, first.ID)
			must(t, err)
			if got.SupersededBy != second.ID || got.LeftStopped != row.kept {
				t.Errorf("superseded by %q, left stopped: %v", got.SupersededBy, got.LeftStopped)
			}
			if !row.kept {
				wants(t, v.Requeue(ctx, first.ID), pam.ErrConflict, string(second.ID), "took its place", "nothing changed")
				return
			}
			must(t, v.Requeue(ctx, first.ID)) // and the later one is as unfinished as before
			if left, err = v.Unsettled(ctx); err != nil || len(left) != 2 {
				t.Errorf("left: %+v, %v", left, err)
			}
		})
	}
}
