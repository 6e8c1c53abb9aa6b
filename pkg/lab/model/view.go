package model

import (
	"time"

	"keyturn/pkg/secret"
)

// A MachineView is what a machine looks like, for people and for tests. It
// holds no password.
type MachineView struct {
	Name     string        `json:"name"`
	Domain   string        `json:"domain,omitempty"`
	DC       bool          `json:"dc,omitempty"`
	Services []ServiceView `json:"services"`
	Tasks    []TaskView    `json:"tasks"`
	Pools    []PoolView    `json:"pools"`

	Directories []PlaceView `json:"directories"` // virtual directories that connect as somebody
	Anonymous   []PlaceView `json:"anonymous"`   // whom anonymous requests run as
}

// A PlaceView is a virtual directory or an anonymous user with what only the
// model knows of it.
type PlaceView struct {
	Name         string `json:"name"`
	RunAs        string `json:"runAs"`
	Inherits     bool   `json:"inherits,omitempty"` // stores no password of its own
	CredentialOK bool   `json:"credentialOk"`
	StoresSecret bool   `json:"storesSecret"`
}

// A ServiceView is a service with what only the model knows of it.
type ServiceView struct {
	Name         string `json:"name"`
	Display      string `json:"display"`
	RunAs        string `json:"runAs"`
	State        State  `json:"state"`
	StartMode    string `json:"startMode"`
	PID          int    `json:"pid,omitempty"`
	Started      string `json:"started,omitempty"`
	Starts       int    `json:"starts"`
	Stops        int    `json:"stops"`
	Restarts     int    `json:"restarts"`
	CredentialOK bool   `json:"credentialOk"` // what is stored would log on now
	StoresSecret bool   `json:"storesSecret"` // its identity needs a password at all
	LastError    uint32 `json:"lastError,omitempty"`
}

// A TaskView is a task with what only the model knows of it.
type TaskView struct {
	Path         string `json:"path"`
	RunAs        string `json:"runAs"`
	LogonType    string `json:"logonType"`
	State        string `json:"state"` // Disabled, Ready, Running
	Registered   int    `json:"registered"`
	Runs         int    `json:"runs"`
	LastResult   uint32 `json:"lastResult"`
	CredentialOK bool   `json:"credentialOk"`
	StoresSecret bool   `json:"storesSecret"`
}

// A PoolView is an application pool with what only the model knows of it.
type PoolView struct {
	Name         string `json:"name"`
	RunAs        string `json:"runAs"`
	State        string `json:"state"`
	Workers      []int  `json:"workers"`
	Recycles     int    `json:"recycles"`
	Inherits     bool   `json:"inherits,omitempty"` // stores no password of its own
	CredentialOK bool   `json:"credentialOk"`
	StoresSecret bool   `json:"storesSecret"`
}

// View shows the machine, cut off or not.
func (m *Machine) View() MachineView {
	m.mu.Lock()
	m.settle(m.clock.Now())
	defer m.unlockAndTell()
	v := MachineView{
		Name: m.spec.Name, DC: m.spec.DC,
		Services: []ServiceView{}, Tasks: []TaskView{}, Pools: []PoolView{},
		Directories: []PlaceView{}, Anonymous: []PlaceView{},
	}
	if m.domain != nil {
		v.Domain = m.domain.name
	}
	for _, s := range m.servicesByName() {
		v.Services = append(v.Services, m.viewService(s))
	}
	for _, t := range m.tasksByPath() {
		v.Tasks = append(v.Tasks, m.viewTask(t))
	}
	for _, p := range m.poolsByName() {
		v.Pools = append(v.Pools, m.viewPool(p))
	}
	for _, d := range m.iis.directories {
		v.Directories = append(v.Directories, m.viewPlace(d.Name(), d.UserName, d.Password, d.Inherits))
	}
	for _, a := range m.iis.anonymous {
		v.Anonymous = append(v.Anonymous, m.viewPlace(a.Name(), a.UserName, a.Password, a.Inherits))
	}
	return v
}

