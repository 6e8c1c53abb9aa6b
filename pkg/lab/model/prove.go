package model

import (
	"errors"
	"slices"

	"keyturn/pkg/secret"
)

// nobodys is a password that no account has.
const nobodys = "\x00nobody's"

// Prove is a network logon in which the password is proved, not sent, as with
// NTLM: check reports whether a password is the one that the proof was made
// from. It is one attempt, which counts as [Machine.Logon] counts it. Who says
// which account it was, when there is one of that name.
func (m *Machine) Prove(user, domain string, check func(password secret.Value) bool) (who Named, code Errno, err error) {
	name := user
	if domain != "" {
		name = domain + `\` + user
	}
	who, err = m.Translate(name)
	if errors.Is(err, ErrCut) {
		return Named{}, LogonFailure, err
	}
	password := secret.New([]byte(nobodys))
	if known := m.passwordsOf(who.SID); err == nil {
		if i := slices.IndexFunc(known, check); i >= 0 {
			password = known[i]
		}
	}
	code, err = m.Logon(user, domain, password, LogonNetwork)
	return who, code, err
}

// passwordsOf is every password that the account of a SID has or had: which of
// them log on, and which are merely not counted, is for try to decide.
func (m *Machine) passwordsOf(sid string) []secret.Value {
	m.mu.Lock()
	defer m.mu.Unlock()
	sam := m.samOf(sid)
	if sam == nil {
		return nil
	}
	var known []secret.Value
	if old, ok := m.faults.stale[sid]; ok {
		known = append(known, old.Clone())
	}
	return append(known, sam.passwordsOf(sid)...)
}

func (s *SAM) passwordsOf(sid string) []secret.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.bySID(sid)
	if a == nil {
		return nil
	}
	known := []secret.Value{a.Password.Clone()}
	for _, p := range a.previous {
		known = append(known, p.Clone())
	}
	return known
}
