package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"keyturn/pkg/lab/ldapd"
	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/sshd"
	"keyturn/pkg/lab/winrmd"
	"keyturn/pkg/secret"
)

// A FaultKind is something that can go wrong on a machine, and its cure.
type FaultKind struct {
	Name string
	Help string
	do   func(m *Machine) error
}

// Faults lists what [Fleet.Fault] knows.
func Faults() []FaultKind {
	front := func(f winrmd.Faults, s sshd.Faults) func(*Machine) error {
		return func(m *Machine) error {
			m.Front.SetFaults(f)
			m.SSH.SetFaults(s)
			return nil
		}
	}
	does := func(do func(*Machine)) func(*Machine) error {
		return func(m *Machine) error {
			do(m)
			return nil
		}
	}
	return []FaultKind{
		{"down", "off the network: connections are cut and refused", func(m *Machine) error { return m.setDown(true) }},
		{"up", "back on the network", func(m *Machine) error { return m.setDown(false) }},
		{"kill-between", "the remote shell dies right after the next service has stopped", does((*Machine).KillAfterNextStop)},
		{"cut-between", "connections are cut right after the next service has stopped", does((*Machine).CutAfterNextStop)},
		{"kill", "the remote shell dies now", does((*Machine).Kill)},
		{"unauthorized", "every log-in is refused", front(winrmd.Faults{Unauthorized: true}, sshd.Faults{Unauthorized: true})},
		{"drop-command", "the connection is cut after the command has started", front(winrmd.Faults{
			Drop: winrmd.Point{Phase: winrmd.PhaseCommand, N: 1},
		}, sshd.Faults{DropStart: 1})},
		{"drop-receive", "the connection is cut instead of the first output", front(winrmd.Faults{
			Drop: winrmd.Point{Phase: winrmd.PhaseReceive, N: 1},
		}, sshd.Faults{DropOutput: 1})},
		{"lose-input", "the first piece of input is lost on the way", front(winrmd.Faults{LoseChunk: 1}, sshd.Faults{LoseInput: 1})},
		{"drop-reset", "a domain controller cuts the connection after the next reset of a password, in place of its answer", controller(
			func(s *ldapd.Server) { s.SetFaults(ldapd.Faults{CutAfter: true}) })},
		{"no-reset", "the same, and it did nothing", controller(
			func(s *ldapd.Server) { s.SetFaults(ldapd.Faults{CutBefore: true}) })},
		{"slow", "every request takes a second longer", front(winrmd.Faults{Latency: time.Second}, sshd.Faults{Latency: time.Second})},
		{"lag", "the machine asks a domain controller that has not heard of new passwords", does(func(m *Machine) { m.Model.Lag() })},
		{"catch-up", "that domain controller has heard of them", does(func(m *Machine) { m.Model.CatchUp() })},
		{"locked-out", "somebody tries wrong passwords until the service account is locked out", (*Machine).lockOut},
		{"let-in", "an administrator unlocks the service account, on the domain controller", (*Machine).letIn},
		{"stray-process", "a process runs as the service account that no service, task or pool explains", does((*Machine).stray)},
		{
			"pool-broken", "new workers of the pool Orders do not come up, although its password is right",
			orders(func(p *model.PoolSpec) { p.WorkerCode = model.LogonTypeNotGranted }),
		},
		{"pool-mended", "they do again", orders(func(p *model.PoolSpec) { p.WorkerCode, p.Stopped = model.OK, false })},
		{
			"right-missing", "the service account has lost the right to log on as a service there",
			does(func(m *Machine) { m.mayLogOn(model.LogonTypeNotGranted) }),
		},
		{"right-given", "it has it again", does(func(m *Machine) { m.mayLogOn(model.OK) })},
		{"com-plus", "a COM+ application runs as the service account", does(func(m *Machine) {
			m.Model.AddApplication(practiceApplication)
		})},
		{"shared-config", "IIS takes its configuration from a share, like other machines", does(func(m *Machine) {
			m.Model.ShareConfiguration(`\\filer\iis`)
		})},
		{"healthy", "none of these any more; stored passwords stay, and a lockout ends on the domain controller alone", (*Machine).heal},
	}
}

