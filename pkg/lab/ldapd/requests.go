package ldapd

import (
	"fmt"
	"strings"
	"unicode/utf16"

	ber "github.com/go-asn1-ber/asn1-ber"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/secret"
)

// Result codes (RFC 4511).
const (
	operationsError    = 1
	protocolError      = 2
	sizeLimitExceeded  = 4
	authNotSupported   = 7
	strongAuthRequired = 8
	noSuchObject       = 32
	invalidCredentials = 49
	insufficientRights = 50
	unavailable        = 52
	unwilling          = 53
)

// reasons are the words after "data" in a refused log-in.
var reasons = map[model.Errno]string{
	model.LogonFailure: "52e", model.AccountLocked: "775", model.AccountDisabled: "533", model.AccountExpired: "701",
	model.PasswordExpired: "532", model.MustChangePassword: "773",
}

// What a controller says with some of them.
const (
	textNoObject   = "0000208D: NameErr: DSID-03100241, problem 2001 (NO_OBJECT), data 0, best match of:\n\t''\n"
	textConversion = "00002035: LdapErr: DSID-0C091013, comment: Error in attribute conversion operation, data 0, v4563"
	textNoRight    = "00000005: SecErr: DSID-031A1256, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0\n"
)

// bind is a simple bind.
func (c *client) bind(q *ber.Packet) result {
	const simple = 2
	c.server.mu.Lock()
	c.server.binds++
	c.server.mu.Unlock()
	c.sid = ""
	if len(q.Children) <= simple || q.Children[simple].Tag != 0 {
		return result{code: authNotSupported}
	}
	if !c.tls {
		return result{code: strongAuthRequired, text: "00002028: LdapErr: DSID-0C090259, comment: " +
			"The server requires binds to turn on integrity checking if SSL\\TLS are not already active on the connection, data 0, v4563"}
	}
	who, ok := c.called(text(q, 1))
	code := model.LogonFailure
	if ok {
		code = c.domain().Bind(who.SID, secret.New([]byte(text(q, simple))))
	}
	if code != model.OK {
		return result{code: invalidCredentials, text: fmt.Sprintf(
			"80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data %s, v4563", reasons[code])}
	}
	c.sid = who.SID
	return result{}
}

