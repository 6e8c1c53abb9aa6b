package model

import (
	"fmt"
	"io"
	"time"

	"keyturn/pkg/secret"
)

// PracticeOptions say how to build the practice fleet.
type PracticeOptions struct {
	Servers    int // members beside the domain controller
	Clock      Clock
	Random     io.Reader     // where passwords come from
	StartDelay time.Duration // how long services take to start
	StopDelay  time.Duration // and to stop
}

// A Fleet is the practice domain: what a newcomer rotates first.
type Fleet struct {
	Domain  *Domain
	DC      *Machine
	Servers []*Machine
	Admin   secret.Value // of LAB\admin
	Service secret.Value // of LAB\svc_app
}

// Machines are the domain controller and the servers.
func (f *Fleet) Machines() []*Machine { return append([]*Machine{f.DC}, f.Servers...) }

// The accounts of the practice domain that a newcomer meets.
const (
	PracticeDomain  = "LAB"
	PracticeDNS     = "lab.example"
	PracticeAdmin   = `LAB\admin`
	PracticeService = `LAB\svc_app`
)

// practicePolicy locks after ten wrong attempts, as many domains do.
var practicePolicy = Policy{LockoutThreshold: 10, MinLength: 12, History: 24, HistoryGrace: true}

// spellings of LAB\svc_app, in turn: administrators type what they like.
var spellings = []string{`LAB\svc_app`, `svc_app@lab.example`, `lab\SVC_APP`, `lab.example\svc_app`}

// Practice builds domain LAB with its controller DC01 and members SRV1, SRV2
// and so on, which run services, tasks and pools as LAB\svc_app beside others
// that a rotation must leave alone.
func Practice(o PracticeOptions) (*Fleet, error) {
	f := &Fleet{Domain: NewDomain(PracticeDomain, PracticeDNS, practicePolicy)}
	w := practiceWriter{options: o, fleet: f}
	f.Admin, f.Service = w.password(), w.password()
	w.reports = w.password()
	f.Domain.Add(User{Sam: "Administrator", RID: 500, Password: w.password()})
	f.Domain.Add(User{Sam: "admin", RID: 1103, Password: f.Admin})
	f.Domain.Add(User{Sam: "svc_app", RID: 1104, Password: f.Service})
	f.Domain.Add(User{Sam: "svc_reports", RID: 1105, Password: w.reports})
	f.Domain.Add(User{Sam: "gapp$", RID: 1106, Password: w.password(), Managed: true})
	f.DC = w.controller()
	for i := range o.Servers {
		f.Servers = append(f.Servers, w.server(i))
	}
	if w.err != nil {
		return nil, fmt.Errorf("practice fleet: %w", w.err)
	}
	return f, nil
}

type practiceWriter struct {
	options PracticeOptions
	fleet   *Fleet
	reports secret.Value
	err     error
}

// passwordLetters leaves out what reads alike.
const passwordLetters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// password draws 20 letters and digits; the first failure is kept.
func (w *practiceWriter) password() secret.Value {
	b := make([]byte, 0, 20)
	one := make([]byte, 1)
	for len(b) < cap(b) && w.err == nil {
		if _, err := io.ReadFull(w.options.Random, one); err != nil {
			w.err = fmt.Errorf("draw a password: %w", err)
		}
		// 224 is four times the letters: no letter is likelier than another.
		if n := len(passwordLetters); int(one[0]) < 4*n {
			b = append(b, passwordLetters[int(one[0])%n])
		}
	}
	return secret.New(b)
}

func (w *practiceWriter) machine(name string, dc bool) *Machine {
	return NewMachine(MachineSpec{
		Name: name, Clock: w.options.Clock, Domain: w.fleet.Domain, DC: dc, NoIIS: dc,
		Policy: practicePolicy, Session: PracticeAdmin,
	})
}

func (w *practiceWriter) controller() *Machine {
	m := w.machine("DC01", true)
	for _, n := range []string{"NTDS", "DNS", "Netlogon"} {
		m.AddService(ServiceSpec{Name: n, StartName: "LocalSystem"}, Running)
	}
	return m
}

