package model

import (
	"strings"
	"time"
)

// A Verb is a control of a service.
type Verb string

// The verbs.
const (
	Start    Verb = "start"
	Stop     Verb = "stop"
	Pause    Verb = "pause"
	Continue Verb = "continue"
)

// Control starts, stops, pauses or continues a service and returns as soon as
// the service manager does: in a pending state, or failed.
func (m *Machine) Control(name string, verb Verb) error {
	return m.call(func(now time.Time) error {
		s := m.services[strings.ToLower(name)]
		if s == nil {
			return ServiceNotFound
		}
		if code := m.control(s, verb, now); code != OK {
			return code
		}
		m.settle(now)
		return nil
	})
}

func (m *Machine) control(s *service, verb Verb, now time.Time) Errno {
	switch verb {
	case Start:
		return m.start(s, now, 0)
	case Stop:
		return m.stop(s, now)
	case Pause:
		if s.state == Stopped {
			return NotActive
		}
		if !s.CanPause || s.state != Running {
			return InvalidControl
		}
		s.state, s.due = Paused, time.Time{}
		m.record(now, ServicePaused, s.Name, 7036, 0)
		return OK
	case Continue:
		if s.state != Paused {
			return NotActive
		}
		m.runs(s, now)
		return OK
	default:
		return InvalidParameter
	}
}

// maxDependencyDepth ends chains of dependencies that bite their own tail.
const maxDependencyDepth = 32

func (m *Machine) start(s *service, now time.Time, depth int) Errno {
	switch {
	case s.StartMode == Disabled:
		return ServiceDisabled
	case s.Faults.Deleted:
		return MarkedForDelete
	case s.state != Stopped:
		return AlreadyRunning
	case depth > maxDependencyDepth:
		return CircularDependency
	}
	ready, code := m.startDependencies(s, now, depth)
	if code == OK && len(s.Faults.StartCodes) > 0 {
		code = s.Faults.StartCodes[0]
		s.Faults.StartCodes = s.Faults.StartCodes[1:]
	}
	if code == OK {
		code = m.launch(s, now)
	}
	s.lastError = code
	if code != OK {
		m.record(now, ServiceFailed, s.Name, startEvent(code), uint32(code))
		return code
	}
	s.state = StartPending
	s.due = dueIn(ready, s.Faults.StartDelay)
	if ready.IsZero() {
		s.due = time.Time{}
	}
	s.crashed = false
	m.record(now, ServiceStarting, s.Name, 0, 0)
	return OK
}

// startEvent is the System event of a failed start.
func startEvent(code Errno) int {
	switch code {
	case ServiceLogonFailed:
		return 7038
	case ServiceNoAnswer:
		return 7009
	case DependencyFailed:
		return 7001
	default:
		return 7000
	}
}

// startDependencies starts what s needs and tells when the last of them is up;
// the zero time is never.
func (m *Machine) startDependencies(s *service, now time.Time, depth int) (time.Time, Errno) {
	ready := now
	for _, name := range s.DependsOn {
		d := m.services[strings.ToLower(name)]
		if d == nil {
			return ready, DependencyFailed
		}
		if d.state == Stopped && m.start(d, now, depth+1) != OK {
			return ready, DependencyFailed
		}
		switch d.state {
		case StopPending:
			return ready, DependencyFailed
		case StartPending:
			if d.due.IsZero() {
				ready = time.Time{}
			} else if !ready.IsZero() && d.due.After(ready) {
				ready = d.due
			}
		default:
		}
	}
	return ready, OK
}

// launch gives the service a process: a shared one that runs already keeps the
// token it has, a new one logs on with the stored password.
func (m *Machine) launch(s *service, now time.Time) Errno {
	id := m.identify(s.StartName)
	if other := m.sharer(s); other != nil {
		if m.identify(other.StartName).sid != id.sid {
			return DifferentAccount
		}
		s.pid = other.pid
		return OK
	}
	code := m.logOnAs(id, s.Password, LogonService)
	if code == LogonFailure && m.spec.Readings.ServiceBackup && !s.backup.IsZero() {
		code = m.logOnAs(id, s.backup, LogonService)
	}
	if code != OK {
		m.record(now, LogonFailed, s.StartName, 0, uint32(code))
		return ServiceLogonFailed
	}
	s.pid = m.spawn(id.sid, strings.ToLower(s.Name)+".exe", now)
	return OK
}

