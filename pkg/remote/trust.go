package remote

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"keyturn/pkg/pam"
)

const opCertificate = "check the certificate"

// TLSConfig returns the configuration that lets in exactly the server that e
// describes, by e's pin, CA or else the system's pool, at the time that now
// says. The check runs in VerifyConnection, so that a refusal can show what the
// server offered; nothing of what TLS carries is written before it passed. A
// refusal is an *[Error] of kind ErrUntrusted.
func TLSConfig(e Endpoint, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         e.Host,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection below checks instead, on every handshake
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return &Error{Kind: pam.ErrUntrusted, Op: opCertificate, Err: errors.New("the server showed no certificate")}
			}
			if err := verify(e, cs.PeerCertificates, now()); err != nil {
				return untrusted(cs.PeerCertificates[0], err)
			}
			return nil
		},
	}
}

// verify checks chain, the server's certificates leaf first, against the pin
// or the pool of e.
func verify(e Endpoint, chain []*x509.Certificate, now time.Time) error {
	if e.Pin != "" {
		if !strings.EqualFold(e.Pin, Pin(chain[0])) {
			return errors.New("the certificate is not the pinned one")
		}
		return nil
	}
	opts := x509.VerifyOptions{DNSName: e.Host, CurrentTime: now, Intermediates: x509.NewCertPool()}
	if len(e.CAPEM) > 0 {
		opts.Roots = x509.NewCertPool()
		if !opts.Roots.AppendCertsFromPEM(e.CAPEM) {
			return errors.New("the record's CA file holds no certificate")
		}
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return errors.New(Clean(err.Error())) // a certificate's own words: names may hold anything
	}
	return nil
}

// Pin is the form in which a record keeps a certificate.
func Pin(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// untrusted says which certificate was refused, for a person to compare.
func untrusted(leaf *x509.Certificate, err error) *Error {
	e := &Error{Kind: pam.ErrUntrusted, Op: opCertificate, Err: err, Server: Pin(leaf)}
	sum := sha256.Sum256(leaf.Raw)
	e.Fingerprint = "SHA256:" + strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
	return e
}
