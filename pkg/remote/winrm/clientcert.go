package winrm

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// mutualHeader is how WS-Management says that the log-in is in TLS (DSP0226,
// the security profile https/mutual). Every request carries it.
const mutualHeader = "Authorization: http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual\r\n"

// A clientCert is a key with its certificate, and whether the machine ever asked
// for it.
type clientCert struct {
	pair  tls.Certificate
	asked atomic.Bool
}

// certOf reads a target's key and certificate. A key alone is for SSH, and none
// of ours.
func certOf(t remote.Target) (*clientCert, error) {
	text := t.PrivateKey.Reveal()
	if !bytes.Contains(text, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if bytes.Contains(text, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----")) || bytes.Contains(text, []byte("Proc-Type: 4,ENCRYPTED")) {
		return nil, errors.New("the record's private key is protected by a passphrase, which a key for WinRM must not be: " +
			"openssl pkey -in KEY writes it without one")
	}
	if bytes.Contains(text, []byte("-----BEGIN OPENSSH PRIVATE KEY-----")) {
		return nil, errors.New("the record's private key is in OpenSSH's form: WinRM needs the one that belongs to the certificate, in PEM")
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("the record's private key and certificate are of no use: %s", remote.Clean(err.Error()))
	}
	return &clientCert{pair: pair}, nil
}

// join makes a connection show the certificate. Windows asks for it in a second
// handshake, once it has read the header: TLS 1.3 has no such thing, and its
// replacement is not in Go's library, so 1.2 it is.
func (c *clientCert) join(config *tls.Config) {
	if c == nil {
		return
	}
	config.MaxVersion = tls.VersionTLS12
	config.Renegotiation = tls.RenegotiateOnceAsClient
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c.asked.Store(true)
		return &c.pair, nil
	}
}

// refused is the error of a machine that answered 401.
func (c *clientCert) refused() *remote.Error {
	if !c.asked.Load() {
		return inconclusive(errors.New("the machine never asked for the client certificate: certificate log-in is off there " +
			"(winrm set winrm/config/service/auth @{Certificate=\"true\"})"))
	}
	return failure(pam.ErrAuthFailed, "log in",
		errors.New("the machine refused the client certificate: it maps it to no account, or that account may not log in"))
}

// alerts are what a server says in TLS of a client certificate that it does not
// take (RFC 8446, 6.2), in the words of Go's library, which does not export them.
func alerts() []string {
	return []string{
		"tls: bad certificate", "tls: unsupported certificate", "tls: revoked certificate", "tls: expired certificate",
		"tls: unknown certificate", "tls: unknown certificate authority", "tls: access denied", "tls: certificate required",
	}
}

// refusedInTLS is the error of a machine that refused our certificate, or our
// lack of one, before it answered anything; nil for any other failure. It counts
// as no verdict: the account behind the certificate was not looked at.
func refusedInTLS(err error) *remote.Error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || !slices.Contains(alerts(), op.Err.Error()) {
		return nil
	}
	return inconclusive(fmt.Errorf("the machine refused the client certificate in TLS (%w)", op.Err))
}
