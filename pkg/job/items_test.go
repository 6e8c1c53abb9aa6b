package job

import (
	"slices"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/pam"
)

// An itemRow is a row of the acceptance list that is about one machine, played as
// a whole job: how it ends, what is said of the items, and what the vault
// believes of their passwords. pkg/lab/script plays the same rows on the machine.
type itemRow struct {
	name  string
	build func(l *labScene, m *model.Machine)
	code  int               // the job's
	items map[string]string // phase, status, and why, by name
	left  string            // what the job's message names, "" for nothing
}

// svc adds a service of the account with the password of before.
func (l *labScene) svc(name string, state model.State, change func(s *model.ServiceSpec)) {
	s := model.ServiceSpec{Name: name, StartName: model.PracticeService, Password: l.fleet.Service}
	if change != nil {
		change(&s)
	}
	l.fleet.Servers[0].AddService(s, state)
}

func (l *labScene) task(path string, change func(s *model.TaskSpec)) {
	s := model.TaskSpec{Path: path, UserID: model.PracticeService, Password: l.fleet.Service}
	if change != nil {
		change(&s)
	}
	l.fleet.Servers[0].AddTask(s)
}

func (l *labScene) pool(name string, change func(s *model.PoolSpec)) {
	s := model.PoolSpec{
		Name: name, IdentityType: model.PoolSpecificUser, UserName: model.PracticeService, Password: l.fleet.Service, Workers: 1,
	}
	if change != nil {
		change(&s)
	}
	l.fleet.Servers[0].AddPool(s)
}

func misbehaving(f model.ServiceFaults) func(s *model.ServiceSpec) {
	return func(s *model.ServiceSpec) { s.Faults = f }
}

func TestRowsOfItemsAsJobs(t *testing.T) {
	t.Parallel()
	for _, r := range slices.Concat(serviceItemRows(), taskItemRows(), poolItemRows()) {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			l := newLabScene(t, 1)
			m := l.fleet.Servers[0]
			r.build(l, m)
			j := l.must(r.code)
			for name, want := range r.items {
				if got := told(j, name); got != want {
					t.Errorf("%s: %s, want %s", name, got, want)
				}
			}
			if r.left != "" && !strings.Contains(j.Message, r.left) {
				t.Errorf("the message is %q, and lacks %q", j.Message, r.left)
			}
			l.believes(m)
		})
	}
}

// told is what a job says of an item, "nothing" when it does not name it.
func told(j pam.Job, name string) string {
	for _, i := range j.Items {
		if i.Name != name {
			continue
		}
		words := []string{string(i.Phase), string(i.Status)}
		if i.Error != nil {
			words = append(words, i.Error.Class)
		} else if i.Reason != "" {
			words = append(words, i.Reason)
		}
		return strings.Join(words, " ")
	}
	return "nothing"
}

// believes holds what the vault says of stored passwords against the machine:
// it is never sure of what is not so.
func (l *labScene) believes(m *model.Machine) {
	l.t.Helper()
	holds := map[string]bool{}
	v := m.View()
	for _, s := range v.Services {
		holds[s.Name] = s.CredentialOK
	}
	for _, s := range v.Tasks {
		holds[s.Path] = s.CredentialOK
	}
	for _, s := range v.Pools {
		holds[s.Name] = s.CredentialOK
	}
	for _, d := range l.store.deployed {
		ok, known := holds[d.Name]
		if known && d.Status == pam.DeploymentConfirmed && d.Generation == l.store.job.Generation && !ok {
			l.t.Errorf("the vault is sure that %s holds the new password, and it does not", d.Name)
		}
	}
}

