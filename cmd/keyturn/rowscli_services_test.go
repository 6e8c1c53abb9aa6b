package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"keyturn/pkg/lab/model"
)

func ailing(f model.ServiceFaults) func(s *model.ServiceSpec) {
	return func(s *model.ServiceSpec) { s.Faults = f }
}

func startMode(m string) func(s *model.ServiceSpec) {
	return func(s *model.ServiceSpec) { s.StartMode = m }
}

// oneService is a row of one service called App.
func oneService(name string, state model.State, change func(*model.ServiceSpec), code int, plan, want string) cliRow {
	return cliRow{
		name: name, build: func(w *rowWorld) { w.svc("App", state, change) }, code: code,
		plan: map[string]string{"App": plan}, want: map[string]string{"App": want},
	}
}

// cliServiceRows are about what services are, and what is done with them then.
func cliServiceRows() []cliRow {
	const both, dependent = "update+restart", "restart=ok Running restarts=1"
	return []cliRow{
		{
			name: "S01 a running service is restarted", doubt: true, build: func(w *rowWorld) { w.svc("App", model.Running, nil) },
			plan: map[string]string{"App": both}, want: map[string]string{"App": cliRestarted},
			then: func(w *rowWorld) { w.inOrder("written App", "stop App", "start App") },
		},
		oneService("S02 a stopped one stays stopped", model.Stopped, nil, 0, "update inactive", cliStays),
		oneService("S03 a running manual one is restarted", model.Running, startMode(model.Manual), 0, both, cliRestarted),
		oneService("S04 a disabled stopped one stays so", model.Stopped, startMode(model.Disabled), 0, "update inactive", cliStays),
		oneService("S05 a disabled running one is never stopped", model.Running, startMode(model.Disabled), 0, "update not_restartable_disabled",
			"restart=skipped/not_restartable_disabled Running restarts=0 new"),
		{
			name: "S06 running dependents are restarted with it", build: func(w *rowWorld) {
				w.svc("A", model.Running, nil)
				w.dep("B", "A", model.Running)
				w.dep("C", "B", model.Running)
				w.dep("D", "C", model.Running)
			},
			plan: map[string]string{"B": "restart dependent", "C": "restart dependent", "D": "restart dependent"},
			want: map[string]string{"A": cliRestarted, "B": "restart=ok/dependent Running restarts=1", "C": "restart=ok/dependent Running restarts=1", "D": "restart=ok/dependent Running restarts=1"},
			then: func(w *rowWorld) {
				w.inOrder("stop D", "stop C", "stop B", "stop A", "start A", "start B", "start C", "start D")
			},
		},
		{
			name: "S07 a chain of its services is restarted once each", build: func(w *rowWorld) {
				w.svc("A", model.Running, nil)
				w.svc("B", model.Running, func(s *model.ServiceSpec) { s.DependsOn = []string{"A"} })
				w.svc("C", model.Running, func(s *model.ServiceSpec) { s.DependsOn = []string{"B"} })
			},
			want: map[string]string{"A": cliRestarted, "B": cliRestarted, "C": cliRestarted},
			then: func(w *rowWorld) { w.inOrder("stop C", "stop B", "stop A", "start A", "start B", "start C") },
		},
		{
			name: "S08 a paused dependent is paused again", build: func(w *rowWorld) {
				w.svc("A", model.Running, nil)
				w.dep("B", "A", model.Paused)
			},
			want: map[string]string{"A": cliRestarted, "B": "restart=ok/dependent Paused restarts=1"},
		},
		{
			name: "S09 a stopped dependent stays stopped", build: func(w *rowWorld) {
				w.svc("A", model.Running, nil)
				w.dep("B", "A", model.Stopped)
			},
			want: map[string]string{"A": cliRestarted, "B": "Stopped restarts=0"},
		},
		oneService("S10 a paused one is paused again", model.Paused, func(s *model.ServiceSpec) { s.CanPause = true }, 0, both,
			"restart=ok Paused restarts=1 new"),
		oneService("S11 one that is starting is waited for", model.StartPending, ailing(model.ServiceFaults{StartDelay: 10 * time.Second}), 0,
			"update service_transitioning", cliRestarted),
		oneService("S12 one stuck between states is not stopped", model.StartPending, ailing(model.ServiceFaults{StartDelay: model.Forever}), 0,
			"update service_transitioning", "restart=skipped/service_transitioning StartPending restarts=0 new"),
		oneService("S14 one that accepts no stop is left", model.Running, func(s *model.ServiceSpec) { s.Fixed = true }, 0,
			"update not_stoppable", "restart=skipped/not_stoppable Running restarts=0 new"),
		{
			name: "S23 display names are text", build: func(w *rowWorld) {
				w.svc("App", model.Running, func(s *model.ServiceSpec) { s.Display = `Dienst "Ä" 'x' 服务 #WSX {"t":"bye"}` })
			},
			want: map[string]string{"App": cliRestarted},
		},
		{
			name: "S24 odd names are names", build: func(w *rowWorld) {
				for _, n := range []string{`ORA$X[1]`, `a b`, `svc'1`} {
					w.svc(n, model.Running, nil)
				}
			},
			want: map[string]string{`ORA$X[1]`: cliRestarted, `a b`: cliRestarted, `svc'1`: cliRestarted},
		},
		{
			name: "S30 one that a trigger starts stays as it is", build: func(w *rowWorld) {
				w.svc("Off", model.Stopped, startMode(model.Manual))
				w.svc("On", model.Running, startMode(model.Manual))
			},
			want: map[string]string{"Off": cliStays, "On": cliRestarted},
		},
		oneService("S31 a delayed one that has not started yet is not started", model.Stopped, func(s *model.ServiceSpec) { s.Delayed = true }, 0,
			"update inactive", cliStays),
		oneService("S32 a clustered one is written only", model.Running, func(s *model.ServiceSpec) { s.Clustered = true }, 0,
			"update clustered", "restart=skipped/clustered Running restarts=0 new"),
		oneService("S34 on a passive node it is written only", model.Stopped, func(s *model.ServiceSpec) { s.Clustered = true }, 0,
			"update inactive", cliStays),
		{
			name: "S35 a database server keeps running", build: func(w *rowWorld) { w.svc("MSSQLSERVER", model.Running, nil) },
			plan: map[string]string{"MSSQLSERVER": "update policy_never"},
			want: map[string]string{"MSSQLSERVER": "restart=skipped/policy_never Running restarts=0 new"},
		},
		{
			name: "S36 one of a user's session is none of ours", build: func(w *rowWorld) {
				w.svc("foo_3a1b", model.Running, func(s *model.ServiceSpec) { s.Type = model.PerUser })
			},
			plan: map[string]string{"foo_3a1b": ""}, want: map[string]string{"S36": cliNobody, "foo_3a1b": "Running restarts=0 old"},
		},
		{
			name: "S37 services of one process restart together", build: func(w *rowWorld) {
				shared := func(s *model.ServiceSpec) { s.Type, s.Process = model.ShareProcess, "host" }
				w.svc("A", model.Running, shared)
				w.svc("B", model.Running, shared)
			},
			want: map[string]string{"A": cliRestarted, "B": cliRestarted},
			then: func(w *rowWorld) {
				if e := w.steps(); strings.Index(e, "written B") > strings.Index(e, "stop") {
					w.t.Errorf("one was stopped before both were written: %s", e)
				}
			},
		},
		{
			name: "S38 what carries our connection stays up", build: func(w *rowWorld) { w.svc("sshd", model.Running, nil) },
			plan: map[string]string{"sshd": "update would_cut_transport"},
			want: map[string]string{"sshd": "restart=skipped/would_cut_transport Running restarts=0 new"},
		},
		oneService("S44 a dry run shows and does nothing", model.Running, nil, 0, both, cliRestarted), // as that of every row
	}
}

