package job

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
)

// check looks at the world after a job came to its end: the promises P5 and P7.
func (sc *scene) check(t interface{ Errorf(string, ...any) }, j pam.Job) {
	current, err := sc.store.Generation(context.Background(), uid("A"), pam.Current)
	if err != nil || string(current.Password.Reveal()) != sc.world.password {
		t.Errorf("the vault's current password is not the one in force: %v", err)
	}
	known := map[string]bool{}
	for _, g := range sc.store.gens {
		known[string(g.Password.Reveal())] = true
	}
	for _, sent := range sc.world.history {
		if !known[sent] {
			t.Errorf("a password was sent that the vault does not hold")
		}
	}
	// One lost answer, and one settling in each run after it.
	if sc.world.failed > sc.runs {
		t.Errorf("%d failed log-ons in %d runs", sc.world.failed, sc.runs)
	}
	for m, h := range sc.world.hosts {
		for _, s := range h.services {
			name := fmt.Sprintf("%.1s/%s", m, s.name)
			checkRuns(t, name, s)
			if !h.down && j.State == pam.JobFinished && s.target {
				sc.checkPassword(t, name, s)
			}
		}
	}
}

func wasRunning(s *service) bool { return s.name == "App" || s.name == "Web" }

func checkRuns(t interface{ Errorf(string, ...any) }, name string, s *service) {
	if wasRunning(s) != (s.state == "Running") {
		t.Errorf("%s is %s now", name, s.state)
	}
	if s.starts > 1 || s.stops > 1 {
		t.Errorf("%s was stopped %d and started %d times", name, s.stops, s.starts)
	}
}

func (sc *scene) checkPassword(t interface{ Errorf(string, ...any) }, name string, s *service) {
	if s.password != sc.world.password {
		t.Errorf("%s still stores an old password", name)
	}
	if wasRunning(s) && s.running != sc.world.password {
		t.Errorf("%s still runs with an old password", name)
	}
}

func TestARotationReachesEveryItem(t *testing.T) {
	t.Parallel()
	for _, exact := range []bool{true, false} {
		sc := newScene(3, exact)
		j := sc.run(t)
		if j.State != pam.JobFinished || j.ExitCode() != 0 || sc.world.failed != 0 || sc.world.password == oldPassword {
			t.Fatalf("%s: %s", j.State, j.Message)
		}
		sc.check(t, j)
		if !strings.HasPrefix(j.Message, "Rotation completed for record uid "+string(uid("U"))) {
			t.Errorf("message %q", j.Message)
		}
		if d, err := sc.store.Deployments(t.Context(), uid("A")); err != nil || len(d) != 9 {
			t.Errorf("%d deployments, %v", len(d), err)
		}
	}
}

// crashing runs the job until it ends, killed at each of the given events.
func (sc *scene) crashing(t interface{ Fatalf(string, ...any) }, at ...int) pam.Job {
	for _, n := range append(at, 0, 0, 0, 0, 0, 0) {
		sc.crash.events, sc.crash.at = 0, n
		j, err, killed := sc.attempt()
		switch {
		case killed:
			continue
		case err != nil:
			t.Fatalf("%v", err)
		case j.State.Terminal() && j.State != pam.JobPartial:
			return j
		case n == 0 && j.State == pam.JobPartial:
			continue // resume once more
		}
	}
	return sc.store.job
}

func (sc *scene) attempt() (j pam.Job, err error, killed bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(crash); !ok {
				panic(p)
			}
			killed = true
		}
	}()
	sc.runs++
	j, err = sc.engine().Run(context.Background(), uid("J"))
	return j, err, false
}

func TestAKillAtAnyEventLosesNothing(t *testing.T) {
	t.Parallel()
	for _, exact := range []bool{true, false} {
		for at := 1; ; at++ {
			sc := newScene(2, exact)
			j := sc.crashing(t, at)
			if j.State != pam.JobFinished {
				t.Fatalf("killed at event %d: ended %s: %s", at, j.State, j.Message)
			}
			sc.check(failAt{t, fmt.Sprintf("killed at event %d, evidence %v: ", at, exact)}, j)
			if !reached(exact, at) {
				break
			}
		}
	}
}

// reached reports whether a run of two machines has an event number at.
func reached(exact bool, at int) bool {
	sc := newScene(2, exact)
	sc.crash.at = at
	_, _, killed := sc.attempt()
	return killed
}

type failAt struct {
	t    *testing.T
	what string
}

func (f failAt) Errorf(format string, args ...any) { f.t.Errorf(f.what+format, args...) }

func TestTwoKillsAndLostAnswersLoseNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sc := newScene(rapid.IntRange(1, 3).Draw(t, "machines"), rapid.Bool().Draw(t, "exact"))
		verbs := []string{"set", "update", "restart"}
		kinds := []fault{faultNone, faultLostBefore, faultLostAfter, faultMidway, faultFirst}
		for _, v := range verbs {
			f := rapid.SampledFrom(kinds).Draw(t, v)
			if f >= faultMidway && v != "restart" {
				f = faultNone
			}
			if f != faultNone {
				sc.world.faults[v] = f
			}
		}
		j := sc.crashing(t, rapid.IntRange(0, 90).Draw(t, "first"), rapid.IntRange(0, 90).Draw(t, "second"))
		if j.State != pam.JobFinished {
			t.Fatalf("ended %s: %s", j.State, j.Message)
		}
		sc.check(t, j)
	})
}

// Found by the property above, kept as they were: the first kill, the second
// kill, and the answer that was lost.
func TestCutsThatOnceRestartedTwice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		machines, first, second int
		restart                 fault
	}{
		"killed between two notes of what is about to be stopped": {2, 64, 28, faultLostAfter},
		"the machine died after the first stop":                   {1, 40, 20, faultFirst},
	} {
		sc := newScene(c.machines, false)
		sc.world.faults["restart"] = c.restart
		j := sc.crashing(t, c.first, c.second)
		if j.State != pam.JobFinished {
			t.Errorf("%s: ended %s: %s", name, j.State, j.Message)
		}
		sc.check(failAt{t, name + ": "}, j)
	}
}

func TestThePasswordIsDurableBeforeItIsSent(t *testing.T) {
	t.Parallel()
	sc := newScene(1, true)
	sc.world.onSet = func(pw string) {
		g, err := sc.store.Generation(t.Context(), uid("A"), pam.Pending)
		if err != nil || string(g.Password.Reveal()) != pw {
			t.Errorf("the authority received a password that the vault does not hold: %v", err)
		}
	}
	sc.run(t)
}

func TestHowAJobEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(*scene)
		state   pam.JobState
		failure pam.Kind
		changed bool
		message string
	}{
		{"a refused password changes nothing", func(sc *scene) { sc.world.faults["set"] = faultRefuse }, pam.JobFailed, pam.ErrPolicy, false, "nothing changed"},
		{
			"a machine that is down stops the job before anything is changed", func(sc *scene) { sc.world.hosts[uid("2")].down = true },
			pam.JobFailed, pam.ErrUnreachable, false, `"SRV2"`,
		},
		{"a machine that is down can be left for later", func(sc *scene) {
			sc.world.hosts[uid("2")].down = true
			sc.store.job.Options.SkipUnreachable = true
		}, pam.JobPartial, pam.ErrPartial, true, "SRV2"},
		{"a cancelled job changes nothing", func(sc *scene) { sc.store.cancel = true }, pam.JobCancelled, pam.ErrInterrupted, false, "nothing changed"},
		{"a disabled rotation is refused", func(sc *scene) { sc.store.settings.Enabled = false }, pam.JobFailed, pam.ErrInvalidInput, false, "disabled"},
		{"the account that logs in to a machine is not rotated", func(sc *scene) { sc.store.admin.User = `lab\SVC` }, pam.JobFailed, pam.ErrPolicy, false, "works with"},
		{"a stale password of the vault is drift", func(sc *scene) { sc.world.password = "changed by hand" }, pam.JobFailed, pam.ErrDrift, false, "wrong"},
		{"P04 a password that a task does not take is refused", func(sc *scene) {
			sc.store.settings.Complexity, sc.world.hosts[uid("1")].task = "128,2,2,2,2", true
		}, pam.JobFailed, pam.ErrPolicy, false, "too long for the scheduled task"},
		{
			"P04 without tasks it is not", func(sc *scene) { sc.store.settings.Complexity = "128,2,2,2,2" },
			pam.JobFinished, "", true, "completed",
		},
		{
			"an account that nobody may log on as is committed unverified", func(sc *scene) { sc.world.verdict = pam.VerdictCannotTell },
			pam.JobFinished, "", true, "unverified",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sc := newScene(3, true)
			c.prepare(sc)
			before := sc.world.password
			j := sc.run(t)
			if j.State != c.state || j.Failure != c.failure || !strings.Contains(j.Message, c.message) {
				t.Errorf("%s %s: %s", j.State, j.Failure, j.Message)
			}
			if changed := sc.world.password != before; changed != c.changed {
				t.Errorf("changed: %v", changed)
			}
		})
	}
}

func TestAMachineThatWasDownIsBroughtToTheNewestPassword(t *testing.T) {
	t.Parallel()
	sc := newScene(3, false)
	sc.world.hosts[uid("2")].down = true
	sc.store.job.Options.SkipUnreachable = true
	if j := sc.run(t); j.State != pam.JobPartial {
		t.Fatalf("%s: %s", j.State, j.Message)
	}
	sc.world.hosts[uid("2")].down = false
	if j := sc.run(t); j.State != pam.JobFinished { // resume
		t.Fatalf("resume: %s: %s", j.State, j.Message)
	}
	first := sc.world.password
	sc.check(t, sc.store.job)
	sc.world.hosts[uid("3")].down = true
	sc.newJob()
	sc.store.job.Options.SkipUnreachable = true
	if j := sc.run(t); j.State != pam.JobPartial || sc.world.password == first {
		t.Fatalf("second: %s: %s", j.State, j.Message)
	}
	sc.world.hosts[uid("3")].down = false
	sc.newJob()
	if j := sc.run(t); j.State != pam.JobFinished {
		t.Fatalf("third: %s: %s", j.State, j.Message)
	}
	for _, s := range sc.world.hosts[uid("3")].services {
		if s.target && s.password != sc.world.password {
			t.Errorf("%s was not brought to the newest password", s.name)
		}
	}
}

