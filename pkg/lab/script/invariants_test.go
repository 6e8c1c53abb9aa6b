package script_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
)

// A machine at random, a rotation's visit to it that may be cut off at any
// moment, and what an engine does after a cut. Whatever comes of it:
//
//	I1 nothing is stopped before a proof was granted;
//	I2 what was inactive before is inactive after;
//	I3 what was stopped is started again, or reported;
//	I4 a second visit changes nothing that the first has changed;
//	I5 no line, journal or error holds a secret;
//	I6 at most one logon is refused for its password;
//	I7 what is builtin, virtual, managed or ambiguous is never written.
func TestI1ToI7WhateverTheMachineAndWheneverItIsCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		w := newDoubtfulWorld(t, rapid.SampledFrom(append([]doubt{{name: "twin"}}, doubts()...)).Draw(rt, "reading"), nil)
		w.dir = filepath.Join(dir, rapid.StringMatching(`[a-z0-9]{12}`).Draw(rt, "journal"))
		m := randomMachine(rt, w)
		w.reset()
		w.forget()
		v := visit{world: w, machine: m}
		v.go1(rt)
		v.proven(rt)
		v.untouched(rt)
		v.secretless(rt)
		v.attempts(rt)
		v.upAgain(rt)
		v.idempotent(rt)
	})
}

// A machineAtRandom is what is on it, and what must not be written there.
type machineAtRandom struct {
	states map[string]model.State
	never  map[string]bool // names of items that a rotation of T must not write
	runAs  map[string]string
	lag    bool
}

