package script_test

import (
	"testing"
	"time"

	"keyturn/pkg/lab/model"
)

// A row is one acceptance scenario: a machine, and what becomes of everything on
// it when T's password has changed.
type row struct {
	name  string
	spec  func(s *model.MachineSpec)
	build func(w *world)
	want  map[string]string
}

const (
	restarted = "update=ok restart=ok Running restarts=1 new"
	stays     = "update=ok Stopped restarts=0 new"
)

func faults(f model.ServiceFaults) func(s *model.ServiceSpec) {
	return func(s *model.ServiceSpec) { s.Faults = f }
}

func TestServices(t *testing.T) {
	t.Parallel()
	together(t, serviceRows())
	for _, r := range slowServiceRows() {
		t.Run(r.name, r.run)
	}
}

// slowServiceRows tell apart who does what in which second, or bend the machine:
// they share it with nobody.
func slowServiceRows() []row {
	return []row{
		{"S11 a service that is starting is waited for", nil, func(w *world) {
			w.svc("A", model.StartPending, faults(model.ServiceFaults{StartDelay: 10 * time.Second}))
		}, map[string]string{"A": restarted}},
		{"S12 a service stuck between states is not touched", nil, func(w *world) {
			w.svc("S12A", model.StartPending, faults(model.ServiceFaults{StartDelay: model.Forever}))
		}, map[string]string{"S12A": "update=ok skip=service_transitioning StartPending restarts=0 new"}},
		{"S13 one that stops too late is started all the same", nil, func(w *world) {
			w.svc("S13bLate", model.Running, faults(model.ServiceFaults{StopDelay: 95 * time.Second}))
			w.svc("S13bB", model.Running, faults(model.ServiceFaults{StopDelay: 20 * time.Second}))
		}, map[string]string{"S13bLate": "update=ok restart=timeout/stop_timeout restart=ok Running restarts=1 new", "S13bB": restarted}},
		{"S17 one that dies after its start is reported down", nil, func(w *world) {
			w.svc("S17A", model.Running, faults(model.ServiceFaults{DieAfter: 2 * time.Second}))
		}, map[string]string{"S17A": "update=ok restart=failed/died_after_start Stopped restarts=1 new"}},
		{"S18 one that its failure actions restart is flapping", nil, func(w *world) {
			w.svc("S18A", model.Running, faults(model.ServiceFaults{DieAfter: 3 * time.Second, RestartAfter: time.Second}))
		}, map[string]string{"S18A": "update=ok restart=failed/flapping Running restarts=1 new"}},
		{"I18 and nothing is stopped that only somebody unknown could start again", nil, func(w *world) {
			w.svc("A", model.Running, nil)
			w.svc("B", model.Running, func(s *model.ServiceSpec) { s.StartName, s.DependsOn = `OLD\svc_app`, []string{"A"} })
		}, map[string]string{
			"A": "update=ok skip=dependents_blocked Running restarts=0 new", "B": "skip=ambiguous_identity Running restarts=0",
		}},
		{"S21 without the right to log on it is written and not stopped", nil, func(w *world) {
			w.svc("S21A", model.Running, nil)
			w.m.Restrict(w.sid, model.LogonService, model.LogonTypeNotGranted)
		}, map[string]string{"S21A": "update=ok skip=right_missing Running restarts=0 new"}},
	}
}