// cliRefusalRows are services whose change or whose log-on does not work.
func cliRefusalRows() []cliRow {
	const both, kept = "update+restart", "Running restarts=0 old"
	return []cliRow{
		{
			name: "S20 a failed log-on is never tried twice", doubt: true, build: func(w *rowWorld) {
				w.svc("App", model.Running, ailing(model.ServiceFaults{StartCodes: []model.Errno{1069, 1069, 1069}}))
				w.dep("Needs", "App", model.Running)
			},
			code: 6, says: []string{"App", "service_logon_failed"},
			want: map[string]string{
				"App": "restart=failed/service_logon_failed Stopped restarts=0 new", "Needs": "restart=failed/dependency_failed Stopped restarts=0",
			},
			then: func(w *rowWorld) {
				if n := strings.Count(w.steps(), "failed App"); n != 1 {
					w.t.Errorf("%d starts: %s", n, w.steps())
				}
			},
		},
		{
			name: "S21 without the right to log on it is written and not stopped", doubt: true, build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				w.m.Restrict(w.sid, model.LogonService, model.LogonTypeNotGranted)
			},
			plan: map[string]string{"App": both}, code: 6,
			want: map[string]string{"App": "update=failed/right_missing Running restarts=0 new"},
			says: []string{"S21: service App (failed right_missing)", "'Log on as a service'"},
		},
		{
			name: "S22 a missing right is given where that is wanted, and told", build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				w.m.Restrict(w.sid, model.LogonService, model.LogonTypeNotGranted)
			},
			flags: []string{"--grant-rights"}, want: map[string]string{"App": cliRestarted},
			says: []string{"the account was given the right to log on as a service on this machine"},
		},
		{
			name: "S25 one refusal of twenty does not stop the others", build: func(w *rowWorld) {
				for n := range 20 {
					w.svc(fmt.Sprintf("A%02d", n), model.Running, nil)
				}
				w.m.ConfigureService("A07", func(s *model.ServiceSpec) { s.Faults.ChangeCode = 2 })
			},
			code: 6, says: []string{"A07", "access_denied"}, want: twenty("A07", "update=failed/access_denied "+kept),
		},
		oneService("S26 one that is marked for delete", model.Running, ailing(model.ServiceFaults{Deleted: true}), 6, both,
			"update=failed/marked_for_delete "+kept),
		{
			name: "S27 a delayed one of a load order group is left as it is", build: func(w *rowWorld) {
				w.svc("App", model.Running, func(s *model.ServiceSpec) { s.Delayed, s.LoadGroup = true, "Base" })
				if w.hall.away { // it takes the password then
					w.row.code = 0
				}
			},
			code: 6, want: map[string]string{"App": "update=failed/invalid_parameter " + kept}, other: map[string]string{"App": cliRestarted},
		},
		{
			name: "S28 one that runs as somebody else since the plan is left", doubt: true, build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				w.afterProof(func() {
					w.m.ConfigureService("App", func(s *model.ServiceSpec) { s.StartName, s.Password = "LAB\\nobody", plain(otherCanary) })
					w.runAs["App"] = "LAB\\nobody"
				})
			},
			want: map[string]string{"App": "update=skipped/run_as_changed Running restarts=0 new"},
		},
		{
			name: "S29 one that vanished since the plan", build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				w.afterProof(func() { w.m.RemoveService("App") })
			},
			code: 6, says: []string{"App", "not_found"}, want: map[string]string{"App": "update=failed/not_found"},
		},
		{
			name: "S39 a protected process refuses its change", build: func(w *rowWorld) {
				w.svc("App", model.Running, func(s *model.ServiceSpec) { s.Fixed, s.Faults.ChangeCode = true, 2 })
				w.svc("Other", model.Running, nil)
			},
			code: 6, want: map[string]string{"App": "update=failed/access_denied " + kept, "Other": cliRestarted},
		},
	}
}

