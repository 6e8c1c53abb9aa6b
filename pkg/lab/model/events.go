package model

import "time"

// An EventKind says what happened.
type EventKind string

// The kinds of event.
const (
	ServiceStarting EventKind = "service_starting"
	ServiceStarted  EventKind = "service_started"
	ServiceStopping EventKind = "service_stopping"
	ServiceStopped  EventKind = "service_stopped"
	ServicePaused   EventKind = "service_paused"
	ServiceFailed   EventKind = "service_failed" // a start that failed, or a crash
	ServiceChanged  EventKind = "service_changed"
	TaskRegistered  EventKind = "task_registered"
	TaskRefused     EventKind = "task_refused"
	TaskStarted     EventKind = "task_started"
	TaskFailed      EventKind = "task_failed"
	PoolCommitted   EventKind = "pool_committed"
	PoolRecycled    EventKind = "pool_recycled"
	PoolStopped     EventKind = "pool_stopped"
	LoggedOn        EventKind = "logged_on"
	LogonFailed     EventKind = "logon_failed"
	PasswordSet     EventKind = "password_set"
	AccountUnlocked EventKind = "account_unlocked"
	RightGranted    EventKind = "right_granted"
)

// An Event is one thing that happened on a machine. It holds no password.
type Event struct {
	Time    time.Time `json:"time"`
	Machine string    `json:"machine"`
	Kind    EventKind `json:"kind"`
	Name    string    `json:"name"`           // of the service, task, pool or account
	ID      int       `json:"id,omitempty"`   // of the Windows event, where there is one
	Code    uint32    `json:"code,omitempty"` // Win32 code or HRESULT of a failure
}

// Hook has f called with every event, after the call that caused it and outside
// all locks. A service that is slow to stop has stopped when somebody looks.
func (m *Machine) Hook(f func(Event)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = f
}

// Events is everything that happened so far, oldest first.
func (m *Machine) Events() []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Event(nil), m.events...)
}

// Events older than this many are forgotten: a lab may run for days.
const maxEvents = 10_000

func (m *Machine) record(now time.Time, kind EventKind, name string, id int, code uint32) {
	e := Event{Time: now.UTC(), Machine: m.spec.Name, Kind: kind, Name: name, ID: id, Code: code}
	m.fresh = append(m.fresh, e)
	m.events = append(m.events, e)
	if len(m.events) > maxEvents {
		m.events = append([]Event(nil), m.events[maxEvents/2:]...)
	}
}
