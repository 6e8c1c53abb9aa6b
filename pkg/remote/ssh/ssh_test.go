package ssh_test

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"keyturn/pkg/remote"
	"keyturn/pkg/remote/remotetest"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/remote/sshtest"
	"keyturn/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const userPassword = "Old-Pw-0001!"

func target(s *sshtest.Server, user, password string) remote.Target {
	return remote.Target{Endpoint: s.Endpoint(), User: user, Password: secret.Copy([]byte(password))}
}

// The suite of every transport, against a real sshd.
func TestConformance(t *testing.T) {
	t.Parallel()
	remotetest.Suite(t, func(t *testing.T) remotetest.Fixture {
		t.Helper()
		s := sshtest.Start(t, sshtest.Options{Users: []sshtest.User{{Name: "svc", Password: userPassword}}})
		good := target(s, "svc", userPassword)
		unknown := good
		unknown.HostKeys = nil
		return remotetest.Fixture{
			Dialer: ssh.NewDialer(ssh.Options{}), Target: good, Untrusted: unknown,
			Trust: func(t remote.Target, server string) remote.Target {
				t.HostKeys = []string{server}
				return t
			},
			Lines: remotetest.Lines{
				Cat:    "cat",
				Digest: "sha256sum | cut -d' ' -f1",
				Exit:   func(code int) string { return fmt.Sprintf("cat >/dev/null; exit %d", code) },
				Both:   "echo out; echo err >&2",
				Big:    func(n int) string { return fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", n) },
				Slow:   "for i in 1 2 3; do echo tick $i; sleep 0.1; done",
				Hang:   "echo started; exec sleep 86399",
			},
			LogIns: func() (accepted, refused int) {
				log := s.Log()
				return strings.Count(log, "Accepted "), strings.Count(log, "Failed ")
			},
			Running: func() int {
				n := 0
				for _, line := range s.Processes() {
					if line == "sleep 86399" {
						n++
					}
				}
				return n
			},
		}
	})
}
