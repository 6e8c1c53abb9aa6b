package directory

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// A Class says what kind of account it is.
type Class string

// The classes. Only the password of a user is decided by people.
const (
	ClassUser     Class = "user"
	ClassManaged  Class = "managed"  // (group, delegated) managed service account
	ClassComputer Class = "computer" // a machine's own
	ClassBuiltin  Class = "builtin"  // krbtgt: its password is the key of all tickets
	ClassTrust    Class = "trust"    // of another domain
)

// An Account is what was read of one account.
type Account struct {
	SID   string
	Name  string // DOMAIN\name, in the directory's spelling
	Class Class

	Disabled   bool
	Locked     bool // now
	MustChange bool // at the next log-on
	Expired    bool // the account, not its password
	SmartCard  bool // no password logs on
	BadCount   int  // failed log-ons counted at this controller
	// Threshold is the number of failed log-ons that lock this account; nil when a
	// policy of its own decides, and it may not be read.
	Threshold *int
	// Mark is another one after every change of the password, and the same until then.
	Mark string
	// Self reports that the connection is logged in as this very account.
	Self bool

	dn string
}

// Bits of userAccountControl and msDS-User-Account-Control-Computed (MS-ADTS 2.2.16).
const (
	bitDisabled  = 0x2
	bitLocked    = 0x10 // computed only
	bitTrust     = 0x800
	bitMachine   = 0x1000 | 0x2000
	bitSmartCard = 0x40000
)

const (
	maxThreshold = 999
	ridKrbtgt    = "-502"
)

// Find looks up an account by DOMAIN\name, name@domain or name. ErrInvalidInput
// says that there is none, or that the name is of another domain.
func (c *Conn) Find(ctx context.Context, name string) (Account, error) {
	filter, err := c.filter(name)
	if err != nil {
		return Account{}, err
	}
	found, err := c.wire.search(ctx, c.domain.base, ldap.ScopeWholeSubtree, filter,
		"objectClass", "objectSid", "sAMAccountName", "userAccountControl", "msDS-User-Account-Control-Computed", "lockoutTime",
		"badPwdCount", "pwdLastSet", "msDS-KeyVersionNumber", "accountExpires", "msDS-ResultantPSO")
	switch {
	case err != nil:
		return Account{}, err
	case len(found) == 0:
		return Account{}, pam.Errorf(pam.ErrInvalidInput, "there is no account \"%s\" in the domain %s, or \"%s\" may not see it; "+
			"nothing changed", name, c.domain.DNS, c.target.User)
	case len(found) > 1:
		return Account{}, pam.Errorf(pam.ErrInvalidInput, "\"%s\" is more than one account in the domain %s; nothing changed",
			name, c.domain.DNS)
	}
	return c.account(ctx, found[0])
}

