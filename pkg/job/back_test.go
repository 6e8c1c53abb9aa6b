package job

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

const firstPassword = "the-first-Passw0rd"

// newBackScene is a domain account that was rotated once and is to go back. As in
// a domain, the password that was replaced still logs on over the network.
func newBackScene(machines int, exact bool) *scene {
	sc := newScene(machines, exact)
	sc.store.gens = []pam.Generation{
		{Account: uid("A"), Number: 1, Status: pam.Previous, Source: pam.SourceManual, Password: secret.New([]byte(firstPassword))},
		{Account: uid("A"), Number: 2, Status: pam.Current, Source: pam.SourceRotation, Password: secret.New([]byte(oldPassword))},
	}
	sc.world.history = []string{firstPassword, oldPassword}
	sc.world.grace = true
	sc.store.job.Options.To = pam.Previous
	return sc
}

// wentBack checks the end of a job that goes back.
func (sc *scene) wentBack(t interface{ Errorf(string, ...any) }, j pam.Job) {
	sc.check(t, j)
	if sc.world.password != firstPassword {
		t.Errorf("the password in force is not the previous one")
	}
	var statuses []pam.GenerationStatus
	for _, g := range sc.store.gens {
		statuses = append(statuses, g.Status)
	}
	if !slices.Equal(statuses, []pam.GenerationStatus{pam.Previous, pam.Previous, pam.Current}) {
		t.Errorf("generations %v", statuses)
	}
}

func TestGoingBackIsAJobLikeAnyOther(t *testing.T) {
	t.Parallel()
	for _, exact := range []bool{true, false} {
		sc := newBackScene(3, exact)
		plan, err := sc.engine().Plan(t.Context(), uid("U"), sc.store.job.Options)
		if err != nil || !strings.Contains(strings.Join(plan.Notes, " "), "previous password again: generation 1") || len(sc.world.history) != 2 {
			t.Errorf("the plan: %q, %v", plan.Notes, err)
		}
		sc.wentBack(t, sc.run(t))
		sc.newJob() // and forth again
		sc.store.job.Options.To = pam.Previous
		if sc.run(t); sc.world.password != oldPassword {
			t.Errorf("a second time: %q", sc.world.password)
		}
	}
}

func TestAKillAtAnyEventOfGoingBackLosesNothing(t *testing.T) {
	t.Parallel()
	for at := 1; ; at++ {
		sc := newBackScene(2, false)
		j := sc.crashing(t, at)
		if j.State != pam.JobFinished {
			t.Fatalf("killed at event %d: ended %s: %s", at, j.State, j.Message)
		}
		sc.wentBack(failAt{t, fmt.Sprintf("killed at event %d: ", at)}, j)
		if !reached(false, at) {
			break
		}
	}
}

func TestTwoKillsAndALostAnswerOfGoingBackLoseNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sc := newBackScene(rapid.IntRange(1, 3).Draw(t, "machines"), rapid.Bool().Draw(t, "exact"))
		if f := rapid.SampledFrom([]fault{faultNone, faultLostBefore, faultLostAfter}).Draw(t, "set"); f != faultNone {
			sc.world.faults["set"] = f
		}
		j := sc.crashing(t, rapid.IntRange(0, 90).Draw(t, "first"), rapid.IntRange(0, 90).Draw(t, "second"))
		if j.State != pam.JobFinished {
			t.Fatalf("ended %s: %s", j.State, j.Message)
		}
		sc.wentBack(t, j)
	})
}

