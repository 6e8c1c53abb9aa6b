package dependency_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

// service returns a running service of the account; change adapts it.
func service(name string, change ...func(*dependency.Item)) dependency.Item {
	i := dependency.Item{
		Kind: pam.KindService, Name: name, RunAs: `CORP\svc_app`, Target: true, State: "Running", StartMode: "Auto",
		PID: 1000 + len(name)*7 + int(name[0]), Started: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC), CanStop: true, Own: true,
	}
	for _, c := range change {
		c(&i)
	}
	return i
}

func needs(names ...string) func(*dependency.Item) {
	return func(i *dependency.Item) { i.DependsOn = names }
}

func neededBy(names ...string) func(*dependency.Item) {
	return func(i *dependency.Item) { i.Dependents = names }
}

func state(s string) func(*dependency.Item) { return func(i *dependency.Item) { i.State = s } }
func mode(m string) func(*dependency.Item)  { return func(i *dependency.Item) { i.StartMode = m } }
func other(i *dependency.Item)              { i.Target, i.RunAs = false, "LocalSystem" }
func unstoppable(i *dependency.Item)        { i.CanStop = false }
func clustered(i *dependency.Item)          { i.Clustered = true }
func skipped(i *dependency.Item)            { i.Target, i.Skip = false, "ambiguous_identity" }

func shared(pid int) func(*dependency.Item) {
	return func(i *dependency.Item) { i.Own, i.PID = false, pid }
}

func pool(name, state string, workers ...int) dependency.Item {
	return dependency.Item{Kind: pam.KindPool, Name: name, RunAs: `CORP\svc_app`, Target: true, State: state, Workers: workers}
}

func stops(p pam.RestartPlan) string {
	names := []string{}
	for _, s := range p.Stops {
		names = append(names, s.Name)
	}
	return strings.Join(names, " ")
}