// filter finds people's accounts of a name. What is between the brackets is escaped.
func (c *Conn) filter(name string) (string, error) {
	domain, sam := pam.SplitName(name)
	own := strings.EqualFold(domain, c.domain.DNS) || strings.EqualFold(domain, c.domain.NetBIOS)
	by := "(sAMAccountName=" + ldap.EscapeFilter(sam) + ")"
	switch upn := !strings.Contains(name, `\`) && domain != ""; {
	case domain == "" || own && !upn:
	case upn && own: // the implicit principal name goes with the explicit one
		by = "(|" + by + "(userPrincipalName=" + ldap.EscapeFilter(name) + "))"
	case upn:
		by = "(userPrincipalName=" + ldap.EscapeFilter(name) + ")"
	default:
		return "", pam.Errorf(pam.ErrInvalidInput, "\"%s\" is no account of the domain %s (%s); nothing changed",
			name, c.domain.DNS, c.domain.NetBIOS)
	}
	return "(&(objectClass=user)" + by + ")", nil
}

func (c *Conn) account(ctx context.Context, e *ldap.Entry) (Account, error) {
	const op = "read the account"
	sid, err := sidOf(e.GetRawAttributeValue("objectSid"))
	if err != nil {
		return Account{}, c.wire.failed(op, pam.ErrIO, err)
	}
	sam := e.GetAttributeValue("sAMAccountName")
	if sam == "" || remote.Clean(sam) != sam {
		return Account{}, c.wire.failed(op, pam.ErrIO, fmt.Errorf("its name cannot be (%q)", remote.Clean(sam)))
	}
	control := number(e, "userAccountControl", maxBits)
	a := Account{
		SID: sid, Name: c.domain.NetBIOS + `\` + sam, dn: e.DN, Class: classOf(e, sid, control),
		Disabled: control&bitDisabled != 0, SmartCard: control&bitSmartCard != 0,
		Locked:     locked(e),
		MustChange: e.GetAttributeValue("pwdLastSet") == "0",
		Expired:    expired(e, c.domain.now),
		BadCount:   number(e, "badPwdCount", maxThreshold),
		Mark:       markOf(e),
	}
	if a.Threshold, err = c.threshold(ctx, e.GetAttributeValue("msDS-ResultantPSO")); err != nil {
		return Account{}, err
	}
	a.Self, err = c.loggedInAs(ctx, sid)
	return a, err
}

func classOf(e *ldap.Entry, sid string, control int) Class {
	classes := e.GetAttributeValues("objectClass")
	is := func(class string) bool {
		return slices.ContainsFunc(classes, func(s string) bool { return strings.EqualFold(s, class) })
	}
	switch {
	case is("msDS-ManagedServiceAccount"), is("msDS-GroupManagedServiceAccount"), is("msDS-DelegatedManagedServiceAccount"):
		return ClassManaged
	case is("computer"), control&bitMachine != 0:
		return ClassComputer
	case control&bitTrust != 0:
		return ClassTrust
	case strings.HasSuffix(sid, ridKrbtgt):
		return ClassBuiltin
	}
	return ClassUser
}

// locked asks the computed bit, which knows when a lockout has run out; only
// where that is not given does lockoutTime speak.
func locked(e *ldap.Entry) bool {
	if e.GetAttributeValue("msDS-User-Account-Control-Computed") != "" {
		return number(e, "msDS-User-Account-Control-Computed", maxBits)&bitLocked != 0
	}
	since := e.GetAttributeValue("lockoutTime")
	return since != "" && since != "0"
}

// never are the values of accountExpires that mean so.
var never = []string{"", "0", "9223372036854775807"}

// fileTimeEpoch is 1601, in seconds before 1970; file times count 100 ns.
const fileTimeEpoch, fileTimeUnits = 11644473600, 10_000_000

func expired(e *ldap.Entry, now time.Time) bool {
	at := e.GetAttributeValue("accountExpires")
	if slices.Contains(never, at) {
		return false
	}
	n, err := strconv.ParseInt(at, 10, 64)
	return err == nil && time.Unix(n/fileTimeUnits-fileTimeEpoch, 0).Before(now)
}

// markOf is the time and the number of the last change of the password, "" when
// neither may be read. The number counts changes of the password alone (MS-ADTS
// 3.1.1.4.5.16); of the time, 0 and -1 are set by hand.
func markOf(e *ldap.Entry) string {
	changes, at := e.GetAttributeValue("msDS-KeyVersionNumber"), e.GetAttributeValue("pwdLastSet")
	if !decimal(changes) && !decimal(at) {
		return ""
	}
	return remote.Clean(changes + "/" + at)
}

func decimal(s string) bool {
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

// threshold is the domain's, or that of the policy that is in force for the
// account alone (MS-ADTS 3.1.1.4.5.36); nil when that may not be read.
func (c *Conn) threshold(ctx context.Context, policy string) (*int, error) {
	if policy == "" {
		n := c.domain.LockoutThreshold
		return &n, nil
	}
	found, err := c.wire.search(ctx, policy, ldap.ScopeBaseObject, "(objectClass=*)", "msDS-LockoutThreshold")
	if err != nil || len(found) != 1 || !decimal(found[0].GetAttributeValue("msDS-LockoutThreshold")) {
		return nil, err
	}
	n := number(found[0], "msDS-LockoutThreshold", maxThreshold)
	return &n, nil
}

// loggedInAs reports whether the connection is logged in as the account of a
// SID: the rootDSE lists whose rights it has (MS-ADTS 3.1.1.3.2.24).
func (c *Conn) loggedInAs(ctx context.Context, sid string) (bool, error) {
	root, err := c.wire.one(ctx, "", "tokenGroups")
	if err != nil {
		return false, err
	}
	for _, raw := range root.GetRawAttributeValues("tokenGroups") {
		if s, err := sidOf(raw); err == nil && s == sid {
			return true, nil
		}
	}
	return false, nil
}

// number is an integer attribute from 0 to high, 0 where there is none.
func number(e *ldap.Entry, attribute string, high int) int {
	n, err := strconv.ParseInt(e.GetAttributeValue(attribute), 10, 64)
	if err != nil {
		return 0
	}
	return int(max(0, min(int64(high), n)))
}

// maxBits bounds an attribute that is a set of bits.
const maxBits = 1<<31 - 1

const (
	sidHead     = 8  // revision, count, authority
	maxSubs     = 15 // sub-authorities
	subBytes    = 4
	sidRevision = 1
)

// sidOf writes a binary SID as S-1-5-21-... (MS-DTYP 2.4.2).
func sidOf(b []byte) (string, error) {
	if len(b) < sidHead || b[0] != sidRevision || b[1] == 0 || b[1] > maxSubs || len(b) != sidHead+subBytes*int(b[1]) {
		return "", errors.New("a SID cannot be read")
	}
	authority := binary.BigEndian.Uint64(append([]byte{0, 0}, b[2:sidHead]...))
	var s strings.Builder
	_, _ = fmt.Fprintf(&s, "S-%d-%d", b[0], authority)
	for rest := b[sidHead:]; len(rest) > 0; rest = rest[subBytes:] {
		_, _ = fmt.Fprintf(&s, "-%d", binary.LittleEndian.Uint32(rest))
	}
	return s.String(), nil
}
