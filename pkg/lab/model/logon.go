package model

import (
	"time"

	"keyturn/pkg/secret"
)

// Logon is LogonUser: one attempt, which counts. An empty domain takes user as
// a UPN or bare name.
func (m *Machine) Logon(user, domain string, password secret.Value, logonType int) (Errno, error) {
	code := LogonFailure
	err := m.call(func(now time.Time) error {
		name := user
		if domain != "" {
			name = domain + `\` + user
		}
		if n, ok := m.translate(name); ok {
			code = m.logOn(n.SID, password, logonType)
		} else if m.faults.domainLost && m.domain != nil {
			code = NoLogonServers
		}
		kind := LoggedOn
		if code != OK {
			kind = LogonFailed
		}
		m.record(now, kind, name, 0, uint32(code))
		return nil
	})
	return code, err
}

// logOn is one counted attempt by SID.
func (m *Machine) logOn(sid string, password secret.Value, logonType int) Errno {
	sam := m.samOf(sid)
	if sam == nil {
		if m.faults.domainLost {
			return NoLogonServers
		}
		return LogonFailure
	}
	code := sam.try(sid, password, logonType, m.faults.stale)
	if code != OK {
		return code
	}
	if m.faults.denied[logonKey{sid, logonType}] {
		return LogonTypeNotGranted
	}
	return m.faults.logon[logonKey{sid, logonType}]
}

// logonRights are the rights that logons of a type need.
var logonRights = map[string]int{"SeBatchLogonRight": LogonBatch, "SeServiceLogonRight": LogonService}

// GrantRight is LsaAddAccountRights with one right. Error 1313 is a right that
// does not exist; one that the account has already is granted all the same.
func (m *Machine) GrantRight(sid, right string) (Errno, error) {
	code := NoSuchPrivilege
	err := m.call(func(now time.Time) error {
		logonType, ok := logonRights[right]
		if !ok {
			return nil
		}
		code = OK
		if m.faults.logon[logonKey{sid, logonType}] == LogonTypeNotGranted {
			delete(m.faults.logon, logonKey{sid, logonType})
		}
		m.record(now, RightGranted, sid, 4717, 0)
		return nil
	})
	return code, err
}

// samOf finds who decides the password of a SID.
func (m *Machine) samOf(sid string) *SAM {
	if _, ok := m.local.lookup(sid); ok {
		return m.local
	}
	if m.domain == nil || m.faults.domainLost {
		return nil
	}
	if _, ok := m.domain.lookup(sid); ok {
		return m.domain.SAM
	}
	return nil
}

// logOnAs is the logon of something that stores a password and runs as an
// identity; only ordinary accounts need one.
func (m *Machine) logOnAs(id identity, password secret.Value, logonType int) Errno {
	switch id.class {
	case unresolved:
		return NoneMapped
	case ordinary:
		return m.logOn(id.sid, password, logonType)
	default:
		return OK
	}
}

// wouldLogOn is logOnAs as an omniscient observer sees it: nothing is counted,
// and neither lag nor a lost domain matters.
func (m *Machine) wouldLogOn(id identity, password secret.Value) bool {
	if id.class != ordinary {
		return id.class != unresolved
	}
	for _, sam := range []*SAM{m.local, m.domainSAM()} {
		if sam == nil {
			continue
		}
		if a, ok := sam.lookup(id.sid); ok {
			return !a.Disabled && !a.Locked && sam.Matches(a.Sam, password)
		}
	}
	return false
}

func (m *Machine) domainSAM() *SAM {
	if m.domain == nil {
		return nil
	}
	return m.domain.SAM
}

// ChangePassword is NetUserChangePassword on a local account; on a domain
// controller on one of the domain.
func (m *Machine) ChangePassword(user string, old, next secret.Value) (Errno, error) {
	return m.setPassword(user, func() Errno { return m.local.Change(user, old, next) })
}

// ResetPassword sets the password of a local account without the old one; on a
// domain controller of one of the domain.
func (m *Machine) ResetPassword(user string, next secret.Value) (Errno, error) {
	return m.setPassword(user, func() Errno { return m.local.Reset(user, next) })
}

// UnlockAccount clears the lockout of a local account, and the wrong passwords
// that were counted; on a domain controller of one of the domain.
func (m *Machine) UnlockAccount(user string) (Errno, error) {
	var code Errno
	err := m.call(func(now time.Time) error {
		code = m.local.Unlock(user)
		if code == OK {
			m.record(now, AccountUnlocked, user, 4767, 0)
		}
		return nil
	})
	return code, err
}

func (m *Machine) setPassword(user string, set func() Errno) (Errno, error) {
	var code Errno
	err := m.call(func(now time.Time) error {
		code = set()
		if code == OK {
			m.record(now, PasswordSet, user, 4724, 0)
		}
		return nil
	})
	return code, err
}