var practiceApplication = model.Application{
	Name: "Orders Legacy", ID: "{0f1e2d3c-0000-4000-8000-000000000001}", RunAs: model.PracticeService,
}

const practicePool = "Orders"

// orders is a fault of the pool Orders.
func orders(change func(*model.PoolSpec)) func(*Machine) error {
	return func(m *Machine) error {
		if !m.hasPool() {
			return fmt.Errorf("%s has no pool %s; nothing was changed", m.Name(), practicePool)
		}
		m.Model.ConfigurePool(practicePool, change)
		return nil
	}
}

func (m *Machine) hasPool() bool {
	return slices.ContainsFunc(m.Model.View().Pools, func(p model.PoolView) bool { return p.Name == practicePool })
}

// controller is a fault of a domain controller.
func controller(do func(*ldapd.Server)) func(*Machine) error {
	return func(m *Machine) error {
		if m.LDAP == nil {
			return fmt.Errorf("%s is no domain controller; nothing was changed", m.Name())
		}
		do(m.LDAP)
		return nil
	}
}

// mayLogOn gives or takes the service account's right to log on as a service.
func (m *Machine) mayLogOn(code model.Errno) {
	if who, err := m.Model.Translate(model.PracticeService); err == nil {
		m.Model.Restrict(who.SID, model.LogonService, code)
	}
}

const strayImage = "orders-import.exe"

// stray starts a process by hand, as an administrator would.
func (m *Machine) stray() {
	if who, err := m.Model.Translate(model.PracticeService); err == nil {
		m.Model.SpawnChild(0, who.SID, strayImage)
	}
}

// lockOut is somebody who guesses, or a computer that has an old password.
func (m *Machine) lockOut() error {
	const most = 100 // of wrong passwords: no practice policy bears as many
	for range most {
		code, err := m.Model.Logon("svc_app", model.PracticeDomain, secret.New([]byte("a guess")), model.LogonNetwork)
		if err != nil || code == model.AccountLocked {
			return err
		}
	}
	return fmt.Errorf("%d wrong passwords did not lock %s", most, model.PracticeService)
}

func (m *Machine) letIn() error {
	code, err := m.Model.UnlockAccount("svc_app")
	if err == nil && code != model.OK {
		err = fmt.Errorf("%s knows no account %s of its own; nothing was changed", m.Name(), model.PracticeService)
	}
	return err
}

// heal ends every fault of the machine. A lockout is its domain's: the domain
// controller's cure ends it. What failed updates left behind is no fault, and stays.
func (m *Machine) heal() error {
	m.host.armed.Store(false)
	m.host.armedCut.Store(false)
	m.Front.SetFaults(winrmd.Faults{})
	m.SSH.SetFaults(sshd.Faults{})
	if m.LDAP != nil {
		m.LDAP.SetFaults(ldapd.Faults{})
	}
	m.Model.CatchUp()
	m.mayLogOn(model.OK)
	m.Model.EndProcesses(strayImage)
	m.Model.RemoveApplication(practiceApplication.ID)
	m.Model.ShareConfiguration("")
	if m.hasPool() {
		m.Model.ConfigurePool(practicePool, func(p *model.PoolSpec) {
			if p.WorkerCode != model.OK { // one that somebody stopped stays stopped
				p.WorkerCode, p.Stopped = model.OK, false
			}
		})
	}
	if m.LDAP != nil {
		return errors.Join(m.letIn(), m.setDown(false))
	}
	return m.setDown(false)
}

// Fault does something to a machine, by the names of [Faults].
func (f *Fleet) Fault(machine, fault string) error {
	m := f.Machine(machine)
	if m == nil {
		return fmt.Errorf("there is no machine %q in this lab; nothing was changed", machine)
	}
	var names []string
	for _, k := range Faults() {
		if k.Name == fault {
			return k.do(m)
		}
		names = append(names, k.Name)
	}
	return fmt.Errorf("there is no fault %q; nothing was changed (known: %s)", fault, strings.Join(names, ", "))
}
