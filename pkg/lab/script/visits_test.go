package script_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

// rotate is one visit of a rotation.
func (w *world) rotate() {
	w.t.Helper()
	w.reset()
	if err := w.apply(); err != nil {
		w.t.Fatal(err)
	}
}

func TestS15S16AServiceThatDoesNotStopIsKilledWhereThatIsAllowed(t *testing.T) {
	t.Parallel()
	stuck := func(change func(s *model.ServiceSpec)) func(s *model.ServiceSpec) {
		return func(s *model.ServiceSpec) {
			s.Faults.StopDelay = model.Forever
			if change != nil {
				change(s)
			}
		}
	}
	both(t, nil, func(w *world) {
		w.options.KillOwnProcess = true
		w.svc("S15", model.Running, stuck(nil))
		w.svc("S15Recovers", model.Running, stuck(func(s *model.ServiceSpec) { s.Faults.RestartAfter = 1 }))
		w.svc("S16", model.Running, stuck(func(s *model.ServiceSpec) { s.Type = model.ShareProcess }))
		w.rotate()
		w.check(map[string]string{
			"S15":         "update=ok restart=ok/killed Running restarts=1 new",
			"S15Recovers": "update=ok restart=ok/killed Running restarts=1 new",
			"S16":         "update=ok restart=timeout/stop_timeout StopPending restarts=0 new",
		})
	})
}

func TestS20WhatNeedsAServiceThatCannotLogOnIsNotTried(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.svc("A", model.Running, nil)
		w.svc("B", model.Running, func(s *model.ServiceSpec) { s.DependsOn = []string{"A"} })
		w.dep("C", "B", model.Running)
		w.m.ConfigureService("A", func(s *model.ServiceSpec) { s.Faults.StartCodes = []model.Errno{1069, 1069, 1069, 1069, 1069} })
		w.rotate()
		w.check(map[string]string{
			"A": "update=ok restart=failed/service_logon_failed Stopped restarts=0 new",
			"B": "update=ok restart=failed/dependency_failed Stopped restarts=0 new", "C": "restart=failed/dependency_failed Stopped restarts=0",
		})
		// Windows starts A for whoever needs it: each time is a logon more.
		if n := count(w.m.Events(), model.ServiceFailed); n != 1 {
			w.t.Errorf("%d starts failed: %v", n, w.m.Events())
		}
	})
}

func TestS22AMissingRightIsGivenWhereThatIsAllowed(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.grant = true
		w.svc("A", model.Running, nil)
		w.task(`\T`, nil)
		w.m.Restrict(w.sid, model.LogonService, model.LogonTypeNotGranted)
		w.m.Deny(w.sid, model.LogonBatch)
		w.rotate()
		w.check(map[string]string{"A": restarted, `\T`: "update=ok held=right_missing Ready runs=0 new"})
		if !slices.Contains(w.notes, "the account was given the right to log on as a service on this machine") {
			w.t.Errorf("nobody is told of the right: %q", w.notes)
		}
	})
}

func TestS27ADelayedServiceOfALoadGroup(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.svc("A", model.Running, func(s *model.ServiceSpec) { s.Delayed, s.LoadGroup = true, "Base" })
		w.rotate()
		want := "update=failed/invalid_parameter Running restarts=0 old"
		if w.doubt.machine.DelayedGroupChanges {
			want = restarted
		}
		w.check(map[string]string{"A": want})
	})
}

func TestS28S29WhatIsAnothersOrGoneByNowIsLeftAlone(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.svc("A", model.Running, nil)
		w.svc("Gone", model.Running, nil)
		w.forget()
		before, err := w.look()
		if err != nil {
			w.t.Fatal(err)
		}
		w.m.ConfigureService("A", func(s *model.ServiceSpec) { s.StartName, s.Password = `CORP\admin`, pw("admin-Passw0rd") })
		w.m.RemoveService("Gone")
		w.runAs["A"] = `CORP\admin`
		w.reset()
		if err := w.applyTo(before); err != nil {
			w.t.Fatal(err)
		}
		if got := w.results["Gone"]; len(got) != 1 || got[0] != "update=failed/not_found" {
			w.t.Errorf("S29: a service that vanished: %v", got)
		}
		w.check(map[string]string{"A": "update=skipped/run_as_changed Running restarts=0 new"})
	})
}