func TestABusyMachineIsWaitedForOnceThePasswordIsStaged(t *testing.T) {
	t.Parallel()
	sc := newScene(2, true)
	sc.world.busy = 5
	if j := sc.run(t); j.State != pam.JobFinished {
		t.Fatalf("%s: %s", j.State, j.Message)
	}
	sc.check(t, sc.store.job)
	never := newScene(1, true)
	never.world.busy = 1 << 30
	e := never.engine()
	e.cfg.Limits.Busy, e.cfg.Limits.Backoff = 3*time.Nanosecond, time.Nanosecond
	if j, err := e.Run(t.Context(), uid("J")); err != nil || j.State != pam.JobPartial {
		t.Fatalf("a machine that is never free: %s: %s, %v", j.State, j.Message, err)
	}
}

func TestS22RightsAreGrantedOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	for _, asked := range []bool{true, false} {
		sc := newScene(1, true)
		sc.store.job.Options.GrantRights = asked
		if j := sc.run(t); j.State != pam.JobFinished || sc.world.hosts[uid("1")].granted != asked {
			t.Errorf("asked %t: %s, granted %t", asked, j.State, sc.world.hosts[uid("1")].granted)
		}
	}
}

func TestAWrongAdminPasswordCostsOneAttempt(t *testing.T) {
	t.Parallel()
	sc := newScene(9, true)
	sc.world.adminBad = true
	j := sc.run(t)
	if j.Failure != pam.ErrAuthFailed || sc.world.adminTry != 1 {
		t.Errorf("%s after %d attempts: %s", j.Failure, sc.world.adminTry, j.Message)
	}
}

func TestARefusedProofStopsTheFleetAndRestartsNothing(t *testing.T) {
	t.Parallel()
	sc := newScene(9, true)
	for _, h := range sc.world.hosts {
		h.lag = true
	}
	j := sc.run(t)
	if j.State != pam.JobPartial || sc.world.failed != refusalsOfProven {
		t.Errorf("%s after %d refused proofs", j.State, sc.world.failed)
	}
	for m, h := range sc.world.hosts {
		for _, s := range h.services {
			if s.stops != 0 {
				t.Errorf("%s/%s was stopped", m, s.name)
			}
		}
		h.lag = false
	}
	password := sc.world.password
	if j := sc.run(t); j.State != pam.JobFinished || sc.world.password != password {
		t.Errorf("resume: %s: %s", j.State, j.Message)
	}
}

func TestBothPasswordsRefusedIsDriftAndFreezesNothing(t *testing.T) {
	t.Parallel()
	sc := newScene(1, false)
	sc.world.faults["set"] = faultLostBefore
	sc.world.password = "changed by hand meanwhile"
	j := sc.run(t)
	if j.Failure != pam.ErrDrift || !j.State.Terminal() || len(sc.store.gens) != 2 || sc.store.gens[1].Status != pam.Rejected {
		t.Errorf("%s %s: %s, %v", j.State, j.Failure, j.Message, sc.store.gens)
	}
}

func TestADryRunWritesNothing(t *testing.T) {
	t.Parallel()
	sc := newScene(2, true)
	plan, err := sc.engine().Plan(t.Context(), uid("U"), pam.JobOptions{})
	if err != nil || len(plan.Items) != 9 || sc.store.fence != 0 || len(sc.store.gens) != 1 || sc.store.account.Identity != "" {
		t.Fatalf("%d items, %v", len(plan.Items), err)
	}
	actions := map[string]pam.Action{}
	for _, i := range plan.Items {
		actions[i.Name] = i.Action
	}
	want := map[string]pam.Action{
		`LAB\svc`: pam.ActionSet, "App": pam.ActionUpdateRestart, "Web": pam.ActionRestart, "Idle": pam.ActionUpdate, "Off": pam.ActionUpdate,
	}
	for name, action := range want {
		if actions[name] != action {
			t.Errorf("%s: %s, want %s", name, actions[name], action)
		}
	}
}

func TestAStoreThatFailsIsNeverASuccess(t *testing.T) {
	t.Parallel()
	sc := newScene(1, true)
	e := sc.engine()
	e.cfg.Store = failing{sc.store}
	if _, err := e.Run(t.Context(), uid("J")); err == nil {
		t.Error("the job could not save its steps and said nothing")
	}
}

type failing struct{ Store }

func (failing) SaveSteps(context.Context, []pam.Step) error { return errors.New("disk full") }
