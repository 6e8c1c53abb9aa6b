package ssh_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/remote/sshtest"
	"keyturn/pkg/secret"
)

func asError(t *testing.T, err error) *remote.Error {
	t.Helper()
	var e *remote.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want a *remote.Error", err)
	}
	return e
}

// newKey returns a private key in PEM and its public line.
func newKey(t *testing.T) (secret.Value, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return secret.New(pem.EncodeToMemory(block)), publicLine(t, public)
}

func publicLine(t *testing.T, public any) string {
	t.Helper()
	key, err := gossh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key)))
}

func TestAHostKeyThatIsNotTrustedGetsNoCredential(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Users: []sshtest.User{{Name: "svc", Password: userPassword}}})
	_, sameKind := newKey(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherKind := publicLine(t, &curve.PublicKey)
	for name, row := range map[string]struct {
		keys []string
		says string
		ok   bool
	}{
		"no key is known":                      {nil, "not known", false},
		"another key of the kind is known":     {[]string{sameKind}, "CHANGED", false},
		"a key of another kind is known":       {[]string{otherKind}, "CHANGED", false},
		"a key that cannot be read":            {[]string{"ssh-ed25519 AAAA"}, "cannot be read", false},
		"two keys on one line":                 {[]string{s.HostKey + "\n" + sameKind}, "cannot be read", false},
		"the right key":                        {[]string{s.HostKey}, "", true},
		"the right key with a comment":         {[]string{s.HostKey + " root@host"}, "", true},
		"the right key among old ones":         {[]string{sameKind, otherKind, s.HostKey}, "", true},
		"the right key, and one of other kind": {[]string{otherKind, s.HostKey}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			to := target(s, "svc", userPassword)
			to.HostKeys = row.keys
			before := strings.Count(s.Log(), "Accepted ")
			session, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), to)
			if row.ok {
				if err != nil {
					t.Fatal(err)
				}
				_ = session.Close()
				return
			}
			e := asError(t, err)
			if !errors.Is(err, pam.ErrUntrusted) || e.Op != "check host key" || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v", err)
			}
			if shown := row.says != "cannot be read"; shown && (e.Server != s.HostKey || !strings.HasPrefix(e.Fingerprint, "SHA256:")) {
				t.Errorf("shown %q, %q", e.Server, e.Fingerprint)
			}
			if log := s.Log(); strings.Count(log, "Accepted ") != before || strings.Contains(log, "Failed ") {
				t.Error("a credential was sent")
			}
		})
	}
}

func TestLogInWays(t *testing.T) {
	t.Parallel()
	const both = "KbdInteractiveAuthentication yes"
	const onlyInteractive = both + "\nPasswordAuthentication no"
	private, public := newKey(t)
	other, _ := newKey(t)
	for name, row := range map[string]struct {
		config           string
		password         string
		key              secret.Value
		kind             pam.Kind
		inconclusive     bool
		accepted, failed int
	}{
		"a password":                            {password: userPassword, accepted: 1},
		"a wrong password":                      {password: "wr0ng", kind: pam.ErrAuthFailed, failed: 1},
		"password where both are offered":       {config: both, password: userPassword, accepted: 1},
		"a wrong one where both are offered":    {config: both, password: "wr0ng", kind: pam.ErrAuthFailed, failed: 1},
		"only keyboard-interactive":             {config: onlyInteractive, password: userPassword, accepted: 1},
		"only keyboard-interactive, wrong":      {config: onlyInteractive, password: "wr0ng", kind: pam.ErrAuthFailed, failed: 1},
		"a private key":                         {key: private, accepted: 1},
		"a key goes before a password":          {key: private, password: "wr0ng", accepted: 1},
		"an unknown key":                        {key: other, kind: pam.ErrAuthFailed},
		"an unknown key, and no password then":  {key: other, password: userPassword, kind: pam.ErrAuthFailed},
		"key and password, both wanted":         {config: "AuthenticationMethods publickey,password", key: private, password: userPassword, accepted: 1},
		"only a key of the two that are wanted": {config: "AuthenticationMethods publickey,password", key: private, kind: pam.ErrAuthFailed, inconclusive: true},
		"a password where only keys are taken":  {config: "PasswordAuthentication no", password: userPassword, kind: pam.ErrAuthFailed, inconclusive: true},
		"no credential":                         {kind: pam.ErrAuthFailed, inconclusive: true},
		"a key that is none":                    {key: secret.Copy([]byte("key")), kind: pam.ErrAuthFailed, inconclusive: true},
		"one attempt is all that sshd allows":   {config: "MaxAuthTries 1", password: userPassword, accepted: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sshtest.Start(t, sshtest.Options{Config: row.config, Users: []sshtest.User{{Name: "svc", Password: userPassword}}})
			if _, err := s.Run(t.Context(), public+"\n", "sh", "-c",
				"umask 077; mkdir /home/svc/.ssh; cat >/home/svc/.ssh/authorized_keys; chown -R svc: /home/svc/.ssh"); err != nil {
				t.Fatal(err)
			}
			to := target(s, "svc", row.password)
			to.PrivateKey = row.key
			session, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), to)
			if err == nil {
				_ = session.Close()
			}
			if row.kind == "" && err != nil || row.kind != "" && !errors.Is(err, row.kind) {
				t.Errorf("error %v, want kind %q", err, row.kind)
			}
			if errors.Is(err, remote.ErrInconclusive) != row.inconclusive {
				t.Errorf("error %v, want inconclusive %v", err, row.inconclusive)
			}
			log := s.Log()
			accepted := strings.Count(log, "Accepted password") + strings.Count(log, "Accepted keyboard-interactive") +
				strings.Count(log, "Accepted publickey")
			failed := strings.Count(log, "Failed password") + strings.Count(log, "Failed keyboard-interactive")
			if accepted != row.accepted || failed != row.failed || s.Connections() > 1 {
				t.Errorf("%d accepted, %d failed on %d connections\n%s", accepted, failed, s.Connections(), log)
			}
		})
	}
}

func TestADropBeforeTheLogInIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Users: []sshtest.User{{Name: "svc", Password: userPassword}}})
	d := ssh.NewDialer(ssh.Options{})
	s.RefuseNext(2)
	session, err := d.Dial(t.Context(), target(s, "svc", userPassword))
	if err != nil {
		t.Fatal(err)
	}
	_ = session.Close()
	if s.Connections() != 3 {
		t.Errorf("%d connections, want 3", s.Connections())
	}
	s.RefuseNext(100)
	_, err = d.Dial(t.Context(), target(s, "svc", userPassword))
	if !errors.Is(err, pam.ErrUnreachable) || s.Connections() != 8 {
		t.Errorf("error %v after %d connections", err, s.Connections()-3)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err = d.Dial(ctx, target(s, "svc", userPassword)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the deadline", err)
	}
}

func TestABusyServerLetsEverybodyInAtLast(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{
		Config: "MaxStartups 3:60:8",
		Users:  []sshtest.User{{Name: "svc", Password: userPassword}},
	})
	d := ssh.NewDialer(ssh.Options{})
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			session, err := d.Dial(t.Context(), target(s, "svc", userPassword))
			if err != nil {
				t.Error(err)
				return
			}
			_ = session.Close()
		})
	}
	wg.Wait()
	if strings.Contains(s.Log(), "Failed ") {
		t.Error("a retry cost an attempt")
	}
}

// started opens a session and runs line until its first output.
func started(t *testing.T, s *sshtest.Server, o ssh.Options, line string) (failure func() error) {
	t.Helper()
	session, err := ssh.NewDialer(o).Dial(t.Context(), target(s, "svc", userPassword))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	runs, result := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		script := remote.Script{Line: line, OnOutput: func([]byte) { once.Do(func() { close(runs) }) }}
		_, err := session.Run(context.WithoutCancel(t.Context()), script, secret.Copy([]byte("input\n")))
		result <- err
	}()
	<-runs
	return func() error { return <-result }
}

func TestABrokenConnectionSaysThatTheCommandMayHaveRun(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Users: []sshtest.User{{Name: "svc", Password: userPassword}}})
	failure := started(t, s, ssh.Options{}, "cat; exec sleep 86398")
	s.Drop()
	err := failure()
	if e := asError(t, err); !errors.Is(err, pam.ErrIO) || !e.Sent {
		t.Errorf("error %v, sent %v", err, e.Sent)
	}
}

func TestADeadHostIsNoticed(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Users: []sshtest.User{{Name: "svc", Password: userPassword}}})
	failure := started(t, s, ssh.Options{KeepAlive: 100 * time.Millisecond}, "cat; exec sleep 86398")
	s.Mute()
	err := failure()
	if e := asError(t, err); !errors.Is(err, pam.ErrIO) || !e.Sent || !strings.Contains(err.Error(), "stopped answering") {
		t.Errorf("error %v, sent %v", err, e.Sent)
	}
}

func TestNoTerminalEver(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Users: []sshtest.User{{Name: "svc", Password: userPassword}}})
	session, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), target(s, "svc", userPassword))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	res, err := session.Run(t.Context(), remote.Script{Line: "tty; echo ${SSH_TTY:-none} ${SSH_AUTH_SOCK:-none}"}, secret.Value{})
	if err != nil || string(res.Stdout) != "not a tty\nnone none\n" {
		t.Errorf("%q, %v", res.Stdout, err)
	}
}

func TestASignalIsAnExitCode(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Users: []sshtest.User{{Name: "svc", Password: userPassword}}})
	session, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), target(s, "svc", userPassword))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	res, err := session.Run(t.Context(), remote.Script{Line: "kill -KILL $$"}, secret.Value{})
	if err != nil || res.ExitCode != 137 {
		t.Errorf("exit code %d, %v", res.ExitCode, err)
	}
	// a command that reads nothing of a long input still ends
	res, err = session.Run(t.Context(), remote.Script{Line: "exit 3"}, secret.New(make([]byte, 4<<20)))
	if err != nil || res.ExitCode != 3 {
		t.Errorf("exit code %d, %v", res.ExitCode, err)
	}
}