func serviceItemRows() []itemRow {
	mode := func(m string) func(s *model.ServiceSpec) { return func(s *model.ServiceSpec) { s.StartMode = m } }
	one := func(name string, state model.State, change func(*model.ServiceSpec), code int, want, left string) itemRow {
		return itemRow{name, func(l *labScene, _ *model.Machine) { l.svc("A", state, change) }, code, map[string]string{"A": want}, left}
	}
	return []itemRow{
		one("S02 stopped", model.Stopped, nil, 0, "update ok inactive", ""),
		one("S05 disabled and running", model.Running, mode(model.Disabled), 0, "restart skipped not_restartable_disabled", ""),
		one("S10 paused", model.Paused, func(s *model.ServiceSpec) { s.CanPause = true }, 0, "restart ok", ""),
		one("S11 starting", model.StartPending, misbehaving(model.ServiceFaults{StartDelay: 10 * time.Second}), 0, "restart ok", ""),
		one("S12 stuck between states", model.StartPending, misbehaving(model.ServiceFaults{StartDelay: model.Forever}), 0, "restart skipped service_transitioning", ""),
		one("S13 refuses to stop", model.Running, misbehaving(model.ServiceFaults{StopDelay: model.Forever}), 6, "restart timeout stop_timeout", "A"),
		one("S14 accepts no stop", model.Running, func(s *model.ServiceSpec) { s.Fixed = true }, 0, "restart skipped not_stoppable", ""),
		one("S17 starts and dies", model.Running, misbehaving(model.ServiceFaults{DieAfter: 2 * time.Second}), 6, "restart failed died_after_start", "A"),
		one("S18 flaps", model.Running, misbehaving(model.ServiceFaults{DieAfter: 3 * time.Second, RestartAfter: time.Second}), 6, "restart failed flapping", "A"),
		one("S19 starts at the second try", model.Running, misbehaving(model.ServiceFaults{StartCodes: []model.Errno{1053}}), 0, "restart ok", ""),
		one("S20 cannot log on", model.Running, misbehaving(model.ServiceFaults{StartCodes: []model.Errno{1069}}), 6, "restart failed service_logon_failed", "A"),
		one("S25 refuses the change", model.Running, misbehaving(model.ServiceFaults{ChangeCode: 2}), 6, "update failed access_denied", "A"),
		one("S26 marked for delete", model.Running, misbehaving(model.ServiceFaults{Deleted: true}), 6, "update failed marked_for_delete", "A"),
		one("S32 clustered", model.Running, func(s *model.ServiceSpec) { s.Clustered = true }, 0, "restart skipped clustered", ""),
		{"S35 a database server", func(l *labScene, _ *model.Machine) { l.svc("MSSQLSERVER", model.Running, nil) }, 0, map[string]string{"MSSQLSERVER": "restart skipped policy_never"}, ""},
		{"S38 what carries the connection", func(l *labScene, _ *model.Machine) { l.svc("sshd", model.Running, nil) }, 0, map[string]string{"sshd": "restart skipped would_cut_transport"}, ""},
		{"S21 the right to log on is missing", func(l *labScene, m *model.Machine) {
			v, _ := l.fleet.Domain.User("svc_app")
			m.Restrict(v.SID, model.LogonService, model.LogonTypeNotGranted)
		}, 6, map[string]string{
			"OrdersApi": "update failed right_missing", "OrdersImport": "update failed right_missing", "OrdersLegacy": "update ok inactive",
		}, "OrdersApi"},
		{"I11 a managed account's", func(l *labScene, _ *model.Machine) {
			l.svc("A", model.Running, func(s *model.ServiceSpec) { s.Managed = true })
		}, 0, map[string]string{"A": "look skipped managed_account"}, ""},
		{"I18 a name that only resembles", func(l *labScene, _ *model.Machine) {
			l.svc("A", model.Running, func(s *model.ServiceSpec) { s.StartName = `OLD\svc_app` })
		}, 0, map[string]string{"A": "look skipped ambiguous_identity"}, ""},
		{"S28 another's since the plan", func(l *labScene, m *model.Machine) {
			l.onSet = func() { m.ConfigureService("OrdersImport", func(s *model.ServiceSpec) { s.StartName = `LAB\admin` }) }
		}, 0, map[string]string{"OrdersImport": "update skipped run_as_changed"}, ""},
		{"S29 vanished since the plan", func(l *labScene, m *model.Machine) {
			l.onSet = func() { m.RemoveService("OrdersImport") }
		}, 6, map[string]string{"OrdersImport": "update failed not_found"}, "OrdersImport"},
	}
}