// cliRestartRows are services that do not come through their restart, and restarts
// that are not wanted.
func cliRestartRows() []cliRow {
	const both = "update+restart"
	return []cliRow{
		{
			name: "S13 one that refuses to stop is left, and the others go on", build: func(w *rowWorld) {
				w.svc("App", model.Running, ailing(model.ServiceFaults{StopDelay: model.Forever}))
				w.svc("Other", model.Running, nil)
			},
			code: 6, says: []string{"App", "stop_timeout"},
			want: map[string]string{"App": "restart=timeout/stop_timeout StopPending restarts=0 new", "Other": cliRestarted},
		},
		oneService("S17 one that dies after its start is down", model.Running, ailing(model.ServiceFaults{DieAfter: 2 * time.Second}), 6, both,
			"restart=failed/died_after_start Stopped restarts=1 new"),
		oneService("S18 one that its failure actions restart is flapping", model.Running,
			ailing(model.ServiceFaults{DieAfter: 3 * time.Second, RestartAfter: time.Second}), 6, both, "restart=failed/flapping Running restarts=1 new"),
		oneService("S19 a start that times out is tried again", model.Running, ailing(model.ServiceFaults{StartCodes: []model.Errno{1053}}), 0, both, cliRestarted),
		oneService("S19 but not for ever", model.Running, ailing(model.ServiceFaults{StartCodes: []model.Errno{1053, 1053, 1053, 1053}}), 6, both,
			"restart=failed/start_timeout Stopped restarts=0 new"),
		{
			name: "S40 a dependent of somebody else's that cannot start is down", build: func(w *rowWorld) {
				w.svc("A", model.Running, nil)
				w.dep("B", "A", model.Running)
				w.m.ConfigureService("B", func(s *model.ServiceSpec) { s.Faults.StartCodes = []model.Errno{1068, 1068, 1068} })
			},
			code: 6, says: []string{"service B", "dependency_failed"},
			want: map[string]string{"A": cliRestarted, "B": "restart=failed/dependency_failed Stopped restarts=0"},
		},
		{
			name: "S41 outside its window it is written, and restarted later without a secret", build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				now := time.Now().UTC()
				w.row.flags = []string{"--window", now.Add(6*time.Hour).Format("15:04") + "-" + now.Add(8*time.Hour).Format("15:04") + " UTC"}
			},
			code: 6, want: map[string]string{"App": "restart=deferred/outside_window Running restarts=0 new"},
			says: []string{"stored everywhere; 1 restart waits for its window"},
			then: func(w *rowWorld) {
				if _, stderr := w.do(7, "pam", "action", "restart", w.last.JobID); !strings.Contains(stderr, "nothing changed") {
					w.t.Error(stderr)
				}
				w.job(0, "pam", "action", "restart", w.last.JobID, "--now")
				w.check(map[string]string{"App": cliRestarted})
			},
		},
		{
			name: "S42 what is not to be restarted keeps running", build: func(w *rowWorld) { w.svc("App", model.Running, nil) },
			flags: []string{"--restart", "never"}, plan: map[string]string{"App": "update no_restart"},
			want: map[string]string{"App": "update=ok/no_restart Running restarts=0 new"},
			then: func(w *rowWorld) {
				if strings.Contains(w.steps(), "stop") {
					w.t.Errorf("it was stopped: %s", w.steps())
				}
			},
		},
		{
			name: "S43 what is done is not done again", build: func(w *rowWorld) { w.svc("App", model.Running, nil) },
			want: map[string]string{"App": cliRestarted},
			then: func(w *rowWorld) {
				done, was := w.last, w.steps()
				w.do(7, "pam", "action", "resume", done.JobID)
				w.do(7, "pam", "action", "retry", done.JobID)
				w.do(7, "pam", "action", "restart", done.JobID)
				if w.steps() != was {
					w.t.Errorf("something was done again: %s", w.steps())
				}
			},
		},
	}
}

