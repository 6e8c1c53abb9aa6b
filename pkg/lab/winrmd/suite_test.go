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

// hurry is how much faster idle time passes here: three minutes are 300 ms.
const hurry = 600

// kill leaves a session as the end of its process does: no shell is deleted.
func kill(t *testing.T, f remotetest.Fixture, left time.Duration) (remote.Session, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), left)
	defer cancel()
	s, err := f.Dialer.Dial(ctx, f.Target)
	if err == nil {
		t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

// Runners that are killed leave shells behind, of which Windows allows a user 30.
// They must have gone before the next ones are refused, however many die.
func TestKilledRunnersDoNotShutTheirSuccessorsOut(t *testing.T) {
	t.Parallel()
	h := &stage{}
	s := serverFor(t, h, func(o *Options) { o.Hurry = hurry })
	f := fixtureFor(t, h, s)
	for n := range 3 * maxShells {
		if _, err := kill(t, f, time.Minute); err != nil {
			t.Fatalf("after %d runners were killed: %v", n, err)
		}
		time.Sleep(15 * time.Millisecond) // 9 s between two runners
	}
}

// Where they do not go, the quota holds, and the refusal says what it is.
func TestTheQuotaOfShellsIsTold(t *testing.T) {
	t.Parallel()
	h := &stage{}
	f := fixtureFor(t, h, serverFor(t, h))
	for range maxShells {
		if _, err := kill(t, f, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	_, err := kill(t, f, time.Minute)
	if pam.KindOf(err) != pam.ErrUnreachable || !strings.Contains(err.Error(), "as many shells") {
		t.Errorf("got %v", err)
	}
}

// A restart that nobody listens to any more keeps its shell past its deadline.
func TestAShellOutlivesTheDeadlineOfItsRestart(t *testing.T) {
	t.Parallel()
	h := &stage{}
	s := serverFor(t, h)
	f := fixtureFor(t, h, s)
	for left, want := range map[time.Duration]time.Duration{
		time.Minute: 3 * time.Minute, 10 * time.Minute: 15 * time.Minute, 30 * time.Minute: 45 * time.Minute, 3 * time.Hour: 2 * time.Hour,
	} {
		if _, err := kill(t, f, left); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		found := false
		for _, sh := range s.shells {
			found = found || sh.idle > want-5*time.Second && sh.idle <= want
		}
		s.mu.Unlock()
		if !found {
			t.Errorf("a session with %s to go: no shell is kept for %s", left, want)
		}
	}
}
