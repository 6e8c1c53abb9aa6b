package model

import (
	"errors"
	"strings"
	"time"

	"keyturn/pkg/secret"
)

// Codes of what only making and removing answers.
const (
	userExists    Errno = 2224
	serviceExists Errno = 1073
	noSuchAccount Errno = 1057
)

// throwawayCalls are the calls of protocol.md with which a script makes and
// removes objects of its own: pkg/lab/selftest does on a practice machine what
// it does on a real one.
var throwawayCalls = map[string]func(m *Machine, r request) (any, error){
	"user.add": func(m *Machine, r request) (any, error) { return coded(m.addUser(r)) },
	"user.delete": func(m *Machine, r request) (any, error) {
		return fields{"code": 0}, m.localUser(r.User, func(AccountView) { m.local.Remove(r.User) })
	},
	"user.mustchange": func(m *Machine, r request) (any, error) {
		return fields{"code": 0}, m.localUser(r.User, func(AccountView) {
			m.local.Configure(r.User, func(u *User) { u.MustChange = r.Flags != 0 })
		})
	},
	"service.add": func(m *Machine, r request) (any, error) {
		return coded(m.addThrowaway(r))
	},
	"service.delete": func(m *Machine, r request) (any, error) {
		if _, err := m.Service(r.Name); err != nil {
			return nil, err
		}
		m.RemoveService(r.Name)
		return fields{}, nil
	},
	"task.delete": func(m *Machine, r request) (any, error) { m.RemoveTask(r.Path); return fields{}, nil },
	"task.run": func(m *Machine, r request) (any, error) {
		result, err := m.RunTask(r.Path)
		return fields{"lastResult": result}, err
	},
	"log": func(m *Machine, r request) (any, error) {
		events, err := m.logged(r.Name)
		return fields{"events": events}, err
	},
}

// channelMissing is ERROR_EVT_CHANNEL_NOT_FOUND.
const channelMissing Errno = 15007

// Log puts events into one of the machine's event logs, each as the XML that
// Windows shows. A machine that was given none has no logs.
func (m *Machine) Log(name string, events ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.logs == nil {
		m.logs = map[string][]string{}
	}
	m.logs[strings.ToLower(name)] = append(m.logs[strings.ToLower(name)], events...)
}

// logged is what is in an event log; error 15007 when there is none.
func (m *Machine) logged(name string) (all []string, err error) {
	err = m.call(func(time.Time) error {
		events, ok := m.logs[strings.ToLower(name)]
		if !ok {
			return channelMissing
		}
		all = append([]string{}, events...)
		return nil
	})
	return all, err
}

// SetReadings says from now on how the machine behaves where sources contradict
// each other.
func (m *Machine) SetReadings(r Readings) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spec.Readings = r
}

// addUser makes a local account as NetUserAdd does: it may log on over the
// network, and has neither the service nor the batch right.
func (m *Machine) addUser(r request) (Errno, error) {
	password := text(r.Password)
	if _, known := m.local.User(r.User); known {
		return userExists, nil
	}
	if m.local.tooWeak(password) {
		return PasswordPolicy, nil
	}
	var sid string
	err := m.call(func(time.Time) error {
		sid = m.local.Add(User{Sam: r.User, Password: password})
		return nil
	})
	if err != nil {
		return OK, err
	}
	m.Restrict(sid, LogonService, LogonTypeNotGranted)
	m.Restrict(sid, LogonBatch, LogonTypeNotGranted)
	return OK, nil
}

// tooWeak reports whether the policy refuses a password.
func (s *SAM) tooWeak(password secret.Value) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refuses(password)
}

// localUser does something with a local account; error 2221 when there is none.
func (m *Machine) localUser(sam string, do func(AccountView)) error {
	u, ok := m.local.User(sam)
	if !ok {
		return NoSuchUser
	}
	do(u)
	return nil
}

// addThrowaway installs a service that is started by hand.
func (m *Machine) addThrowaway(r request) (Errno, error) {
	_, err := m.Service(r.Name)
	if !errors.Is(err, ServiceNotFound) {
		return serviceExists, err
	}
	if _, err := m.Translate(strings.Replace(r.StartName, `.\`, m.spec.Name+`\`, 1)); err != nil {
		return noSuchAccount, nil
	}
	m.AddService(ServiceSpec{Name: r.Name, StartName: r.StartName, Password: text(r.Password), StartMode: Manual}, Stopped)
	return OK, nil
}
