package sshd

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/remotetest"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const adminPassword = "Pa$$ wörd:1"

// A stage is a host with one account and the commands that every transport is
// tested with.
type stage struct {
	keys        map[string]bool // authorized
	authorities map[string]bool
	live        atomic.Int32
}

func (h *stage) Authenticate(_ context.Context, l Login) (string, bool) {
	if !strings.EqualFold(l.User, "admin") || !strings.EqualFold(l.Domain, "LAB") {
		return "", false
	}
	switch {
	case l.Check != nil:
		return `LAB\admin`, l.Check(adminPassword)
	case l.Authority:
		return `LAB\admin`, h.authorities[l.Key]
	default:
		return `LAB\admin`, h.keys[l.Key]
	}
}

func (h *stage) Run(ctx context.Context, c Command, in io.Reader, out, errs io.Writer) int {
	h.live.Add(1)
	defer h.live.Add(-1)
	return remotetest.Run(ctx, c.Line, in, out, errs)
}

func startFor(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func targetOf(t *testing.T, s *Server) remote.Target {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return remote.Target{
		Endpoint: remote.Endpoint{Transport: pam.SSH, Host: host, Port: n, HostKeys: []string{s.HostKey()}},
		User:     `LAB\admin`,
		Password: secret.New([]byte(adminPassword)),
	}
}

// The product's client and this server meet in the suite that every transport
// must pass, over each default shell.
func TestTheClientOfTheProduct(t *testing.T) {
	t.Parallel()
	for _, shell := range Shells() {
		t.Run(string(shell), func(t *testing.T) {
			t.Parallel()
			remotetest.Suite(t, func(t *testing.T) remotetest.Fixture {
				t.Helper()
				h := &stage{}
				return fixtureFor(t, h, startFor(t, Options{Host: h, Name: "SRV1", Shell: shell}))
			})
		})
	}
}

func fixtureFor(t *testing.T, h *stage, s *Server) remotetest.Fixture {
	t.Helper()
	target := targetOf(t, s)
	untrusted := target
	untrusted.HostKeys = nil
	f := remotetest.Fixture{
		Dialer: ssh.NewDialer(ssh.Options{}), Target: target, Untrusted: untrusted,
		Trust: func(t remote.Target, server string) remote.Target {
			t.HostKeys = []string{server}
			return t
		},
		Lines: remotetest.RunLines(),
		LogIns: func() (int, int) {
			c := s.Counts()
			return c.LogIns, c.LogInsRefused
		},
		Running: func() int { return int(h.live.Load()) },
	}
	if s.Shell() == PowerShell {
		f.Exits = func(code int) int { return min(code, 1) }
	}
	return f
}