func taskItemRows() []itemRow {
	one := func(name string, change func(*model.TaskSpec), code int, want, left string) itemRow {
		return itemRow{name, func(l *labScene, _ *model.Machine) { l.task(`\T`, change) }, code, map[string]string{`\T`: want}, left}
	}
	return []itemRow{
		one("K03 stores no password", func(s *model.TaskSpec) { s.LogonType = "S4U" }, 0, "look skipped no_stored_password", ""),
		one("K06 disabled", func(s *model.TaskSpec) { s.Disabled = true }, 0, "update ok next_run", ""),
		one("K07 runs", func(s *model.TaskSpec) { s.Running = 1 }, 0, "update ok next_run", ""),
		one("K18 deletes itself", func(s *model.TaskSpec) { s.Expired = true }, 6, "update failed not_found", ""),
		{
			"K13 the machine stores no passwords of tasks", func(_ *labScene, m *model.Machine) { m.DisableStorage() }, 6,
			map[string]string{`\Orders\Nightly export`: "look pending credential_storage_disabled", "OrdersApi": "restart ok"},
			"credential_storage_disabled",
		},
		{"K14 the right to log on as a batch job is missing", func(l *labScene, m *model.Machine) {
			v, _ := l.fleet.Domain.User("svc_app")
			m.Restrict(v.SID, model.LogonBatch, model.LogonTypeNotGranted)
		}, 6, map[string]string{`\Orders\Nightly export`: "update failed right_missing", "Orders": "restart failed service_logon_failed"}, "right_missing"},
		{
			"K20 the task service is down", func(_ *labScene, m *model.Machine) { m.StopTaskService() }, 6,
			map[string]string{"OrdersApi": "restart ok", `\`: "look pending task_service_down"},
			"task_service_down",
		},
	}
}

func poolItemRows() []itemRow {
	one := func(name string, change func(*model.PoolSpec), code int, want, left string) itemRow {
		return itemRow{name, func(l *labScene, _ *model.Machine) { l.pool("P", change) }, code, map[string]string{"P": want}, left}
	}
	return []itemRow{
		one("W03 stopped", func(s *model.PoolSpec) { s.Stopped, s.Workers = true, 0 }, 0, "update ok inactive", ""),
		one("W04 started and idle", func(s *model.PoolSpec) { s.Workers = 0 }, 0, "update ok no_workers", ""),
		one("W06 does not recycle by itself", func(s *model.PoolSpec) { s.DisallowRotation = true }, 0, "restart ok", ""),
		one("W19 its new workers do not come up", func(s *model.PoolSpec) { s.WorkerCode = model.LogonTypeNotGranted }, 6, "restart failed service_logon_failed", "P"),
		{"W13 the activation service is stopped", func(_ *labScene, m *model.Machine) { m.StopWAS() }, 0, map[string]string{"Orders": "update ok service_transitioning"}, ""},
		{"W15 the key is not accessible", func(_ *labScene, m *model.Machine) { m.FailCommits(0x80090016) }, 6, map[string]string{"Orders": "update failed iis_key_access", "OrdersApi": "restart ok"}, ""},
		{"W16 somebody else changed the configuration", func(_ *labScene, m *model.Machine) { m.FailCommits(0x80070020) }, 0, map[string]string{"Orders": "restart noop already_recycled"}, ""},
		{"W17 a shared configuration", func(_ *labScene, m *model.Machine) { m.ShareConfiguration(`\\filer\iis`) }, 6, map[string]string{"Orders": "look pending shared_config"}, ""},
	}
}

func TestW07APoolThatHasThePasswordAlreadyIsNotRecycled(t *testing.T) {
	t.Parallel()
	l := newLabScene(t, 1)
	m := l.fleet.Servers[0]
	l.must(0)
	m.ConfigurePool("Orders", func(p *model.PoolSpec) { p.Password = l.fleet.Service }) // it missed the change, say
	before := m.View().Pool("Orders")
	l.fresh()
	l.store.job.Options.To = pam.Previous
	j := l.must(0)
	after := m.View().Pool("Orders")
	if told(j, "Orders") != "restart noop already_current" || after.Recycles != before.Recycles || !slices.Equal(after.Workers, before.Workers) {
		t.Errorf("%s; %+v was %+v", told(j, "Orders"), after, before)
	}
	l.allGood()
}

func TestW17TheHintExplainsWhatStaysPending(t *testing.T) {
	t.Parallel()
	l := newLabScene(t, 1)
	l.fleet.Servers[0].ShareConfiguration(`\\filer\iis`)
	if j := l.must(6); !strings.HasPrefix(j.Hint, "shared_config: ") || !strings.Contains(j.Hint, " Then: keyturn pam action resume ") {
		t.Errorf("hint %q", j.Hint)
	}
}

func TestS22ARightThatWasGivenIsToldWithTheJob(t *testing.T) {
	t.Parallel()
	l := newLabScene(t, 2)
	l.store.job.Options.GrantRights = true
	v, _ := l.fleet.Domain.User("svc_app")
	l.fleet.Servers[1].Restrict(v.SID, model.LogonService, model.LogonTypeNotGranted)
	j := l.must(0)
	l.allGood()
	const want = "SRV2: the account was given the right to log on as a service on this machine"
	told := 0
	for _, w := range j.Warnings {
		if strings.Contains(w, "was given the right") {
			told++
		}
	}
	if told != 1 || !slices.Contains(j.Warnings, want) {
		t.Errorf("told %q", j.Warnings)
	}
}
