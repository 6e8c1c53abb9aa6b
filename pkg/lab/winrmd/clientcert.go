package winrmd

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"
)

// mutualAuthorization is the header of a request whose log-in is in TLS.
const mutualAuthorization = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"

// A CertificateHost is a [Host] that lets clients in by certificate.
type CertificateHost interface {
	Host
	// AuthenticateCertificate decides whether the client that proved to have the
	// key of chain's first certificate is let in, and under which name. Nothing of
	// chain has been verified.
	AuthenticateCertificate(ctx context.Context, chain []*x509.Certificate) (owner string, ok bool)
}

// clientAuth is whether clients are asked for a certificate. Windows asks in a
// second handshake, after it has read the header, unless netsh was told to
// (clientcertnegotiation=enable); this server can only do the latter.
func (s *Server) clientAuth() tls.ClientAuthType {
	if _, ok := s.host.(CertificateHost); ok {
		return tls.RequestClientCert
	}
	return tls.NoClientCert
}

// certificate asks the host once a connection.
func (s *Server) certificate(r *http.Request, conn *connection) (string, bool) {
	if conn.certified != "" {
		return conn.certified, true
	}
	h, ok := s.host.(CertificateHost)
	if !ok || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", false
	}
	owner, ok := h.AuthenticateCertificate(r.Context(), r.TLS.PeerCertificates)
	s.countLogIn(ok)
	if ok {
		conn.certified = owner
	}
	return owner, ok
}

// An Authority signs certificates for clients.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewAuthority makes an authority, valid from a day before now for ten years.
func NewAuthority(name string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert: cert, key: key}, err
}

// Pool holds the authority's own certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// What stands in a certificate that Windows maps to a user: the principal name
// among the subject's alternative names (RFC 5280, 4.2.1.6; the OID is Microsoft's).
var (
	oidAlternativeNames = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidPrincipal        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}
)

// otherName is GeneralName's otherName.
type otherName struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue `asn1:"tag:0,explicit"`
}

// Issue makes a key and a certificate for a client, by a user's principal name
// such as admin@localhost, valid from a day before now for a year. Both are PEM,
// the key first.
func (a *Authority) Issue(principal string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	names, err := alternativeNames(principal)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: principal},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		ExtraExtensions: []pkix.Extension{{Id: oidAlternativeNames, Value: names}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...), nil
}

func alternativeNames(principal string) ([]byte, error) {
	text, err := asn1.MarshalWithParams(principal, "utf8")
	if err != nil {
		return nil, fmt.Errorf("encode the principal: %w", err)
	}
	name, err := asn1.MarshalWithParams(otherName{
		ID: oidPrincipal, Value: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: text},
	}, "tag:0")
	if err != nil {
		return nil, fmt.Errorf("encode the principal: %w", err)
	}
	return asn1.Marshal([]asn1.RawValue{{FullBytes: name}})
}

// Principal verifies a client's chain against an authority and returns the
// principal name in its first certificate.
func Principal(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (string, error) {
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return "", err
	}
	for _, e := range chain[0].Extensions {
		if !e.Id.Equal(oidAlternativeNames) {
			continue
		}
		var names []asn1.RawValue
		if _, err := asn1.Unmarshal(e.Value, &names); err != nil {
			return "", err
		}
		for _, n := range names {
			var other otherName
			var text string
			if _, err := asn1.UnmarshalWithParams(n.FullBytes, &other, "tag:0"); err != nil || !other.ID.Equal(oidPrincipal) {
				continue
			}
			if _, err := asn1.UnmarshalWithParams(other.Value.Bytes, &text, "utf8"); err == nil {
				return text, nil
			}
		}
	}
	return "", errors.New("the certificate names no principal")
}