// sharer is another service that runs in the process s would run in.
func (m *Machine) sharer(s *service) *service {
	if s.Type != ShareProcess || s.Process == "" {
		return nil
	}
	for _, o := range m.servicesByName() {
		if o != s && o.Type == ShareProcess && strings.EqualFold(o.Process, s.Process) && o.pid != 0 {
			return o
		}
	}
	return nil
}

func (m *Machine) stop(s *service, now time.Time) Errno {
	switch {
	case s.state == Stopped:
		return NotActive
	case s.state != Running && s.state != Paused:
		return CannotAcceptControl
	case s.Fixed:
		return InvalidControl
	case s.Faults.StopCode != OK:
		return s.Faults.StopCode
	}
	for _, d := range m.dependents(s) {
		if d.state != Stopped {
			return DependentsRunning
		}
	}
	s.state, s.wasAsked = StopPending, true
	s.due = dueIn(now, s.Faults.StopDelay)
	m.record(now, ServiceStopping, s.Name, 0, 0)
	return OK
}

// Crash ends a service's process from outside, as a debugger or the out-of-memory
// killer would; services that share the process end with it.
func (m *Machine) Crash(name string) {
	m.mu.Lock()
	now := m.clock.Now()
	s := m.services[strings.ToLower(name)]
	if s != nil && s.pid != 0 {
		pid := s.pid
		for _, o := range m.servicesByName() {
			if o.pid == pid {
				m.dies(o, now)
			}
		}
	}
	m.unlockAndTell()
}

func dueIn(now time.Time, d time.Duration) time.Time {
	if d == Forever || now.IsZero() {
		return time.Time{}
	}
	return now.Add(d)
}

// settle lets everything happen that was due by now, in the order it was due.
func (m *Machine) settle(now time.Time) {
	for range 10_000 { // a service that dies and restarts at once would never settle
		next := m.nextDue(now)
		if next == nil {
			return
		}
		m.happen(next, next.due)
	}
}

func (m *Machine) nextDue(now time.Time) *service {
	var next *service
	for _, s := range m.servicesByName() {
		if s.due.IsZero() || s.due.After(now) {
			continue
		}
		if next == nil || s.due.Before(next.due) {
			next = s
		}
	}
	return next
}

func (m *Machine) happen(s *service, at time.Time) {
	s.due = time.Time{}
	switch s.state {
	case StartPending:
		s.starts++
		if s.wasAsked {
			s.restarts++
			s.wasAsked = false
		}
		m.runs(s, at)
	case StopPending:
		s.stops++
		m.ends(s)
		m.record(at, ServiceStopped, s.Name, 7036, 0)
	case Running:
		m.dies(s, at)
	case Stopped:
		if s.crashed {
			_ = m.start(s, at, 0) // a failure is recorded; failure actions do not try twice
		}
	default:
	}
}

func (m *Machine) runs(s *service, at time.Time) {
	s.state, s.due = Running, time.Time{}
	if s.Faults.DieAfter > 0 {
		s.due = at.Add(s.Faults.DieAfter)
	}
	m.record(at, ServiceStarted, s.Name, 7036, 0)
}

func (m *Machine) dies(s *service, at time.Time) {
	m.ends(s)
	s.lastError = ProcessAborted
	m.record(at, ServiceFailed, s.Name, 7034, uint32(ProcessAborted))
	if s.Faults.RestartAfter > 0 {
		s.crashed, s.due = true, at.Add(s.Faults.RestartAfter)
	}
}

// ends takes the service out of its process, which ends with its last service.
func (m *Machine) ends(s *service) {
	pid := s.pid
	s.state, s.pid, s.due = Stopped, 0, time.Time{}
	for _, o := range m.services {
		if o.pid == pid {
			return
		}
	}
	delete(m.processes, pid)
}