func starts(p pam.RestartPlan) string {
	names := []string{}
	for _, s := range p.Starts {
		name := s.Name
		if s.Pause {
			name += "(pause)"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func texts(skips []dependency.Skip) string {
	all := []string{}
	for _, s := range skips {
		all = append(all, s.Name+"="+s.Text())
	}
	return strings.Join(all, ", ")
}

func allUpdated(i dependency.Item) bool { return i.Target }

func TestPlanRestart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		items  []dependency.Item
		o      dependency.PlanOptions
		stops  string
		starts string
		skips  string
	}{
		{name: "a running service is restarted", items: []dependency.Item{service("A")}, stops: "A", starts: "A"},
		{name: "a stopped service stays stopped", items: []dependency.Item{service("A", state("Stopped"))}},
		{
			name:  "a manual service that runs is restarted",
			items: []dependency.Item{service("A", mode("Manual"))}, stops: "A", starts: "A",
		},
		{
			name:  "a running disabled service could not be started again and is left running",
			items: []dependency.Item{service("A", mode("disabled"))}, skips: "A=not_restartable_disabled",
		},
		{
			name: "dependents of another account stop first and start last",
			items: []dependency.Item{
				service("A", neededBy("B", "C", "D")), service("B", other), service("C", other), service("D", other),
			},
			stops: "D C B A", starts: "A B C D",
		},
		{
			name:  "a chain of targets is restarted once each",
			items: []dependency.Item{service("C", needs("B")), service("B", needs("A")), service("A")},
			stops: "C B A", starts: "A B C",
		},
		{
			name:  "names compare without case",
			items: []dependency.Item{service("AppSvc", neededBy("WORKER")), service("Worker", other)},
			stops: "Worker AppSvc", starts: "AppSvc Worker",
		},
		{
			name:  "a service that is listed twice is restarted once",
			items: []dependency.Item{service("A"), service("a")}, stops: "A", starts: "A",
		},
		{
			name:  "a paused dependent is paused again",
			items: []dependency.Item{service("A", neededBy("B")), service("B", other, state("Paused"))},
			stops: "B A", starts: "A B(pause)",
		},
		{name: "a paused target is paused again", items: []dependency.Item{service("A", state("Paused"))}, stops: "A", starts: "A(pause)"},
		{
			name:  "a stopped dependent stays stopped",
			items: []dependency.Item{service("A", neededBy("B")), service("B", other, state("Stopped"))}, stops: "A", starts: "A",
		},
		{
			name:  "a service between two states is not touched",
			items: []dependency.Item{service("A", state("StartPending"))}, skips: "A=service_transitioning",
		},
		{
			name:  "a dependent between two states keeps its service running",
			items: []dependency.Item{service("A", neededBy("B")), service("B", other, state("StopPending"))},
			skips: "A=dependents_blocked: B",
		},
		{name: "a service that takes no stop is left", items: []dependency.Item{service("A", unstoppable)}, skips: "A=not_stoppable"},
		{
			name: "a disabled dependent far up the chain keeps everything below it running",
			items: []dependency.Item{
				service("A", neededBy("B")), service("B", other, neededBy("C")), service("C", other, mode("Disabled")), service("E"),
			},
			stops: "E", starts: "E", skips: "A=dependents_blocked: B",
		},
		{
			name:  "a dependent that was never seen keeps its service running",
			items: []dependency.Item{service("A", neededBy("Ghost"))}, skips: "A=dependents_blocked: Ghost",
		},
		{
			name:  "a dependent that holds the old password could not be started again",
			items: []dependency.Item{service("A", neededBy("B")), service("B", func(i *dependency.Item) { i.LogonType = "stale" })},
			skips: "A=dependents_blocked: B",
		},
		{
			name:  "a service whose antecedent is stopped would start it, and is left",
			items: []dependency.Item{service("A", needs("B")), service("B", other, state("Stopped"))},
			skips: "A=dependency_failed: B",
		},
		{name: "a clustered service is the cluster's to restart", items: []dependency.Item{service("A", clustered)}, skips: "A=clustered"},
		{
			name:  "the services that carry our own connection are left",
			items: []dependency.Item{service("sshd"), service("winrm")}, skips: "sshd=would_cut_transport, winrm=would_cut_transport",
		},
		{
			name:  "database servers are not restarted by default",
			items: []dependency.Item{service("MSSQL$X"), service("sqlagent$X"), service("ReportServer"), service("SQLWriter")},
			stops: "SQLWriter", starts: "SQLWriter",
			skips: "MSSQL$X=policy_never, ReportServer=policy_never, sqlagent$X=policy_never",
		},
		{
			name:  "the policy can be another",
			items: []dependency.Item{service("MSSQLSERVER"), service("A")}, o: dependency.PlanOptions{Never: []string{"A"}},
			stops: "MSSQLSERVER", starts: "MSSQLSERVER", skips: "A=policy_never",
		},
		{
			name:  "targets of one process are restarted together",
			items: []dependency.Item{service("A", shared(7)), service("B", shared(7))}, stops: "B A", starts: "A B",
		},
		{
			name:  "a process that other accounts share is left",
			items: []dependency.Item{service("A", shared(7)), service("B", shared(7), other, needs("A"))},
			skips: "A=account_differs_in_process: B",
		},
		{
			name:  "a process is restarted as a whole or not at all",
			items: []dependency.Item{service("A", shared(7)), service("B", shared(7), mode("Disabled"))},
			skips: "A=not_restartable_disabled: B, B=not_restartable_disabled",
		},
		{
			name:  "a cycle comes in a fixed order",
			items: []dependency.Item{service("C", needs("A")), service("A", needs("B")), service("B", needs("C"))},
			stops: "A B C", starts: "C B A",
		},
		{
			name:  "nothing is restarted when the job says so",
			items: []dependency.Item{service("A"), pool("P", "Started", 1)}, o: dependency.PlanOptions{NoRestart: true},
			skips: "A=no_restart",
		},
		{name: "an ambiguous service is not touched", items: []dependency.Item{service("A", skipped)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			updated := func(i dependency.Item) bool { return i.Target && i.LogonType != "stale" }
			plan, skips := dependency.PlanRestart(dependency.Inventory{Items: row.items}, updated, row.o)
			if got := stops(plan); got != row.stops {
				t.Errorf("stops %q, want %q", got, row.stops)
			}
			if got := starts(plan); got != row.starts {
				t.Errorf("starts %q, want %q", got, row.starts)
			}
			if got := texts(skips); got != row.skips {
				t.Errorf("skips %q, want %q", got, row.skips)
			}
		})
	}
}

func TestPlanCarriesWhatWasSeen(t *testing.T) {
	t.Parallel()
	a := service("A", neededBy("B"))
	b := service("B", other)
	plan, _ := dependency.PlanRestart(dependency.Inventory{Items: []dependency.Item{b, a}}, allUpdated,
		dependency.PlanOptions{Machine: "m1", Settle: time.Second})
	want := pam.RestartPlan{
		Machine: "m1",
		Stops: []pam.Stop{
			{Name: "B", State: "Running", PID: b.PID, Started: b.Started},
			{Name: "A", State: "Running", PID: a.PID, Started: a.Started, Target: true},
		},
		Starts: []pam.Start{{Name: "A"}, {Name: "B"}}, Recycles: []pam.Recycle{},
		StopTimeout: 90 * time.Second, StartTimeout: 120 * time.Second, Settle: time.Second,
	}
	if diff := cmp.Diff(want, plan); diff != "" {
		t.Error(diff)
	}
}

func TestPlanRestartsAgainWhatAnEarlierRunRestarted(t *testing.T) {
	t.Parallel()
	items := []dependency.Item{service("A", neededBy("B")), service("B"), service("C")}
	onlyA := func(i dependency.Item) bool { return i.Name == "A" }
	plan, skips := dependency.PlanRestart(dependency.Inventory{Items: items}, onlyA, dependency.PlanOptions{Holds: allUpdated})
	if stops(plan) != "B A" || starts(plan) != "A B" || len(skips) != 0 {
		t.Errorf("stops %q, starts %q, skips %q", stops(plan), starts(plan), texts(skips))
	}
}

func TestPlanRecyclesStartedPools(t *testing.T) {
	t.Parallel()
	items := []dependency.Item{
		pool("Zoo", "Started", 22), pool("Busy", "Started", 31), pool("Idle", "Started"), pool("Off", "Stopped", 5), pool("Was", "unknown", 6),
		pool("Lost", "Stopped"), // it ran when it was updated
	}
	plan, _ := dependency.PlanRestart(dependency.Inventory{Items: items}, allUpdated,
		dependency.PlanOptions{Workers: map[string][]int{"ZOO": {11, 10}, "Busy": {}, "Lost": {9}}})
	want := []pam.Recycle{{Name: "Busy", Workers: []int{31}}, {Name: "Lost", Workers: []int{9}}, {Name: "Zoo", Workers: []int{10, 11}}}
	if diff := cmp.Diff(want, plan.Recycles); diff != "" {
		t.Error(diff)
	}
}

func TestPlanItems(t *testing.T) {
	t.Parallel()
	items := []dependency.Item{
		pool("Shop", "Started", 3), pool("Idle", "Started"), pool("Off", "Stopped"), pool(powershell.PoolDefaults, "unknown"),
		{Kind: pam.KindAnonymous, Name: "Shop/public", RunAs: `CORP\svc_app`, Target: true},
		{Kind: pam.KindVdir, Name: "Shop/files", RunAs: `CORP\svc_app`, Target: true},
		{Kind: pam.KindVdir, Name: "Shop/shared", RunAs: `CORP\svc_app`, Skip: "shared_config"},
		{Kind: pam.KindTask, Name: `\Nightly`, Target: true, State: "Ready"},
		{Kind: pam.KindTask, Name: `\Token`, Target: false, Skip: "no_stored_password", State: "Ready"},
		service("Web", other, needs("App")), service("Off", state("Stopped")), service("App"), service("Bystander", other),
		service("MSSQLSERVER"), service("Waiting", state("StartPending")),
	}
	var got []string
	for _, i := range dependency.PlanItems(pam.Machine{UID: "m1", Title: "srv1"}, dependency.Inventory{Items: items}, dependency.PlanOptions{}) {
		if i.Machine != "m1" || i.MachineTitle != "srv1" || i.Phase != pam.PhaseLook || i.Before.State == "" && i.Before.RunAs == "" {
			t.Errorf("item %q lacks its machine, phase or state: %+v", i.Name, i)
		}
		got = append(got, strings.Join([]string{string(i.Kind), i.Name, string(i.Action), i.Reason, string(i.Status)}, "|"))
	}
	want := []string{
		"service|App|update+restart||pending",
		"service|MSSQLSERVER|update|policy_never|pending",
		"service|Off|update|inactive|pending",
		"service|Waiting|update|service_transitioning|pending",
		"service|Web|restart|dependent|pending",
		`task|\Nightly|update|next_run|pending`,
		`task|\Token|skip|no_stored_password|skipped`,
		"iis_pool|<applicationPoolDefaults>|update|at_once|pending",
		"iis_pool|Idle|update|no_workers|pending",
		"iis_pool|Off|update|inactive|pending",
		"iis_pool|Shop|update+restart||pending",
		"iis_vdir|Shop/files|update|at_once|pending",
		"iis_vdir|Shop/shared|skip|shared_config|pending",
		"iis_anon|Shop/public|update|at_once|pending",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Whoever puts restarts off sees now what they will stop and start.
func TestPlanItemsOfRestartsThatArePutOff(t *testing.T) {
	t.Parallel()
	items := []dependency.Item{
		service("App"), service("Web", other, needs("App")), service("Cache", other, needs("Web"), state("Paused")),
		service("Idle", other, needs("App"), state("Stopped")), service("Bystander", other),
		service("MSSQLSERVER"), service("Reader", other, needs("MSSQLSERVER")),
	}
	var got []string
	for _, i := range dependency.PlanItems(pam.Machine{}, dependency.Inventory{Items: items}, dependency.PlanOptions{NoRestart: true}) {
		got = append(got, strings.Join([]string{i.Name, string(i.Action), i.Reason, string(i.Status)}, "|"))
	}
	want := []string{
		"App|update|no_restart|pending", "Cache|skip|dependent_waits|skipped", "MSSQLSERVER|update|no_restart|pending",
		"Web|skip|dependent_waits|skipped",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// drawItems draws a machine: some services without order, cycles included.
func drawItems(t *rapid.T) []dependency.Item {
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zA-Z]{1,3}`), 0, 9, strings.ToUpper).Draw(t, "names")
	var items []dependency.Item
	for n, name := range names {
		i := service(name)
		i.State = rapid.SampledFrom([]string{"Running", "Running", "Running", "Paused", "Stopped", "StopPending", "unknown"}).Draw(t, "state")
		i.StartMode = rapid.SampledFrom([]string{"Auto", "Auto", "Manual", "Disabled"}).Draw(t, "mode")
		i.Target = rapid.Bool().Draw(t, "target")
		i.CanStop = rapid.IntRange(0, 9).Draw(t, "can stop") > 0
		i.Own = rapid.IntRange(0, 3).Draw(t, "own") > 0
		i.PID = 100 + n
		if !i.Own {
			i.PID = rapid.IntRange(1, 2).Draw(t, "process")
		}
		i.DependsOn = rapid.SliceOfN(rapid.SampledFrom(names), 0, 2).Draw(t, "needs")
		items = append(items, i)
	}
	return items
}

func TestPlanRestartInvariants(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		items := drawItems(t)
		stale := rapid.SliceOf(rapid.IntRange(0, 8)).Draw(t, "stale")
		updated := func(i dependency.Item) bool {
			at := slices.IndexFunc(items, func(o dependency.Item) bool { return o.Name == i.Name })
			return i.Target && !slices.Contains(stale, at)
		}
		plan, skips := dependency.PlanRestart(dependency.Inventory{Items: items}, updated, dependency.PlanOptions{})
		m := world{items: map[string]dependency.Item{}, stop: map[string]int{}, start: map[string]int{}}
		for _, i := range items {
			m.items[strings.ToUpper(i.Name)] = i
		}
		m.read(t, plan)
		m.checkMembers(t, updated)
		m.checkOrder(t)
		m.checkAccountedFor(t, updated, skips)

		shuffled := rapid.Permutation(items).Draw(t, "shuffled")
		again, skipsAgain := dependency.PlanRestart(dependency.Inventory{Items: shuffled}, updated, dependency.PlanOptions{})
		if diff := cmp.Diff(plan, again) + cmp.Diff(skips, skipsAgain); diff != "" {
			t.Fatalf("the plan depends on the order of the items: %s", diff)
		}
	})
}

// A world is a plan beside the machine it was made for.
type world struct {
	items       map[string]dependency.Item
	stop, start map[string]int // position by name
}

func (w world) read(t *rapid.T, plan pam.RestartPlan) {
	for n, s := range plan.Stops {
		if _, twice := w.stop[strings.ToUpper(s.Name)]; twice {
			t.Fatalf("%s is stopped twice", s.Name)
		}
		w.stop[strings.ToUpper(s.Name)] = n
	}
	for n, s := range plan.Starts {
		name := strings.ToUpper(s.Name)
		if _, twice := w.start[name]; twice {
			t.Fatalf("%s is started twice", s.Name)
		}
		w.start[name] = n
		if s.Pause != (w.items[name].State == "Paused") {
			t.Fatalf("%s was %s and would end otherwise", s.Name, w.items[name].State)
		}
	}
	if len(w.stop) != len(w.start) {
		t.Fatalf("%d stops and %d starts", len(w.stop), len(w.start))
	}
}

func (w world) checkMembers(t *rapid.T, updated func(dependency.Item) bool) {
	for name := range w.stop {
		i := w.items[name]
		if _, ok := w.start[name]; !ok {
			t.Fatalf("%s is stopped and not started", name)
		}
		if i.State != "Running" && i.State != "Paused" {
			t.Fatalf("%s is %s and in the plan", name, i.State)
		}
		if i.StartMode == "Disabled" || !i.CanStop {
			t.Fatalf("%s cannot be restarted and is in the plan", name)
		}
		if i.Target && !updated(i) {
			t.Fatalf("%s holds the old password and is in the plan", name)
		}
		for other, o := range w.items {
			_, planned := w.stop[other]
			needs := slices.ContainsFunc(o.DependsOn, func(n string) bool { return strings.EqualFold(n, name) })
			if needs && other != name && o.State != "Stopped" && !planned {
				t.Fatalf("%s is stopped although %s (%s) needs it and stays", name, other, o.State)
			}
			if needs := slices.ContainsFunc(i.DependsOn, func(n string) bool { return strings.EqualFold(n, other) }); needs &&
				other != name && o.State == "Stopped" {
				t.Fatalf("starting %s would start %s", name, other)
			}
		}
	}
}

// checkOrder asks of each edge that no cycle closes: antecedents stop later and
// start earlier.
func (w world) checkOrder(t *rapid.T) {
	for name := range w.stop {
		for _, d := range w.items[name].DependsOn {
			d = strings.ToUpper(d)
			if _, planned := w.stop[d]; !planned || w.reaches(d, name, map[string]bool{}) {
				continue
			}
			if w.stop[name] > w.stop[d] || w.start[name] < w.start[d] {
				t.Fatalf("%s needs %s: stops %v, starts %v", name, d, w.stop, w.start)
			}
		}
	}
}

func (w world) reaches(from, to string, seen map[string]bool) bool {
	if from == to {
		return true
	}
	if seen[from] {
		return false
	}
	seen[from] = true
	return slices.ContainsFunc(w.items[from].DependsOn, func(n string) bool { return w.reaches(strings.ToUpper(n), to, seen) })
}

// checkAccountedFor asks that every updated target that is not stopped is either
// restarted or listed with a reason, and never both.
func (w world) checkAccountedFor(t *rapid.T, updated func(dependency.Item) bool, skips []dependency.Skip) {
	listed := map[string]bool{}
	for _, s := range skips {
		if s.Reason == "" {
			t.Fatalf("%s is left without a reason", s.Name)
		}
		listed[strings.ToUpper(s.Name)] = true
	}
	for name, i := range w.items {
		_, planned := w.stop[name]
		wanted := i.Target && updated(i) && i.State != "Stopped"
		if wanted && planned == listed[name] || planned && listed[name] {
			t.Fatalf("%s (%s): in the plan %v, listed as left %v", name, i.State, planned, listed[name])
		}
	}
}

func TestPlanSurvivesJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		plan, _ := dependency.PlanRestart(dependency.Inventory{Items: drawItems(t)}, allUpdated, dependency.PlanOptions{})
		text, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		var back pam.RestartPlan
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plan, back); diff != "" {
			t.Fatal(diff)
		}
	})
}
