package lab

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/sshd"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/secret"
)

// T13 Every op of the script goes to a practice machine and back, over WinRM and
// over SSH with each default shell, once answered in Go and once by the shipped
// PowerShell in a real engine. The result is the same.
func TestT13ARotationByHand(t *testing.T) {
	t.Parallel()
	ways := []way{{pam.WinRM, sshd.CMD}, {pam.SSH, sshd.CMD}, {pam.SSH, sshd.PowerShell}, {pam.SSH, sshd.Bash}}
	for _, w := range ways {
		shell := func(o *Options) { o.Shell = w.shell }
		t.Run(fmt.Sprintf("%s %s answered in Go", w.transport, w.shell), func(t *testing.T) {
			t.Parallel()
			rotateByHand(t, visit{fleetFor(t, shell), w.transport})
		})
		t.Run(fmt.Sprintf("%s %s in the engine", w.transport, w.shell), func(t *testing.T) {
			t.Parallel()
			rotateByHand(t, visit{fleetFor(t, shell, withEngine(t)), w.transport})
		})
	}
}

// A way is how the machines are reached.
type way struct {
	transport pam.Transport
	shell     sshd.Shell
}

// A visit is a fleet and the transport to its machines.
type visit struct {
	*Fleet
	transport pam.Transport
}

// dial opens a session as the lab's admin.
func (v visit) dial(t *testing.T, machine string) remote.Session {
	t.Helper()
	var d remote.Dialer = dialer()
	target := targetFor(t, v.Fleet, machine, model.PracticeAdmin, v.Model.Admin)
	if v.transport == pam.SSH {
		d, target = ssh.NewDialer(ssh.Options{}), overSSH(t, v.Fleet, target)
	}
	s, err := d.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// overSSH is the same machine by its other way in.
func overSSH(t *testing.T, f *Fleet, target remote.Target) remote.Target {
	t.Helper()
	d, err := f.Describe()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range d.Machines {
		if m.Port == target.Port {
			target.Endpoint = remote.Endpoint{Transport: pam.SSH, Host: m.Host, Port: m.SSHPort, HostKeys: []string{m.SSHHostKey}}
		}
	}
	return target
}

var (
	subject = &powershell.Account{
		Names: []string{`LAB\svc_app`, `svc_app@lab.example`, `svc_app`, `lab.example\svc_app`},
		Sam:   "svc_app", LogonUser: "svc_app", LogonDomain: "LAB", TaskUser: `LAB\svc_app`,
	}
	kinds = []string{"service", "task", "iis_pool"}
)

// call asks a machine for one op as the lab's admin.
func call(t *testing.T, f visit, machine string, req powershell.Request, secrets ...secret.Value) (powershell.Answer, error) {
	t.Helper()
	s := f.dial(t, machine)
	defer func() { _ = s.Close() }()
	req.Run = strings.ReplaceAll(t.Name(), "/", "")[:8]
	return powershell.Call(t.Context(), s, rand.Reader, req, secrets, nil)
}

func must(t *testing.T, f visit, machine string, req powershell.Request, secrets ...secret.Value) powershell.Answer {
	t.Helper()
	a, err := call(t, f, machine, req, secrets...)
	if err != nil || a.Bye.Code != powershell.ByeOK {
		t.Fatalf("%s on %s: %v, bye %+v, noise %q", req.Op, machine, err, a.Bye, a.Noise)
	}
	return a
}

func rotateByHand(t *testing.T, f visit) {
	t.Helper()
	a := must(t, f, "DC01", powershell.Request{Op: powershell.OpPing})
	if a.Hello.Host != "DC01" || !a.Machine.DC || !strings.EqualFold(a.Machine.User, model.PracticeAdmin) {
		t.Errorf("ping: %+v %+v", a.Hello, a.Machine)
	}
	next := secret.New([]byte("Next-password-of-svc_app-1"))
	must(t, f, "DC01", powershell.Request{
		Op: powershell.OpPassword, Target: subject,
		Secrets: map[string]int{powershell.SecretOld: 0, powershell.SecretNew: 1},
	}, f.Model.Service, next)
	var refs []powershell.ItemRef
	var api powershell.Line
	for _, l := range must(t, f, "SRV1", powershell.Request{Op: powershell.OpLook, Target: subject, Kinds: kinds}).Items {
		if l.Match != nil && l.Match.Hit && (l.Kind == "service" || l.LogonType != "S4U") {
			refs = append(refs, powershell.ItemRef{Kind: l.Kind, ID: l.ID, ExpectRunAs: l.RunAs})
		}
		if l.Kind == "service" && l.ID == "OrdersApi" {
			api = l
		}
	}
	if len(refs) != 6 { // three services, a task that stores its password, two pools
		t.Fatalf("look found %+v", refs)
	}
	must(t, f, "SRV1", powershell.Request{
		Op: powershell.OpUpdate, Target: subject, Kinds: kinds, Items: refs, Journal: true,
		Policy: powershell.Policy{Proof: "required"}, Secrets: map[string]int{powershell.SecretNew: 0},
	}, next)
	m := f.Machine("SRV1")
	for _, r := range refs {
		if r.Kind == "service" && !m.Model.View().Service(r.ID).CredentialOK {
			t.Errorf("%s has not got the password", r.ID)
		}
	}
	restartAndRepair(t, f, m, api)
}

// restartAndRepair restarts a service, lets the shell die between its stop and
// its start the first time, and repairs.
func restartAndRepair(t *testing.T, f visit, m *Machine, api powershell.Line) {
	t.Helper()
	monitor := m.Model.View().Service("OrdersMonitor")
	plan := &powershell.Plan{
		Stops: []powershell.PlanStop{
			{ID: "OrdersMonitor", State: "Running", PID: monitor.PID, Started: monitor.Started},
			{ID: "OrdersApi", State: "Running", PID: api.PID, Started: api.Started},
		},
		Starts:        []powershell.PlanStart{{ID: "OrdersApi"}, {ID: "OrdersMonitor"}},
		StopTimeoutMs: 5000, StartTimeoutMs: 5000, SettleMs: 100,
	}
	m.KillAfterNextStop()
	_, err := call(t, f, "SRV1", powershell.Request{Op: powershell.OpRestart, Journal: true, Plan: plan})
	if err == nil || errors.Is(err, pam.ErrAuthFailed) {
		t.Fatalf("the restart ended with %v", err)
	}
	if v := m.Model.View(); v.Service("OrdersMonitor").State != model.Stopped || v.Service("OrdersApi").State != model.Running {
		t.Fatalf("killed too late: %+v", v.Services)
	}
	if journals, err := filepath.Glob(filepath.Join(journalDir(m.Dir()), "*.ndjson")); err != nil || len(journals) == 0 {
		t.Errorf("no journal in %s: %v", journalDir(m.Dir()), err)
	}
	must(t, f, "SRV1", powershell.Request{Op: powershell.OpRepair, Journal: true, Plan: plan})
	v := m.Model.View().Service("OrdersMonitor")
	if v.State != model.Running {
		t.Errorf("after repair: %+v", v)
	}
	plan.Stops[0].PID, plan.Stops[0].Started = v.PID, v.Started
	must(t, f, "SRV1", powershell.Request{Op: powershell.OpRestart, Journal: true, Plan: plan})
	if v := m.Model.View().Service("OrdersApi"); v.State != model.Running || v.PID == api.PID || !v.CredentialOK {
		t.Errorf("after the restart: %+v", v)
	}
}
