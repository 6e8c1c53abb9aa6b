package job

import (
	"slices"
	"strings"
	"testing"

	"keyturn/pkg/pam"
)

// The clock of a scene begins at 08:00 UTC and moves a second with each look at it.
const (
	openWindow = "08:00-09:00 UTC"
	shutWindow = "22:00-04:00 UTC"
)

func (sc *scene) window(w string) {
	sc.store.settings.Policy = pam.Policy{Restart: pam.RestartWindow, Window: w}
}

// takeUp runs the ended job again for an errand, as the vault has it.
func (sc *scene) takeUp(t *testing.T, e pam.Errand) pam.Job {
	t.Helper()
	sc.store.job.Errand, sc.store.job.State = e, pam.JobQueued
	return sc.run(t)
}

// stopped counts the stops of App on all hosts.
func (sc *scene) stopped() int {
	n := 0
	for _, h := range sc.world.hosts {
		n += h.find("App").stops
	}
	return n
}

func (sc *scene) item(machine, name string) pam.Item {
	for _, i := range sc.store.job.Items {
		if i.Machine == uid(machine) && i.Name == name {
			return i
		}
	}
	return pam.Item{}
}

func TestRestartsOfAnotherDay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(*scene)
		state   pam.JobState // of the rotation
		status  pam.Status   // of App then
		reason  string
		errand  pam.Errand
	}{
		{
			"told to restart nothing", func(sc *scene) { sc.store.job.Options.NoRestart = true },
			pam.JobFinished, pam.StatusOK, "no_restart", pam.ErrandRestart,
		},
		{
			"a policy of never", func(sc *scene) { sc.store.settings.Policy.Restart = pam.RestartNever },
			pam.JobFinished, pam.StatusOK, "no_restart", pam.ErrandRestart,
		},
		{
			"outside its window", func(sc *scene) { sc.window(shutWindow) },
			pam.JobPartial, pam.StatusDeferred, "outside_window", pam.ErrandRestartNow,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sc := newScene(3, true)
			c.prepare(sc)
			j := sc.run(t)
			if i := sc.item("2", "App"); j.State != c.state || i.Status != c.status || i.Reason != c.reason || i.Left == nil || sc.stopped() != 0 {
				t.Fatalf("%s: %s; %+v, %d stopped", j.State, j.Message, i, sc.stopped())
			}
			if web := sc.item("2", "Web"); web.Reason != "dependent_waits" || web.Updated || (web.Status == pam.StatusDeferred) != (c.state == pam.JobPartial) {
				t.Errorf("a dependent that waits with it: %+v", web)
			}
			sc.world.mu.Lock()
			sc.world.sent = map[string][]string{}
			sc.world.mu.Unlock()
			j = sc.takeUp(t, c.errand)
			if i := sc.item("2", "App"); j.State != pam.JobFinished || i.Left != nil || i.Reason != "" || i.Phase != pam.PhaseRestart {
				t.Errorf("%s: %s; %+v", j.State, j.Message, i)
			}
			if web := sc.item("2", "Web"); web.Status != pam.StatusOK || web.Left != nil || web.Action != pam.ActionRestart || web.Phase != pam.PhaseRestart {
				t.Errorf("a dependent that was restarted with it: %+v", web)
			}
			sc.check(t, j)
			for verb, secrets := range sc.world.sent {
				if !slices.Equal(secrets, []string{"adminpw"}) {
					t.Errorf("%s was sent %d secrets beside the admin's", verb, len(secrets)-1)
				}
			}
			if sc.world.sent["restart"] == nil || sc.world.sent["update"] != nil || sc.world.sent["set"] != nil {
				t.Errorf("ops: %v", sc.world.sent)
			}
		})
	}
}

