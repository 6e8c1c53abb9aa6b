package dependency_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/script"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// A lab is one member of the practice domain, whose script runs in process.
type lab struct {
	*model.Fleet
	srv     *model.Machine
	journal string
	cut     func(e model.Event) bool // kills the script, and its machine's network, after an event
}

func newLab(t *testing.T, machine int) *lab {
	t.Helper()
	fleet, err := model.Practice(model.PracticeOptions{
		Servers: 3, Random: rand.Reader, Clock: model.NewStepClock(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)),
		StartDelay: 2 * time.Second, StopDelay: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &lab{Fleet: fleet, srv: fleet.Servers[machine], journal: t.TempDir()}
}

func (l *lab) Dial(context.Context, remote.Target) (remote.Session, error) { return l, nil }
func (*lab) Close() error                                                  { return nil }

func (l *lab) Run(ctx context.Context, s remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	if l.cut != nil {
		l.srv.Hook(func(e model.Event) {
			if l.cut != nil && l.cut(e) {
				kill()
			}
		})
	}
	code := script.Answer(ctx, l.srv, l.journal, bytes.NewReader(in.Reveal()), wire(s.OnOutput))
	if code == script.ExitKilled {
		return remote.Result{}, broke
	}
	return remote.Result{ExitCode: code}, nil
}

// A wire hands on what the script says.
type wire func([]byte)

func (w wire) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

func (l *lab) open(t *testing.T) dependency.Host {
	t.Helper()
	h, err := dependency.Open(t.Context(), l, remote.Target{}, dependency.Options{Random: rand.Reader, Now: l.srv.Now})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (l *lab) subject(t *testing.T) dependency.Subject {
	t.Helper()
	u, ok := l.Domain.User("svc_app")
	if !ok {
		t.Fatal("no svc_app")
	}
	return dependency.Subject{Login: `LAB\svc_app`, Identity: pam.Identity{Alias: u.SID, SID: u.SID, Name: `LAB\svc_app`}}
}

func (l *lab) look(t *testing.T) dependency.Inventory {
	t.Helper()
	inv, err := l.open(t).Look(t.Context(), dependency.LookRequest{Run: labRun, Subject: l.subject(t), Kinds: allKinds})
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func (l *lab) update(t *testing.T, items []dependency.Item, next string) (dependency.Update, error) {
	t.Helper()
	return l.open(t).Update(t.Context(), dependency.UpdateRequest{
		Run: labRun, Subject: l.subject(t), Kinds: allKinds, Items: items,
	}, secret.New([]byte(next)), nil)
}

// rotate gives svc_app a new password at its domain.
func (l *lab) rotate(t *testing.T) {
	t.Helper()
	if code := l.Domain.Reset("svc_app", secret.New([]byte(labNext))); code != 0 {
		t.Fatal(code)
	}
}

func (l *lab) failedLogons() int {
	n := 0
	for _, e := range l.srv.Events() {
		if e.Kind == model.LogonFailed {
			n++
		}
	}
	return n
}

const (
	labRun  = "AAAAAAAAAAAAAAAAAAAAAA"
	labNext = "N3xt-Passw0rd-1!"
)

func TestLabLook(t *testing.T) {
	t.Parallel()
	for machine := range 3 { // each spells the account in its own way
		inv := newLab(t, machine).look(t)
		var got []string
		for _, i := range inv.Items {
			kind := "dependent"
			if i.Target {
				kind = "target"
			}
			got = append(got, strings.Join([]string{string(i.Kind), i.Name, kind, i.Skip, i.State}, "|"))
		}
		slices.Sort(got)
		want := []string{
			"iis_vdir|Orders/files|target||", "iis_anon|Orders/public|target||",
			"iis_pool|Orders Old|target||Stopped", "iis_pool|Orders|target||Started", "service|OrdersApi|target||Running",
			"service|OrdersImport|target||Stopped", "service|OrdersLegacy|target||Stopped",
			"service|OrdersMonitor|dependent||Running",
			`task|\Orders\Cleanup|dependent|no_stored_password|Ready`, `task|\Orders\Nightly export|target||Ready`,
		}
		switch machine {
		case 1:
			want = append(want, "service|OrdersCache|dependent||Paused")
		case 2:
			want = append(want, "service|OrdersArchive|dependent||Stopped")
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" || inv.MachineID == "" {
			t.Errorf("machine %d: %s", machine, diff)
		}
		// The local account of the same name is told of, and nothing else is.
		if len(inv.Warnings) != 1 || !strings.HasPrefix(inv.Warnings[0], `service "Scanner" runs as .\svc_app, another account of the same name`) {
			t.Errorf("machine %d: %q", machine, inv.Warnings)
		}
	}
}

func TestLabUpdateAndRestart(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1)
	inv := l.look(t)
	workers := map[string][]int{}
	for _, i := range inv.Items {
		workers[i.Name] = i.Workers
	}
	before := l.srv.View()
	l.rotate(t)
	u, err := l.update(t, inv.Items, labNext)
	if err != nil || u.Rejected || len(u.Results) != 8 {
		t.Fatalf("got %+v, %v", u, err)
	}
	for _, r := range u.Results {
		if r.Status != pam.StatusOK {
			t.Errorf("%s: %s %+v", r.Name, r.Status, r.Error)
		}
	}
	plan, skips := dependency.PlanRestart(u.Inventory, allUpdated, dependency.PlanOptions{Workers: workers})
	if stops(plan) != "OrdersMonitor OrdersCache OrdersApi" || starts(plan) != "OrdersApi OrdersCache(pause) OrdersMonitor" || len(skips) != 0 {
		t.Fatalf("stops %q, starts %q, skips %q", stops(plan), starts(plan), texts(skips))
	}
	var heard []string
	if err := l.open(t).Restart(t.Context(), labRun, plan, func(r dependency.ItemResult) { heard = append(heard, brief(r)) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(heard)
	want := []string{
		"restart iis_pool Orders noop", "restart service OrdersApi ok", "restart service OrdersCache ok", "restart service OrdersMonitor ok",
	}
	if diff := cmp.Diff(want, heard); diff != "" {
		t.Error(diff)
	}
	l.checkAsBefore(t, before)
}

// checkAsBefore asks that everything is in the state it was in, that what ran
// as the account is a new process, and that what is stored would log on.
func (l *lab) checkAsBefore(t *testing.T, before model.MachineView) {
	t.Helper()
	after := l.srv.View()
	for _, s := range before.Services {
		now := after.Service(s.Name)
		if now.State != s.State || now.Starts > 1 || now.StoresSecret && !now.CredentialOK {
			t.Errorf("%s: was %+v, is %+v", s.Name, s, now)
		}
		if restarted := strings.HasPrefix(s.Name, "Orders") && s.PID != 0; restarted != (now.PID != s.PID) {
			t.Errorf("%s: process %d, then %d", s.Name, s.PID, now.PID)
		}
	}
	for _, task := range after.Tasks {
		if task.StoresSecret && !task.CredentialOK || task.Runs != 0 {
			t.Errorf("task %+v", task)
		}
	}
	for _, p := range slices.Concat(after.Directories, after.Anonymous) {
		if p.StoresSecret && !p.CredentialOK {
			t.Errorf("%+v", p)
		}
	}
	for _, p := range before.Pools {
		now := after.Pool(p.Name)
		if now.State != p.State || now.Recycles > 1 || now.StoresSecret && !now.CredentialOK {
			t.Errorf("pool %+v, was %+v", now, p)
		}
	}
}

func TestLabRefusedProofChangesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0)
	inv := l.look(t)
	before := l.srv.View()
	u, err := l.update(t, inv.Items, "not-the-Passw0rd")
	if err != nil || !u.Rejected {
		t.Fatalf("got %+v, %v", u, err)
	}
	for _, r := range u.Results {
		if r.Status != pam.StatusPending || r.Error.Class != "credential_rejected" {
			t.Errorf("%s: %s %+v", r.Name, r.Status, r.Error)
		}
	}
	if diff := cmp.Diff(before, l.srv.View()); diff != "" || l.failedLogons() != 1 {
		t.Errorf("%d failed logons; %s", l.failedLogons(), diff)
	}
}

func TestLabItemOfSomebodyElseByNowIsLeftAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0)
	inv := l.look(t)
	l.srv.ConfigureService("OrdersApi", func(s *model.ServiceSpec) { s.StartName = "LocalSystem" })
	l.rotate(t)
	u, err := l.update(t, inv.Items, labNext)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range u.Results {
		changed := r.Status == pam.StatusSkipped && r.Reason == "run_as_changed"
		if changed != (r.Name == "OrdersApi") || !changed && r.Status != pam.StatusOK {
			t.Errorf("%s: %s %+v", r.Name, r.Status, r.Error)
		}
	}
	held := func(i dependency.Item) bool { return i.Target && i.Name != "OrdersApi" }
	if plan, _ := dependency.PlanRestart(u.Inventory, held, dependency.PlanOptions{}); len(plan.Stops) != 0 {
		t.Errorf("would stop %s", stops(plan))
	}
}

