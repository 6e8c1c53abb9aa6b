package model_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keyturn/pkg/lab/model"
)

func control(t *testing.T, m *model.Machine, name string, verb model.Verb, want model.Errno) {
	t.Helper()
	err := m.Control(name, verb)
	var got model.Errno
	if err != nil && !errors.As(err, &got) {
		t.Fatalf("%s %s: %v", verb, name, err)
	}
	if got != want {
		t.Fatalf("%s %s: code %d, want %d", verb, name, got, want)
	}
}

func state(t *testing.T, m *model.Machine, name string) model.State {
	t.Helper()
	s, err := m.Service(name)
	if err != nil {
		t.Fatal(err)
	}
	return s.State
}

func TestControlCodes(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		spec model.ServiceSpec
		from model.State
		verb model.Verb
		want model.Errno
	}{
		{"a running service does not start again", model.ServiceSpec{}, model.Running, model.Start, model.AlreadyRunning},
		{"a disabled service does not start", model.ServiceSpec{StartMode: model.Disabled}, model.Stopped, model.Start, model.ServiceDisabled},
		{"a stopped service does not stop", model.ServiceSpec{}, model.Stopped, model.Stop, model.NotActive},
		{"a fixed service takes no stop", model.ServiceSpec{Fixed: true}, model.Running, model.Stop, model.InvalidControl},
		{"a service without pause takes none", model.ServiceSpec{}, model.Running, model.Pause, model.InvalidControl},
		{"a stopped service does not pause", model.ServiceSpec{CanPause: true}, model.Stopped, model.Pause, model.NotActive},
		{"a paused service continues", model.ServiceSpec{CanPause: true}, model.Paused, model.Continue, model.OK},
		{"a paused service stops", model.ServiceSpec{CanPause: true}, model.Paused, model.Stop, model.OK},
		{"a service being deleted does not start", model.ServiceSpec{Faults: model.ServiceFaults{Deleted: true}}, model.Stopped, model.Start, model.MarkedForDelete},
		{"a start fails as often as it is told", model.ServiceSpec{Faults: model.ServiceFaults{StartCodes: []model.Errno{model.ServiceNoAnswer}}}, model.Stopped, model.Start, model.ServiceNoAnswer},
		{"a missing dependency fails the start", model.ServiceSpec{DependsOn: []string{"gone"}}, model.Stopped, model.Start, model.DependencyFailed},
		{"an unknown account does not log on", model.ServiceSpec{StartName: `OLD\svc`}, model.Stopped, model.Start, model.ServiceLogonFailed},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			f, _ := fleet(t, 1)
			r.spec.Name = "X"
			f.Servers[0].AddService(r.spec, r.from)
			control(t, f.Servers[0], "x", r.verb, r.want)
		})
	}
}

func TestServiceLogsOnWhenItStarts(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 1)
	m := f.Servers[0]
	reset(t, f)
	control(t, m, "OrdersApi", model.Stop, model.DependentsRunning)
	control(t, m, "OrdersMonitor", model.Stop, model.OK)
	control(t, m, "OrdersApi", model.Stop, model.OK)
	if got := state(t, m, "OrdersApi"); got != model.Stopped {
		t.Fatalf("state %s", got)
	}
	control(t, m, "OrdersApi", model.Start, model.ServiceLogonFailed)
	if code, err := m.ChangeService("OrdersApi", `LAB\svc_app`, pw("N3w-Passw0rd-1")); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	control(t, m, "OrdersMonitor", model.Start, model.OK)
	v := m.View()
	api := v.Service("OrdersApi")
	if api.State != model.Running || api.Restarts != 1 || !api.CredentialOK {
		t.Fatalf("starting a dependent starts what it needs: %+v", api)
	}
	if v.Service("OrdersImport").CredentialOK {
		t.Fatal("an old stored password must not count as good")
	}
}

func TestPendingStatesTakeTheirTime(t *testing.T) {
	t.Parallel()
	f, clock := fleet(t, 1)
	m := f.Servers[0]
	m.AddService(model.ServiceSpec{Name: "Slow", Faults: model.ServiceFaults{
		StartDelay: 10 * time.Second, StopDelay: 20 * time.Second,
	}}, model.Stopped)
	control(t, m, "Slow", model.Start, model.OK)
	control(t, m, "Slow", model.Stop, model.CannotAcceptControl)
	for _, step := range []struct {
		wait time.Duration
		want model.State
	}{{9 * time.Second, model.StartPending}, {time.Second, model.Running}} {
		clock.Advance(step.wait)
		if got := state(t, m, "Slow"); got != step.want {
			t.Fatalf("after %s: %s, want %s", step.wait, got, step.want)
		}
	}
	control(t, m, "Slow", model.Stop, model.OK)
	if got := state(t, m, "Slow"); got != model.StopPending {
		t.Fatal(got)
	}
	clock.Advance(20 * time.Second)
	if got := state(t, m, "Slow"); got != model.Stopped {
		t.Fatal(got)
	}
}