func TestAWindow(t *testing.T) {
	t.Parallel()
	t.Run("shut for one restart: it says so", func(t *testing.T) {
		t.Parallel()
		sc := newScene(1, true)
		sc.window(shutWindow)
		sc.world.hosts[uid("1")].services[0].dependents = nil
		sc.world.hosts[uid("1")].services = sc.world.hosts[uid("1")].services[:1]
		if j := sc.run(t); !strings.Contains(j.Message, "stored everywhere; 1 restart waits for its window; the window") {
			t.Errorf("%s", j.Message)
		}
	})
	t.Run("open: the job restarts as any other", func(t *testing.T) {
		t.Parallel()
		sc := newScene(2, true)
		sc.window(openWindow)
		if j := sc.run(t); j.State != pam.JobFinished || sc.stopped() != 2 {
			t.Errorf("%s: %s, %d stopped", j.State, j.Message, sc.stopped())
		}
	})
	t.Run("shut: neither resume nor restart goes past it", func(t *testing.T) {
		t.Parallel()
		sc := newScene(2, true)
		sc.window(shutWindow)
		sc.run(t)
		for _, e := range []pam.Errand{pam.ErrandAll, pam.ErrandRetry, pam.ErrandRestart} {
			j := sc.takeUp(t, e)
			if j.State != pam.JobPartial || sc.stopped() != 0 || !strings.HasPrefix(j.Hint, "nothing restarts by itself: from 2027-01-15T22:00:00Z on, keyturn pam action restart "+string(j.ID)+"; at once,") {
				t.Errorf("%q: %s: %s (%s), %d stopped", e, j.State, j.Message, j.Hint, sc.stopped())
			}
			if !strings.Contains(j.Message, "4 restarts wait") || !strings.Contains(j.Message, "opens 2027-01-15T22:00:00Z") {
				t.Errorf("%q: %s", e, j.Message)
			}
		}
		sc.window(openWindow)
		if j := sc.takeUp(t, pam.ErrandAll); j.State != pam.JobFinished || sc.stopped() != 2 {
			t.Errorf("%s: %s, %d stopped", j.State, j.Message, sc.stopped())
		}
		sc.check(t, sc.store.job)
	})
	t.Run("the command line overrides it for one job", func(t *testing.T) {
		t.Parallel()
		sc := newScene(2, true)
		sc.window(shutWindow)
		sc.store.job.Options.Policy.Restart = pam.RestartRunning
		if j := sc.run(t); j.State != pam.JobFinished || sc.stopped() != 2 {
			t.Errorf("%s: %s, %d stopped", j.State, j.Message, sc.stopped())
		}
	})
	t.Run("a window that is none ends the job before anything is changed", func(t *testing.T) {
		t.Parallel()
		sc := newScene(1, true)
		sc.window("at night")
		if j := sc.run(t); j.State != pam.JobFailed || sc.world.password != oldPassword {
			t.Errorf("%s: %s", j.State, j.Message)
		}
	})
	t.Run("a machine that died in its restart is given back what it ran, and no more is stopped", func(t *testing.T) {
		t.Parallel()
		sc := newScene(1, true)
		sc.window(openWindow)
		sc.world.faults["restart"] = faultFirst
		sc.run(t)
		sc.window(shutWindow)
		stops := sc.stopped()
		j := sc.takeUp(t, pam.ErrandAll)
		for _, s := range sc.world.hosts[uid("1")].services {
			checkRuns(t, s.name, s)
		}
		if j.State != pam.JobPartial || sc.stopped() != stops {
			t.Errorf("%s: %s", j.State, j.Message)
		}
		sc.window(openWindow)
		if j := sc.takeUp(t, pam.ErrandRestart); j.State != pam.JobFinished {
			t.Errorf("%s: %s", j.State, j.Message)
		}
		sc.check(t, sc.store.job)
	})
}

func TestWhatHappensToALeftRestartMeanwhile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*service)
		reason string
		stops  int
	}{
		{"stopped by somebody: it stays stopped", func(s *service) { s.state, s.pid = "Stopped", 0 }, "no longer running: not restarted", 0},
		{"restarted by somebody: once is enough", func(s *service) { s.pid = 4711 }, "restarted_since", 0},
		{"nothing", func(*service) {}, "", 1},
	} {
		sc := newScene(1, true)
		sc.store.job.Options.NoRestart = true
		sc.run(t)
		app := sc.world.hosts[uid("1")].find("App")
		c.change(app)
		j := sc.takeUp(t, pam.ErrandRestart)
		if i := sc.item("1", "App"); j.State != pam.JobFinished || app.stops != c.stops || i.Reason != c.reason || i.Left != nil {
			t.Errorf("%s: %s: %s; %d stops, %+v", c.name, j.State, j.Message, app.stops, i)
		}
	}
}

// What a dependent waited for may be gone; then nothing keeps the job open.
func TestADependentDoesNotWaitForWhatIsGone(t *testing.T) {
	t.Parallel()
	sc := newScene(1, true)
	sc.window(shutWindow)
	sc.run(t)
	h := sc.world.hosts[uid("1")]
	h.services = slices.DeleteFunc(h.services, func(s *service) bool { return s.name == "App" })
	j := sc.takeUp(t, pam.ErrandRestartNow)
	web := sc.item("1", "Web")
	if j.State != pam.JobFinished || web.Status != pam.StatusSkipped || web.Left != nil || h.find("Web").stops != 0 {
		t.Errorf("%s: %s; %+v", j.State, j.Message, web)
	}
}