// The password logs on, whether it was set again or not: only setting it tells.
func TestALostAnswerOfGoingBackIsNotSettledByALogon(t *testing.T) {
	t.Parallel()
	for _, lost := range []fault{faultLostBefore, faultLostAfter} {
		sc := newBackScene(1, false)
		sc.world.faults["set"] = lost
		if j := sc.run(t); j.State != pam.JobOpen || j.ExitCode() != 6 || !strings.Contains(j.Message, "resume sets it again") {
			t.Errorf("%s, %d: %s", j.State, j.ExitCode(), j.Message)
		}
		// A refusal now says nothing of the request before it: nothing is given up.
		sc.world.faults["set"] = faultRefuse
		if j := sc.run(t); j.State != pam.JobOpen {
			t.Errorf("after a refusal: %s: %s", j.State, j.Message)
		}
		if _, err := sc.store.Generation(t.Context(), uid("A"), pam.Pending); err != nil {
			t.Error(err)
		}
		sc.wentBack(t, sc.run(t))
	}
}

func TestThereMustBeAPasswordToGoBackTo(t *testing.T) {
	t.Parallel()
	sc := newScene(1, false)
	sc.store.job.Options.To = pam.Previous
	if j := sc.run(t); j.State != pam.JobFailed || j.ExitCode() != 1 || !strings.Contains(j.Message, "no password of LAB\\svc from before") {
		t.Errorf("none: %s: %s", j.State, j.Message)
	}
	sc = newBackScene(1, false)
	sc.store.gens = append(sc.store.gens, pam.Generation{Account: uid("A"), Number: 3, Status: pam.Pending, Password: secret.New([]byte("another"))})
	if j := sc.run(t); j.State != pam.JobFailed || j.ExitCode() != 7 || len(sc.world.history) != 2 {
		t.Errorf("another is pending: %s: %s", j.State, j.Message)
	}
	sc = newBackScene(1, false)
	for _, h := range sc.world.hosts {
		h.task = true
	}
	sc.store.gens[0].Password = secret.New([]byte(strings.Repeat("\u00e9", longestForTasks+1)))
	if j := sc.run(t); j.State != pam.JobFailed || !strings.Contains(j.Message, "128 characters is too long for the scheduled task") {
		t.Errorf("too long for a task: %s: %s", j.State, j.Message)
	}
}

func TestGoingBackInThePracticeDomain(t *testing.T) {
	t.Parallel()
	tellRows(t, []row{
		{"a history of passwords does not bind a reset in a domain", 2, 0, func(l *labScene) {
			l.fleet.Domain.SetPolicy(model.Policy{LockoutThreshold: 10, MinLength: 8, History: 24})
			l.must(0)
			l.fresh()
			l.store.job.Options.To = pam.Previous
			l.must(0)
			l.allGood()
			if !l.fleet.Domain.Matches("svc_app", l.fleet.Service) {
				l.t.Error("the first password is not in force")
			}
			l.inForce()
		}},
		{"the answer is lost, and the password that was replaced still logs on: it is set again", 1, 0, func(l *labScene) {
			l.fleet.Domain.SetPolicy(model.Policy{LockoutThreshold: 10, MinLength: 8, OldAccepted: true})
			l.must(0)
			l.fresh()
			l.store.job.Options.To = pam.Previous
			l.net.cut["DC01"] = model.PasswordSet
			if j := l.must(6); j.State != pam.JobOpen {
				l.t.Errorf("%s: %s", j.State, j.Message)
			}
			l.must(0)
			l.allGood()
			l.inForce()
		}},
		{"a local account whose machine remembers passwords: refused, with the flag that resets it", 1, 0, func(l *labScene) {
			sam := l.local()
			sam.SetPolicy(model.Policy{MinLength: 8, History: 5})
			first := l.store.gens[0].Password
			l.must(0)
			l.fresh()
			l.store.job.Options.To = pam.Previous
			if j := l.must(1); !strings.Contains(j.Hint, "--allow-reset") {
				l.t.Errorf("%s; hint %s", j.Message, j.Hint)
			}
			l.fresh()
			l.store.job.Options = pam.JobOptions{To: pam.Previous, AllowReset: true}
			l.must(0)
			if !sam.Matches("svc_local", first) {
				l.t.Error("the first password is not in force")
			}
		}},
	})
}
