package job

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"keyturn/pkg/pam"
)

// planned is what a dry run of a scene says.
func (sc *scene) planned(t *testing.T) pam.Plan {
	t.Helper()
	p, err := sc.engine().Plan(t.Context(), uid("U"), pam.JobOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAnApprovedPlanRunsOnlyWhileRealityIsThePlans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*scene)
		want   string // "" runs
	}{
		{"nothing has changed", func(*scene) {}, ""},
		{"a service has stopped", func(sc *scene) {
			s := sc.world.hosts[uid("1")].find("App")
			s.state, s.pid = "Stopped", 0
		}, `SRV1: service App: the state was "Running" and is "Stopped"`},
		{"a start mode is another", func(sc *scene) { sc.world.hosts[uid("2")].find("Idle").mode = "Manual" }, `SRV2: service Idle: the start mode was "Auto" and is "Manual"`},
		{"a service is gone", func(sc *scene) {
			h := sc.world.hosts[uid("1")]
			h.services = slices.DeleteFunc(h.services, func(s *service) bool { return s.name == "Off" })
		}, "SRV1: service Off is in the plan and was not found"},
		{"a service is new", func(sc *scene) {
			h := sc.world.hosts[uid("1")]
			h.services = append(h.services, &service{name: "New", state: "Running", pid: 99, target: true})
		}, "SRV1: service New was found and is not in the plan"},
		{"a service runs as somebody else", func(sc *scene) { sc.world.hosts[uid("1")].find("Idle").target = false }, "SRV1: service Idle is in the plan and was not found"},
		{"a machine is not mapped any more", func(sc *scene) { sc.store.mappings = sc.store.mappings[:1] }, "machine SRV2 is in the plan and not mapped any more"},
		{"a machine is mapped since", func(sc *scene) {
			m := uid("9")
			sc.store.machines[m] = pam.Machine{UID: m, Title: "SRV9", OperatingSystem: "windows", Transport: pam.WinRM}
			sc.store.mappings = append(sc.store.mappings, pam.Mapping{User: uid("U"), Machine: m, Kinds: pam.MapServices})
			sc.world.hosts[m] = &host{}
		}, "machine SRV9 is mapped and not in the plan"},
		{"a record names another address", func(sc *scene) {
			m := sc.store.machines[uid("1")]
			m.Host = "elsewhere"
			sc.store.machines[uid("1")] = m
		}, `the address of machine SRV1 was "SRV1:5986" and is "elsewhere:5986"`},
		{"the account's policy is another", func(sc *scene) { sc.store.settings.Policy.Restart = pam.RestartNever }, `the rule for restarts was "running" and is "never"`},
		{"the password is decided elsewhere", func(sc *scene) {
			sc.store.machines[uid("E")] = pam.Machine{UID: uid("E"), Title: "DC02", Transport: pam.WinRM}
			sc.store.settings.Resource = uid("E")
		}, "the authority was"},
		{"another account has the name", func(sc *scene) { sc.world.sid = "S-1-5-21-9" }, `the account's identity was "S-1-5-21-1" and is "S-1-5-21-9"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sc := newScene(2, true)
			plan := sc.planned(t)
			c.change(sc)
			sc.store.job.Options.Approved = &plan
			j := sc.run(t)
			if c.want == "" {
				if j.State != pam.JobFinished {
					t.Errorf("%s: %s", j.State, j.Message)
				}
				return
			}
			if j.ExitCode() != 7 || !strings.Contains(j.Message, c.want) || !strings.Contains(j.Message, "nothing was changed") {
				t.Errorf("exit %d: %s", j.ExitCode(), j.Message)
			}
			if sc.world.password != oldPassword || sc.stopped() != 0 || len(sc.store.gens) != 1 {
				t.Error("something was changed")
			}
		})
	}
}

// TestDriftSeesEveryField changes each field of an item and a place in turn: a
// field that is added to them must be judged, too.
func TestDriftSeesEveryField(t *testing.T) {
	t.Parallel()
	free := []string{"Phase", "Status", "After", "Error", "Took", "Updated", "Left", "Workers", "MachineTitle", "Title"}
	item := pam.Item{
		Machine: "m", Kind: pam.KindService, Name: "App", Action: pam.ActionUpdate, Reason: "r",
		Before: pam.Snapshot{RunAs: "a", State: "Running", StartMode: "Auto"},
	}
	place := pam.Place{Machine: "m", Address: "h:1", ID: "g"}
	for _, name := range fields(item) {
		changed := item
		alter(t, reflect.ValueOf(&changed).Elem().FieldByName(name))
		d := Drift(pam.Plan{Items: []pam.Item{item}}, pam.Plan{Items: []pam.Item{changed}})
		if (len(d) == 0) != slices.Contains(free, name) {
			t.Errorf("item's %s: %v", name, d)
		}
	}
	for _, name := range fields(place) {
		changed := place
		alter(t, reflect.ValueOf(&changed).Elem().FieldByName(name))
		d := Drift(pam.Plan{Machines: []pam.Place{place}}, pam.Plan{Machines: []pam.Place{changed}})
		if (len(d) == 0) != slices.Contains(free, name) {
			t.Errorf("place's %s: %v", name, d)
		}
	}
	ready, runs := item, item
	ready.Kind, ready.Before.State, runs.Kind, runs.Before.State = pam.KindTask, "Ready", pam.KindTask, "Running"
	if d := Drift(pam.Plan{Items: []pam.Item{ready}}, pam.Plan{Items: []pam.Item{runs}}); d != nil {
		t.Errorf("a task that runs at the moment: %v", d)
	}
}

func fields(of any) []string {
	var names []string
	for f := range reflect.TypeOf(of).Fields() {
		names = append(names, f.Name)
	}
	return names
}

// alter gives a field another value.
func alter(t *testing.T, f reflect.Value) {
	t.Helper()
	switch f.Kind() {
	case reflect.String:
		f.SetString(f.String() + "x")
	case reflect.Int64:
		f.SetInt(f.Int() + 1)
	case reflect.Bool:
		f.SetBool(!f.Bool())
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
	case reflect.Struct:
		alter(t, f.Field(0))
	case reflect.Slice:
		f.Set(reflect.Append(f, reflect.Zero(f.Type().Elem())))
	default:
		t.Fatalf("no way to alter a %s", f.Kind())
	}
}

// A plan that was made while the window is shut says so, and may be run when it is
// open: that is no drift.
func TestAPlanOfAShutWindow(t *testing.T) {
	t.Parallel()
	sc := newScene(1, true)
	sc.window(shutWindow)
	shut, err := sc.engine().Plan(t.Context(), uid("U"), pam.JobOptions{})
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for _, i := range shut.Items {
		reasons[i.Name] = i.Reason
	}
	if reasons["App"] != "outside_window" || reasons["Web"] != "dependent_waits" {
		t.Errorf("reasons: %v", reasons)
	}
	if len(shut.Notes) != 1 || !strings.Contains(shut.Notes[0], "shut until 2027-01-15T22:00:00Z") {
		t.Errorf("notes: %v", shut.Notes)
	}
	r := sc.engine().newRun(sc.store.job)
	if err := r.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := Drift(shut, r.plan); d != nil {
		t.Errorf("drifted: %v", d)
	}
}
