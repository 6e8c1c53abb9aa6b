package winrmd

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/remotetest"
	"keyturn/pkg/secret"
)

// A mapped stage maps one principal of its authority to an account.
type mapped struct {
	stage
	roots *x509.CertPool
}

func (h *mapped) AuthenticateCertificate(_ context.Context, chain []*x509.Certificate) (string, bool) {
	who, err := Principal(chain, h.roots, time.Now())
	return `SRV1\admin`, err == nil && who == "admin@localhost"
}

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *Authority, principal string, at time.Time) secret.Value {
	t.Helper()
	b, err := a.Issue(principal, at)
	if err != nil {
		t.Fatal(err)
	}
	return secret.New(b)
}

// The suite that every transport must pass, logged in by certificate.
func TestTheClientOfTheProductWithACertificate(t *testing.T) {
	t.Parallel()
	a := authority(t)
	key := issue(t, a, "admin@localhost", time.Now())
	remotetest.Suite(t, func(t *testing.T) remotetest.Fixture {
		t.Helper()
		h := &mapped{roots: a.Pool()}
		s := serverFor(t, h)
		f := fixtureFor(t, &h.stage, s)
		f.Target.PrivateKey, f.Untrusted.PrivateKey = key, key
		return f
	})
}

func TestCertificatesThatAreRefused(t *testing.T) {
	t.Parallel()
	a, other := authority(t), authority(t)
	good := issue(t, a, "admin@localhost", time.Now())
	h := &mapped{roots: a.Pool()}
	s := serverFor(t, h)
	without := serverFor(t, &stage{})
	blocks := func(v secret.Value, kinds ...string) secret.Value {
		var out []byte
		for rest := v.Reveal(); ; {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil {
				return secret.New(out)
			}
			for _, k := range kinds {
				if b.Type == k {
					out = append(out, pem.EncodeToMemory(b)...)
				}
			}
		}
	}
	for name, row := range map[string]struct {
		server       *Server
		key          secret.Value
		says         string // "": it logs in
		inconclusive bool
		counted      int // log-ins that the machine refused
	}{
		"the right one":                   {server: s, key: good},
		"that of another authority":       {s, issue(t, other, "admin@localhost", time.Now()), "refused the client certificate", false, 1},
		"that of another user":            {s, issue(t, a, "guest@localhost", time.Now()), "refused the client certificate", false, 1},
		"one that has expired":            {s, issue(t, a, "admin@localhost", time.Now().AddDate(-2, 0, 0)), "refused the client certificate", false, 1},
		"a machine that asks for none":    {without, good, "never asked", true, 0},
		"a certificate without its key":   {s, blocks(good, "CERTIFICATE"), "of no use", true, 0},
		"a key without its certificate":   {s, blocks(good, "PRIVATE KEY"), "needs a user name and a password, or", true, 0},
		"a key and another's certificate": {s, secret.New(append(blocks(good, "PRIVATE KEY").Reveal(), blocks(issue(t, a, "x", time.Now()), "CERTIFICATE").Reveal()...)), "of no use", true, 0},
		"a key behind a passphrase": {s, secret.New(append([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"),
			blocks(good, "CERTIFICATE").Reveal()...)), "protected by a passphrase", true, 0},
		"a key in OpenSSH's form": {s, secret.New(append([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"),
			blocks(good, "CERTIFICATE").Reveal()...)), "OpenSSH's form", true, 0},
	} {
		f := fixtureFor(t, &h.stage, row.server)
		f.Target.PrivateKey, f.Target.Password = row.key, secret.Value{}
		_, before := f.LogIns()
		session, err := f.Dialer.Dial(t.Context(), f.Target)
		if err == nil {
			_ = session.Close()
		}
		if _, after := f.LogIns(); after-before != row.counted {
			t.Errorf("%s: %d refusals, want %d", name, after-before, row.counted)
		}
		if row.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, pam.ErrAuthFailed) || errors.Is(err, remote.ErrInconclusive) != row.inconclusive || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
