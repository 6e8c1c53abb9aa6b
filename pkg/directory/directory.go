// Package directory is one Active Directory domain as passwords are changed in
// it over LDAP: how its PDC emulator is found and trusted, what is read of an
// account, and how a password is set and tried there.
//
// Everything is done at the PDC emulator: other controllers learn of a reset
// with a delay, and forward log-ons that fail there to it. Nothing is sent
// before TLS has proven who answers, and nothing but a simple bind inside TLS is
// used to log in.
//
// It knows no vault, no job and no machine but the controller. Sources: MS-ADTS
// (LDAP, unicodePwd, rootDSE), MS-ADA1-3 (attributes), MS-SAMR (policies).
package directory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// Options are what a connection works with.
type Options struct {
	Now func() time.Time // of certificates; required
	// LoggedIn, when set, hears that the log-in was accepted.
	LoggedIn func()
}

// A Domain is what a log-in learns of the domain.
type Domain struct {
	DNS        string `json:"dns"`     // corp.example
	NetBIOS    string `json:"netbios"` // CORP
	SID        string `json:"sid"`
	Controller string `json:"controller"` // DNS name of the PDC emulator
	// LockoutThreshold is the number of failed log-ons that lock an account for
	// which no other policy is in force; 0 is no lockout.
	LockoutThreshold int `json:"lockout_threshold"`

	base          string // distinguished names
	configuration string
	server        string // the NTDS settings of the controller that answers
	now           time.Time
}

// A Conn is a connection to the PDC emulator of a domain, logged in as an admin.
// It is used by one goroutine.
type Conn struct {
	wire   *wire
	target remote.Target // the controller, and who is logged in
	opts   Options
	domain Domain
}

// Open logs in at the PDC emulator of the domain that the controller t belongs
// to. Where t is another controller, the PDC emulator is asked under the name
// that the domain gives it, with t's port and authorities; a pinned certificate
// is t's alone. No other controller stands in for it. Failures are, or hold, a
// *remote.Error, and nothing was changed.
func Open(ctx context.Context, t remote.Target, o Options) (*Conn, error) {
	c, pdc, err := at(ctx, t, o, func(Domain) error { return nil })
	if err != nil {
		return nil, err
	}
	if pdc != "" {
		return elsewhere(ctx, t, o, c.domain, pdc)
	}
	return c, nil
}

// at logs in at a controller and reads its domain. pdc names the PDC emulator when
// that is another one: then the connection is closed.
func at(ctx context.Context, t remote.Target, o Options, fits func(Domain) error) (c *Conn, pdc string, err error) {
	if c, err = logIn(ctx, t, o, fits); err != nil {
		return nil, "", err
	}
	if pdc, err = c.emulator(ctx); err == nil && pdc == "" {
		err = c.readDomain(ctx)
	}
	if err != nil || pdc != "" {
		_ = c.Close()
	}
	return c, pdc, err
}

// elsewhere logs in at the PDC emulator that another controller named.
func elsewhere(ctx context.Context, t remote.Target, o Options, d Domain, pdc string) (*Conn, error) {
	if t.Pin != "" {
		return nil, pam.Errorf(pam.ErrInvalidInput, "%s is not the PDC emulator of %s, which is %q, and the pinned certificate "+
			"is of %s alone", t.Address(), d.DNS, pdc, t.Address()).
			WithHint("name the PDC emulator in the record, with its own certificate or a CA file: pamHostname=%s:%d", pdc, t.Port)
	}
	t.Host, t.User = pdc, qualified(t.User, d.DNS)
	c, other, err := at(ctx, t, o, ofDomain(d))
	if err == nil && other != "" {
		err = pam.Errorf(pam.ErrConflict, "it names %q in turn: the role is being moved", other)
	}
	if err != nil {
		return nil, fmt.Errorf("the PDC emulator of %s, in whose place no other controller is asked: %w", d.DNS, err)
	}
	return c, nil
}

// ofDomain refuses a controller of another domain, before anything is sent to it.
func ofDomain(want Domain) func(Domain) error {
	return func(is Domain) error {
		if strings.EqualFold(is.base, want.base) {
			return nil
		}
		return pam.Errorf(pam.ErrUntrusted, "it is a controller of %s, not of %s: nothing was sent to it", is.DNS, want.DNS)
	}
}

