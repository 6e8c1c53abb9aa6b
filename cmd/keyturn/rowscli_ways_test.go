package main

import (
	"strings"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/winrmd"
)

// cliWayRows are about the way to the machine, and what is seen on it. What takes a
// person, a second job or a dead process is told in stories (testdata/targets).
func cliWayRows() []cliRow {
	app := func(w *rowWorld) { w.svc("App", model.Running, nil) }
	broken := func(f winrmd.Faults) func(w *rowWorld) {
		return func(w *rowWorld) {
			app(w)
			w.machine().Front.SetFaults(f)
		}
	}
	point := func(p winrmd.Phase, n int) winrmd.Point { return winrmd.Point{Phase: p, N: n, Early: true} }
	untouched, restarted := map[string]string{"App": "Running restarts=0 new"}, map[string]string{"App": cliRestarted}
	// healed has the fault end with the row, and the next rotation go through.
	healed := func(w *rowWorld) {
		if w.changes() != 0 || len(w.happened()) != 0 {
			w.t.Errorf("something happened: %v", w.happened())
		}
		w.machine().Front.SetFaults(winrmd.Faults{})
		w.rotate(0)
		w.check(restarted)
	}
	return []cliRow{
		{
			name:  "T01 the first piece of input is refused: nothing ran, and nothing changed",
			build: broken(winrmd.Faults{Fail: point(winrmd.PhaseSend, 0)}), code: 1, want: untouched,
			says: []string{`machine "T01"`, "nothing changed"}, then: healed,
		},
		{
			name: "T02 a piece of input is lost on the way: nothing ran, and nothing changed", play: func(w *rowWorld) {
				broken(winrmd.Faults{LoseChunk: 1})(w)
				w.rotate(1)
				w.check(untouched)
			},
			says: []string{`machine "T02"`, "transport_", "nothing changed"},
		},
		{
			name: "T03 an answer of the update is cut off: it is asked for again", build: func(w *rowWorld) {
				app(w)
				w.afterProof(func() { w.machine().Front.SetFaults(winrmd.Faults{Drop: point(winrmd.PhaseReceive, 1)}) })
			},
			want: restarted,
		},
		{
			name: "T04 the connection breaks between stop and start: the service runs", play: func(w *rowWorld) {
				app(w)
				w.machine().CutAfterNextStop()
				w.rotateOrResume()
				// The reason tells whether its restart was heard of, or found done.
				if got := w.summary()["App"]; !strings.HasPrefix(got, "restart=ok") || !strings.HasSuffix(got, " Running restarts=1 new") {
					w.t.Errorf("App is %s", got)
				}
			},
		},
		{
			name:  "T07 a machine that fails for ever: the job gives up after a few requests",
			build: broken(winrmd.Faults{Fail: point(winrmd.PhaseReceive, 0)}), code: 1, want: untouched,
			says: []string{`machine "T07"`, "nothing changed"}, then: func(w *rowWorld) {
				n := 0
				for _, of := range w.machine().Front.Counts().Phases {
					n += of
				}
				if n >= 2*20 { // the dry run and the job
					w.t.Errorf("%d requests", n)
				}
				healed(w)
			},
		},
		{
			name: "T09 the quota of operations is used up once: the job goes on", build: func(w *rowWorld) {
				app(w)
				w.afterProof(func() {
					w.machine().Front.SetFaults(winrmd.Faults{Fail: point(winrmd.PhaseCommand, 1), FailWith: winrmd.FaultOperations})
				})
			},
			want: restarted,
		},
		{
			name: "T11 a machine in constrained language is refused in the look", build: func(w *rowWorld) {
				app(w)
				w.m.Bend(func(s *model.MachineSpec) { s.Constrained = true })
			},
			code: 1, want: untouched, says: []string{"constrained_language", "nothing changed"},
		},
		{
			name: "T12 an admin with a filtered token is refused in the look", build: func(w *rowWorld) {
				app(w)
				w.m.Bend(func(s *model.MachineSpec) { s.Filtered = true })
			},
			code: 1, want: untouched, says: []string{"not_elevated", "nothing changed"},
		},
		{
			name: "F03 one machine's domain controller lags: it waits", doubt: true, build: func(w *rowWorld) {
				app(w)
				w.m.Lag()
			},
			code: 6, refused: 1, says: []string{"credential_rejected"},
			want: map[string]string{"App": "update=pending/credential_rejected Running restarts=0 old"},
		},
		{
			name: "F08 a process that nothing explains is told of", build: func(w *rowWorld) {
				app(w)
				w.m.SpawnChild(0, w.sid, "stray.exe")
			},
			want: restarted, says: []string{"F08: process ", "(stray.exe) runs as", "unmanaged_process"},
		},
	}
}
