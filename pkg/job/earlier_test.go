package job

import (
	"strings"
	"testing"

	"keyturn/pkg/pam"
)

// wasDown is how an earlier job of the scene's account stands for which one machine
// was down; in stands, a service did not come up.
func wasDown() pam.Job {
	return pam.Job{
		ID: uid("O"), Account: uid("A"), State: pam.JobPartial, Committed: true, Generation: 1,
		Items: []pam.Item{{
			Machine: uid("2"), MachineTitle: "SRV2", Kind: pam.KindMachine, Name: "SRV2",
			Phase: pam.PhaseLook, Status: pam.StatusPending, Reason: "unreachable",
		}},
	}
}

func stands() pam.Job {
	j := wasDown()
	j.Items[0] = pam.Item{
		Machine: uid("1"), MachineTitle: "SRV1", Kind: pam.KindService, Name: "App",
		Phase: pam.PhaseRestart, Status: pam.StatusFailed, Error: &pam.ItemError{Class: "start_timeout"},
	}
	return j
}

func TestAnEarlierPartialJobIsToldOf(t *testing.T) {
	t.Parallel()
	other, open, later := wasDown(), wasDown(), wasDown()
	other.Account, open.State, later.Generation = uid("B"), pam.JobOpen, 3
	for _, c := range []struct {
		name    string
		earlier pam.Job
		staged  bool // this job has staged generation 2
		told    string
	}{
		{"a machine that it left, and that this one takes over", wasDown(), false, "SRV2 (pending unreachable); this rotation takes its place"},
		{"what it left stopped, which this one does not start", stands(), false, "SRV1: service App (failed start_timeout); this rotation does not start it"},
		{"not one of another account", other, false, ""},
		{"not one that has not ended", open, false, ""},
		{"not one that is later than this", later, true, ""},
	} {
		sc := newScene(2, true)
		sc.store.unsettled = []pam.Job{c.earlier}
		if c.staged {
			sc.store.job.Generation = 2
			sc.store.gens = append(sc.store.gens, pam.Generation{
				Account: uid("A"), Number: 2, Status: pam.Pending, Job: sc.store.job.ID, Password: sc.store.gens[0].Password.Clone(),
			})
		}
		plan, err := sc.engine().Plan(t.Context(), uid("U"), pam.JobOptions{})
		if err != nil {
			t.Fatal(err)
		}
		j := sc.run(t)
		for what, warnings := range map[string][]string{"plan": plan.Warnings, "job": j.Warnings} {
			if c.staged && what == "plan" {
				continue // a dry run is always about a rotation to come
			}
			text := strings.Join(warnings, "\n")
			if told := strings.Contains(text, string(uid("O"))); told != (c.told != "") || !strings.Contains(text, c.told) {
				t.Errorf("%s: the %s says %q", c.name, what, text)
			}
		}
	}
}

func TestAMachineStillDownRemindsOfTheEarlierJob(t *testing.T) {
	t.Parallel()
	sc := newScene(2, true)
	sc.store.unsettled = []pam.Job{wasDown()}
	sc.world.hosts[uid("2")].down = true
	j := sc.run(t)
	if j.State != pam.JobFailed || j.Failure != pam.ErrUnreachable ||
		!strings.Contains(j.Hint, "--skip-unreachable") || !strings.Contains(j.Hint, "resume "+string(uid("O"))) {
		t.Errorf("%s %s: %s; %s", j.State, j.Failure, j.Message, j.Hint)
	}
}