func (w *practiceWriter) server(i int) *Machine {
	m := w.machine(fmt.Sprintf("SRV%d", i+1), false)
	twin := w.password()
	m.Local().Add(User{Sam: "Administrator", RID: 500, Password: w.password()})
	m.Local().Add(User{Sam: "svc_app", RID: 1001, Password: twin})
	w.services(m, spellings[i%len(spellings)], i)
	w.neighbours(m, twin)
	w.tasks(m, spellings[i%len(spellings)])
	w.pools(m, spellings[i%len(spellings)])
	return m
}

func (w *practiceWriter) faults() ServiceFaults {
	return ServiceFaults{StartDelay: w.options.StartDelay, StopDelay: w.options.StopDelay}
}

// services are those of LAB\svc_app and what depends on them.
func (w *practiceWriter) services(m *Machine, runAs string, i int) {
	add := func(s ServiceSpec, state State) {
		s.Faults = w.faults()
		m.AddService(s, state)
	}
	mine := func(name, display, mode string) ServiceSpec {
		return ServiceSpec{Name: name, Display: display, StartName: runAs, Password: w.fleet.Service, StartMode: mode}
	}
	add(mine("OrdersApi", "Orders API", Auto), Running)
	add(mine("OrdersImport", "Orders Import", Manual), Stopped)
	add(mine("OrdersLegacy", "Orders Legacy Bridge", Disabled), Stopped)
	add(ServiceSpec{Name: "OrdersMonitor", Display: "Orders Monitor", DependsOn: []string{"OrdersApi"}}, Running)
	switch i {
	case 1:
		add(ServiceSpec{Name: "OrdersCache", Display: "Orders Cache", DependsOn: []string{"OrdersApi"}, CanPause: true}, Paused)
	case 2:
		add(ServiceSpec{Name: "OrdersArchive", Display: "Orders Archive", DependsOn: []string{"OrdersApi"}}, Stopped)
	}
}

// neighbours run as others and must stay as they are.
func (w *practiceWriter) neighbours(m *Machine, twin secret.Value) {
	for _, s := range []ServiceSpec{
		{Name: "Spooler", Display: "Print Spooler", StartName: "LocalSystem"},
		{Name: "Dnscache", Display: "DNS Client", StartName: `NT AUTHORITY\NetworkService`},
		{Name: "Reports", Display: "Reports", StartName: `LAB\svc_reports`, Password: w.reports},
		{Name: "Scanner", Display: "Document Scanner", StartName: `.\svc_app`, Password: twin},
		{Name: "Telemetry", Display: "Telemetry", StartName: `NT SERVICE\Telemetry`},
		{Name: "Ledger", Display: "Ledger", StartName: `LAB\gapp$`},
	} {
		s.Faults = w.faults()
		m.AddService(s, Running)
	}
}

func (w *practiceWriter) tasks(m *Machine, runAs string) {
	m.AddTask(TaskSpec{Path: `\Orders\Nightly export`, UserID: runAs, Password: w.fleet.Service})
	m.AddTask(TaskSpec{Path: `\Microsoft\Windows\Defrag\ScheduledDefrag`, UserID: "S-1-5-18", LogonType: "ServiceAccount"})
	m.AddTask(TaskSpec{Path: `\Reports\Weekly`, UserID: `LAB\svc_reports`, Password: w.reports})
	m.AddTask(TaskSpec{Path: `\Orders\Cleanup`, UserID: runAs, LogonType: "S4U"})
}

func (w *practiceWriter) pools(m *Machine, runAs string) {
	m.AddPool(PoolSpec{Name: "Orders", IdentityType: PoolSpecificUser, UserName: runAs, Password: w.fleet.Service, Workers: 1})
	m.AddPool(PoolSpec{
		Name: "Orders Old", IdentityType: PoolSpecificUser, UserName: runAs, Password: w.fleet.Service, Stopped: true,
	})
	m.AddPool(PoolSpec{Name: "DefaultAppPool", IdentityType: PoolIdentityVirtual, Workers: 1})
	m.AddDirectory(DirectorySpec{Site: "Orders", App: "/", Path: "/files", UserName: runAs, Password: w.fleet.Service})
	m.AddAnonymous(AnonymousSpec{UserName: "IUSR"})
	m.AddAnonymous(AnonymousSpec{Location: "Orders/public", UserName: runAs, Password: w.fleet.Service})
}