func TestS41OutsideItsWindowNothingIsRestartedAndLaterWithoutASecret(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.svc("A", model.Running, nil)
		w.dep("B", "A", model.Running)
		w.pool("P", func(p *model.PoolSpec) { p.DisallowRotation = true })
		w.options.NoRestart = true
		w.rotate()
		w.check(map[string]string{
			"A": "update=ok skip=no_restart Running restarts=0 new", "B": "Running restarts=0", "P": "update=ok Started recycles=0 new",
		})
		w.clock.Advance(14 * time.Hour)
		w.options.NoRestart = false
		w.forget()
		inv, err := w.look()
		if err != nil {
			w.t.Fatal(err)
		}
		for n := range inv.Items { // a proof of the update is on record
			inv.Items[n].NoRestart = ""
		}
		plan, skips := dependency.PlanRestart(inv, func(i dependency.Item) bool { return i.Target }, w.options)
		if err := w.host().Restart(w.t.Context(), run, plan, w.hear); err != nil || len(skips) != 0 || w.carried != 0 {
			w.t.Fatal(err, skips, w.carried)
		}
		w.check(map[string]string{
			"A": "restart=ok Running restarts=1 new", "B": "restart=ok Running restarts=1", "P": "restart=ok Started recycles=1 new",
		})
	})
}

func TestS42WhatThePolicyNamesKeepsRunning(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.options.Never = []string{"Line*"}
		w.svc("Line 4", model.Running, nil)
		w.svc("MSSQLSERVER", model.Running, nil) // a policy of one's own takes the place of the shipped one
		pid := w.m.View().Service("Line 4").PID
		w.rotate()
		w.check(map[string]string{"Line 4": "update=ok skip=policy_never Running restarts=0 new", "MSSQLSERVER": restarted})
		if now := w.m.View().Service("Line 4").PID; now != pid {
			w.t.Errorf("its process was %d and is %d", pid, now)
		}
	})
}

func TestS43ApplyingAgainRestartsNothing(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.svc("A", model.Running, nil)
		w.dep("B", "A", model.Running)
		w.task(`\T`, nil)
		changed := w.clock.Now()
		w.rotate()
		w.clock.Advance(time.Minute)
		again := w.plan
		w.forget()
		before, err := w.look()
		if err != nil {
			w.t.Fatal(err)
		}
		u, err := w.host().Update(w.t.Context(), dependency.UpdateRequest{
			Run: run, Subject: w.subject(), Kinds: allKinds, Items: before.Items,
		}, pw(w.next), w.hear)
		if err != nil {
			w.t.Fatal(err)
		}
		old := func(i dependency.Item) bool { return i.Started.Before(changed) }
		if plan, skips := dependency.PlanRestart(u.Inventory, old, w.options); !plan.Empty() || len(skips) != 0 {
			w.t.Errorf("%+v %v", plan, skips)
		}
		// And the old plan finds every process another by now.
		if err := w.host().Restart(w.t.Context(), run, again, w.hear); err != nil {
			w.t.Fatal(err)
		}
		w.check(map[string]string{
			"A": "update=ok restart=skipped/state_changed Running restarts=1 new", "B": "restart=skipped/state_changed Running restarts=1",
			`\T`: "update=ok Ready runs=0 new",
		})
	})
}

func TestS44ADryRunChangesNothingAndTriesNoPassword(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.svc("A", model.Running, nil)
		w.svc("Off", model.Running, func(s *model.ServiceSpec) { s.StartMode = model.Disabled })
		w.dep("B", "A", model.Paused)
		w.task(`\T`, nil)
		w.pool("P", nil)
		before := w.m.View()
		inv, err := w.look()
		if err != nil {
			w.t.Fatal(err)
		}
		var got []string
		for _, i := range dependency.PlanItems(pam.Machine{Title: "SRV1"}, inv, dependency.PlanOptions{}) {
			got = append(got, strings.TrimSpace(i.Name+": "+string(i.Action)+" "+i.Reason))
		}
		want := []string{
			"A: update+restart", "B: restart dependent", "Off: update not_restartable_disabled", `\T: update next_run`, "P: update+restart",
		}
		if !slices.Equal(got, want) {
			w.t.Errorf("plan %q, want %q", got, want)
		}
		if after := w.m.View(); len(w.m.Events()) != 0 || w.carried != 0 || after.Services[0] != before.Services[0] {
			w.t.Errorf("a look did something: %v, %d secrets were sent", w.m.Events(), w.carried)
		}
	})
}

func TestAPlanThatForgetsADependentStopsNothing(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.svc("A", model.Running, nil)
		w.dep("B", "A", model.Running)
		a, err := w.m.Service("A")
		if err != nil {
			w.t.Fatal(err)
		}
		answer, code, err := w.answer(powershell.Request{Op: powershell.OpRestart, Plan: &powershell.Plan{
			Stops:  []powershell.PlanStop{{ID: "A", State: "Running", PID: a.PID, Started: a.Started}},
			Starts: []powershell.PlanStart{{ID: "A"}},
		}})
		if err != nil || code != powershell.ByeNothing || answer.Items[0].Err.Class != powershell.ClassDependentsBlocked || len(w.m.Events()) != 0 {
			w.t.Errorf("%+v, exit %d, %v, %v", answer.Items, code, err, w.m.Events())
		}
	})
}

func TestATaskThatCannotBeReadIsSaid(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.task(`\A\Broken`, func(s *model.TaskSpec) { s.XML = "<Task" })
		w.task(`\Good`, nil)
		w.rotate()
		w.check(map[string]string{`\A\Broken`: "skip=task_xml_invalid Ready runs=0", `\Good`: written})
	})
}

