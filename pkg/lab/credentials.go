package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/lab/winrmd"
	"keyturn/pkg/secret"
)

// certificateUser is whom the machines map the lab's client certificate to:
// Windows maps certificates to local accounts only, so that a domain controller,
// which has none, lets nobody in by one.
const (
	certificateUser      = "Administrator"
	certificatePrincipal = certificateUser + "@localhost"
)

// credentials are the ways to log in beside a password.
type credentials struct {
	pem   secret.Value   // a key and its client certificate, for WinRM
	roots *x509.CertPool // that machines trust client certificates of
	key   secret.Value   // the private key of LAB\admin, for SSH
	line  string         // its public key
	now   func() time.Time
}

func newCredentials(now func() time.Time) (*credentials, error) {
	authority, err := winrmd.NewAuthority("Practice clients", now())
	if err != nil {
		return nil, fmt.Errorf("authority of client certificates: %w", err)
	}
	bundle, err := authority.Issue(certificatePrincipal, now())
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of the admin: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "practice admin")
	key, err2 := ssh.NewPublicKey(public)
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("key of the admin: %w", err)
	}
	return &credentials{
		pem: secret.New(bundle), roots: authority.Pool(), now: now,
		key: secret.New(pem.EncodeToMemory(block)), line: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))),
	}, nil
}

// AuthenticateCertificate maps the lab's client certificate to the machine's own
// Administrator.
func (h *host) AuthenticateCertificate(ctx context.Context, chain []*x509.Certificate) (string, bool) {
	info, err := h.machine.Info()
	if err != nil || info.DC {
		return "", false
	}
	who, err := winrmd.Principal(chain, h.credentials.roots, h.credentials.now())
	if err != nil || !strings.EqualFold(who, certificatePrincipal) {
		return "", false
	}
	return h.admit(ctx, certificateUser, h.machine.Name(), anyPassword)
}

// byKey lets the practice admin in with its key: a logon without a password,
// which still looks at the account.
func (h *host) byKey(ctx context.Context, user, domain, line string) (string, bool) {
	if line != h.credentials.line {
		return "", false
	}
	owner, ok := h.admit(ctx, user, domain, anyPassword)
	return owner, ok && strings.EqualFold(owner, model.PracticeAdmin)
}

// anyPassword is the check of a logon that needs none.
func anyPassword(string) bool { return true }