func serviceRows() []row {
	mode := func(m string) func(s *model.ServiceSpec) { return func(s *model.ServiceSpec) { s.StartMode = m } }
	return []row{
		{"S01 a running service is written and restarted", nil, func(w *world) { w.svc("S01App", model.Running, nil) }, map[string]string{"S01App": restarted}},
		{"S02 a stopped service stays stopped", nil, func(w *world) { w.svc("S02App", model.Stopped, nil) }, map[string]string{"S02App": stays}},
		{"S03 a running manual service is restarted", nil, func(w *world) { w.svc("S03App", model.Running, mode(model.Manual)) }, map[string]string{"S03App": restarted}},
		{"S04 a disabled stopped service stays so", nil, func(w *world) { w.svc("S04App", model.Stopped, mode(model.Disabled)) }, map[string]string{"S04App": stays}},
		{
			"S05 a disabled running service is never stopped", nil, func(w *world) { w.svc("S05App", model.Running, mode(model.Disabled)) },
			map[string]string{"S05App": "update=ok skip=not_restartable_disabled Running restarts=0 new"},
		},
		{"S06 running dependents are restarted with it", nil, func(w *world) {
			w.svc("S06A", model.Running, nil)
			w.dep("S06B", "S06A", model.Running)
			w.dep("S06C", "S06B", model.Running)
			w.dep("S06D", "S06C", model.Running)
		}, map[string]string{
			"S06A": restarted, "S06B": "restart=ok Running restarts=1", "S06C": "restart=ok Running restarts=1", "S06D": "restart=ok Running restarts=1",
		}},
		{"S07 a chain of targets is restarted once each", nil, func(w *world) {
			w.svc("S07A", model.Running, nil)
			w.svc("S07B", model.Running, func(s *model.ServiceSpec) { s.DependsOn = []string{"S07A"} })
			w.svc("S07C", model.Running, func(s *model.ServiceSpec) { s.DependsOn = []string{"S07B"} })
		}, map[string]string{"S07A": restarted, "S07B": restarted, "S07C": restarted}},
		{"S08 a paused dependent is paused again", nil, func(w *world) {
			w.svc("S08A", model.Running, nil)
			w.dep("S08B", "S08A", model.Paused)
		}, map[string]string{"S08A": restarted, "S08B": "restart=ok Paused restarts=1"}},
		{"S09 a stopped dependent stays stopped", nil, func(w *world) {
			w.svc("S09A", model.Running, nil)
			w.dep("S09C", "S09A", model.Stopped)
		}, map[string]string{"S09A": restarted, "S09C": "Stopped restarts=0"}},
		{"S10 a paused target is paused again", nil, func(w *world) {
			w.svc("S10A", model.Paused, func(s *model.ServiceSpec) { s.CanPause = true })
		}, map[string]string{"S10A": "update=ok restart=ok Paused restarts=1 new"}},
		{"S13 one that refuses to stop is left, the others go on", nil, func(w *world) {
			w.svc("S13A", model.Running, faults(model.ServiceFaults{StopDelay: model.Forever}))
			w.svc("S13B", model.Running, nil)
		}, map[string]string{"S13A": "update=ok restart=timeout/stop_timeout StopPending restarts=0 new", "S13B": restarted}},
		{"S14 one that accepts no stop is left", nil, func(w *world) {
			w.svc("S14A", model.Running, func(s *model.ServiceSpec) { s.Fixed = true })
		}, map[string]string{"S14A": "update=ok skip=not_stoppable Running restarts=0 new"}},
		{"S19 a start that times out is tried again", nil, func(w *world) {
			w.svc("S19A", model.Running, faults(model.ServiceFaults{StartCodes: []model.Errno{model.ServiceNoAnswer}}))
		}, map[string]string{"S19A": restarted}},
		{"S19 but not for ever", nil, func(w *world) {
			w.svc("S19bA", model.Running, faults(model.ServiceFaults{StartCodes: []model.Errno{1053, 1053, 1053, 1053}}))
		}, map[string]string{"S19bA": "update=ok restart=failed/start_timeout Stopped restarts=0 new"}},
		{"S20 a failed logon is never tried twice", nil, func(w *world) {
			w.svc("S20A", model.Running, faults(model.ServiceFaults{StartCodes: []model.Errno{model.ServiceLogonFailed}}))
		}, map[string]string{"S20A": "update=ok restart=failed/service_logon_failed Stopped restarts=0 new"}},
		{"S23 display names are text", nil, func(w *world) {
			w.svc("S23A", model.Running, func(s *model.ServiceSpec) { s.Display = `Dienst "Ä" 'x' 服务 #WSX {"t":"bye"}` })
		}, map[string]string{"S23A": restarted}},
		{"S24 odd names are names", nil, func(w *world) {
			for _, n := range []string{`ORA$X[1]`, `a b`, `svc'1`} {
				w.svc(n, model.Running, nil)
			}
		}, map[string]string{`ORA$X[1]`: restarted, `a b`: restarted, `svc'1`: restarted}},
		{"S25 one refusal does not stop the others", nil, func(w *world) {
			w.svc("S25A", model.Running, faults(model.ServiceFaults{ChangeCode: 2}))
			w.svc("S25B", model.Running, nil)
		}, map[string]string{"S25A": "update=failed/access_denied Running restarts=0 old", "S25B": restarted}},
		{
			"S26 marked for delete", nil, func(w *world) { w.svc("S26A", model.Running, faults(model.ServiceFaults{Deleted: true})) },
			map[string]string{"S26A": "update=failed/marked_for_delete Running restarts=0 old"},
		},
		{
			"S27 settings that Windows refuses are left as they are", nil, func(w *world) { w.svc("S27A", model.Running, faults(model.ServiceFaults{ChangeCode: 21})) },
			map[string]string{"S27A": "update=failed/invalid_parameter Running restarts=0 old"},
		},
		{"S30 a service that a trigger starts stays as it is", nil, func(w *world) {
			w.svc("S30Stopped", model.Stopped, mode(model.Manual))
			w.svc("S30Running", model.Running, mode(model.Manual))
		}, map[string]string{"S30Stopped": stays, "S30Running": restarted}},
		{"S31 a delayed service that has not started yet is not started", nil, func(w *world) {
			w.svc("S31", model.Stopped, func(s *model.ServiceSpec) { s.Delayed = true })
		}, map[string]string{"S31": stays}},
		{"S32 a clustered service is written only", nil, func(w *world) {
			w.svc("S32A", model.Running, func(s *model.ServiceSpec) { s.Clustered = true })
		}, map[string]string{"S32A": "update=ok skip=clustered Running restarts=0 new"}},
		{
			"S35 a database server keeps running", nil, func(w *world) { w.svc("MSSQLSERVER", model.Running, nil) },
			map[string]string{"MSSQLSERVER": "update=ok skip=policy_never Running restarts=0 new"},
		},
		{"S36 services of one user's session are none of ours", nil, func(w *world) {
			w.svc("foo_3a1b", model.Running, func(s *model.ServiceSpec) { s.Type = model.PerUser })
		}, map[string]string{"foo_3a1b": "Running restarts=0 old"}},
		{"S37 services of one process restart together", nil, func(w *world) {
			shared := func(s *model.ServiceSpec) { s.Type, s.Process = model.ShareProcess, "host" }
			w.svc("S37A", model.Running, shared)
			w.svc("S37B", model.Running, shared)
		}, map[string]string{"S37A": restarted, "S37B": restarted}},
		{
			"S38 what carries our connection stays up", nil, func(w *world) { w.svc("sshd", model.Running, nil) },
			map[string]string{"sshd": "update=ok skip=would_cut_transport Running restarts=0 new"},
		},
		{"S39 a protected process refuses its change", nil, func(w *world) {
			w.svc("S39", model.Running, func(s *model.ServiceSpec) { s.Fixed, s.Faults.ChangeCode = true, 2 })
			w.svc("S39b", model.Running, nil)
		}, map[string]string{"S39": "update=failed/access_denied Running restarts=0 old", "S39b": restarted}},
		{"S40 a dependent that cannot start is reported", nil, func(w *world) {
			w.svc("S40A", model.Running, nil)
			w.dep("S40B", "S40A", model.Running)
			w.m.ConfigureService("S40B", func(s *model.ServiceSpec) { s.Faults.StartCodes = []model.Errno{1068, 1068, 1068} })
		}, map[string]string{"S40A": restarted, "S40B": "restart=failed/dependency_failed Stopped restarts=0"}},
	}
}
