package sshd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/secret"
)

func TestWhatAShellMakesOfALine(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		line   string
		shells []Shell // that start it
	}{
		"the product's command line":           {powershell.CommandLine(), Shells()},
		"words":                                {"powershell.exe -NoLogo -File x", Shells()},
		"letters of base64":                    {"x aB0+/=", Shells()},
		"double quotes":                        {`findstr "^"`, Shells()},
		"single quotes are nothing to cmd":     {`echo it's`, []Shell{CMD}},
		"a variable of cmd":                    {`%SystemRoot%\x.exe`, nil},
		"a path":                               {`C:\Windows\x.exe`, []Shell{CMD, PowerShell}},
		"a variable of the others":             {`$env:x`, []Shell{CMD}},
		"a variable in quotes":                 {`x "$y"`, []Shell{CMD}},
		"two commands of cmd":                  {`a & b`, nil},
		"two commands of the others":           {`a; b`, []Shell{CMD}},
		"a pipe":                               {`a | b`, nil},
		"a script block":                       {`a {b}`, []Shell{CMD}},
		"a list":                               {`a b,c`, []Shell{CMD, Bash}},
		"a pattern":                            {`a *`, []Shell{CMD, PowerShell}},
		"a letter that depends on a code page": {`echo ü`, nil},
		"a control character":                  {"echo \x1b", nil},
		"9000 characters are too many for cmd": {strings.Repeat("x", 9000), []Shell{PowerShell, Bash}},
		"40000 are too many for any":           {strings.Repeat("x", 40000), nil},
	} {
		for _, s := range Shells() {
			want := false
			for _, w := range row.shells {
				want = want || w == s
			}
			if no := s.read(row.line); (no == nil) != want {
				t.Errorf("%s, %s: started %v, want %v", name, s, no == nil, want)
			}
		}
	}
}

func TestWhatAShellMakesOfAnExitCode(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		shell     Shell
		code, out int
	}{
		{CMD, 0, 0},
		{CMD, 97, 97},
		{CMD, 0xC000013A, 0xC000013A},
		{PowerShell, 0, 0},
		{PowerShell, 97, 1},
		{PowerShell, -1, 1},
		{Bash, 0, 0},
		{Bash, 97, 97},
		{Bash, 256, 0},
	} {
		if got := row.shell.exit(row.code); got != row.out {
			t.Errorf("%s: %d is passed on as %d, want %d", row.shell, row.code, got, row.out)
		}
	}
	if _, err := Start(Options{Host: &stage{}, Shell: "zsh"}); err == nil {
		t.Error("an unknown shell starts")
	}
}

