package main

import (
	"fmt"
	"strings"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

// taskOf is a task whose definition is not the usual one.
func taskOf(path, principals, triggers, actions, settings string) func(t *model.TaskSpec) {
	return func(t *model.TaskSpec) {
		t.XML = `<?xml version="1.0" encoding="UTF-16"?>` + "\r\n" +
			`<Task version="1.4" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">` +
			"<RegistrationInfo><URI>" + path + "</URI></RegistrationInfo><Triggers>" + triggers + "</Triggers>" +
			"<Principals>" + principals + "</Principals><Settings>" + settings + "</Settings>" + actions + "</Task>"
	}
}

// principal is the account as one of a task's principals.
func (w *rowWorld) principal() string {
	return `<Principal id="Author"><UserId>` + w.login + `</UserId><LogonType>Password</LogonType></Principal>`
}

const (
	principalSystem = `<Principal id="System"><UserId>S-1-5-18</UserId></Principal>`
	actionExec      = `<Exec><Command>C:\job.exe</Command></Exec>`
)

// oneTask is a row of one task \T.
func oneTask(name string, change func(*model.TaskSpec), plan, want string) cliRow {
	return cliRow{
		name: name, build: func(w *rowWorld) { w.task(`\T`, change) },
		plan: map[string]string{`\T`: plan}, want: map[string]string{`\T`: want},
	}
}

func logonType(l string) func(t *model.TaskSpec) { return func(t *model.TaskSpec) { t.LogonType = l } }

func cliTaskRows() []cliRow {
	const next = "update next_run"
	return append([]cliRow{
		{
			name: "K01 a task is registered again", doubt: true, build: func(w *rowWorld) { w.task(`\T`, nil) },
			plan: map[string]string{`\T`: next}, want: map[string]string{`\T`: cliWritten},
			then: func(w *rowWorld) {
				if result, err := w.m.RunTask(`\T`); err != nil || result != 0 {
					w.t.Errorf("it does not run: %#x, %v", result, err)
				}
			},
		},
		{
			name: "K02 wherever it is", build: func(w *rowWorld) { w.task(`\A\B C\täglich`, nil) },
			want: map[string]string{`\A\B C\täglich`: cliWritten},
		},
		oneTask("K03 what stores no password is left", logonType("S4U"), "skip no_stored_password", "look=skipped/no_stored_password Ready runs=0"),
		{
			name: "K04 and what runs only while somebody is logged on", build: func(w *rowWorld) {
				w.task(`\Token`, logonType("InteractiveToken"))
				w.task(`\Group`, func(s *model.TaskSpec) { s.LogonType, s.UserID = "Group", `BUILTIN\Users` })
			},
			want: map[string]string{`\Token`: "look=skipped/no_stored_password Ready runs=0", `\Group`: "Ready runs=0"},
		},
		{
			name: "K05 interactive or password stays so", build: func(w *rowWorld) { w.task(`\T`, logonType("InteractiveTokenOrPassword")) },
			want: map[string]string{`\T`: cliWritten}, then: func(w *rowWorld) {
				if l := w.m.View().Task(`\T`).LogonType; l != "InteractiveTokenOrPassword" {
					w.t.Errorf("its logon type is %s", l)
				}
			},
		},
		oneTask("K06 a disabled task stays disabled", func(s *model.TaskSpec) { s.Disabled = true }, next, "update=ok/next_run Disabled runs=0 new"),
		oneTask("K07 a running instance is left alone", func(s *model.TaskSpec) { s.Running = 1 }, next, "update=ok/next_run Running runs=0 new"),
		oneTask("K08 a registration trigger does not start it", func(s *model.TaskSpec) { s.Registration = true }, next, cliWritten),
		oneTask("K09 a hidden task is found", func(s *model.TaskSpec) { s.Hidden = true }, next, cliWritten),
		{
			name: "K10 whom a trigger names is not who runs it", build: func(w *rowWorld) {
				w.task(`\T`, taskOf(`\T`, principalSystem, `<LogonTrigger><UserId>`+w.login+`</UserId></LogonTrigger>`,
					`<Actions Context="System">`+actionExec+`</Actions>`, ""))
			},
			plan: map[string]string{`\T`: ""}, want: map[string]string{"K10": cliNobody, `\T`: "Ready runs=0"},
		},
		{
			name: "K11 of two principals the one that the actions name decides", build: func(w *rowWorld) {
				w.task(`\Mine`, taskOf(`\Mine`, principalSystem+w.principal(), "", `<Actions Context="Author">`+actionExec+`</Actions>`, ""))
				w.task(`\Systems`, taskOf(`\Systems`, w.principal()+principalSystem, "", `<Actions Context="System">`+actionExec+`</Actions>`, ""))
			},
			want: map[string]string{`\Mine`: cliWritten, `\Systems`: "Ready runs=0"},
		},
	}, cliOddTaskRows()...)
}

func cliOddTaskRows() []cliRow {
	const refused = "update=pending/credential_rejected "
	return []cliRow{
		{
			name: "K12 a password that has not arrived yet is tried once, and nothing is written", doubt: true, build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				w.task(`\T`, nil)
				w.pool("P", nil)
				w.m.Lag()
			},
			code: 6, refused: 1, says: []string{"credential_rejected"},
			want: map[string]string{
				"App": refused + "Running restarts=0 old", `\T`: refused + "Ready runs=0 old", "P": refused + "Started recycles=0 old",
			},
			then: func(w *rowWorld) { // and once it has, resume does the rest
				w.m.CatchUp()
				w.job(0, "pam", "action", "resume", w.last.JobID)
				w.check(map[string]string{"App": cliRestarted, `\T`: cliWritten, "P": cliRecycled})
				if w.changes() != 1 {
					w.t.Errorf("%d passwords", w.changes())
				}
			},
		},
		{
			name: "K12 after a task that refuses it the others are not tried", build: func(w *rowWorld) {
				for _, n := range []string{`\A`, `\B`, `\C`} {
					w.task(n, nil)
				}
				w.m.ConfigureTask(`\B`, func(s *model.TaskSpec) { s.Faults.RegisterCodes = []model.HResult{model.LogonFailureHR} })
			},
			code: 6, refused: 1,
			// One credential an account: what A stored works for all.
			want:  map[string]string{`\A`: cliWritten, `\B`: "update=failed/credential_rejected Ready runs=0 new", `\C`: refused + "Ready runs=0 new"},
			other: map[string]string{`\B`: "update=failed/credential_rejected Ready runs=0 old", `\C`: refused + "Ready runs=0 old"},
		},
		{
			name: "K13 where passwords may not be stored the plan says so", build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				w.task(`\T`, nil)
				w.m.DisableStorage()
			},
			plan: map[string]string{`\T`: "skip credential_storage_disabled"}, code: 6,
			want: map[string]string{"App": cliRestarted, `\T`: "look=pending/credential_storage_disabled Ready runs=0 old"},
		},
		{
			name: "K14 without the batch right it is written all the same, and left to do", doubt: true, build: func(w *rowWorld) {
				w.task(`\T`, nil)
				w.m.Restrict(w.sid, model.LogonBatch, model.LogonTypeNotGranted)
			},
			code: 6, want: map[string]string{`\T`: "update=failed/right_missing Ready runs=0 new"},
			says: []string{`K14: scheduled task \T (failed right_missing)`, "Log on as a batch job"},
		},
		{
			name: "K15 a managed account's task is left", build: func(w *rowWorld) {
				w.task(`\T`, func(s *model.TaskSpec) { s.UserID = `LAB\gapp$` })
			},
			want: map[string]string{"K15": cliNobody, `\T`: "Ready runs=0"},
		},
		oneTask("K16 a descriptor of its own stays", func(s *model.TaskSpec) { s.Descriptor = "O:BAD:PAI(A;;FA;;;BA)(D;;FW;;;WD)" },
			"update next_run", cliWritten),
		{
			name: "K17 actions of every kind stay byte for byte", build: func(w *rowWorld) {
				w.task(`\T`, taskOf(`\T`, w.principal(), "", `<Actions Context="Author"><ComHandler><ClassId>{F0001111-0000-0000-0000-0000FEEDACDC}</ClassId>`+
					"<Data><![CDATA[<x>&amp; \u00fc\r\n</x>]]></Data></ComHandler><SendEmail><Server>mail</Server><Subject>d&#xF6;ne &lt;b&gt;</Subject></SendEmail></Actions>", ""))
			},
			want: map[string]string{`\T`: cliWritten},
		},
		{
			name: "K18 one that deletes itself is warned of and reported", build: func(w *rowWorld) {
				change := taskOf(`\Gone`, w.principal(), "", `<Actions Context="Author">`+actionExec+`</Actions>`, "<DeleteExpiredTaskAfter>PT0S</DeleteExpiredTaskAfter>")
				w.task(`\Gone`, func(s *model.TaskSpec) {
					change(s)
					s.Expired = true
				})
			},
			code: 6, want: map[string]string{`\Gone`: "update=failed/not_found"},
			says: []string{`task "\\Gone" deletes itself once it has expired: it may be gone after its update`},
		},
		{
			name: "K19 names with quotes and per cent signs are names", build: func(w *rowWorld) {
				w.task(`\Nightly 100% 'x'`, nil)
				w.task(`\[a]*&`+"`"+`$(b)\%PATH%`, nil)
			},
			want: map[string]string{`\Nightly 100% 'x'`: cliWritten, `\[a]*&` + "`" + `$(b)\%PATH%`: cliWritten},
		},
		{
			name: "K20 without the task service the rest is done", build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				w.task(`\T`, nil)
				w.pool("P", nil)
				w.m.StopTaskService()
			},
			code: 6, says: []string{"task_service_down: The Task Scheduler service does not answer."},
			want: map[string]string{"App": cliRestarted, "P": cliRecycled, `\T`: "Ready runs=0 old", `\`: "look=pending/task_service_down"},
		},
		{
			name: "K21 two hundred tasks cost one wrong attempt", doubt: true, build: func(w *rowWorld) {
				w.row.want = map[string]string{}
				for n := range 200 {
					path := fmt.Sprintf(`\Batch\%03d`, n)
					w.task(path, nil)
					w.row.want[path] = refused + "Ready runs=0 old"
				}
				w.m.ConfigureTask(`\Batch\000`, func(s *model.TaskSpec) { s.Faults.RegisterCodes = []model.HResult{model.LogonFailureHR} })
				w.row.want[`\Batch\000`] = "update=failed/credential_rejected Ready runs=0 old"
			},
			code: 6, refused: 1,
		},
	}
}

// onePool is a row of one pool P.
func onePool(name string, change func(*model.PoolSpec), code int, plan, want string) cliRow {
	return cliRow{
		name: name, build: func(w *rowWorld) { w.pool("P", change) }, code: code,
		plan: map[string]string{"P": plan}, want: map[string]string{"P": want},
	}
}

func cliPoolRows() []cliRow {
	const both = "update+restart"
	return []cliRow{
		onePool("W01 a started pool gets new workers", nil, 0, both, cliRecycled),
		{
			name: "W02 its name is compared by who it is", build: func(w *rowWorld) {
				w.pool("P", func(s *model.PoolSpec) { s.UserName = `lab\` + strings.ToUpper(w.name) })
			},
			want: map[string]string{"P": cliRecycled},
		},
		onePool("W03 a stopped pool stays stopped", func(s *model.PoolSpec) { s.Stopped, s.Workers = true, 0 }, 0, "update inactive",
			"update=ok/inactive Stopped recycles=0 new"),
		onePool("W04 an idle pool stays idle", func(s *model.PoolSpec) { s.Workers = 0 }, 0, "update no_workers",
			"update=ok/no_workers Started recycles=0 new"),
		{
			name: "W05 a pool that always runs has its new worker", build: func(w *rowWorld) {
				w.pool("P", func(s *model.PoolSpec) { s.AlwaysRunning = true })
				w.pool("Held", func(s *model.PoolSpec) { s.AlwaysRunning, s.DisallowRotation = true, true })
			},
			want: map[string]string{"P": cliRecycled, "Held": "restart=ok Started recycles=1 new"},
			then: func(w *rowWorld) {
				if n := len(w.m.View().Pool("Held").Workers); n != 1 {
					w.t.Errorf("%d workers", n)
				}
			},
		},
		onePool("W06 a pool that does not recycle by itself is recycled", func(s *model.PoolSpec) { s.DisallowRotation = true }, 0, both,
			"restart=ok Started recycles=1 new"),
		{
			name: "W07 a pool that has it already is left", build: func(w *rowWorld) { w.pool("P", nil) },
			play: func(w *rowWorld) {
				w.rotate(0)
				w.m.ConfigurePool("P", func(s *model.PoolSpec) { s.Password = w.old() }) // somebody went back by hand
				w.rotate(0, "--to", "previous")
				w.check(map[string]string{"P": "restart=noop/already_current Started recycles=1 new"})
			},
		},
		{
			name: "W08 a stale user name is not whom it runs as", build: func(w *rowWorld) {
				w.pool("P", func(s *model.PoolSpec) { s.IdentityType = model.PoolIdentityVirtual })
			},
			plan: map[string]string{"P": ""}, want: map[string]string{"W08": cliNobody, "P": "Started recycles=0"},
		},
		onePool("W19 new workers that do not come up are a failure, with the event", func(s *model.PoolSpec) { s.WorkerCode = 1314 }, 6, both,
			"restart=failed/service_logon_failed Stopped recycles=0 new"),
		{
			name: "W12 odd names are names", build: func(w *rowWorld) { w.pool(`a[b]*'c`, nil) },
			want: map[string]string{`a[b]*'c`: cliRecycled},
		},
		{
			name: "W13 without the activation service it is written only", build: func(w *rowWorld) {
				w.pool("P", nil)
				w.m.StopWAS()
			},
			want: map[string]string{"P": "update=ok/service_transitioning Started recycles=0 new"},
		},
		{
			name: "W14 without IIS there are no pools", where: where{spec: func(s *model.MachineSpec) { s.NoIIS = true }},
			build: func(w *rowWorld) { w.svc("App", model.Running, nil) }, want: map[string]string{"App": cliRestarted},
		},
	}
}

