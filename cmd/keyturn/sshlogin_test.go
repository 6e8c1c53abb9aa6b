package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/remote/sshtest"
	"keyturn/pkg/secret"
)

// sshLogin logs in to the machine as svc.
func sshLogin(s *sshtest.Server, password string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	session, err := ssh.NewDialer(ssh.Options{Logger: slog.New(slog.DiscardHandler)}).Dial(ctx, remote.Target{
		Endpoint: s.Endpoint(), User: "svc", Password: secret.New([]byte(password)),
	})
	if err != nil {
		return err
	}
	return session.Close()
}

// rootKeys makes a key for root: behind a passphrase in files, and in an agent
// that SSH_AUTH_SOCK names.
func rootKeys(ts *testscript.TestScript, s *sshtest.Server) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	ts.Check(err)
	const passphrase = "canary open sesame"
	block, err := gossh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	ts.Check(err)
	public, err := gossh.NewPublicKey(private.Public())
	ts.Check(err)
	_, err = s.Run(context.Background(), string(gossh.MarshalAuthorizedKey(public)), "sh", "-c",
		"umask 077; mkdir -p /root/.ssh; cat >/root/.ssh/authorized_keys")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("root.key"), pem.EncodeToMemory(block), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("root.passphrase"), []byte(passphrase), 0o600))
	ring := agent.NewKeyring()
	ts.Check(ring.Add(agent.AddedKey{PrivateKey: &private}))
	dir, err := os.MkdirTemp("", "agent") // a socket's path must be short
	ts.Check(err)
	ts.Defer(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv("SSH_AUTH_SOCK", l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = agent.ServeAgent(ring, c)
				_ = c.Close()
			}()
		}
	}()
}