func TestServiceDiesAndItsFailureActionRestartsIt(t *testing.T) {
	t.Parallel()
	f, clock := fleet(t, 1)
	m := f.Servers[0]
	m.AddService(model.ServiceSpec{Name: "Flap", Faults: model.ServiceFaults{
		DieAfter: 2 * time.Second, RestartAfter: time.Second,
	}}, model.Stopped)
	control(t, m, "Flap", model.Start, model.OK)
	first, _ := m.Service("Flap")
	clock.Advance(2 * time.Second)
	if got := state(t, m, "Flap"); got != model.Stopped {
		t.Fatal(got)
	}
	clock.Advance(time.Second)
	second, _ := m.Service("Flap")
	if second.State != model.Running || second.PID == first.PID {
		t.Fatalf("%+v then %+v", first, second)
	}
}

func TestSharedProcessKeepsItsToken(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 1)
	m := f.Servers[0]
	for _, n := range []string{"A", "B"} {
		m.AddService(model.ServiceSpec{
			Name: n, Type: model.ShareProcess, Process: "host", StartName: `LAB\svc_app`, Password: f.Service,
		}, model.Running)
	}
	m.AddService(model.ServiceSpec{Name: "C", Type: model.ShareProcess, Process: "host"}, model.Stopped)
	a, _ := m.Service("A")
	b, _ := m.Service("B")
	if a.PID != b.PID {
		t.Fatal("two services of one process have two pids")
	}
	control(t, m, "C", model.Start, model.DifferentAccount)
	reset(t, f)
	control(t, m, "A", model.Stop, model.OK)
	control(t, m, "A", model.Start, model.OK)
	control(t, m, "A", model.Stop, model.OK)
	control(t, m, "B", model.Stop, model.OK)
	control(t, m, "B", model.Start, model.ServiceLogonFailed)
}

// Whatever controls arrive in whatever order: nobody runs without what it
// needs, a process belongs to a running service, and disabled stays stopped.
func TestServiceInvariants(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		clock := model.NewStepClock(start)
		m := model.NewMachine(model.MachineSpec{Name: "M", Clock: clock})
		names := []string{"A", "B", "C", "D", "E"}
		for i, n := range names {
			var deps []string
			for _, d := range names[:i] {
				if rapid.Bool().Draw(rt, "needs") {
					deps = append(deps, d)
				}
			}
			m.AddService(model.ServiceSpec{Name: n, DependsOn: deps, CanPause: true, Faults: model.ServiceFaults{
				StartDelay: time.Duration(rapid.IntRange(0, 3).Draw(rt, "start")) * time.Second,
				StopDelay:  time.Duration(rapid.IntRange(0, 3).Draw(rt, "stop")) * time.Second,
			}}, model.Stopped)
		}
		m.AddService(model.ServiceSpec{Name: "Off", StartMode: model.Disabled}, model.Stopped)
		verbs := []model.Verb{model.Start, model.Start, model.Stop, model.Pause, model.Continue}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			_ = m.Control(rapid.SampledFrom(append(names, "Off")).Draw(rt, "name"), rapid.SampledFrom(verbs).Draw(rt, "verb"))
			clock.Advance(time.Duration(rapid.IntRange(0, 2).Draw(rt, "wait")) * time.Second)
			checkServices(rt, m)
		}
	})
}

func checkServices(t *rapid.T, m *model.Machine) {
	all, err := m.Services()
	if err != nil {
		t.Fatal(err)
	}
	up := []model.State{model.Running, model.Paused}
	states := map[string]model.State{}
	for _, s := range all {
		states[s.Name] = s.State
	}
	for _, s := range all {
		if (s.PID != 0) != (s.State != model.Stopped) {
			t.Fatalf("%s is %s with pid %d", s.Name, s.State, s.PID)
		}
		for _, d := range s.DependsOn {
			if slices.Contains(up, s.State) && !slices.Contains(up, states[d]) {
				t.Fatalf("%s is %s while %s, which it needs, is %s", s.Name, s.State, d, states[d])
			}
		}
	}
	if states["Off"] != model.Stopped {
		t.Fatal("a disabled service started")
	}
}