// identities are what items run as: T in every spelling, and everybody else.
var identities = []struct {
	runAs, password string
	target          bool
}{
	{`CORP\svc_app`, oldPassword, true},
	{`corp\SVC_APP`, oldPassword, true},
	{`svc_app@corp.example.com`, oldPassword, true},
	{`OLD\svc_app`, "", false},
	{`CORP\gapp$`, "", false},
	{`CORP\` + "other", "other-Passw0rd", false},
	{"LocalSystem", "", false},
	{`NT AUTHORITY\LocalService`, "", false},
	{`NT SERVICE\A`, "", false},
	{`.\svc_app`, "twin-Passw0rd", false},
}

func randomMachine(rt *rapid.T, w *world) machineAtRandom {
	m := machineAtRandom{states: map[string]model.State{}, never: map[string]bool{}, runAs: map[string]string{}}
	w.m.Local().Add(model.User{Sam: "svc_app", Password: pw("twin-Passw0rd")})
	names := []string{"A", "B", "C", "D", "E", "F"}
	for i, n := range names[:rapid.IntRange(1, len(names)).Draw(rt, "services")] {
		m.addService(rt, w, n, names[:i])
	}
	for _, p := range []string{`\T1`, `\F\T2`, `\F\T3`}[:rapid.IntRange(0, 3).Draw(rt, "tasks")] {
		id := rapid.SampledFrom(identities).Draw(rt, "task runs as")
		w.task(p, func(s *model.TaskSpec) {
			s.UserID, s.Password = id.runAs, pw(id.password)
			s.LogonType = rapid.SampledFrom([]string{"Password", "Password", "InteractiveTokenOrPassword", "S4U"}).Draw(rt, "logon type")
			s.Disabled = rapid.Bool().Draw(rt, "task disabled")
			s.Registration = rapid.Bool().Draw(rt, "registration trigger")
		})
		m.never[p] = !id.target
	}
	if rapid.IntRange(0, 4).Draw(rt, "lag") == 0 {
		m.lag = true
		w.m.Lag()
	}
	for _, typ := range []int{model.LogonBatch, model.LogonService} {
		if rapid.IntRange(0, 5).Draw(rt, "restricted") == 0 {
			w.m.Restrict(w.sid, typ, rapid.SampledFrom([]model.Errno{model.LogonTypeNotGranted, 1328}).Draw(rt, "restriction"))
		}
	}
	w.options.KillOwnProcess = rapid.Bool().Draw(rt, "kill")
	w.grant = rapid.Bool().Draw(rt, "grant")
	return m
}

func (m machineAtRandom) addService(rt *rapid.T, w *world, name string, before []string) {
	s := model.ServiceSpec{Name: name, CanPause: true}
	state := rapid.SampledFrom([]model.State{model.Running, model.Running, model.Paused, model.Stopped}).Draw(rt, "state")
	for _, d := range before {
		if rapid.IntRange(0, 2).Draw(rt, "needs") == 0 {
			s.DependsOn = append(s.DependsOn, d)
			if m.states[d] == model.Stopped {
				state = model.Stopped
			}
		}
	}
	id := rapid.SampledFrom(append(slices.Clone(identities), identities[0], identities[0])).Draw(rt, "runs as")
	s.StartName, s.Password = id.runAs, pw(id.password)
	s.Managed = id.target && rapid.IntRange(0, 9).Draw(rt, "managed") == 0
	s.StartMode = rapid.SampledFrom([]string{model.Auto, model.Auto, model.Manual, model.Disabled}).Draw(rt, "mode")
	s.Fixed = rapid.IntRange(0, 5).Draw(rt, "fixed") == 0
	s.Type = rapid.SampledFrom([]int{model.OwnProcess, model.OwnProcess, model.ShareProcess}).Draw(rt, "type")
	s.Faults = model.ServiceFaults{
		StopDelay:  rapid.SampledFrom([]time.Duration{0, time.Second, 95 * time.Second, model.Forever}).Draw(rt, "stop"),
		StartDelay: rapid.SampledFrom([]time.Duration{0, time.Second, 200 * time.Second}).Draw(rt, "start"),
		StartCodes: rapid.SampledFrom([][]model.Errno{nil, nil, {1053}, {1069}}).Draw(rt, "codes"),
		ChangeCode: rapid.SampledFrom([]int{0, 0, 0, 2}).Draw(rt, "change"),
	}
	m.runAs[name] = id.runAs
	m.states[name], m.never[name] = state, !id.target || s.Managed
	w.m.AddService(s, state)
}

// A visit is a rotation at a machine at random, with its cut and its repair.
type visit struct {
	*world
	machine machineAtRandom
	cut     bool
	errs    []string
}

// go1 visits: look, update, plan, restart; and after a cut what an engine does,
// update again, or repair and restart by the saved plan.
func (v *visit) go1(rt *rapid.T) {
	at := rapid.IntRange(0, 25).Draw(rt, "cut at event") // 0: never
	if at > 0 {
		v.dieAt(at)
	} else {
		v.process, v.cancel = context.WithCancel(context.Background())
	}
	err := v.apply()
	v.note(err)
	v.cut = v.process.Err() != nil
	planned := v.plan
	defer v.cancel()
	v.revive()
	if !v.cut {
		return
	}
	if planned.Empty() { // cut before anything could be stopped
		v.note(v.apply())
		return
	}
	v.note(v.host().Repair(context.Background(), run, planned, v.hear))
}

func (v *visit) note(err error) {
	if err != nil {
		v.errs = append(v.errs, err.Error())
	}
}

// proven is I1.
func (v *visit) proven(rt *rapid.T) {
	granted := false
	for _, e := range v.m.Events() {
		switch {
		case e.Kind == model.LoggedOn:
			granted = true
		case e.Kind == model.ServiceStopping && !granted:
			rt.Fatalf("I1: %s was stopped before any proof", e.Name)
		case e.Kind == model.ServiceStopping && v.machine.lag:
			rt.Fatalf("I1: %s was stopped although the password is not known there", e.Name)
		}
	}
}

// untouched is I7.
func (v *visit) untouched(rt *rapid.T) {
	for _, e := range v.m.Events() {
		written := e.Kind == model.ServiceChanged || e.Kind == model.TaskRegistered || e.Kind == model.TaskRefused
		if written && v.machine.never[e.Name] {
			rt.Fatalf("I7: %s was written", e.Name)
		}
		if e.Kind == model.TaskStarted {
			rt.Fatalf("task %s was started", e.Name)
		}
	}
	for _, s := range v.m.View().Services {
		if was := v.machine.runAs[s.Name]; s.RunAs != was {
			rt.Fatalf("I7: %s ran as %s, and is stored as %s", s.Name, was, s.RunAs)
		}
	}
}

// secretless is I5.
func (v *visit) secretless(rt *rapid.T) {
	for _, text := range append([]string{v.out.String(), journal(v.dir)}, v.errs...) {
		if strings.Contains(text, "canary") {
			rt.Fatalf("I5: a password in %q", text)
		}
	}
}

// attempts is I6. A visit that was cut and begun again is two.
func (v *visit) attempts(rt *rapid.T) {
	refused := 0
	for _, e := range v.m.Events() {
		if (e.Kind == model.LogonFailed || e.Kind == model.TaskRefused) && e.Code&0xffff == uint32(model.LogonFailure) {
			refused++
		}
	}
	allowed := 1
	if v.cut {
		allowed = 2
	}
	if refused > allowed {
		rt.Fatalf("I6: %d logons were refused", refused)
	}
}

// upAgain is I2 and I3.
func (v *visit) upAgain(rt *rapid.T) {
	v.clock.Advance(10 * time.Minute) // what is slow gets done
	for name, was := range v.machine.states {
		s := v.m.View().Service(name)
		told := strings.Join(v.results[name], " ")
		reported := strings.Contains(told, "=failed") || strings.Contains(told, "=timeout") || strings.Contains(told, "=unknown")
		switch {
		case was == model.Stopped && s.State != model.Stopped:
			rt.Fatalf("I2: %s was stopped and is %s", name, s.State)
		case was != model.Stopped && s.State != was && !reported:
			rt.Fatalf("I3: %s was %s, is %s, and nobody said so: %q", name, was, s.State, told)
		case s.Stops > 1 && !v.cut:
			rt.Fatalf("%s was stopped %d times", name, s.Stops)
		}
	}
}

// idempotent is I4: the same update again stores nothing else, and the same plan
// again stops nothing.
func (v *visit) idempotent(rt *rapid.T) {
	inv, err := v.look()
	if err != nil {
		rt.Fatal(err)
	}
	update := func() []string {
		u, err := v.host().Update(context.Background(), dependency.UpdateRequest{
			Run: run, Subject: v.subject(), Kinds: allKinds, Items: inv.Items,
		}, pw(v.next), func(dependency.ItemResult) {})
		if err != nil {
			rt.Fatal(err)
		}
		var told []string
		for _, r := range u.Results {
			told = append(told, r.Name+" "+string(r.Status))
		}
		return told
	}
	first, view := update(), v.m.View()
	if second := update(); !slices.Equal(first, second) {
		rt.Fatalf("I4: the second update said %q, the first %q", second, first)
	}
	for _, s := range v.m.View().Services {
		if was := view.Service(s.Name); s != was {
			rt.Fatalf("I4: a second update made %+v of %+v", s, was)
		}
	}
	if v.plan.Empty() || v.cut {
		return
	}
	stops := count(v.m.Events(), model.ServiceStopping)
	failed := slices.Collect(func(yield func(pam.Stop) bool) {
		for _, s := range v.plan.Stops { // one that did not stop still is the process of the plan
			if v.m.View().Service(s.Name).PID == s.PID && !yield(s) {
				return
			}
		}
	})
	if len(failed) > 0 {
		return
	}
	if err := v.host().Restart(context.Background(), run, v.plan, func(dependency.ItemResult) {}); err != nil {
		rt.Fatal(err)
	}
	if again := count(v.m.Events(), model.ServiceStopping); again != stops {
		rt.Fatalf("I4: the same plan stopped %d more", again-stops)
	}
}

func count(events []model.Event, kind model.EventKind) int {
	n := 0
	for _, e := range events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}