// cliPlaceRows are about what IIS stores beside its pools, and about its
// configuration as a whole.
func cliPlaceRows() []cliRow {
	directory := func(w *rowWorld, path, user string) {
		w.m.AddDirectory(model.DirectorySpec{Site: "Shop", App: "/", Path: path, UserName: user, Password: w.old()})
	}
	pool := func(w *rowWorld) { w.pool("P", nil) }
	return []cliRow{
		{
			name: "W09 defaults are updated, and pools that inherit them are not materialised", build: func(w *rowWorld) {
				w.m.SetPoolDefaults(w.login, w.old())
				w.pool("Heir", func(s *model.PoolSpec) { s.Inherits = true })
				w.pool("Own", nil)
			},
			want: map[string]string{
				powershell.PoolDefaults: "update=ok/at_once", "Own": cliRecycled,
				"Heir": "restart=noop/already_recycled Started recycles=1 new inherits",
			},
		},
		{
			name: "W10 a virtual directory is updated, and nothing is restarted", build: func(w *rowWorld) {
				directory(w, "/files", w.login)
				directory(w, "/others", "LAB\\nobody")
				w.pool("Shop", func(s *model.PoolSpec) { s.IdentityType = model.PoolIdentityVirtual })
			},
			want: map[string]string{"Shop/files": "update=ok/at_once new", "Shop/others": "old", "Shop": "Started recycles=0"},
		},
		{
			name: "W11 anonymous users are updated in location tags and in web.config", build: func(w *rowWorld) {
				w.m.AddAnonymous(model.AnonymousSpec{UserName: "IUSR"})
				w.m.AddAnonymous(model.AnonymousSpec{Location: "Shop/public", UserName: w.login, Password: w.old()})
				w.m.AddAnonymous(model.AnonymousSpec{Location: "Shop/api", WebConfig: true, UserName: w.login, Password: w.old()})
			},
			want: map[string]string{
				model.AnonymousServer: "", "Shop/public": "update=ok/at_once new", "Shop/api/web.config": "update=ok/at_once new",
			},
		},
		{
			name: "W15 a missing key fails the pools, not the services", build: func(w *rowWorld) {
				pool(w)
				w.svc("App", model.Running, nil)
				w.m.FailCommits(model.KeysetMissingHR, model.KeysetMissingHR)
			},
			code: 6, says: []string{"iis_key_access"},
			want: map[string]string{"P": "update=failed/iis_key_access Started recycles=0 old", "App": cliRestarted},
		},
		{
			name: "W16 a conflict is tried once more", build: func(w *rowWorld) {
				pool(w)
				w.m.FailCommits(0x80070021)
			},
			want: map[string]string{"P": cliRecycled},
		},
		{
			name: "W16 but only once", build: func(w *rowWorld) {
				pool(w)
				w.m.FailCommits(0x80070021, 0x80070021)
			},
			code: 6, says: []string{"iis_config_conflict"}, want: map[string]string{"P": "update=failed/iis_config_conflict Started recycles=0 old"},
		},
		{
			name: "W17 a configuration that other machines share is left alone", build: func(w *rowWorld) {
				pool(w)
				w.svc("App", model.Running, nil)
				w.m.ShareConfiguration(`\\filer\iis`)
			},
			code: 6, plan: map[string]string{"P": "skip shared_config"}, says: []string{"shared_config: ", `\\filer\iis`},
			want: map[string]string{"P": "look=pending/shared_config Started recycles=0 old", "App": cliRestarted},
		},
		{
			name: "W18 nothing is committed when the proof fails", doubt: true, build: func(w *rowWorld) {
				pool(w)
				directory(w, "/files", w.login)
				w.m.Lag()
			},
			code: 6, refused: 1, want: map[string]string{
				"P": "update=pending/credential_rejected Started recycles=0 old", "Shop/files": "update=pending/credential_rejected old",
			},
		},
	}
}
