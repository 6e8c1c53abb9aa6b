package model

import (
	"slices"
	"strings"
	"time"

	"keyturn/pkg/secret"
)

// A State is the state of a service, in the words of ServiceController.
type State string

// The states.
const (
	Stopped         State = "Stopped"
	StartPending    State = "StartPending"
	StopPending     State = "StopPending"
	Running         State = "Running"
	ContinuePending State = "ContinuePending"
	PausePending    State = "PausePending"
	Paused          State = "Paused"
)

// Start modes of services.
const (
	Auto     = "Auto"
	Manual   = "Manual"
	Disabled = "Disabled"
)

// Types of services.
const (
	OwnProcess   = 16
	ShareProcess = 32
	PerUser      = 0xE0 // an instance in one user's session
)

// neverStarted is the exit code of a service that was not started since boot.
const neverStarted Errno = 1077

// Forever is a delay that does not end.
const Forever = time.Duration(1<<63 - 1)

// A ServiceSpec describes a service; its zero value is a stopped one that runs
// as LocalSystem.
type ServiceSpec struct {
	Name      string
	Display   string // "" is Name
	StartName string
	Password  secret.Value // what the service manager stores
	StartMode string       // "" is Auto
	Type      int          // 0 is OwnProcess
	Process   string       // services of one Process share it
	DependsOn []string
	Fixed     bool // does not accept a stop
	CanPause  bool
	Managed   bool // ServiceAccountManaged: Windows changes its password itself
	Clustered bool // a failover cluster looks after it
	Delayed   bool // starts some time after boot; its start mode is Auto all the same
	LoadGroup string
	Faults    ServiceFaults
}

// ServiceFaults are how a service misbehaves.
type ServiceFaults struct {
	StartDelay   time.Duration // in StartPending
	StopDelay    time.Duration // in StopPending
	StartCodes   []Errno       // what the next starts answer, one each, instead of starting
	StopCode     Errno         // what every stop answers
	ChangeCode   int           // what Win32_Service.Change answers; 0 works
	DieAfter     time.Duration // stops by itself, that long after it started
	RestartAfter time.Duration // with DieAfter: its failure action starts it again
	Deleted      bool          // marked for delete
}

type service struct {
	ServiceSpec
	state     State
	due       time.Time // when a pending state ends, or a running service dies; zero: never
	pid       int
	backup    secret.Value
	starts    int
	stops     int
	restarts  int
	crashed   bool // stopped by itself: due starts it again
	wasAsked  bool // stopped by a control, so the next start is a restart
	lastError Errno
}

// AddService adds a service in a state: Running starts it without a logon, as
// if it had been running since before the account's password mattered.
func (m *Machine) AddService(spec ServiceSpec, state State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if spec.StartMode == "" {
		spec.StartMode = Auto
	}
	if spec.Type == 0 {
		spec.Type = OwnProcess
	}
	if spec.Display == "" {
		spec.Display = spec.Name
	}
	spec.Password = spec.Password.Clone()
	s := &service{ServiceSpec: spec, state: state}
	if m.services[strings.ToLower(spec.Name)] != nil {
		panic("model: service " + spec.Name + " exists")
	}
	m.services[strings.ToLower(spec.Name)] = s
	if state == Stopped {
		s.lastError = neverStarted
		return
	}
	if other := m.sharer(s); other != nil {
		s.pid = other.pid
	} else {
		s.pid = m.spawn(m.identify(s.StartName).sid, strings.ToLower(s.Name)+".exe", m.clock.Now())
	}
	if state == StartPending || state == StopPending {
		s.due = dueIn(m.clock.Now(), spec.Faults.StartDelay)
	}
}

// ConfigureService changes a service in place: its faults, its identity.
func (m *Machine) ConfigureService(name string, change func(s *ServiceSpec)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.services[strings.ToLower(name)]
	if s == nil {
		panic("model: no service " + name)
	}
	old := s.Password
	change(&s.ServiceSpec)
	if !s.Password.Equal(old) {
		s.Password = s.Password.Clone()
	}
}

// RemoveService uninstalls a service.
func (m *Machine) RemoveService(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.services, strings.ToLower(name))
}