func TestLabMissingRightKeepsServicesRunning(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0)
	inv := l.look(t)
	l.srv.Restrict(l.subject(t).Identity.SID, model.LogonService, model.LogonTypeNotGranted)
	l.rotate(t)
	u, err := l.update(t, inv.Items, labNext)
	if err != nil || u.Rejected {
		t.Fatalf("got %+v, %v", u, err)
	}
	plan, skips := dependency.PlanRestart(u.Inventory, allUpdated, dependency.PlanOptions{})
	if len(plan.Stops) != 0 || texts(skips) != "OrdersApi=right_missing" {
		t.Errorf("stops %s, skips %s", stops(plan), texts(skips))
	}
}

// TestLabRepairAfterACutAnywhere kills the script after each thing that happens
// during a restart, one run for each, and asks that a repair leaves everything
// in the state it was in.
func TestLabRepairAfterACutAnywhere(t *testing.T) {
	t.Parallel()
	downs := 0
	for at := 1; ; at++ {
		l := newLab(t, 1)
		inv := l.look(t)
		before := l.srv.View()
		l.rotate(t)
		u, err := l.update(t, inv.Items, labNext)
		if err != nil {
			t.Fatal(err)
		}
		plan, _ := dependency.PlanRestart(u.Inventory, allUpdated, dependency.PlanOptions{})
		events := 0
		l.cut = func(model.Event) bool { events++; return events == at }
		var heard []string
		err = l.open(t).Restart(t.Context(), labRun, plan, func(r dependency.ItemResult) { heard = append(heard, brief(r)) })
		if err == nil {
			break // nothing was left to cut
		}
		if !errors.Is(err, pam.ErrIO) || len(heard) < len(plan.Stops)+len(plan.Recycles) {
			t.Fatalf("cut %d: %v, heard %q", at, err, heard)
		}
		if l.srv.View().Service("OrdersApi").State == model.Stopped {
			downs++
		}
		l.cut = nil
		l.checkRepaired(t, before, plan)
	}
	if downs == 0 {
		t.Error("no cut left the service down: the test proves nothing")
	}
}

func (l *lab) checkRepaired(t *testing.T, before model.MachineView, plan pam.RestartPlan) {
	t.Helper()
	var heard []string
	err := l.open(t).Repair(t.Context(), labRun, plan, func(r dependency.ItemResult) {
		heard = append(heard, brief(r))
		if !r.Status.Done() {
			t.Errorf("repair of %s: %s %+v", r.Name, r.Status, r.Error)
		}
	})
	if err != nil || len(heard) != len(plan.Starts) {
		t.Fatalf("got %v, heard %q", err, heard)
	}
	for _, s := range before.Services {
		if now := l.srv.View().Service(s.Name); now.State != s.State || now.Starts > 1 {
			t.Errorf("%s: was %+v, is %+v", s.Name, s, now)
		}
	}
}
