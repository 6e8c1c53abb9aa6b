package ssh

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	gossh "golang.org/x/crypto/ssh"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// A credential is what a target gives us to log in with.
type credential struct {
	signer   gossh.Signer // nil without a key
	agent    *agentSigner // signer, when the agent has the key
	password func() string
}

// credential reads what t logs in with. done ends the use of it.
func (d *Dialer) credential(ctx context.Context, t remote.Target) (c credential, done func(), err error) {
	done = func() {}
	if !t.Password.IsZero() {
		// The library wants a string; it lives no longer than the attempt.
		c.password = func() string { return string(t.Password.Reveal()) }
	}
	switch {
	case t.Agent != "":
		if c.agent, done, err = d.agentKey(ctx, t.Agent); err == nil {
			c.signer = c.agent
		}
	case !t.PrivateKey.IsZero():
		c.signer, err = parseKey(t.PrivateKey, t.Passphrase)
	}
	if err != nil {
		kind := pam.ErrAuthFailed
		if ctx.Err() != nil {
			kind, err = contextKind(ctx.Err()), context.Cause(ctx)
		}
		return c, done, fail(t, opLogIn, kind, fmt.Errorf("%w: %w; nothing was connected", remote.ErrInconclusive, err))
	}
	return c, done, nil
}

var (
	errNotAKey  = errors.New("the private key cannot be read: it is not PEM, or of an unknown kind")
	errPutty    = errors.New("the private key is PuTTY's own form: puttygen KEY -O private-openssh writes the usual one")
	errPKCS8    = errors.New("the private key's passphrase is of PKCS#8, which is not taken: ssh-keygen -p -f KEY writes the usual form")
	errLocked   = errors.New("the private key is protected by a passphrase, and the record has none (c.secret.passphrase)")
	errWrong    = errors.New("the record's passphrase does not open the private key")
	errHostCert = errors.New("the certificate beside the private key is a host's, not a user's")
	errNotACert = errors.New("the certificate beside the private key cannot be read")
	errNotOurs  = errors.New("the certificate beside the private key is that of another key")
)

// parseKey reads a private key and, when the line of one stands beside it, its
// user certificate.
func parseKey(text, passphrase secret.Value) (gossh.Signer, error) {
	block, cert := splitKey(text.Reveal())
	defer clear(block)
	signer, err := gossh.ParsePrivateKey(block)
	var locked *gossh.PassphraseMissingError
	if errors.As(err, &locked) && !passphrase.IsZero() { // a key may have no use for one
		signer, err = gossh.ParsePrivateKeyWithPassphrase(block, passphrase.Reveal())
	}
	if err != nil {
		return nil, explainKey(text.Reveal(), err)
	}
	if cert == nil {
		return signer, nil
	}
	return certify(signer, cert)
}

// explainKey says what is wrong with a key, in no words of its own.
func explainKey(text []byte, err error) error {
	var locked *gossh.PassphraseMissingError
	switch {
	case bytes.Contains(text, []byte("PuTTY-User-Key-File")):
		return errPutty
	case bytes.Contains(text, []byte("BEGIN ENCRYPTED PRIVATE KEY")):
		return errPKCS8
	case errors.As(err, &locked):
		return errLocked
	case errors.Is(err, x509.IncorrectPasswordError):
		return errWrong
	default:
		return errNotAKey
	}
}

// splitKey finds the first private key of text as PEM, and the line of an
// OpenSSH certificate. Either may be missing.
func splitKey(text []byte) (key, cert []byte) {
	for rest := text; key == nil; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			key = pem.EncodeToMemory(block)
		}
		clear(block.Bytes)
	}
	for line := range bytes.Lines(text) {
		if kind, _, _ := bytes.Cut(line, []byte(" ")); bytes.HasSuffix(kind, []byte("-cert-v01@openssh.com")) {
			cert = line
			break
		}
	}
	return key, cert
}

func certify(signer gossh.Signer, line []byte) (gossh.Signer, error) {
	key, _, _, _, err := gossh.ParseAuthorizedKey(line) //nolint:dogsled // the library's signature
	if err != nil {
		return nil, errNotACert
	}
	cert, ok := key.(*gossh.Certificate)
	switch {
	case !ok:
		return nil, errNotACert
	case cert.CertType != gossh.UserCert:
		return nil, errHostCert
	}
	certified, err := gossh.NewCertSigner(cert, signer)
	if err != nil {
		return nil, errNotOurs
	}
	return certified, nil
}
