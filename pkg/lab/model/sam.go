package model

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf16"

	"keyturn/pkg/secret"
)

// A Policy is the password policy of a SAM.
type Policy struct {
	LockoutThreshold int // wrong attempts until an account locks; 0 never
	MinLength        int // in UTF-16 units
	History          int // previous passwords that a change (not a reset) refuses
	// HistoryGrace is the reading that attempts equal to one of the last two
	// previous passwords are refused but not counted.
	HistoryGrace bool
	// OldAccepted is the reading that network logons (NTLM) with the password from
	// before the last change are granted for an hour, after a reset as after a
	// change; the model's hour does not end.
	OldAccepted bool
	// CountTwice is the reading that one refused logon counts as two, because a
	// domain controller asks the PDC emulator again.
	CountTwice bool
}

// A User is an account as a test or builder describes it.
type User struct {
	Sam        string
	Password   secret.Value // copied
	RID        int          // 0: the next free one
	Disabled   bool
	Locked     bool
	MustChange bool
	Expired    bool // the account, 1793
	Stale      bool // the password, 1330
	Managed    bool // a (group) managed service account; Sam ends with $
}

type account struct {
	User
	sid      string
	previous []secret.Value // newest first
	bad      int
	changes  int
}

// A SAM holds accounts: a domain's, or one machine's own.
type SAM struct {
	mu     sync.Mutex
	name   string // LAB, or the machine's name
	sid    string // S-1-5-21-a-b-c
	policy Policy
	users  map[string]*account // by lower-case sam
	rid    int
}

func newSAM(name, sid string, p Policy) *SAM {
	return &SAM{name: name, sid: sid, policy: p, users: map[string]*account{}, rid: 1100}
}

// Name is the domain's NetBIOS name, or the machine's.
func (s *SAM) Name() string { return s.name }

