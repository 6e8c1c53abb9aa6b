package pam

import (
	"strings"
	"time"

	"keyturn/pkg/secret"
)

// An AuthorityKind says where an account's password is decided.
type AuthorityKind string

// The kinds of authority.
const (
	AuthorityUnknown   AuthorityKind = ""                 // not linked to a resource yet
	AuthorityLinux     AuthorityKind = "linux"            // /etc/shadow of one machine
	AuthorityWindows   AuthorityKind = "windows"          // the SAM of one machine; on a domain controller the domain
	AuthorityDirectory AuthorityKind = "active_directory" // an Active Directory domain, over LDAP
)

// An Account is what the authority knows, apart from the records that name it.
// Its UID keys the lock, the credential and the associated data of what is
// sealed for it.
type Account struct {
	UID       UID           `json:"uid"`
	Authority AuthorityKind `json:"authority"`
	Resource  UID           `json:"resource,omitempty"` // the machine record of the authority
	Name      string        `json:"name"`               // as the record's login says: LAB\svc_app
	SID       string        `json:"sid,omitempty"`      // Windows, once seen
	Identity  string        `json:"identity,omitempty"` // unique alias, once seen; see Identity
}

// An Identity is what a look at the authority says an account is. Alias is
// opaque and unique: the SID of a domain account, "MachineGuid/SID" of a local
// one (cloned machines share SIDs), "machine-id/name" on Linux.
type Identity struct {
	Alias string `json:"alias"`
	SID   string `json:"sid,omitempty"`
	Name  string `json:"name"` // the authority's own spelling
}

// IsSID reports whether s has the form of a SID as Windows writes it: S-1, an
// identifier authority and 1 to 15 subauthorities.
func IsSID(s string) bool {
	rest, ok := strings.CutPrefix(s, "S-1-")
	parts := strings.Split(rest, "-")
	if !ok || len(parts) < 2 || len(parts) > 16 || len(parts[0]) > 14 {
		return false
	}
	for i, p := range parts {
		if p == "" || i > 0 && len(p) > 10 || !only(p, isDigit) {
			return false
		}
	}
	return true
}

// A GenerationStatus is the life of one password: pending, then current, then
// previous; or rejected, when it was proven never to have been applied.
type GenerationStatus string

// The statuses. Nothing is deleted.
const (
	Pending  GenerationStatus = "pending"
	Current  GenerationStatus = "current"
	Previous GenerationStatus = "previous"
	Rejected GenerationStatus = "rejected"
)

// A Source says who made a generation.
type Source string

// The sources.
const (
	SourceManual   Source = "manual"   // typed, imported or restored by a person
	SourceRotation Source = "rotation" // made by a job
)

// A Generation is one password of an account. Numbers start at 1 and grow.
type Generation struct {
	Account    UID              `json:"account"`
	Number     int              `json:"number"`
	Status     GenerationStatus `json:"status"`
	Source     Source           `json:"source"`
	Job        UID              `json:"job,omitempty"`
	Evidence   Evidence         `json:"evidence"`             // read before the password was sent
	Unverified bool             `json:"unverified,omitempty"` // committed on evidence, no logon was possible
	Created    time.Time        `json:"created"`
	Password   secret.Value     `json:"-"`
}

// Evidence is an opaque mark of the authority's present password, compared by
// equality only. Exact says whether equality proves that nothing was applied;
// the zero Evidence proves nothing (a Windows local account has none).
type Evidence struct {
	Mark  string `json:"mark,omitempty"`
	Exact bool   `json:"exact,omitempty"`
}

// Same reports whether o proves that the password did not change since e.
func (e Evidence) Same(o Evidence) bool {
	return e.Exact && o.Exact && e.Mark != "" && e.Mark == o.Mark
}

// Moved reports whether o proves that the password changed since e.
func (e Evidence) Moved(o Evidence) bool {
	return e.Exact && o.Exact && e.Mark != "" && o.Mark != "" && e.Mark != o.Mark
}

// An Outcome is what is known of a request to set a password.
type Outcome string

// The outcomes. Unknown is settled by evidence, never by guessing.
const (
	OutcomeNone    Outcome = ""        // not sent yet
	OutcomeApplied Outcome = "applied" // acknowledged
	OutcomeRefused Outcome = "refused" // definitely not applied
	OutcomeUnknown Outcome = "unknown" // sent, and the answer was lost
)

// A Verdict is what one logon says of a password.
type Verdict string

// The verdicts.
const (
	VerdictNone       Verdict = ""
	VerdictRight      Verdict = "right"
	VerdictRestricted Verdict = "right_restricted" // right, but this logon is not allowed (hours, workstation, right)
	VerdictWrong      Verdict = "wrong"
	VerdictCannotTell Verdict = "cannot_tell" // nobody may log on as it from here, or it is locked
)

// A Login is what it takes to log in to a target.
type Login struct {
	Record   UID // the record it came from, for messages and permits
	Title    string
	User     string
	Password secret.Value
	// PrivateKey is PEM and may be empty. Over SSH it is a key, and the user
	// certificate of it if its line follows; over WinRM a key with its X.509
	// certificate.
	PrivateKey secret.Value
	Passphrase secret.Value // of PrivateKey; may be empty
	Agent      string       // asks for the SSH agent: [AgentOn], or the fingerprint of a key in it; "" never
}

// AgentOn is the sshAgent of a record whose user's agent holds one key.
const AgentOn = "on"

// SplitName splits a Windows account name: DOMAIN\name, name@domain or name.
// ".\name" has the domain ".".
func SplitName(s string) (domain, name string) {
	if d, n, ok := strings.Cut(s, `\`); ok {
		return d, n
	}
	if i := strings.LastIndex(s, "@"); i > 0 {
		return s[i+1:], s[:i]
	}
	return "", s
}