func TestK12APasswordNotReplicatedYetStopsEverythingAtOneAttempt(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.svc("A", model.Running, nil)
		w.task(`\T`, nil)
		w.pool("P", nil)
		w.m.Lag()
		w.rotate()
		pending := "update=pending/credential_rejected "
		w.check(map[string]string{
			"A": pending + "Running restarts=0 old", `\T`: pending + "Ready runs=0 old", "P": pending + "Started recycles=0 old",
		})
		refused := 0
		for _, e := range w.m.Events() {
			if e.Kind == model.LogonFailed {
				refused++
			}
		}
		u, _ := w.domain.User("svc_app")
		if counted := u.BadCount; refused != 1 || counted > 2 {
			w.t.Fatalf("%d wrong attempts, counted as %d", refused, counted)
		}
	})
}

func TestK12AfterARejectedTaskTheOthersAreNotTried(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		for _, n := range []string{`\A`, `\B`, `\C`} {
			w.task(n, nil)
		}
		w.m.ConfigureTask(`\B`, func(s *model.TaskSpec) { s.Faults.RegisterCodes = []model.HResult{model.LogonFailureHR} })
		w.rotate()
		others := "new" // one credential an account: what A stored works for all
		if w.doubt.machine.CredentialPerTask {
			others = "old"
		}
		w.check(map[string]string{
			`\A`: written, `\B`: "update=failed/credential_rejected Ready runs=0 " + others,
			`\C`: "update=pending/credential_rejected Ready runs=0 " + others,
		})
	})
}

func TestK13WherePasswordsMayNotBeStoredThePlanSaysSo(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.svc("A", model.Running, nil)
		w.task(`\T`, nil)
		w.m.DisableStorage()
		inv, err := w.look()
		if err != nil || len(w.m.Events()) != 0 {
			w.t.Fatal(err, w.m.Events())
		}
		for _, i := range inv.Items {
			if want := map[string]string{`\T`: powershell.ClassStorageDisabled}[i.Name]; i.Skip != want {
				w.t.Errorf("%s: %q, want %q before any change", i.Name, i.Skip, want)
			}
		}
		w.rotate()
		w.check(map[string]string{"A": restarted, `\T`: "skip=credential_storage_disabled Ready runs=0 old"})
	})
}

func TestK18ATaskThatDeletesItselfIsWarnedOfAndReported(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		settings := func(text, more string) string {
			return strings.Replace(text, "<Settings>", "<Settings>\r\n    "+more, 1)
		}
		deletes := settings(model.TaskXML(model.TaskSpec{Path: `\Gone`, UserID: `CORP\svc_app`, LogonType: "Password"}),
			"<DeleteExpiredTaskAfter>PT0S</DeleteExpiredTaskAfter>")
		missed := settings(strings.ReplaceAll(deletes, "Gone", "Late"), "<StartWhenAvailable>true</StartWhenAvailable>")
		w.task(`\Gone`, func(s *model.TaskSpec) { s.XML, s.Expired = deletes, true })
		w.task(`\Late`, func(s *model.TaskSpec) { s.XML = missed })
		w.rotate()
		w.check(map[string]string{`\Late`: written})
		if got := w.results[`\Gone`]; !slices.Equal(got, []string{"update=failed/not_found"}) {
			w.t.Errorf("the task that is gone: %q", got)
		}
		for _, want := range []string{
			`task "\\Gone" deletes itself once it has expired: it may be gone after its update`,
			`task "\\Late" makes up for a missed start: it may run soon after its update`,
		} {
			if !slices.Contains(w.notes, want) {
				w.t.Errorf("nobody is warned: %q, want %q", w.notes, want)
			}
		}
	})
}

func TestK21TwoHundredTasksCostOneWrongAttempt(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		want := map[string]string{}
		for n := range 200 {
			path := `\Batch\` + string(rune('a'+n/26)) + string(rune('a'+n%26))
			w.task(path, nil)
			want[path] = "update=pending/credential_rejected Ready runs=0 old"
		}
		w.reset()
		w.forget()
		before, err := w.look()
		if err != nil {
			w.t.Fatal(err)
		}
		// Somebody else sets the password again between the proof and the first task.
		w.m.ConfigureTask(`\Batch\aa`, func(s *model.TaskSpec) { s.Faults.RegisterCodes = []model.HResult{model.LogonFailureHR} })
		want[`\Batch\aa`] = "update=failed/credential_rejected Ready runs=0 old"
		if err := w.applyTo(before); err != nil {
			w.t.Fatal(err)
		}
		w.check(want)
		refused := 0
		for _, e := range w.m.Events() {
			if e.Kind == model.TaskRefused || e.Kind == model.LogonFailed {
				refused++
			}
		}
		if refused != 1 {
			w.t.Errorf("%d attempts were refused", refused)
		}
	})
}
