package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// hostKeys are the keys that a server may show. The zero value trusts none.
type hostKeys struct {
	keys []gossh.PublicKey
	// changed says that other keys are known, and that the server has none of
	// their kinds.
	changed bool
}

// errOtherKeyType reports that the server has no host key of a trusted kind.
var errOtherKeyType = errors.New("the server has no host key of the known kinds")

// parseHostKeys reads the keys of e. A key that cannot be read fails before
// anything is connected: leaving it out would turn a typo into "unknown host".
func parseHostKeys(e remote.Endpoint) (hostKeys, error) {
	var h hostKeys
	for i, line := range e.HostKeys {
		key, _, _, rest, err := gossh.ParseAuthorizedKey([]byte(line))
		if err == nil && len(bytes.TrimSpace(rest)) > 0 {
			err = errors.New("it holds more than one line")
		}
		if err != nil {
			return hostKeys{}, &remote.Error{
				Kind: pam.ErrUntrusted, Address: e.Address(), Op: opHostKey,
				Err: fmt.Errorf("host key %d of the record cannot be read (%w); nothing was connected", i+1, err),
			}
		}
		h.keys = append(h.keys, key)
	}
	return h, nil
}

// algorithms are the signature algorithms of the trusted keys. Without them a
// server that also has a key of another kind would show that one and look like
// a changed server. SHA-1 signatures are never accepted.
func (h hostKeys) algorithms() []string {
	var names []string
	for _, k := range h.keys {
		if k.Type() == gossh.KeyAlgoRSA {
			names = append(names, gossh.KeyAlgoRSASHA256, gossh.KeyAlgoRSASHA512)
			continue
		}
		names = append(names, k.Type())
	}
	return names
}

func (h hostKeys) trusts(key gossh.PublicKey) bool {
	for _, k := range h.keys {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}

// refusal is the error of a server that showed key, which is not trusted.
func (h hostKeys) refusal(t remote.Target, key gossh.PublicKey) *remote.Error {
	e := &remote.Error{
		Kind: pam.ErrUntrusted, Address: t.Address(), Op: opHostKey,
		Server:      strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key))),
		Fingerprint: gossh.FingerprintSHA256(key),
	}
	if !h.changed && len(h.keys) == 0 {
		e.Err = fmt.Errorf("the host key is not known: the server shows %s; no credential was sent", e.Fingerprint)
		return e
	}
	e.Err = fmt.Errorf("the host key has CHANGED: the server shows %s; "+
		"the machine was installed anew, or somebody sits in between; no credential was sent", e.Fingerprint)
	return e
}
