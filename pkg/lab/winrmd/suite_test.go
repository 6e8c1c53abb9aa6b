package winrmd

import (
	"context"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/remotetest"
	"keyturn/pkg/remote/winrm"
	"keyturn/pkg/secret"
)

// stage is a host with the commands that every transport is tested with.
type stage struct {
	desk
	live atomic.Int32
}

func (h *stage) Run(ctx context.Context, c Command, in io.Reader, out, errs io.Writer) int {
	h.live.Add(1)
	defer h.live.Add(-1)
	verb, _, _ := strings.Cut(c.Line, " ")
	if verb == "both" || verb == "big" || verb == "slow" {
		_, _ = io.Copy(io.Discard, in) // input for a command that has ended is a fault
	}
	return remotetest.Run(ctx, c.Line, in, out, errs)
}

// The product's client and this server meet in the suite that every transport
// must pass.
func TestTheClientOfTheProduct(t *testing.T) {
	t.Parallel()
	for _, offer := range []string{"Negotiate", "Basic"} {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			remotetest.Suite(t, func(t *testing.T) remotetest.Fixture {
				t.Helper()
				h := &stage{}
				s := serverFor(t, h, func(o *Options) { o.Offers = []string{offer} })
				return fixtureFor(t, h, s)
			})
		})
	}
}

func fixtureFor(t *testing.T, h *stage, s *Server) remotetest.Fixture {
	t.Helper()
	host, port, _ := strings.Cut(s.Address(), ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	target := remote.Target{
		Endpoint: remote.Endpoint{Transport: pam.WinRM, Host: host, Port: n, Pin: s.Pin()},
		User:     `LAB\admin`,
		Password: secret.New([]byte("Pa$$ wörd:1")),
	}
	untrusted := target
	untrusted.Pin = "sha256:00"
	return remotetest.Fixture{
		Dialer: winrm.NewDialer(winrm.Options{
			Now: time.Now, Operation: time.Second, Backoff: 10 * time.Millisecond,
		}),
		Target: target, Untrusted: untrusted,
		Trust: func(t remote.Target, server string) remote.Target {
			t.Pin = server
			return t
		},
		Lines: remotetest.RunLines(),
		LogIns: func() (int, int) {
			c := s.Counts()
			return c.LogIns, c.LogInsRefused
		},
		Running: func() int { return int(h.live.Load()) },
	}
}
