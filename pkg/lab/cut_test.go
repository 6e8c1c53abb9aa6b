package lab

import (
	"errors"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/sshd"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
)

// T04 The connection breaks between stop and start. Over WinRM output is asked
// for again on a new one; over SSH nobody hears the rest, and the script brings
// it to its end all the same.
func TestT04AConnectionThatBreaksBetweenStopAndStart(t *testing.T) {
	t.Parallel()
	for _, w := range []way{{pam.WinRM, sshd.CMD}, {pam.SSH, sshd.CMD}, {pam.SSH, sshd.PowerShell}, {pam.SSH, sshd.Bash}} {
		t.Run(string(w.transport)+" "+string(w.shell), func(t *testing.T) {
			t.Parallel()
			f := visit{fleetFor(t, func(o *Options) { o.Shell = w.shell }), w.transport}
			m := f.Machine("SRV1")
			api := m.Model.View().Service("OrdersApi")
			monitor := m.Model.View().Service("OrdersMonitor")
			m.CutAfterNextStop()
			_, err := call(t, f, "SRV1", powershell.Request{Op: powershell.OpRestart, Journal: true, Plan: &powershell.Plan{
				Stops: []powershell.PlanStop{
					{ID: "OrdersMonitor", State: "Running", PID: monitor.PID, Started: monitor.Started},
					{ID: "OrdersApi", State: "Running", PID: api.PID, Started: api.Started},
				},
				Starts:        []powershell.PlanStart{{ID: "OrdersApi"}, {ID: "OrdersMonitor"}},
				StopTimeoutMs: 5000, StartTimeoutMs: 5000, SettleMs: 100,
			}})
			var broken *remote.Error
			if w.transport == pam.WinRM && err != nil && (!errors.Is(err, pam.ErrIO) || !strings.Contains(err.Error(), "arrived")) {
				t.Errorf("over WinRM: %v", err)
			}
			if w.transport == pam.SSH && (!errors.As(err, &broken) || broken.Kind != pam.ErrIO || !broken.Sent) {
				t.Errorf("over SSH: %v", err)
			}
			awaitRunning(t, m, "OrdersApi", api.PID)
			awaitRunning(t, m, "OrdersMonitor", monitor.PID)
		})
	}
}

// awaitRunning waits until a service runs in another process than before.
func awaitRunning(t *testing.T, m *Machine, name string, before int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); ; {
		if s := m.Model.View().Service(name); s.State == model.Running && s.PID != before {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s was left: %+v", name, m.Model.View().Service(name))
		}
	}
}