func TestALeftRestartLeavesNewcomersAlone(t *testing.T) {
	t.Parallel()
	sc := newScene(1, true)
	sc.store.job.Options.NoRestart = true
	sc.run(t)
	h := sc.world.hosts[uid("1")]
	idle := h.find("Idle") // holds the new password, and is started with it
	idle.state, idle.pid = "Running", 4711
	h.services = append(h.services, &service{name: "New", state: "Running", pid: 4712, target: true})
	if j := sc.takeUp(t, pam.ErrandRestart); j.State != pam.JobFinished || idle.stops != 0 || h.find("New").stops != 0 {
		t.Errorf("%s: %s; Idle stopped %d times", j.State, j.Message, idle.stops)
	}
	if h.find("App").stops != 1 {
		t.Error("App was not restarted")
	}
}

func TestAServiceThatDidNotComeUpIsRetried(t *testing.T) {
	t.Parallel()
	sc := newScene(2, true)
	app := sc.world.hosts[uid("2")].find("App")
	app.broken = true
	j := sc.run(t)
	if j.State != pam.JobPartial || sc.item("2", "App").Status != pam.StatusFailed {
		t.Fatalf("%s: %s", j.State, j.Message)
	}
	looks := sc.world.hosts[uid("1")].looks
	if j := sc.takeUp(t, pam.ErrandRetry); j.State != pam.JobPartial || sc.item("2", "App").Status != pam.StatusFailed {
		t.Errorf("still broken: %s: %s", j.State, j.Message)
	}
	app.broken = false
	password := sc.world.password
	j = sc.takeUp(t, pam.ErrandRetry)
	if j.State != pam.JobFinished || sc.world.password != password {
		t.Errorf("mended: %s: %s", j.State, j.Message)
	}
	if now := sc.world.hosts[uid("1")].looks; now != looks {
		t.Errorf("a machine on which nothing failed was looked at %d times more", now-looks)
	}
	sc.check(t, j)
}

func TestLimitsOfAJob(t *testing.T) {
	t.Parallel()
	down := func(sc *scene, hosts ...string) {
		for _, h := range hosts {
			sc.world.hosts[uid(h)].down = true
		}
	}
	broken := func(sc *scene, hosts ...string) {
		for _, h := range hosts {
			sc.world.hosts[uid(h)].find("App").broken = true
		}
	}
	for _, c := range []struct {
		name    string
		prepare func(*scene)
		state   pam.JobState
		stopped int
	}{
		{"one of nine may be down, and one is", func(sc *scene) {
			sc.store.settings.Policy.SkipUnreachable = "1"
			down(sc, "4")
		}, pam.JobPartial, 8},
		{"one of nine may be down, and two are", func(sc *scene) {
			sc.store.settings.Policy.SkipUnreachable = "1"
			down(sc, "4", "5")
		}, pam.JobFailed, 0},
		{"a tenth of nine is none", func(sc *scene) {
			sc.store.job.Options.Policy.SkipUnreachable = "10%"
			down(sc, "4")
		}, pam.JobFailed, 0},
		{"the first failure ends the restarts: its wave is the last", func(sc *scene) {
			sc.store.job.Options.Policy.MaxFailures = "0"
			broken(sc, "1")
		}, pam.JobPartial, 1},
		{"one failure is allowed, the second is in the second wave", func(sc *scene) {
			sc.store.job.Options.Policy.MaxFailures = "1"
			broken(sc, "1", "3")
		}, pam.JobPartial, 3},
		{"a share of all items", func(sc *scene) {
			sc.store.job.Options.Policy.MaxFailures = "50%"
			broken(sc, "1", "2", "3", "4")
		}, pam.JobPartial, 9},
		{"three failures end the restarts by default", func(sc *scene) { broken(sc, "1", "2", "3") }, pam.JobPartial, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sc := newScene(9, true)
			c.prepare(sc)
			j := sc.run(t)
			if j.State != c.state || sc.stopped() != c.stopped {
				t.Errorf("%s: %d stopped: %s", j.State, sc.stopped(), j.Message)
			}
			if changed := sc.world.password != oldPassword; changed == (c.state == pam.JobFailed) {
				t.Errorf("changed: %v", changed)
			}
		})
	}
}
