package model

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"keyturn/pkg/secret"
)

// A Domain is an Active Directory domain as its machines see it.
type Domain struct {
	*SAM
	dns string
}

// NewDomain makes a domain; its SID comes from its name.
func NewDomain(name, dns string, p Policy) *Domain {
	return &Domain{SAM: newSAM(name, domainSID(name), p), dns: dns}
}

// DNS is the domain's DNS name, the suffix of its user principal names.
func (d *Domain) DNS() string { return d.dns }

// Readings are the points where sources contradict each other about Windows.
// The zero value is the more likely reading of each.
type Readings struct {
	CredentialPerTask   bool // tasks store a password each, not one per account
	ServiceBackup       bool // a service whose password fails is tried with the one before
	ChangeValidates     bool // Win32_Service.Change tries the password: 15 for a wrong one, which counts
	TaskUserRewritten   bool // registering a task writes the user's name as it was given, not as it was stored
	DelayedGroupChanges bool // Change takes a password for a delayed-auto service in a load order group
}

// A MachineSpec describes a machine to make.
type MachineSpec struct {
	Name        string
	Clock       Clock
	Domain      *Domain // nil: a workgroup
	DC          bool    // a controller of Domain: its local accounts are the domain's
	GUID        string  // "" makes one from the name
	OS          string  // "" is 10.0.20348
	NoIIS       bool
	Policy      Policy // of the local accounts
	Session     string // who callers are logged in as; "" is LocalSystem
	Filtered    bool   // the session's token is not elevated
	Constrained bool   // PowerShell runs in Constrained Language
	Readings    Readings
}

// Bend changes what callers are allowed on the machine: its Session, Filtered and
// Constrained. The rest of a machine does not change once it is made.
func (m *Machine) Bend(change func(s *MachineSpec)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.spec
	change(&s)
	m.spec.Session, m.spec.Filtered, m.spec.Constrained = s.Session, s.Filtered, s.Constrained
}

// A Machine is one Windows machine. Its calls mirror protocol.md; what tests
// bend is in the methods of faults.go.
type Machine struct {
	spec   MachineSpec
	clock  Clock
	domain *Domain
	local  *SAM

	mu        sync.Mutex
	services  map[string]*service // by lower-case name
	tasks     map[string]*task    // by lower-case path
	taskCreds map[string]secret.Value
	logs      map[string][]string // event logs by lower-case name, as XML
	pools     map[string]*pool
	iis       iis
	processes map[int]process
	nextPID   int
	events    []Event
	fresh     []Event // not handed to the hook yet
	hook      func(Event)
	faults    machineFaults
	session   string
	locks     map[string]bool

	applications []Application
	elsewhere    map[string]string // users by place
}

type process struct {
	owner   string
	image   string // of the executable: orders.exe
	parent  int
	started time.Time
}

// NewMachine makes a machine without services, tasks or pools.
func NewMachine(spec MachineSpec) *Machine {
	if spec.OS == "" {
		spec.OS = "10.0.20348"
	}
	if spec.GUID == "" {
		h := sha256.Sum256([]byte("machine " + spec.Name))
		spec.GUID = fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
	}
	m := &Machine{
		spec: spec, clock: spec.Clock, domain: spec.Domain, session: spec.Session,
		services: map[string]*service{}, tasks: map[string]*task{}, taskCreds: map[string]secret.Value{},
		pools: map[string]*pool{}, processes: map[int]process{}, nextPID: 800, locks: map[string]bool{},
		elsewhere: map[string]string{},
	}
	if spec.DC {
		m.local = spec.Domain.SAM
	} else {
		m.local = newSAM(spec.Name, domainSID("machine "+spec.Name), spec.Policy)
	}
	m.faults.logon = map[logonKey]Errno{}
	m.faults.names = map[string]Named{}
	m.faults.denied = map[logonKey]bool{}
	return m
}

// domainSID makes a stable S-1-5-21-a-b-c of a name.
func domainSID(name string) string {
	h := sha256.Sum256([]byte(name))
	part := func(i int) uint32 { return binary.LittleEndian.Uint32(h[i:]) }
	return fmt.Sprintf("S-1-5-21-%d-%d-%d", part(0), part(4), part(8))
}

// Name is the machine's NetBIOS name.
func (m *Machine) Name() string { return m.spec.Name }

