package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"keyturn/pkg/pam"
)

// agentTime bounds the use of an agent in one Dial: it may ask a person first.
const agentTime = 2 * time.Minute

// agentKey finds the one key of the agent that which names, so that a log-in is
// one attempt: keys are not tried in turn. done ends the connection to the agent.
func (d *Dialer) agentKey(ctx context.Context, which string) (key *agentSigner, done func(), err error) {
	nothing := func() {}
	if d.o.Agent == nil {
		return nil, nothing, errors.New("the record asks for an SSH agent, and there is none here")
	}
	conn, err := d.o.Agent(ctx)
	if err != nil {
		return nil, nothing, fmt.Errorf("the record asks for the SSH agent, which cannot be reached: %w", err)
	}
	detach := context.AfterFunc(ctx, func() { _ = conn.Close() })
	late := time.AfterFunc(agentTime, func() { _ = conn.Close() })
	done = func() {
		detach()
		late.Stop()
		_ = conn.Close()
	}
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		done()
		return nil, nothing, fmt.Errorf("the SSH agent does not list its keys: %s", clean(err.Error()))
	}
	signer, err := pickKey(signers, which)
	if err != nil {
		done()
		return nil, nothing, err
	}
	return signer, done, nil
}

// An agentSigner remembers that the agent did not sign, which is no word of the
// server's.
type agentSigner struct {
	gossh.AlgorithmSigner
	failed error
}

// SignWithAlgorithm asks the agent.
func (s *agentSigner) SignWithAlgorithm(random io.Reader, data []byte, algorithm string) (*gossh.Signature, error) {
	sig, err := s.AlgorithmSigner.SignWithAlgorithm(random, data, algorithm)
	if err != nil {
		s.failed = fmt.Errorf("the SSH agent did not sign: %s", clean(err.Error()))
	}
	return sig, err
}

// pickKey returns the key that which names, with its certificate where the agent
// has one.
func pickKey(signers []gossh.Signer, which string) (*agentSigner, error) {
	found := map[string]*agentSigner{} // by fingerprint of the key itself
	for _, s := range signers {
		name, certified, ok := identify(s)
		signer, signs := s.(gossh.AlgorithmSigner)
		if wanted := which == pam.AgentOn || which == name; !ok || !signs || !wanted {
			continue
		}
		if _, known := found[name]; !known || certified {
			found[name] = &agentSigner{AlgorithmSigner: signer}
		}
	}
	names := slices.Sorted(maps.Keys(found))
	switch {
	case len(names) == 1:
		return found[names[0]], nil
	case len(names) > 1:
		return nil, fmt.Errorf("the SSH agent holds %d keys (%s), and one is tried: say which (c.text.sshAgent=SHA256:...)",
			len(names), strings.Join(names[:min(len(names), maxListed)], ", "))
	case which == pam.AgentOn:
		return nil, errors.New("the SSH agent holds no key")
	default:
		return nil, fmt.Errorf("the SSH agent does not hold the key %s", clean(which))
	}
}

// identify returns the fingerprint of a signer's key, and whether it has a
// certificate; false for a kind of key that we do not know.
func identify(s gossh.Signer) (name string, certified, ok bool) {
	key, err := gossh.ParsePublicKey(s.PublicKey().Marshal())
	if err != nil {
		return "", false, false
	}
	cert, certified := key.(*gossh.Certificate)
	if certified {
		key = cert.Key
	}
	return gossh.FingerprintSHA256(key), certified, true
}

// maxListed is how many keys of an agent an error names.
const maxListed = 5
