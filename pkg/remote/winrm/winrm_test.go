package winrm

import (
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyturn/pkg/remote"
	"keyturn/pkg/remote/remotetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quick are options with which nothing that fails takes long.
func quick() Options {
	return Options{
		Now: time.Now, Connect: 5 * time.Second, Operation: 2 * time.Second, Grace: 3 * time.Second,
		Closing: 2 * time.Second, Backoff: time.Millisecond,
	}
}

func fixture(f *fake) remotetest.Fixture {
	untrusted := f.target()
	untrusted.Pin = "sha256:00"
	return remotetest.Fixture{
		Dialer: NewDialer(quick()), Target: f.target(), Untrusted: untrusted,
		Trust: func(t remote.Target, server string) remote.Target {
			t.Pin = server
			return t
		},
		Lines: remotetest.Lines{
			Cat: "cat", Digest: "digest", Both: "both", Slow: "slow", Hang: "hang",
			Exit: func(code int) string { return "exit " + strconv.Itoa(code) },
			Big:  func(n int) string { return "big " + strconv.Itoa(n) },
		},
		LogIns: func() (int, int) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.accepted, f.refused
		},
		Running: f.running,
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, offer := range []string{"Negotiate", "NTLM", "Basic"} {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			remotetest.Suite(t, func(t *testing.T) remotetest.Fixture {
				t.Helper()
				return fixture(startFake(t, func(f *fake) { f.offers = []string{offer} }))
			})
		})
	}
}