// Clock is the clock the machine lives by.
func (m *Machine) Clock() Clock { return m.clock }

// Local holds the machine's own accounts; on a domain controller the domain's.
func (m *Machine) Local() *SAM { return m.local }

// Info is who a machine is.
type Info struct {
	Name             string `json:"name"`
	Domain           string `json:"domain"`
	DC               bool   `json:"dc"`
	GUID             string `json:"guid"`
	OS               string `json:"os"`
	User             string `json:"user"`
	UserSID          string `json:"userSid"`
	Elevated         bool   `json:"elevated"`
	LockoutThreshold int    `json:"lockoutThreshold"` // of the domain, or else of the local accounts
	LocalThreshold   int    `json:"localThreshold"`
	StorageDisabled  bool   `json:"storageDisabled"`
	IIS              bool   `json:"iis"`
	Constrained      bool   `json:"constrained,omitempty"` // PowerShell runs in Constrained Language
}

// Info tells who the machine is and as whom the caller is logged in.
func (m *Machine) Info() (Info, error) {
	var i Info
	err := m.call(func(time.Time) error {
		i = Info{
			Name: m.spec.Name, DC: m.spec.DC, GUID: m.spec.GUID, OS: m.spec.OS, Elevated: !m.spec.Filtered,
			Constrained: m.spec.Constrained,
			IIS:         !m.spec.NoIIS, StorageDisabled: m.faults.storageDisabled,
			LockoutThreshold: m.local.Threshold(), LocalThreshold: m.local.Threshold(),
		}
		if m.domain != nil {
			i.Domain, i.LockoutThreshold = m.domain.name, m.domain.Threshold()
		}
		id := m.identify(m.session)
		i.User, i.UserSID = id.account, id.sid
		return nil
	})
	return i, err
}

// Lock takes the machine-wide mutex of that name, unless somebody holds it. A
// process that ends gives its mutexes back, so release works on a cut machine.
func (m *Machine) Lock(name string) (release func(), ok bool, err error) {
	err = m.call(func(time.Time) error {
		ok = !m.locks[name]
		m.locks[name] = true
		return nil
	})
	if err != nil || !ok {
		return func() {}, false, err
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locks, name)
	}, true, nil
}

// Threshold is how many wrong attempts lock an account; 0 is never.
func (s *SAM) Threshold() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.policy.LockoutThreshold
}

// Process tells who owns a process and when it started; error 87 when there is
// no such process.
func (m *Machine) Process(pid int) (ownerSID string, started time.Time, err error) {
	err = m.call(func(time.Time) error {
		p, ok := m.processes[pid]
		if !ok {
			return InvalidParameter
		}
		ownerSID, started = p.owner, p.started
		return nil
	})
	return ownerSID, started, err
}

// Kill ends a process from outside, and the services in it; error 87 when there
// is no such process. Their failure actions may start them again.
func (m *Machine) Kill(pid int) error {
	return m.call(func(now time.Time) error {
		if _, ok := m.processes[pid]; !ok {
			return InvalidParameter
		}
		for _, s := range m.servicesByName() {
			if s.pid == pid {
				m.dies(s, now)
			}
		}
		delete(m.processes, pid)
		return nil
	})
}

// Spawn starts a process of nobody's, owned by a SID, and returns its id.
func (m *Machine) Spawn(ownerSID string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.spawn(ownerSID, "other.exe", m.clock.Now())
}

func (m *Machine) spawn(owner, image string, now time.Time) int {
	m.nextPID += 4
	m.processes[m.nextPID] = process{owner: owner, image: image, started: now.UTC().Truncate(time.Second)}
	return m.nextPID
}

// call runs f on the machine as it is now, then tells the hook what happened.
func (m *Machine) call(f func(now time.Time) error) error {
	m.mu.Lock()
	if m.faults.cut {
		m.mu.Unlock()
		return ErrCut
	}
	now := m.clock.Now()
	m.settle(now)
	err := f(now)
	m.unlockAndTell()
	return err
}

// unlockAndTell releases the lock and then calls the hook: a hook may call the
// machine again, cut it or end a context.
func (m *Machine) unlockAndTell() {
	fresh, hook := m.fresh, m.hook
	m.fresh = nil
	m.mu.Unlock()
	if hook == nil {
		return
	}
	for _, e := range fresh {
		hook(e)
	}
}
