package model

import (
	"maps"
	"slices"
	"time"
)

// A Process is a process as Win32_Process shows it.
type Process struct {
	PID     int    `json:"pid"`
	Parent  int    `json:"parent"`
	Image   string `json:"image"`
	Owner   string `json:"ownerSid"`
	Started string `json:"started"`
}

// Processes lists all processes by id.
func (m *Machine) Processes() ([]Process, error) {
	all := []Process{}
	err := m.call(func(time.Time) error {
		for _, pid := range slices.Sorted(maps.Keys(m.processes)) {
			p := m.processes[pid]
			all = append(all, Process{pid, p.parent, p.image, p.owner, Stamp(p.started)})
		}
		return nil
	})
	return all, err
}

// SpawnChild starts a process of a parent, owned by a SID, and returns its id.
// Parent 0 is nobody.
func (m *Machine) SpawnChild(parent int, ownerSID, image string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	pid := m.spawn(ownerSID, image, m.clock.Now())
	p := m.processes[pid]
	p.parent = parent
	m.processes[pid] = p
	return pid
}

// EndProcesses ends every process of an image; it is for those of no service.
func (m *Machine) EndProcesses(image string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.processes, func(_ int, p process) bool { return p.image == image })
}

// An Application is a COM+ application, or a DCOM server with a RunAs.
type Application struct {
	Name  string `json:"name"`
	ID    string `json:"id"` // {guid}
	RunAs string `json:"runAs"`
	DCOM  bool   `json:"dcom,omitempty"`
}

// AddApplication adds a COM+ application or a DCOM server.
func (m *Machine) AddApplication(a Application) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applications = append(m.applications, a)
}

// RemoveApplication deletes the applications with an id, if there are any.
func (m *Machine) RemoveApplication(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applications = slices.DeleteFunc(m.applications, func(a Application) bool { return a.ID == id })
}

// Applications lists COM+ applications and DCOM servers, oldest first.
func (m *Machine) Applications() ([]Application, error) {
	all := []Application{}
	err := m.call(func(time.Time) error {
		all = append(all, m.applications...)
		return nil
	})
	return all, err
}

// Places outside of services, tasks and IIS' own users that store a password. Any
// other place is the web.config of an application, site and path, with an
// <identity> of its own.
const (
	PlaceAutologon    = "autologon"
	PlaceCertificates = "central_certificates"
	PlaceRedirection  = "redirection" // of a shared IIS configuration
)

// StoreElsewhere stores a user and its password in a place.
func (m *Machine) StoreElsewhere(place, user string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.elsewhere[place] = user
}

// Elsewhere is who is stored in which place.
func (m *Machine) Elsewhere() (map[string]string, error) {
	var all map[string]string
	err := m.call(func(time.Time) error {
		all = maps.Clone(m.elsewhere)
		return nil
	})
	return all, err
}

// PoolFailures are the events with which the activation service said why it
// stopped a pool, oldest first.
func (m *Machine) PoolFailures() ([]Event, error) {
	all := []Event{}
	err := m.call(func(time.Time) error {
		for _, e := range m.events {
			if e.Kind == PoolStopped {
				all = append(all, e)
			}
		}
		return nil
	})
	return all, err
}