// A Service is a service as the service manager and WMI show it.
type Service struct {
	Name       string   `json:"name"`
	Display    string   `json:"display"`
	StartName  string   `json:"startName"`
	State      State    `json:"state"`
	StartMode  string   `json:"startMode"`
	PID        int      `json:"pid"`
	Started    string   `json:"started"` // of its process, RFC 3339, or ""
	CanStop    bool     `json:"canStop"`
	CanPause   bool     `json:"canPause"`
	Type       int      `json:"type"`
	Exit       uint32   `json:"exit"` // Win32 code of its last end or failed start; 1077: never started
	Managed    bool     `json:"managed,omitempty"`
	Clustered  bool     `json:"clustered,omitempty"`
	DependsOn  []string `json:"dependsOn"`
	Dependents []string `json:"dependents"` // all that need it, directly or not; whom to stop first comes first
}

// Services lists all services by name.
func (m *Machine) Services() ([]Service, error) {
	var all []Service
	err := m.call(func(time.Time) error {
		for _, s := range m.servicesByName() {
			all = append(all, m.show(s))
		}
		return nil
	})
	return all, err
}

// Service shows one service; error 1060 when there is none.
func (m *Machine) Service(name string) (Service, error) {
	var one Service
	err := m.call(func(time.Time) error {
		s := m.services[strings.ToLower(name)]
		if s == nil {
			return ServiceNotFound
		}
		one = m.show(s)
		return nil
	})
	return one, err
}

func (m *Machine) servicesByName() []*service {
	all := make([]*service, 0, len(m.services))
	for _, s := range m.services {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *service) int { return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return all
}

func (m *Machine) show(s *service) Service {
	v := Service{
		Name: s.Name, Display: s.Display, StartName: s.StartName, State: s.state, StartMode: s.StartMode, PID: s.pid,
		Type: s.Type, Exit: uint32(s.lastError), Managed: s.Managed, Clustered: s.Clustered,
		DependsOn: append([]string{}, s.DependsOn...), Dependents: []string{},
		// A service that is not up accepts no control at all.
		CanStop:  !s.Fixed && (s.state == Running || s.state == Paused),
		CanPause: s.CanPause && (s.state == Running || s.state == Paused),
	}
	if s.pid != 0 {
		v.Started = Stamp(m.processes[s.pid].started)
	}
	for _, d := range m.dependents(s) {
		v.Dependents = append(v.Dependents, d.Name)
	}
	return v
}

// Stamp is a time as the protocol and the script contract write it.
func Stamp(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// dependents are all services that need s, directly or not, in an order in
// which they can be stopped.
func (m *Machine) dependents(s *service) []*service {
	var order []*service
	seen := map[*service]bool{s: true}
	var visit func(*service)
	visit = func(x *service) {
		for _, d := range m.servicesByName() {
			if !seen[d] && slices.ContainsFunc(d.DependsOn, func(n string) bool { return strings.EqualFold(n, x.Name) }) {
				seen[d] = true
				visit(d)
				order = append(order, d)
			}
		}
	}
	visit(s)
	return order
}

// ChangeService is Win32_Service.Change with a name and a password, and answers
// with its code. The password is not checked. An empty name is LocalSystem.
func (m *Machine) ChangeService(name, startName string, password secret.Value) (int, error) {
	var code int
	err := m.call(func(now time.Time) error {
		s := m.services[strings.ToLower(name)]
		if s == nil {
			return ServiceNotFound
		}
		if code = m.changeCode(s, startName, password); code == 0 {
			s.StartName = startName
			s.backup, s.Password = s.Password, password.Clone()
		}
		m.record(now, ServiceChanged, s.Name, 0, uint32(code)) //nolint:gosec // a code of 0 to 24
		return nil
	})
	return code, err
}

func (m *Machine) changeCode(s *service, startName string, password secret.Value) int {
	id := m.identify(startName)
	switch {
	case s.Faults.ChangeCode != 0:
		return s.Faults.ChangeCode
	case s.Faults.Deleted:
		return 16
	case s.Delayed && s.LoadGroup != "" && !m.spec.Readings.DelayedGroupChanges:
		return 21
	case id.class == unresolved && !strings.EqualFold(startName, s.StartName):
		return 22
	case m.spec.Readings.ChangeValidates && m.logOnAs(id, password, LogonNetwork) == LogonFailure:
		return 15
	}
	return 0
}
