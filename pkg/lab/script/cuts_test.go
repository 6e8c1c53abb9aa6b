package script_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/powershell"
)

// brokenPipe fails from the nth write on.
type brokenPipe struct{ n int }

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.n--; b.n < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

// planned is a world ready for its restart, and the request that carries it out.
func planned(tb testing.TB, w *world) powershell.Request {
	tb.Helper()
	if w.dir == "" {
		w.dir = filepath.Join(tb.TempDir(), "journal")
	}
	w.svc("A", model.Running, nil)
	w.dep("B", "A", model.Paused)
	w.reset()
	if code, err := w.m.ChangeService("A", `CORP\svc_app`, pw(newPassword)); code != 0 || err != nil {
		tb.Fatal(code, err)
	}
	plan := powershell.Plan{Starts: []powershell.PlanStart{{ID: "A"}, {ID: "B", Pause: true}}}
	for _, n := range []string{"B", "A"} {
		s, err := w.m.Service(n)
		if err != nil {
			tb.Fatal(err)
		}
		plan.Stops = append(plan.Stops, powershell.PlanStop{ID: n, State: string(s.State), PID: s.PID, Started: s.Started})
	}
	return powershell.Request{Op: powershell.OpRestart, Run: string(run), Journal: true, Plan: &plan}
}

var bothBack = map[string]string{"A": "Running restarts=1 new", "B": "Paused restarts=1"}

func TestT04ABrokenPipeStopsNoRestart(t *testing.T) {
	t.Parallel()
	for n := range 6 {
		w := newWorld(t, nil)
		req := planned(t, w)
		if code := script.Answer(t.Context(), w.m, w.dir, bytes.NewReader(frame(t, req)), &brokenPipe{n}); code != powershell.ByeOK {
			t.Fatalf("after %d lines: exit %d", n, code)
		}
		w.check(bothBack)
		journal, err := os.ReadFile(filepath.Join(w.dir, string(run)+".ndjson"))
		if err != nil || !bytes.Contains(journal, []byte(`"t":"bye"`)) || bytes.Contains(journal, []byte("canary")) {
			t.Fatalf("the journal is not whole: %s %v", journal, err)
		}
	}
}

func TestDeadlineStopsNothingNew(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		req := planned(w.t, w)
		w.m.ConfigureService("B", func(s *model.ServiceSpec) { s.Faults.StopDelay = 10 * time.Second })
		req.DeadlineMs = 5000
		a, code, err := w.answer(req)
		if err != nil || code != powershell.ByePartial {
			w.t.Fatal(code, err)
		}
		got := map[string]string{}
		for _, i := range a.Items {
			got[i.ID] = i.Status
		}
		if got["A"] != "pending" || got["B"] != "ok" {
			w.t.Fatalf("%v", got)
		}
		w.check(map[string]string{"A": "Running restarts=0 new", "B": "Paused restarts=1"})
	})
}

// die ends the script's process, and all it could still ask of the machine.
func (w *world) die() {
	w.cancel()
	w.m.Cut()
}

// revive ends what die did: the machine is there again, some time later.
func (w *world) revive() {
	w.m.Hook(nil)
	w.m.Mend()
	w.process, w.cancel = context.WithCancel(context.Background())
	w.clock.Advance(time.Minute)
}

// dieAt has the script killed at the nth thing that happens, and returns how
// many have happened.
func (w *world) dieAt(n int) *atomic.Int64 {
	w.process, w.cancel = context.WithCancel(context.Background())
	var seen atomic.Int64
	w.m.Hook(func(model.Event) {
		if seen.Add(1) == int64(n) {
			w.die()
		}
	})
	return &seen
}

// At every event at which the script's process can die, repair brings back what
// it left down, and nothing else.
func TestT06RepairAfterAKillAtEveryMoment(t *testing.T) {
	t.Parallel()
	for kill := 1; kill <= 9; kill++ {
		t.Run(fmt.Sprintf("T06 event %d", kill), func(t *testing.T) {
			t.Parallel()
			onTwin, onEngine := newWorld(t, nil), func() *world { return newWorld(t, nil).inEngine(t) }
			repairAfterKill(t, onTwin, kill)
			t.Run("engine", func(t *testing.T) {
				t.Parallel()
				enginePath(t)
				repairAfterKill(t, onEngine(), kill)
			})
		})
	}
}

func repairAfterKill(t *testing.T, w *world, kill int) {
	t.Helper()
	req := planned(t, w)
	seen := w.dieAt(kill)
	_, code, err := w.answer(req)
	if killed := seen.Load() >= int64(kill); killed != (code == script.ExitKilled) || killed != (err != nil) {
		t.Fatalf("kill at event %d of %d: exit %d, %v", kill, seen.Load(), code, err)
	}
	w.revive()
	req.Op = powershell.OpRepair
	if _, code, err := w.answer(req); code != powershell.ByeOK || err != nil {
		t.Fatalf("repair: exit %d, %v", code, err)
	}
	for name, want := range map[string]model.State{"A": model.Running, "B": model.Paused} {
		if s, _ := w.m.Service(name); s.State != want {
			t.Errorf("%s is %s, want %s", name, s.State, want)
		}
	}
	w.cancel()
}

func TestRepairSaysWhoStoppedIt(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		req := planned(w.t, w)
		w.dep("Other", "B", model.Stopped)
		w.process, w.cancel = context.WithCancel(context.Background())
		w.m.Hook(func(e model.Event) {
			if e.Kind == model.ServiceStopped && e.Name == "A" {
				w.die()
			}
		})
		if _, code, _ := w.answer(req); code != script.ExitKilled {
			w.t.Fatal(code)
		}
		w.revive()
		defer w.cancel()
		req.Op = powershell.OpRepair
		req.Plan.Starts = append(req.Plan.Starts, powershell.PlanStart{ID: "Other"})
		want := []string{"A ok stopped_by_run", "B ok stopped_by_run", "Other ok stopped_by_other"}
		for range 2 {
			a, _, err := w.answer(req)
			if err != nil {
				w.t.Fatal(err)
			}
			var got []string
			for _, i := range a.Items {
				got = append(got, i.ID+" "+i.Status+" "+i.Reason)
			}
			if !slices.Equal(got, want) {
				w.t.Fatalf("%q, want %q", got, want)
			}
			want = []string{"A noop already_running", "B noop already_running", "Other noop already_running"}
		}
	})
}
