package model

import (
	"crypto/sha1" //nolint:gosec // Windows derives the SIDs of services and pools with it; nothing is protected
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf16"
)

// Named is how LSA answers for a name.
type Named struct {
	SID     string `json:"sid"`
	Account string `json:"account"` // LSA's own spelling, DOMAIN\sam
}

// Translate finds the SID of a name, as NTAccount.Translate does: error 1332
// when nothing has that name, or nobody can be asked.
func (m *Machine) Translate(name string) (Named, error) {
	var n Named
	err := m.call(func(time.Time) error {
		var ok bool
		if n, ok = m.translate(name); !ok {
			return NoneMapped
		}
		return nil
	})
	return n, err
}

// Account shows the account behind a SID: error 1332 when this machine and its
// domain have none.
func (m *Machine) Account(sid string) (AccountView, error) {
	var v AccountView
	err := m.call(func(time.Time) error {
		var ok bool
		if v, ok = m.account(sid); !ok {
			return NoneMapped
		}
		return nil
	})
	return v, err
}

func (m *Machine) account(sid string) (AccountView, bool) {
	if v, ok := m.local.lookup(sid); ok {
		v.Scope = "local"
		if m.spec.DC {
			v.Scope = "domain"
		}
		return v, true
	}
	for _, n := range m.faults.names {
		if domain, sam, ok := strings.Cut(n.Account, `\`); ok && n.SID == sid && strings.HasPrefix(sid, "S-1-12-1-") {
			return AccountView{SID: sid, Sam: sam, Domain: domain, Scope: "entra"}, true
		}
	}
	if m.domain == nil || m.faults.domainLost {
		return AccountView{}, false
	}
	v, ok := m.domain.lookup(sid)
	v.Scope = "domain"
	return v, ok
}

// wellKnown are names that every machine translates; Windows in other
// languages has others for the same SIDs, and understands the English ones too.
var wellKnown = []struct{ sid, account string }{
	{"S-1-5-17", `NT AUTHORITY\IUSR`},
	{"S-1-5-18", `NT AUTHORITY\SYSTEM`},
	{"S-1-5-19", `NT AUTHORITY\LOCAL SERVICE`},
	{"S-1-5-20", `NT AUTHORITY\NETWORK SERVICE`},
	{"S-1-5-19", `NT AUTHORITY\LocalService`},
	{"S-1-5-20", `NT AUTHORITY\NetworkService`},
	{"S-1-5-18", `NT-AUTORITÄT\SYSTEM`},
	{"S-1-5-19", `NT-AUTORITÄT\LOKALER DIENST`},
	{"S-1-5-20", `NT-AUTORITÄT\NETZWERKDIENST`},
	{"S-1-5-18", `AUTORITE NT\Système`},
	{"S-1-5-20", `AUTORITE NT\SERVICE RÉSEAU`},
	{"S-1-5-32-544", `BUILTIN\Administrators`},
	{"S-1-5-32-545", `BUILTIN\Users`},
}

// translate follows the order of LookupAccountName for bare names: well known,
// builtin, local, primary domain. The domain's own names need the domain.
func (m *Machine) translate(name string) (Named, bool) {
	if n, ok := m.faults.names[strings.ToLower(name)]; ok {
		return n, true
	}
	domain, user, qualified := strings.Cut(name, `\`)
	if !qualified {
		if sam, suffix, upn := cutLast(name, "@"); upn {
			return m.inDomain(suffix, sam)
		}
		return m.translateBare(name)
	}
	if domain == "." {
		domain = m.local.name
	}
	if n, ok := translateWellKnown(name); ok {
		return n, true
	}
	switch {
	case strings.EqualFold(domain, "NT SERVICE"):
		s := m.services[strings.ToLower(user)]
		if s == nil {
			return Named{}, false
		}
		return Named{hashedSID(80, strings.ToUpper(user)), `NT SERVICE\` + s.Name}, true
	case strings.EqualFold(domain, "IIS APPPOOL"):
		p := m.pools[strings.ToLower(user)]
		if p == nil {
			return Named{}, false
		}
		return Named{hashedSID(82, strings.ToLower(user)), `IIS APPPOOL\` + p.Name}, true
	case strings.EqualFold(domain, m.local.name), strings.EqualFold(domain, m.spec.Name) && m.spec.DC:
		return inSAM(m.local, user)
	}
	return m.inDomain(domain, user)
}

func translateWellKnown(name string) (Named, bool) {
	for _, w := range wellKnown {
		if strings.EqualFold(w.account, name) {
			return Named{w.sid, w.account}, true
		}
	}
	return Named{}, false
}

func (m *Machine) translateBare(name string) (Named, bool) {
	for _, w := range wellKnown {
		// The names without a space are spellings of the service manager, which LSA knows only qualified.
		if _, user, _ := strings.Cut(w.account, `\`); strings.EqualFold(user, name) && !strings.HasSuffix(user, "Service") {
			return Named{w.sid, w.account}, true
		}
	}
	if n, ok := inSAM(m.local, name); ok {
		return n, true
	}
	if m.domain == nil {
		return Named{}, false
	}
	return m.inDomain(m.domain.name, name)
}

func (m *Machine) inDomain(domain, user string) (Named, bool) {
	if m.domain == nil || m.faults.domainLost && !m.spec.DC {
		return Named{}, false
	}
	if !strings.EqualFold(domain, m.domain.name) && !strings.EqualFold(domain, m.domain.dns) {
		return Named{}, false
	}
	return inSAM(m.domain.SAM, user)
}

func inSAM(s *SAM, user string) (Named, bool) {
	v, ok := s.User(user)
	if !ok {
		return Named{}, false
	}
	return Named{v.SID, v.Domain + `\` + v.Sam}, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i <= 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// hashedSID is how Windows makes the SID of a service or pool from its name.
func hashedSID(authority int, name string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(name)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	h := sha1.Sum(b) //nolint:gosec // see the import
	part := func(i int) uint32 { return binary.LittleEndian.Uint32(h[4*i:]) }
	return fmt.Sprintf("S-1-5-%d-%d-%d-%d-%d-%d", authority, part(0), part(1), part(2), part(3), part(4))
}

// class says what kind of identity something runs as.
type class int

const (
	unresolved class = iota
	builtin
	virtual
	managed
	ordinary
)

type identity struct {
	sid, account string
	class        class
}

var (
	sidPattern     = regexp.MustCompile(`^[Ss]-1-\d+(-\d+)+$`)
	virtualPattern = regexp.MustCompile(`^S-1-5-(80|82|83|90|96)-`)
)

// identify resolves what a service, task or pool stores as its identity.
func (m *Machine) identify(runAs string) identity {
	var id identity
	switch {
	case runAs == "", strings.EqualFold(runAs, "LocalSystem"):
		id = identity{sid: "S-1-5-18", account: `NT AUTHORITY\SYSTEM`}
	case sidPattern.MatchString(runAs):
		id.sid = strings.ToUpper(runAs)
		if v, ok := m.account(id.sid); ok {
			id.account = v.Domain + `\` + v.Sam
		}
	default:
		n, ok := m.translate(runAs)
		if !ok {
			return identity{account: runAs}
		}
		id.sid, id.account = n.SID, n.Account
	}
	id.class = m.classOf(id.sid)
	return id
}

func (m *Machine) classOf(sid string) class {
	switch {
	case sid == "S-1-5-17", sid == "S-1-5-18", sid == "S-1-5-19", sid == "S-1-5-20", strings.HasPrefix(sid, "S-1-5-32-"):
		return builtin
	case virtualPattern.MatchString(sid):
		return virtual
	}
	if v, ok := m.account(sid); ok && v.Managed {
		return managed
	}
	return ordinary
}
