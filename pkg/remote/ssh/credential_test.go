package ssh_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/remote/sshtest"
	"keyturn/pkg/secret"
)

// keys are private keys of one test, and a certificate of the first.
type keys struct {
	ed25519 ed25519.PrivateKey
	rsa     *rsa.PrivateKey
	curve   *ecdsa.PrivateKey
	ca      gossh.Signer
}

func makeKeys(t *testing.T) keys {
	t.Helper()
	var k keys
	var err, err2, err3 error
	_, k.ed25519, err = ed25519.GenerateKey(rand.Reader)
	k.rsa, err2 = rsa.GenerateKey(rand.Reader, 2048)
	k.curve, err3 = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ca, err4 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	k.ca = signerOf(t, ca)
	return k
}

func signerOf(t *testing.T, private any) gossh.Signer {
	t.Helper()
	s, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func authorized(k gossh.PublicKey) string {
	return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(k)))
}

// openssh is a private key in OpenSSH's form, behind a passphrase unless that is "".
func openssh(t *testing.T, private any, passphrase string) string {
	t.Helper()
	block, err := gossh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = gossh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// certificate is the line of a certificate for the user svc.
func (k keys) certificate(t *testing.T, of gossh.PublicKey, change func(*gossh.Certificate)) string {
	t.Helper()
	c := &gossh.Certificate{
		Key: of, CertType: gossh.UserCert, KeyId: "test", ValidPrincipals: []string{"svc"}, ValidBefore: gossh.CertTimeInfinity,
	}
	if change != nil {
		change(c)
	}
	if err := c.SignCert(rand.Reader, k.ca); err != nil {
		t.Fatal(err)
	}
	return authorized(c)
}

// keyServer is a real sshd that knows the keys and the authority, and takes no
// password.
func keyServer(t *testing.T, k keys) *sshtest.Server {
	t.Helper()
	s := sshtest.Start(t, sshtest.Options{
		Config: "PasswordAuthentication no\nTrustedUserCAKeys /etc/ssh/user_ca.pub",
		Users:  []sshtest.User{{Name: "svc", Password: userPassword}},
	})
	files := map[string]string{
		"mkdir -p /home/svc/.ssh; cat >/home/svc/.ssh/authorized_keys; chown -R svc: /home/svc; chmod -R go-w /home/svc": strings.Join([]string{
			authorized(signerOf(t, k.rsa).PublicKey()), authorized(signerOf(t, k.curve).PublicKey()),
		}, "\n") + "\n",
		"cat >/etc/ssh/user_ca.pub": authorized(k.ca.PublicKey()) + "\n",
	}
	for script, in := range files {
		if _, err := s.Run(t.Context(), in, "sh", "-c", "umask 022; "+script); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestKeysOfARecord(t *testing.T) {
	t.Parallel()
	k := makeKeys(t)
	s := keyServer(t, k)
	first := signerOf(t, k.ed25519).PublicKey()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k.curve)
	if err != nil {
		t.Fatal(err)
	}
	good := k.certificate(t, first, nil)
	other := k.certificate(t, signerOf(t, k.curve).PublicKey(), nil)
	for name, row := range map[string]struct {
		pem, passphrase string
		says            string // "": it logs in
		refused         bool   // by the server
	}{
		"RSA in OpenSSH's form":                    {pem: openssh(t, k.rsa, "")},
		"ECDSA in OpenSSH's form":                  {pem: openssh(t, k.curve, "")},
		"RSA in PKCS#1":                            {pem: string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k.rsa)}))},
		"ECDSA in PKCS#8":                          {pem: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))},
		"behind a passphrase":                      {pem: openssh(t, k.curve, "open sesame"), passphrase: "open sesame"},
		"a passphrase that the key has no use for": {pem: openssh(t, k.curve, ""), passphrase: "open sesame"},
		"a passphrase is wanted":                   {pem: openssh(t, k.curve, "open sesame"), says: "has none (c.secret.passphrase)"},
		"the wrong passphrase":                     {pem: openssh(t, k.curve, "open sesame"), passphrase: "wrong", says: "does not open"},
		"PKCS#8 behind a passphrase":               {pem: "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", passphrase: "x", says: "ssh-keygen -p"},
		"PuTTY's form":                             {pem: "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", says: "puttygen"},
		"a public key":                             {pem: authorized(first), says: "cannot be read"},
		"a certificate of X.509 before the key":    {pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + openssh(t, k.curve, "")},
		"a user certificate":                       {pem: openssh(t, k.ed25519, "") + good},
		"a user certificate before the key":        {pem: good + "\n" + openssh(t, k.ed25519, "")},
		"and behind a passphrase":                  {pem: openssh(t, k.ed25519, "open sesame") + good + " comment\n", passphrase: "open sesame"},
		"the key without its certificate":          {pem: openssh(t, k.ed25519, ""), refused: true},
		"a certificate for somebody else":          {pem: openssh(t, k.ed25519, "") + k.certificate(t, first, func(c *gossh.Certificate) { c.ValidPrincipals = []string{"root"} }), refused: true},
		"a certificate that has expired":           {pem: openssh(t, k.ed25519, "") + k.certificate(t, first, func(c *gossh.Certificate) { c.ValidBefore = 1000 }), refused: true},
		"a host's certificate":                     {pem: openssh(t, k.ed25519, "") + k.certificate(t, first, func(c *gossh.Certificate) { c.CertType = gossh.HostCert }), says: "is a host's"},
		"a certificate of another key":             {pem: openssh(t, k.ed25519, "") + other, says: "of another key"},
		"a certificate that is cut":                {pem: openssh(t, k.ed25519, "") + good[:100], says: "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			to := target(s, "svc", "")
			to.PrivateKey, to.Passphrase = secret.New([]byte(row.pem)), secret.New([]byte(row.passphrase))
			before := s.Connections()
			session, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), to)
			if err == nil {
				_ = session.Close()
			}
			if row.says == "" && !row.refused {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, pam.ErrAuthFailed) || errors.Is(err, remote.ErrInconclusive) == row.refused || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v, want one that says %q", err, row.says)
			}
			if connected := s.Connections() != before; connected != row.refused {
				t.Errorf("connected: %v", connected)
			}
			if row.passphrase != "" && row.passphrase != "x" && strings.Contains(err.Error(), row.passphrase) {
				t.Errorf("%v shows the passphrase", err)
			}
		})
	}
}

