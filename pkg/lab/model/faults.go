package model

import (
	"strings"

	"keyturn/pkg/secret"
)

type logonKey struct {
	sid string
	typ int
}

type machineFaults struct {
	cut             bool
	domainLost      bool
	storageDisabled bool
	taskServiceDown bool
	wasDown         bool
	stale           map[string]secret.Value // passwords of the domain as a lagging replica knows them
	logon           map[logonKey]Errno
	names           map[string]Named
	denied          map[logonKey]bool
	commit          []HResult
}

// Cut makes every following call fail with [ErrCut]: the machine, or whoever
// talks to it, is gone. Services keep their state.
func (m *Machine) Cut() { m.bend(func(f *machineFaults) { f.cut = true }) }

// Mend ends Cut.
func (m *Machine) Mend() { m.bend(func(f *machineFaults) { f.cut = false }) }

// Lag freezes what this machine believes the domain's passwords to be.
func (m *Machine) Lag() {
	if m.domain == nil {
		return
	}
	stale := m.domain.passwords()
	m.bend(func(f *machineFaults) { f.stale = stale })
}

// CatchUp ends Lag.
func (m *Machine) CatchUp() { m.bend(func(f *machineFaults) { f.stale = nil }) }

// LoseDomain makes the machine find no domain controller: domain names no
// longer translate and domain accounts do not log on.
func (m *Machine) LoseDomain() { m.bend(func(f *machineFaults) { f.domainLost = true }) }

// FindDomain ends LoseDomain.
func (m *Machine) FindDomain() { m.bend(func(f *machineFaults) { f.domainLost = false }) }

// Restrict makes logons of a type fail with code although the password is
// right; [OK] lifts it. 1385 is a missing right.
func (m *Machine) Restrict(sid string, logonType int, code Errno) {
	m.bend(func(f *machineFaults) { f.logon[logonKey{sid, logonType}] = code })
}

// Deny makes logons of a type fail with 1385 whatever rights the account has, as
// the "Deny log on" policies do.
func (m *Machine) Deny(sid string, logonType int) {
	m.bend(func(f *machineFaults) { f.denied[logonKey{sid, logonType}] = true })
}

// NameAs makes LSA translate one more name: an old name, an Entra account.
func (m *Machine) NameAs(name string, n Named) {
	m.bend(func(f *machineFaults) { f.names[strings.ToLower(name)] = n })
}

// DisableStorage is the policy that tasks cannot store passwords.
func (m *Machine) DisableStorage() { m.bend(func(f *machineFaults) { f.storageDisabled = true }) }

// StopTaskService makes every call to the Task Scheduler fail.
func (m *Machine) StopTaskService() { m.bend(func(f *machineFaults) { f.taskServiceDown = true }) }

// StopWAS takes the process activation service of IIS away: pools have no state.
func (m *Machine) StopWAS() { m.bend(func(f *machineFaults) { f.wasDown = true }) }

// FailCommits makes the next commits of the IIS configuration fail, one each.
func (m *Machine) FailCommits(codes ...HResult) {
	m.bend(func(f *machineFaults) { f.commit = append(f.commit, codes...) })
}

// SetSession says as whom callers are logged in from now on.
func (m *Machine) SetSession(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session = name
}

func (m *Machine) bend(change func(f *machineFaults)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.faults)
}
