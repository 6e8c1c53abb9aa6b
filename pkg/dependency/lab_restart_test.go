package dependency_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyturn/pkg/dependency"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
)

// TestLabRestartRows are rows of the acceptance scenarios: the service A of the
// account and its dependent B, restarted after an update.
func TestLabRestartRows(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		a      func(*model.ServiceSpec)
		state  model.State // of A
		want   []string    // results, sorted
		skips  string
		after  model.State
		starts int
	}{
		{
			name: "S01 a running service is restarted", state: model.Running, after: model.Running, starts: 1,
			want: []string{"restart service A ok", "restart service B ok"},
		},
		{name: "S02 a stopped service stays stopped", state: model.Stopped, after: model.Stopped},
		{
			name: "S05 a running disabled service is left running", state: model.Running, after: model.Running,
			a: func(s *model.ServiceSpec) { s.StartMode = model.Disabled }, skips: "A=not_restartable_disabled",
		},
		{
			name: "S10 a paused service is paused again", state: model.Paused, after: model.Paused, starts: 1,
			a:    func(s *model.ServiceSpec) { s.CanPause = true },
			want: []string{"restart service A ok", "restart service B ok"},
		},
		{
			name: "S12 a service that hangs while it starts is left", state: model.StartPending, after: model.StartPending,
			a: func(s *model.ServiceSpec) { s.Faults.StartDelay = model.Forever }, skips: "A=service_transitioning",
		},
		{
			name: "S13 a service that does not stop is reported, and its dependent as down", state: model.Running, after: model.StopPending,
			a: func(s *model.ServiceSpec) { s.Faults.StopDelay = model.Forever },
			want: []string{
				"restart service A timeout stop_timeout", "restart service A timeout stop_timeout",
				"restart service B failed dependency_failed", "restart service B failed dependency_failed",
			},
		},
		{
			name: "S14 a service that takes no stop is left", state: model.Running, after: model.Running,
			a: func(s *model.ServiceSpec) { s.Fixed = true }, skips: "A=not_stoppable",
		},
		{
			name: "S17 a service that dies after its start is reported", state: model.Running, after: model.Stopped, starts: 1,
			a:    func(s *model.ServiceSpec) { s.Faults.DieAfter = 2 * time.Second },
			want: []string{"restart service A failed died_after_start", "restart service B ok"},
		},
		{
			name: "S20 a service that may not log on is reported, and its dependent as down", state: model.Running, after: model.Stopped,
			a: func(s *model.ServiceSpec) {
				s.Faults.StartCodes = slices.Repeat([]model.Errno{model.ServiceLogonFailed}, 9)
			},
			want: []string{
				"restart service A failed service_logon_failed", "restart service A failed service_logon_failed",
				"restart service B failed dependency_failed", "restart service B failed dependency_failed",
			},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 0)
			l.srv = model.NewMachine(model.MachineSpec{Name: "SRV9", Clock: l.srv.Clock(), Domain: l.Domain, Session: model.PracticeAdmin})
			a := model.ServiceSpec{Name: "A", StartName: `LAB\svc_app`, Password: l.Service}
			if row.a != nil {
				row.a(&a)
			}
			l.srv.AddService(a, row.state)
			b := model.Running
			if row.state != model.Running && row.state != model.Paused {
				b = model.Stopped
			}
			l.srv.AddService(model.ServiceSpec{Name: "B", DependsOn: []string{"A"}}, b)
			inv := l.look(t)
			l.rotate(t)
			u, err := l.update(t, inv.Items, labNext)
			if err != nil {
				t.Fatal(err)
			}
			plan, skips := dependency.PlanRestart(u.Inventory, allUpdated, dependency.PlanOptions{})
			if texts(skips) != row.skips {
				t.Errorf("skips %q, want %q", texts(skips), row.skips)
			}
			var heard []string
			if !plan.Empty() {
				err := l.open(t).Restart(t.Context(), labRun, plan, func(r dependency.ItemResult) { heard = append(heard, brief(r)) })
				if err != nil {
					t.Fatal(err)
				}
			}
			slices.Sort(heard)
			if diff := cmp.Diff(row.want, heard); diff != "" {
				t.Error(diff)
			}
			if now := l.srv.View().Service("A"); now.State != row.after || now.Starts != row.starts || !now.CredentialOK {
				t.Errorf("A is %+v", now)
			}
		})
	}
}

func TestLabProblemsOfOneKindSpareTheRest(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0)
	l.srv.StopTaskService()
	inv := l.look(t)
	if !strings.Contains(strings.Join(inv.Warnings, " "), "task_service_down") {
		t.Errorf("warnings %q", inv.Warnings)
	}
	undone := 0
	for _, i := range dependency.PlanItems(pam.Machine{}, inv, dependency.PlanOptions{}) {
		if i.Kind == pam.KindTask && !i.Status.Done() && i.Reason == "task_service_down" {
			undone++
		}
	}
	l.rotate(t)
	u, err := l.update(t, inv.Items, labNext)
	if err != nil || undone != 1 || len(u.Results) != 7 {
		t.Fatalf("%d undone, %+v, %v", undone, u.Results, err)
	}
	for _, r := range u.Results {
		if !r.Status.Done() {
			t.Errorf("%s: %s %+v", r.Name, r.Status, r.Error)
		}
	}
}

func TestLabStorageOfPasswordsForbiddenIsSeenBeforeAnyChange(t *testing.T) {
	t.Parallel()
	l := newLab(t, 0)
	l.srv.DisableStorage()
	for _, i := range l.look(t).Items {
		if i.Kind == pam.KindTask && i.Skip == "" {
			t.Errorf("%+v", i)
		}
	}
}