func dialTo(t *testing.T, target remote.Target) (remote.Session, error) {
	t.Helper()
	s, err := ssh.NewDialer(ssh.Options{}).Dial(t.Context(), target)
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func mustDial(t *testing.T, target remote.Target) remote.Session {
	t.Helper()
	s, err := dialTo(t, target)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newKey returns a private key in PEM and as a signer.
func newKey(t *testing.T) (secret.Value, gossh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return secret.New(pem.EncodeToMemory(block)), signer
}

func TestLogIns(t *testing.T) {
	t.Parallel()
	key, signer := newKey(t)
	foreign, _ := newKey(t)
	h := &stage{keys: map[string]bool{line(signer.PublicKey()): true}}
	s := startFor(t, Options{Host: h})
	for name, row := range map[string]struct {
		user, password string
		key            secret.Value
		ok             bool
	}{
		"password":         {`LAB\admin`, adminPassword, secret.Value{}, true},
		"other letters":    {`lab\ADMIN`, adminPassword, secret.Value{}, true},
		"wrong password":   {`LAB\admin`, "wrong", secret.Value{}, false},
		"wrong user":       {`LAB\nobody`, adminPassword, secret.Value{}, false},
		"key":              {`LAB\admin`, "", key, true},
		"key, wrong user":  {`LAB\nobody`, "", key, false},
		"a key of nobody":  {`LAB\admin`, "", foreign, false},
		"a bare user name": {`admin`, adminPassword, secret.Value{}, false},
	} {
		target := targetOf(t, s)
		target.User, target.Password, target.PrivateKey = row.user, secret.Copy([]byte(row.password)), row.key
		if _, err := dialTo(t, target); (err == nil) != row.ok || err != nil && !errors.Is(err, pam.ErrAuthFailed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.SetFaults(Faults{Unauthorized: true})
	if _, err := dialTo(t, targetOf(t, s)); !errors.Is(err, pam.ErrAuthFailed) {
		t.Errorf("the fault: %v", err)
	}
}

func TestOnlyCommands(t *testing.T) {
	t.Parallel()
	s := startFor(t, Options{Host: &stage{}})
	client, err := gossh.Dial("tcp", s.Address(), &gossh.ClientConfig{
		User: `LAB\admin`, Auth: []gossh.AuthMethod{gossh.Password(adminPassword)}, HostKeyCallback: gossh.FixedHostKey(s.signer.PublicKey()),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if session.RequestPty("xterm", 24, 80, nil) == nil || session.Shell() == nil || session.Setenv("A", "b") == nil {
		t.Error("a terminal, a shell or a variable was granted")
	}
	if _, err := client.Dial("tcp", "127.0.0.1:1"); err == nil {
		t.Error("a connection was forwarded")
	}
	if c := s.Counts(); c.Terminals != 1 || c.Others != 3 {
		t.Errorf("%+v", c)
	}
}

// runIn starts line with a callback at its first output and returns its end.
func runIn(t *testing.T, s remote.Session, line string, first func()) <-chan error {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		_, err := s.Run(context.WithoutCancel(t.Context()), remote.Script{Line: line, OnOutput: func([]byte) {
			if first != nil {
				first()
				first = nil
			}
		}}, secret.New([]byte("input")))
		result <- err
	}()
	return result
}

func TestFaults(t *testing.T) {
	t.Parallel()
	h := &stage{}
	s := startFor(t, Options{Host: h})
	for name, row := range map[string]struct {
		faults Faults
		sent   bool
	}{
		"the start of the command": {Faults{RefuseExec: true}, false},
		"its first output":         {Faults{DropOutput: 1}, true},
	} {
		s.SetFaults(row.faults)
		session := mustDial(t, targetOf(t, s))
		err := <-runIn(t, session, "cat", nil)
		var e *remote.Error
		if !errors.As(err, &e) || e.Kind != pam.ErrIO || e.Sent != row.sent {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.SetFaults(Faults{DropStart: 1})
	if err := <-runIn(t, mustDial(t, targetOf(t, s)), "hang", nil); !errors.Is(err, pam.ErrIO) {
		t.Errorf("cut after the start: %v", err)
	}
	s.SetFaults(Faults{LoseInput: 1})
	res, err := mustDial(t, targetOf(t, s)).Run(t.Context(), remote.Script{Line: "cat"}, secret.New(bytes.Repeat([]byte("x"), 5000)))
	if err != nil || len(res.Stdout) != 5000-lostInput {
		t.Errorf("%d bytes arrived, %v", len(res.Stdout), err)
	}
	s.SetFaults(Faults{Latency: 30 * time.Millisecond})
	if _, err := mustDial(t, targetOf(t, s)).Run(t.Context(), remote.Script{Line: "cat"}, secret.Value{}); err != nil {
		t.Error(err)
	}
}

func TestKilledCommandsEnd(t *testing.T) {
	t.Parallel()
	h := &stage{}
	s := startFor(t, Options{Host: h})
	session := mustDial(t, targetOf(t, s))
	ended := runIn(t, session, "hang", s.KillCommands)
	if err := <-ended; err != nil || h.live.Load() != 0 {
		t.Errorf("%v, %d live", err, h.live.Load())
	}
}

func TestDownAndUpAgain(t *testing.T) {
	t.Parallel()
	h := &stage{}
	s := startFor(t, Options{Host: h})
	down := make(chan error, 1)
	ended := runIn(t, mustDial(t, targetOf(t, s)), "hang", func() { down <- s.SetDown(true) })
	if err := <-ended; !errors.Is(err, pam.ErrIO) {
		t.Errorf("a cut connection: %v", err)
	}
	if err := <-down; err != nil || h.live.Load() != 1 {
		t.Errorf("%v; %d commands run on, want 1", err, h.live.Load())
	}
	if _, err := dialTo(t, targetOf(t, s)); !errors.Is(err, pam.ErrUnreachable) {
		t.Errorf("off the network: %v", err)
	}
	if err := errors.Join(s.SetDown(false), s.SetDown(false)); err != nil {
		t.Fatal(err)
	}
	_ = mustDial(t, targetOf(t, s))
}

// A talker writes and notes that it could not.
type talker struct {
	stage
	failed chan error
}

func (h *talker) Run(_ context.Context, _ Command, in io.Reader, out, _ io.Writer) int {
	_, _ = io.Copy(io.Discard, in)
	for {
		if _, err := io.WriteString(out, "line\n"); err != nil {
			h.failed <- err
			return 0
		}
	}
}

func TestACutConnectionFailsWritesAndKillsNothing(t *testing.T) {
	t.Parallel()
	h := &talker{failed: make(chan error, 1)}
	s := startFor(t, Options{Host: h})
	ended := runIn(t, mustDial(t, targetOf(t, s)), "talk", func() { _ = s.SetDown(true) })
	if err := <-ended; !errors.Is(err, pam.ErrIO) {
		t.Error(err)
	}
	if err := <-h.failed; errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the command was killed: %v", err)
	}
}

func TestAProfileSpeaksFirst(t *testing.T) {
	t.Parallel()
	s := startFor(t, Options{Host: &stage{}, Shell: PowerShell, Profile: "gr\x81\xe1 Gott\r\n"})
	res, err := mustDial(t, targetOf(t, s)).Run(t.Context(), remote.Script{Line: "cat"}, secret.New([]byte("x")))
	if err != nil || string(res.Stdout) != "gr\x81\xe1 Gott\r\nx" {
		t.Errorf("%q, %v", res.Stdout, err)
	}
	res, err = mustDial(t, targetOf(t, s)).Run(t.Context(), remote.Script{Line: "cat; cat"}, secret.New([]byte("x")))
	if err != nil || res.ExitCode != 1 || !strings.Contains(string(res.Stderr), "Unexpected token ';'") {
		t.Errorf("%+v, %v", res, err)
	}
}