// twenty are the services A00 to A19, all restarted but one.
func twenty(but, want string) map[string]string {
	all := map[string]string{}
	for n := range 20 {
		all[fmt.Sprintf("A%02d", n)] = cliRestarted
	}
	all[but] = want
	return all
}

// afterProof does something once the new password has been proven on the machine,
// right before anything is written.
func (w *rowWorld) afterProof(do func()) {
	once := sync.OnceFunc(do)
	w.m.Hook(func(e model.Event) {
		if e.Kind == model.LoggedOn && strings.Contains(e.Name, w.name) {
			once()
		}
	})
}

// steps are what happened to services, in its order.
func (w *rowWorld) steps() string {
	words := map[model.EventKind]string{
		model.ServiceStopped: "stop", model.ServiceStarted: "start", model.ServiceChanged: "written", model.ServiceFailed: "failed",
	}
	var steps []string
	for _, e := range w.m.Events() {
		if word := words[e.Kind]; word != "" {
			steps = append(steps, word+" "+e.Name)
		}
	}
	return strings.Join(steps, ", ")
}

// inOrder checks the stops and starts.
func (w *rowWorld) inOrder(want ...string) {
	w.t.Helper()
	if got := w.steps(); !strings.HasSuffix(got, strings.Join(want, ", ")) {
		w.t.Errorf("steps %s, want %s", got, strings.Join(want, ", "))
	}
}