// called finds an account by the forms that a simple bind takes.
func (c *client) called(name string) (model.AccountView, bool) {
	d := c.domain()
	for _, a := range d.Entries() {
		for _, form := range []string{userDN(d, a.Sam), d.Name() + `\` + a.Sam, a.Sam + "@" + d.DNS()} {
			if strings.EqualFold(form, name) {
				return a, true
			}
		}
	}
	return model.AccountView{}, false
}

// search answers with entries, as far as the client may see them.
func (c *client) search(id int64, q *ber.Packet) result {
	const base, scope, size, filter, wanted = 0, 1, 3, 6, 7
	if len(q.Children) <= wanted {
		return result{code: protocolError}
	}
	at := text(q, base)
	if at != "" && c.sid == "" {
		return result{code: operationsError, text: "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation " +
			"a successful bind must be completed on the connection., data 0, v4563"}
	}
	how, _ := q.Children[scope].Value.(int64)
	most, _ := q.Children[size].Value.(int64)
	found, there := c.found(at, how, q.Children[filter])
	for n, e := range found {
		if most > 0 && int64(n) == most {
			return result{code: sizeLimitExceeded}
		}
		if err := c.send(id, entryPacket(e, q.Children[wanted]), at); err != nil {
			return result{err: errCut}
		}
	}
	if !there {
		return result{code: noSuchObject, text: textNoObject}
	}
	return result{}
}

// found are the entries that a search is for, and whether its base is there.
func (c *client) found(at string, scope int64, filter *ber.Packet) (found []entry, there bool) {
	for _, e := range c.entries() {
		there = there || e.in(at, scopeAll)
		if e.in(at, scope) && e.matches(filter) {
			found = append(found, e)
		}
	}
	return found, there
}

// send writes an entry: once, or again and again.
func (c *client) send(id int64, e *ber.Packet, at string) error {
	for {
		if err := c.write(id, e); err != nil || at == "" || !c.server.wrong().Endless {
			return err
		}
	}
}

func entryPacket(e entry, wanted *ber.Packet) *ber.Packet {
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tagEntry, nil, "")
	p.AppendChild(octets(e.dn))
	attributes := ber.NewSequence("")
	for n := range wanted.Children {
		values := e.get(text(wanted, n))
		if values == nil {
			continue
		}
		a, set := ber.NewSequence(""), ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range values {
			set.AppendChild(octets(v))
		}
		a.AppendChild(octets(text(wanted, n)))
		a.AppendChild(set)
		attributes.AppendChild(a)
	}
	p.AppendChild(attributes)
	return p
}

// modify knows two changes: replace unicodePwd, which is a reset, and replace
// lockoutTime by 0, which unlocks.
func (c *client) modify(q *ber.Packet) result {
	const replace = 2
	if len(q.Children) != 2 || len(q.Children[1].Children) != 1 {
		return result{code: protocolError}
	}
	change := q.Children[1].Children[0]
	how, _ := change.Children[0].Value.(int64)
	attribute, value := strings.ToLower(text(change.Children[1], 0)), firstValue(change.Children[1])
	if how != replace || attribute != "unicodepwd" && attribute != "lockouttime" {
		return result{code: unwilling, text: textConversion}
	}
	who, r := c.mayChange(text(q, 0))
	if r.code != 0 {
		return r
	}
	if attribute == "lockouttime" {
		if c.domain().Unlock(who.Sam) != model.OK {
			return result{code: noSuchObject, text: textNoObject}
		}
		return result{}
	}
	if c.server.once(func(f *Faults) *bool { return &f.CutBefore }) {
		return result{err: errCut}
	}
	r = reset(c.domain(), who.Sam, value)
	if c.server.once(func(f *Faults) *bool { return &f.CutAfter }) {
		return result{err: errCut}
	}
	return r
}

// mayChange finds the account that is to be changed, by somebody who may.
func (c *client) mayChange(dn string) (model.AccountView, result) {
	switch {
	case !c.tls:
		return model.AccountView{}, result{
			code: unwilling, text: "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\n",
		}
	case c.sid == "" || c.server.options.MayReset != nil && !c.server.options.MayReset(c.sid):
		return model.AccountView{}, result{code: insufficientRights, text: textNoRight}
	}
	who, ok := c.called(dn)
	if !ok {
		return who, result{code: noSuchObject, text: textNoObject}
	}
	return who, result{}
}

// firstValue is that of an attribute, nil when there is none.
func firstValue(attribute *ber.Packet) []byte {
	if len(attribute.Children) != 2 || len(attribute.Children[1].Children) == 0 {
		return nil
	}
	return attribute.Children[1].Children[0].Data.Bytes()
}

func reset(d *model.Domain, sam string, value []byte) result {
	next, ok := unquoted(value)
	if !ok {
		return result{code: unwilling, text: textConversion}
	}
	switch d.Reset(sam, next) { //nolint:exhaustive // the rest is policy
	case model.OK:
		return result{}
	case model.AccessDenied:
		return result{code: insufficientRights, text: textNoRight}
	}
	return result{code: unwilling, text: "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\n"}
}

// unquoted is the password in a value of unicodePwd.
func unquoted(value []byte) (secret.Value, bool) {
	units := make([]uint16, 0, len(value)/2)
	for i := 0; i+1 < len(value); i += 2 {
		units = append(units, uint16(value[i])|uint16(value[i+1])<<8)
	}
	if len(units) < 2 || len(value)%2 != 0 || units[0] != '"' || units[len(units)-1] != '"' {
		return secret.Value{}, false
	}
	return secret.New([]byte(string(utf16.Decode(units[1 : len(units)-1])))), true
}