// Add adds an account and returns its SID. Adding a name twice is a mistake of
// the test, and panics.
func (s *SAM) Add(u User) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.ToLower(u.Sam)
	if s.users[key] != nil {
		panic("model: account " + s.name + `\` + u.Sam + " exists")
	}
	for u.RID == 0 {
		s.rid++
		if s.bySID(s.sidOf(s.rid)) == nil {
			u.RID = s.rid
		}
	}
	u.Password = u.Password.Clone()
	a := &account{User: u, sid: s.sidOf(u.RID)}
	s.users[key] = a
	return a.sid
}

func (s *SAM) sidOf(rid int) string { return fmt.Sprintf("%s-%d", s.sid, rid) }

// Remove deletes an account; what names its SID is an orphan from then on.
func (s *SAM) Remove(sam string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, strings.ToLower(sam))
}

// Rename gives an account another sam; its SID stays.
func (s *SAM) Rename(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.users[strings.ToLower(from)]; a != nil {
		delete(s.users, strings.ToLower(from))
		a.Sam = to
		s.users[strings.ToLower(to)] = a
	}
}

// Configure changes an account in place: disable it, lock it, and so on. A new
// Password goes through [SAM.Reset].
func (s *SAM) Configure(sam string, change func(u *User)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[strings.ToLower(sam)]
	if a == nil {
		panic("model: no account " + s.name + `\` + sam)
	}
	was := a.Locked
	change(&a.User)
	if was && !a.Locked {
		a.bad = 0
	}
}

// SetPolicy replaces the password policy.
func (s *SAM) SetPolicy(p Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policy = p
}

// An AccountView is what can be seen of an account; it holds no password.
type AccountView struct {
	SID        string `json:"sid"`
	Sam        string `json:"sam"`
	Domain     string `json:"domain"`
	Scope      string `json:"scope"` // domain or local
	Disabled   bool   `json:"disabled"`
	Locked     bool   `json:"locked"`
	MustChange bool   `json:"mustChange"`
	Expired    bool   `json:"expired,omitempty"`
	Managed    bool   `json:"managed"`
	BadCount   int    `json:"badPwdCount"`
	Changes    int    `json:"passwordChanges"` // how often the password was set since the account was made
}

// User shows an account by name.
func (s *SAM) User(sam string) (AccountView, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[strings.ToLower(sam)]
	if a == nil {
		return AccountView{}, false
	}
	return s.view(a), true
}

func (s *SAM) view(a *account) AccountView {
	return AccountView{
		SID: a.sid, Sam: a.Sam, Domain: s.name, Disabled: a.Disabled, Locked: a.Locked,
		MustChange: a.MustChange, Expired: a.Expired, Managed: a.Managed, BadCount: a.bad, Changes: a.changes,
	}
}

func (s *SAM) bySID(sid string) *account {
	for _, a := range s.users {
		if a.sid == sid {
			return a
		}
	}
	return nil
}

// lookup shows an account by SID.
func (s *SAM) lookup(sid string) (AccountView, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.bySID(sid); a != nil {
		return s.view(a), true
	}
	return AccountView{}, false
}

// Matches reports whether password is the account's present one. It is the
// omniscient view: nothing is counted.
func (s *SAM) Matches(sam string, password secret.Value) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[strings.ToLower(sam)]
	return a != nil && a.Password.Equal(password)
}

// passwords is a copy of every present password by SID: what a lagging
// replica goes on believing.
func (s *SAM) passwords() map[string]secret.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]secret.Value{}
	for _, a := range s.users {
		all[a.sid] = a.Password.Clone()
	}
	return all
}

// try is one attempt to log on. stale, when it names the account, is what the
// asked replica believes the password to be.
func (s *SAM) try(sid string, password secret.Value, logonType int, stale map[string]secret.Value) Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.bySID(sid)
	if a == nil {
		return LogonFailure
	}
	if a.Locked {
		return AccountLocked
	}
	want := a.Password
	if old, ok := stale[sid]; ok {
		want = old
	}
	if !want.Equal(password) && (logonType != LogonNetwork || !s.graced(a, password)) {
		s.countBad(a, password)
		return LogonFailure
	}
	a.bad = 0
	return a.restriction()
}

// restriction is why a right password still does not log on.
func (a *account) restriction() Errno {
	switch {
	case a.Disabled:
		return AccountDisabled
	case a.Expired:
		return AccountExpired
	case a.Stale:
		return PasswordExpired
	case a.MustChange:
		return MustChangePassword
	}
	return OK
}

// graced reports whether an old password still logs on over the network.
func (s *SAM) graced(a *account, password secret.Value) bool {
	return s.policy.OldAccepted && len(a.previous) > 0 && a.previous[0].Equal(password)
}

func (s *SAM) countBad(a *account, password secret.Value) {
	if s.policy.HistoryGrace {
		last := a.previous[:min(2, len(a.previous))]
		if slices.ContainsFunc(last, password.Equal) {
			return
		}
	}
	a.bad++
	if s.policy.CountTwice {
		a.bad++
	}
	if s.policy.LockoutThreshold > 0 && a.bad >= s.policy.LockoutThreshold {
		a.Locked = true
	}
}

// Change sets a password as its owner does, who knows the old one: history and
// policy bind it, and a wrong old password counts.
func (s *SAM) Change(sam string, old, next secret.Value) Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[strings.ToLower(sam)]
	switch {
	case a == nil:
		return NoSuchUser
	case a.Locked:
		return AccountLocked
	case !a.Password.Equal(old):
		s.countBad(a, old)
		return WrongOldPassword
	case s.refuses(next), next.Equal(a.Password):
		return PasswordPolicy
	case slices.ContainsFunc(a.previous[:min(s.policy.History, len(a.previous))], next.Equal):
		return PasswordPolicy
	}
	a.set(next)
	return OK
}

// Reset sets a password as an administrator does: history does not bind it.
func (s *SAM) Reset(sam string, next secret.Value) Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[strings.ToLower(sam)]
	switch {
	case a == nil:
		return NoSuchUser
	case a.Managed:
		return AccessDenied
	case s.refuses(next):
		return PasswordPolicy
	}
	a.set(next)
	return OK
}

// Unlock lets a locked account log on again: its count begins anew.
func (s *SAM) Unlock(sam string) Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[strings.ToLower(sam)]
	if a == nil {
		return NoSuchUser
	}
	a.Locked, a.bad = false, 0
	return OK
}

func (a *account) set(next secret.Value) {
	a.previous = append([]secret.Value{a.Password}, a.previous...)
	a.Password = next.Clone()
	a.Stale, a.MustChange = false, false
	a.bad = 0
	a.changes++
}

func (s *SAM) refuses(next secret.Value) bool {
	units := utf16.Encode(bytes.Runes(next.Reveal()))
	return len(units) < s.policy.MinLength || len(units) > 256
}