// startAgent serves a keyring to every connection and returns how to connect to
// it, and how often that was done.
func startAgent(t *testing.T, ring agent.Agent) (dial func(context.Context) (net.Conn, error), used func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	return func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			mu.Lock()
			n++
			mu.Unlock()
			serving.Go(func() {
				_ = agent.ServeAgent(ring, theirs)
				_ = theirs.Close()
			})
			return ours, nil
		}, func() int {
			mu.Lock()
			defer mu.Unlock()
			return n
		}
}

// stubborn is an agent that lists its keys and never signs.
type stubborn struct{ agent.Agent }

func (stubborn) Sign(gossh.PublicKey, []byte) (*gossh.Signature, error) { return nil, errors.New("no") }

func TestKeysOfAnAgent(t *testing.T) {
	t.Parallel()
	k := makeKeys(t)
	s := keyServer(t, k)
	first := signerOf(t, k.ed25519).PublicKey()
	parsed, _, _, _, err := gossh.ParseAuthorizedKey([]byte(k.certificate(t, first, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ring := func(keys ...agent.AddedKey) agent.Agent {
		r := agent.NewKeyring()
		for _, key := range keys {
			if err := r.Add(key); err != nil {
				t.Fatal(err)
			}
		}
		return r
	}
	rsaKey, curve := agent.AddedKey{PrivateKey: k.rsa}, agent.AddedKey{PrivateKey: k.curve}
	plain, certified := agent.AddedKey{PrivateKey: &k.ed25519}, agent.AddedKey{PrivateKey: &k.ed25519, Certificate: parsed.(*gossh.Certificate)}
	fingerprint := func(private any) string { return gossh.FingerprintSHA256(signerOf(t, private).PublicKey()) }
	for name, row := range map[string]struct {
		ring    agent.Agent
		which   string
		says    string // "": it logs in
		refused bool   // by the server
	}{
		"its one key":                         {ring: ring(rsaKey), which: "on"},
		"a key by its fingerprint":            {ring: ring(plain, rsaKey, curve), which: fingerprint(k.curve)},
		"an RSA key by its fingerprint":       {ring: ring(plain, rsaKey, curve), which: fingerprint(k.rsa)},
		"several keys, and none is named":     {ring: ring(rsaKey, curve), which: "on", says: "holds 2 keys"},
		"a key that it does not hold":         {ring: ring(rsaKey), which: fingerprint(k.curve), says: "does not hold the key SHA256:"},
		"no key":                              {ring: ring(), which: "on", says: "holds no key"},
		"a key and its certificate are one":   {ring: ring(plain, certified), which: "on"},
		"whichever comes first":               {ring: ring(certified, plain), which: fingerprint(k.ed25519)},
		"a key that the server does not know": {ring: ring(plain), which: "on", refused: true},
		"an agent that does not sign":         {ring: stubborn{ring(rsaKey)}, which: "on", says: "did not sign"},
	} {
		t.Run(name, func(t *testing.T) {
			dial, _ := startAgent(t, row.ring)
			to := target(s, "svc", "")
			to.Agent = row.which
			session, err := ssh.NewDialer(ssh.Options{Agent: dial}).Dial(t.Context(), to)
			if err == nil {
				_ = session.Close()
			}
			if row.says == "" && !row.refused {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, pam.ErrAuthFailed) || errors.Is(err, remote.ErrInconclusive) == row.refused || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v, want one that says %q", err, row.says)
			}
		})
	}
}

func TestNoAgentUnlessTheRecordSaysSo(t *testing.T) {
	t.Parallel()
	k := makeKeys(t)
	s := keyServer(t, k)
	dial, used := startAgent(t, func() agent.Agent {
		r := agent.NewKeyring()
		_ = r.Add(agent.AddedKey{PrivateKey: k.rsa})
		return r
	}())
	d := ssh.NewDialer(ssh.Options{Agent: dial})
	for _, password := range []string{"", userPassword} {
		if _, err := d.Dial(t.Context(), target(s, "svc", password)); !errors.Is(err, pam.ErrAuthFailed) {
			t.Errorf("it logged in: %v", err)
		}
	}
	if used() != 0 {
		t.Errorf("the agent was asked %d times", used())
	}
	to := target(s, "svc", "")
	to.Agent = "on"
	if _, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), to); !errors.Is(err, remote.ErrInconclusive) || !strings.Contains(err.Error(), "none here") {
		t.Errorf("without an agent: %v", err)
	}
	silent := func(context.Context) (net.Conn, error) {
		ours, _ := net.Pipe()
		return ours, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := ssh.NewDialer(ssh.Options{Agent: silent}).Dial(ctx, to); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an agent that says nothing: %v", err)
	}
}