// Service finds a service of the view by name.
func (v MachineView) Service(name string) ServiceView {
	for _, s := range v.Services {
		if s.Name == name {
			return s
		}
	}
	return ServiceView{}
}

// Task finds a task of the view by path.
func (v MachineView) Task(path string) TaskView {
	for _, t := range v.Tasks {
		if t.Path == path {
			return t
		}
	}
	return TaskView{}
}

// Pool finds a pool of the view by name.
func (v MachineView) Pool(name string) PoolView {
	for _, p := range v.Pools {
		if p.Name == name {
			return p
		}
	}
	return PoolView{}
}

func (m *Machine) viewService(s *service) ServiceView {
	id := m.omniscient(s.StartName)
	v := ServiceView{
		Name: s.Name, Display: s.Display, RunAs: s.StartName, State: s.state, StartMode: s.StartMode, PID: s.pid,
		Starts: s.starts, Stops: s.stops, Restarts: s.restarts, LastError: lastError(s),
		CredentialOK: m.wouldLogOn(id, s.Password), StoresSecret: id.class == ordinary,
	}
	if v.RunAs == "" {
		v.RunAs = "LocalSystem"
	}
	if s.pid != 0 {
		v.Started = Stamp(m.processes[s.pid].started)
	}
	return v
}

func (m *Machine) viewTask(t *task) TaskView {
	p := m.principalOf(t)
	id := m.omniscient(p.UserID)
	v := TaskView{
		Path: t.Path, RunAs: p.UserID, LogonType: p.LogonType, LastResult: t.lastResult,
		Registered: t.registered, Runs: t.runs, StoresSecret: p.Stores() && id.class == ordinary, CredentialOK: true,
	}
	if v.RunAs == "" {
		v.RunAs = p.GroupID
	}
	if v.StoresSecret {
		v.CredentialOK = m.wouldLogOn(id, m.taskCreds[m.credentialKey(t, id)])
	}
	switch showTask(t).State {
	case 1:
		v.State = "Disabled"
	case 4:
		v.State = "Running"
	default:
		v.State = "Ready"
	}
	return v
}

func (m *Machine) viewPool(p *pool) PoolView {
	id := m.poolIdentity(p)
	v := PoolView{
		Name: p.Name, RunAs: p.UserName, State: "Started", Workers: append([]int{}, p.workers...),
		Recycles: p.recycles, Inherits: p.Inherits,
		CredentialOK: m.wouldLogOn(id, p.Password), StoresSecret: p.IdentityType == PoolSpecificUser && id.class == ordinary,
	}
	if p.IdentityType != PoolSpecificUser {
		v.RunAs = id.account
	}
	if p.Stopped {
		v.State = "Stopped"
	}
	return v
}

func (m *Machine) viewPlace(name, user string, password secret.Value, inherits bool) PlaceView {
	v := PlaceView{Name: name, RunAs: user, Inherits: inherits}
	if user == "" { // the caller, or the pool
		return v
	}
	id := m.omniscient(user)
	v.CredentialOK, v.StoresSecret = m.wouldLogOn(id, password), id.class == ordinary
	return v
}

func lastError(s *service) uint32 {
	if s.lastError == neverStarted {
		return 0
	}
	return uint32(s.lastError)
}

// omniscient resolves a name as if the domain could be reached.
func (m *Machine) omniscient(runAs string) identity {
	lost := m.faults.domainLost
	m.faults.domainLost = false
	id := m.identify(runAs)
	m.faults.domainLost = lost
	return id
}

// Settle lets everything happen that is due, without asking for anything.
func (m *Machine) Settle() {
	m.mu.Lock()
	m.settle(m.clock.Now())
	m.unlockAndTell()
}

// Now is the machine's time.
func (m *Machine) Now() time.Time { return m.clock.Now() }