// A superseded job starts what it left stopped, and does nothing else: the later one
// has stored its password and restarted what ran.
func TestASupersededJobStartsWhatItLeftStopped(t *testing.T) {
	t.Parallel()
	sc := newScene(3, true)
	sc.world.hosts[uid("2")].down = true
	sc.store.job.Options.SkipUnreachable = true
	sc.world.faults["restart"] = faultMidway
	if j := sc.run(t); j.State != pam.JobPartial {
		t.Fatalf("%s: %s", j.State, j.Message)
	}
	cut := uid("1")
	if sc.world.hosts[cut].find("App").state != "Stopped" {
		cut = uid("3")
	}
	sc.world.hosts[uid("2")].down = false
	before := sc.stopped()
	sc.world.sent = map[string][]string{}
	sc.store.job.SupersededBy = uid("N")
	j := sc.run(t)
	if j.State != pam.JobFinished || !strings.Contains(j.Message, string(uid("N"))) {
		t.Errorf("%s: %s", j.State, j.Message)
	}
	for _, name := range []string{"App", "Web"} {
		if s := sc.world.hosts[cut].find(name); s.state != "Running" || s.starts != 1 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if i := sc.item("2", "SRV2"); i.Status != pam.StatusSkipped || i.Reason != "superseded" || sc.world.hosts[uid("2")].looks > 1 {
		t.Errorf("%+v, %d looks", i, sc.world.hosts[uid("2")].looks)
	}
	if _, updated := sc.world.sent["update"]; updated || sc.stopped() != before {
		t.Errorf("sent %v, %d stops", sc.world.sent, sc.stopped()-before)
	}
}

func TestASupersededJobWaitsForAMachineThatIsDown(t *testing.T) {
	t.Parallel()
	sc := newScene(1, true)
	sc.world.faults["restart"] = faultMidway
	sc.run(t)
	sc.store.job.SupersededBy = uid("N")
	sc.world.hosts[uid("1")].down = true
	if j := sc.run(t); j.State != pam.JobPartial || !strings.HasSuffix(j.Hint, "answers. Then: keyturn pam action resume "+string(uid("J"))) {
		t.Fatalf("%s: %s; %s", j.State, j.Message, j.Hint)
	}
	sc.world.hosts[uid("1")].down = false
	if j := sc.run(t); j.State != pam.JobFinished || sc.world.hosts[uid("1")].find("App").state != "Running" {
		t.Errorf("%s: %s", j.State, j.Message)
	}
}

// Somebody typed another password into the record: none is sent, for it may be
// wrong, and the job says what to do.
func TestAJobWhosePasswordWasReplacedByHand(t *testing.T) {
	t.Parallel()
	sc := newScene(2, true)
	sc.world.hosts[uid("2")].down = true
	sc.store.job.Options.SkipUnreachable = true
	sc.run(t)
	sc.world.hosts[uid("2")].down = false
	for i := range sc.store.gens {
		if sc.store.gens[i].Status == pam.Current {
			sc.store.gens[i].Number++
		}
	}
	sc.world.sent = map[string][]string{}
	j := sc.run(t)
	if j.State != pam.JobPartial || !strings.Contains(j.Message, `the password in the record of LAB\svc was changed by hand since job`) {
		t.Errorf("%s: %s", j.State, j.Message)
	}
	if !strings.Contains(j.Hint, "rotate -r "+string(uid("U"))) || !strings.Contains(j.Hint, string(uid("J"))+" --abandon") ||
		strings.Contains(j.Hint, "resume") {
		t.Errorf("hint: %s", j.Hint)
	}
	if _, updated := sc.world.sent["update"]; updated {
		t.Errorf("it was sent: %v", sc.world.sent)
	}
}

// A machine that is finished is not missed by a resume that does not reach it, and
// one that is not names the remedy.
func TestAResumeNamesWhatIsLeftAndTheRemedy(t *testing.T) {
	t.Parallel()
	sc := newScene(2, true)
	sc.world.hosts[uid("2")].down = true
	sc.store.job.Options.SkipUnreachable = true
	j := sc.run(t)
	if !strings.HasPrefix(j.Hint, "check that it is up and that SRV2:5986 answers. Then: keyturn pam action resume ") {
		t.Errorf("hint: %s", j.Hint)
	}
	sc.world.hosts[uid("1")].down = true
	j = sc.run(t)
	if j.State != pam.JobPartial || strings.Contains(j.Message, "SRV1") || !strings.Contains(j.Message, "SRV2 (pending unreachable)") {
		t.Errorf("%s: %s", j.State, j.Message)
	}
	if i := sc.item("2", "SRV2"); i.Error == nil || !strings.Contains(i.Error.Message, "SRV2") {
		t.Errorf("its item does not say why: %+v", i)
	}
}