// logIn connects to a controller, sees that it is one that fits, and logs in.
func logIn(ctx context.Context, t remote.Target, o Options, fits func(Domain) error) (*Conn, error) {
	w, err := dial(ctx, t.Endpoint, o.Now)
	if err != nil {
		return nil, err
	}
	c := &Conn{wire: w, target: t, opts: o}
	if err = c.readRoot(ctx); err == nil {
		err = fits(c.domain)
	}
	if err == nil {
		err = c.wire.bind(ctx, qualified(t.User, c.domain.DNS), t.Password)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	if o.LoggedIn != nil {
		o.LoggedIn()
	}
	return c, nil
}

// qualified is a log-in in a form that a simple bind takes: DOMAIN\name,
// name@domain or a distinguished name. A bare name is one of the domain.
func qualified(user, domain string) string {
	if strings.ContainsAny(user, `\@=`) {
		return user
	}
	return user + "@" + domain
}

// capabilityAD is in the rootDSE of every domain controller (MS-ADTS 3.1.1.3.4.3.1).
const capabilityAD = "1.2.840.113556.1.4.800"

// readRoot reads what a controller says of itself to anybody.
func (c *Conn) readRoot(ctx context.Context) error {
	root, err := c.wire.one(ctx, "", "supportedCapabilities", "defaultNamingContext", "configurationNamingContext",
		"dnsHostName", "dsServiceName", "currentTime")
	if err != nil {
		return err
	}
	d := &c.domain
	d.base, d.configuration = root.GetAttributeValue("defaultNamingContext"), root.GetAttributeValue("configurationNamingContext")
	d.server, d.Controller = root.GetAttributeValue("dsServiceName"), root.GetAttributeValue("dnsHostName")
	d.DNS, err = domainOf(d.base)
	if err != nil || !slices.Contains(root.GetAttributeValues("supportedCapabilities"), capabilityAD) || d.server == "" {
		return c.wire.failed("read the root", pam.ErrInvalidInput, errors.New("this is not a controller of an Active Directory domain"))
	}
	if d.now, err = time.Parse("20060102150405.0Z", root.GetAttributeValue("currentTime")); err != nil {
		d.now = c.opts.Now()
	}
	return nil
}

// domainOf is the DNS name of the domain with a distinguished name: corp.example
// of DC=corp,DC=example.
func domainOf(dn string) (string, error) {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return "", errors.New("no distinguished name")
	}
	var labels []string
	for _, r := range parsed.RDNs {
		if len(r.Attributes) != 1 || !strings.EqualFold(r.Attributes[0].Type, "DC") {
			return "", errors.New("no name of a domain")
		}
		labels = append(labels, r.Attributes[0].Value)
	}
	name := strings.Join(labels, ".")
	if !isHost(name) {
		return "", errors.New("no name of a domain")
	}
	return strings.ToLower(name), nil
}

// isHost reports whether a name that a controller gave may be looked up and shown.
func isHost(name string) bool {
	if name == "" || len(name) > 253 || net.ParseIP(name) != nil {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && r != '-' && r != '.' && r != '_'
	})
}

// emulator is the DNS name of the PDC emulator, "" when it is this controller
// (MS-ADTS 3.1.1.1.11: fSMORoleOwner of the domain).
func (c *Conn) emulator(ctx context.Context) (string, error) {
	const op = "find the PDC emulator"
	domain, err := c.wire.one(ctx, c.domain.base, "fSMORoleOwner")
	if err != nil {
		return "", err
	}
	owner, err := ldap.ParseDN(domain.GetAttributeValue("fSMORoleOwner"))
	if err != nil || len(owner.RDNs) < 2 {
		return "", c.wire.failed(op, pam.ErrIO, errors.New("the domain names none that can be read"))
	}
	own, err := ldap.ParseDN(c.domain.server)
	if err == nil && own.EqualFold(owner) {
		return "", nil
	}
	server := (&ldap.DN{RDNs: owner.RDNs[1:]}).String()
	found, err := c.wire.one(ctx, server, "dNSHostName")
	if err != nil {
		return "", err
	}
	host := found.GetAttributeValue("dNSHostName")
	if !isHost(host) {
		return "", c.wire.failed(op, pam.ErrIO, fmt.Errorf("it has no name that can be used (%q)", remote.Clean(host)))
	}
	return host, nil
}

// readDomain reads the domain's names and policy.
func (c *Conn) readDomain(ctx context.Context) error {
	head, err := c.wire.one(ctx, c.domain.base, "objectSid", "lockoutThreshold")
	if err != nil {
		return err
	}
	d := &c.domain
	if d.SID, err = sidOf(head.GetRawAttributeValue("objectSid")); err != nil {
		return c.wire.failed("read the domain", pam.ErrIO, err)
	}
	d.LockoutThreshold = number(head, "lockoutThreshold", maxThreshold)
	refs, err := c.wire.search(ctx, "CN=Partitions,"+d.configuration, ldap.ScopeSingleLevel,
		"(&(objectClass=crossRef)(nCName="+ldap.EscapeFilter(d.base)+"))", "nETBIOSName")
	if err != nil {
		return err
	}
	if len(refs) == 1 {
		d.NetBIOS = refs[0].GetAttributeValue("nETBIOSName")
	}
	if !isHost(d.NetBIOS) {
		return c.wire.failed("read the domain", pam.ErrIO, fmt.Errorf("it has no NetBIOS name that can be used (%q)",
			remote.Clean(d.NetBIOS)))
	}
	return nil
}

// Domain is what was learned of the domain.
func (c *Conn) Domain() Domain { return c.domain }

// Close ends the connection.
func (c *Conn) Close() error { return c.wire.close() }

// LogOn tries a password with one simple bind as the account, over a connection
// of its own to the same controller. It counts where the password is wrong.
func (c *Conn) LogOn(ctx context.Context, a Account, password secret.Value) (pam.Verdict, error) {
	w, err := dial(ctx, c.target.Endpoint, c.opts.Now)
	if err != nil {
		return pam.VerdictNone, err
	}
	defer func() { _ = w.close() }() // the answer is what counts
	err = w.bind(ctx, a.dn, password)
	if err == nil {
		return pam.VerdictRight, nil
	}
	if refused, ok := errors.AsType[*refusal](err); ok {
		return refused.verdict(), nil
	}
	return pam.VerdictNone, err
}
