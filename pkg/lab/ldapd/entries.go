package ldapd

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"

	"keyturn/pkg/lab/model"
)

// An entry of the directory.
type entry struct {
	dn         string
	attributes map[string][]string
}

// baseOf is the distinguished name of a domain.
func baseOf(dns string) string { return "DC=" + strings.ReplaceAll(dns, ".", ",DC=") }

// entries is the directory as this client sees it.
func (c *client) entries() []entry {
	d, faults := c.domain(), c.server.wrong()
	base := baseOf(d.DNS())
	configuration := "CN=Configuration," + base
	servers := "CN=Servers,CN=Default-First-Site-Name,CN=Sites," + configuration
	own, pdc := "CN=DC01,"+servers, "CN=DC01,"+servers
	if faults.PDC != "" {
		pdc = "CN=DC02," + servers
		if c.name == faults.PDC {
			own = pdc
		}
	}
	all := []entry{
		{"", map[string][]string{
			"objectClass": {"top"}, "supportedCapabilities": {"1.2.840.113556.1.4.800", "1.2.840.113556.1.4.1670"},
			"defaultNamingContext": {base}, "configurationNamingContext": {configuration},
			"dnsHostName": {c.server.options.Controller}, "dsServiceName": {"CN=NTDS Settings," + own},
			"currentTime": {c.server.options.Now().UTC().Format("20060102150405.0Z")}, "tokenGroups": c.tokens(),
		}},
		{base, map[string][]string{
			"objectClass": {"top", "domain", "domainDNS"}, "objectSid": {binarySID(d.SID())},
			"lockoutThreshold": {strconv.Itoa(d.Threshold())}, "fSMORoleOwner": {"CN=NTDS Settings," + pdc},
		}},
		{"CN=" + d.Name() + ",CN=Partitions," + configuration, map[string][]string{
			"objectClass": {"top", "crossRef"}, "nCName": {base}, "nETBIOSName": {d.Name()},
		}},
		{"CN=DC01," + servers, map[string][]string{"objectClass": {"top", "server"}, "dNSHostName": {c.server.options.Controller}}},
		{"CN=DC02," + servers, map[string][]string{"objectClass": {"top", "server"}, "dNSHostName": {faults.PDC}}},
	}
	for _, a := range d.Entries() {
		e := userEntry(d, a)
		if faults.NoThreshold {
			e.attributes["msDS-ResultantPSO"] = []string{"CN=Strict,CN=Password Settings Container,CN=System," + base}
		}
		all = append(all, e)
	}
	return all
}

func (c *client) tokens() []string {
	if c.sid == "" {
		return nil
	}
	return []string{binarySID(c.sid), binarySID("S-1-5-11")}
}

func userDN(d *model.Domain, sam string) string { return "CN=" + sam + ",CN=Users," + baseOf(d.DNS()) }

// Bits of userAccountControl.
const (
	uacDisabled, uacLocked, uacNormal, uacMachine = 0x2, 0x10, 0x200, 0x1000
)

// File times: one of the past, and one for the n-th change of a password.
const (
	longAgo    = "132223104000000000"
	firstTime  = 133_500_000_000_000_000
	someTime   = 10_000_000
	versionOne = 1
)

func userEntry(d *model.Domain, a model.AccountView) entry {
	control, computed := uacNormal, 0
	classes := []string{"top", "person", "organizationalPerson", "user"}
	if a.Managed {
		control, classes = uacMachine, append(classes, "computer", "msDS-GroupManagedServiceAccount")
	}
	if a.Disabled {
		control |= uacDisabled
	}
	e := entry{userDN(d, a.Sam), map[string][]string{
		"objectClass": classes, "objectSid": {binarySID(a.SID)}, "sAMAccountName": {a.Sam},
		"userPrincipalName":     {a.Sam + "@" + d.DNS()},
		"badPwdCount":           {strconv.Itoa(a.BadCount)},
		"pwdLastSet":            {strconv.Itoa(firstTime + a.Changes*someTime)},
		"msDS-KeyVersionNumber": {strconv.Itoa(versionOne + a.Changes)},
		"accountExpires":        {"9223372036854775807"}, "lockoutTime": {"0"},
	}}
	if a.Locked {
		computed |= uacLocked
		e.attributes["lockoutTime"] = []string{longAgo}
	}
	if a.MustChange {
		e.attributes["pwdLastSet"] = []string{"0"}
	}
	if a.Expired {
		e.attributes["accountExpires"] = []string{longAgo}
	}
	e.attributes["userAccountControl"] = []string{strconv.Itoa(control)}
	e.attributes["msDS-User-Account-Control-Computed"] = []string{strconv.Itoa(computed)}
	return e
}

// binarySID is a SID as the directory stores it (MS-DTYP 2.4.2).
func binarySID(s string) string {
	parts := strings.Split(s, "-")[2:]
	authority, _ := strconv.ParseUint(parts[0], 10, 32)
	b := []byte{1, byte(len(parts) - 1), 0, 0} //nolint:gosec // a SID of the model has five parts
	b = binary.BigEndian.AppendUint32(b, uint32(authority))
	for _, p := range parts[1:] {
		n, _ := strconv.ParseUint(p, 10, 32)
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return string(b)
}

// Scopes of a search.
const scopeBase, scopeOne, scopeAll = 0, 1, 2

func (e entry) in(base string, scope int64) bool {
	dn, base := strings.ToLower(e.dn), strings.ToLower(base)
	_, parent, _ := strings.Cut(dn, ",")
	switch scope {
	case scopeBase:
		return dn == base
	case scopeOne:
		return parent == base && dn != ""
	}
	return dn == base || strings.HasSuffix(dn, ","+base)
}

// get is an attribute by name, whatever its case.
func (e entry) get(name string) []string {
	for n, values := range e.attributes {
		if strings.EqualFold(n, name) {
			return values
		}
	}
	return nil
}

// Tags of filters.
const filterAnd, filterOr, filterEqual, filterPresent = 0, 1, 3, 7

// matches reports whether a filter of the few kinds that are asked here matches.
func (e entry) matches(f *ber.Packet) bool {
	switch f.Tag { //nolint:exhaustive // the tags of a filter are its own
	case filterAnd:
		return !slices.ContainsFunc(f.Children, func(p *ber.Packet) bool { return !e.matches(p) })
	case filterOr:
		return slices.ContainsFunc(f.Children, e.matches)
	case filterEqual:
		want := text(f, 1)
		return slices.ContainsFunc(e.get(text(f, 0)), func(s string) bool { return strings.EqualFold(s, want) })
	case filterPresent:
		return e.get(f.Data.String()) != nil
	}
	return false
}
