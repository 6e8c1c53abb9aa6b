package job

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keyturn/pkg/pam"
)

// many asks for a permit n times at once and reports what became of each.
func many(t *testing.T, r *ration, n int, try func(i int) logon) (permitted, refusedByRation int64) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			done, err := r.permit(t.Context(), "admin", "LAB admin", "machine")
			if err != nil {
				atomic.AddInt64(&refusedByRation, 1)
				return
			}
			atomic.AddInt64(&permitted, 1)
			done(try(i))
		})
	}
	wg.Wait()
	return permitted, refusedByRation
}

func TestRation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		trusted bool
		try     func(n int64) logon
		most    int64 // failed log-ons at the targets
	}{
		{"a stale password costs one failed log-on, not one a machine", false, func(int64) logon { return logonRefused }, 1},
		{"a password proven at its authority is closed by two refusals", true, func(int64) logon { return logonRefused }, 2},
		{"machines that are down cost nothing and close nothing", false, func(int64) logon { return logonNeutral }, 0},
		{"an accepted password goes everywhere", false, func(int64) logon { return logonAccepted }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRation()
			if c.trusted {
				r.trust("admin")
			}
			var tried, refused atomic.Int64
			permitted, kept := many(t, r, 64, func(int) logon {
				l := c.try(tried.Add(1))
				if l == logonRefused {
					refused.Add(1)
				}
				return l
			})
			if refused.Load() > c.most {
				t.Errorf("%d failed log-ons, want at most %d", refused.Load(), c.most)
			}
			if permitted+kept != 64 || (c.most == 0 && kept != 0) {
				t.Errorf("%d permitted, %d kept back", permitted, kept)
			}
		})
	}
}

func TestOnlyOneLogonIsUnderWayUntilTheFirstSuccess(t *testing.T) {
	t.Parallel()
	r := newRation()
	first, err := r.permit(t.Context(), "admin", "LAB admin", "SRV1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.permit(ctx, "admin", "LAB admin", "SRV2"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second log-on was permitted beside the first: %v", err)
	}
	first(logonAccepted)
	first(logonRefused) // a permit comes back once
	for range 3 {
		if _, err := r.permit(t.Context(), "admin", "LAB admin", "SRV2"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAClosedCredentialSaysWhereItWasRefused(t *testing.T) {
	t.Parallel()
	r := newRation()
	done, err := r.permit(t.Context(), "admin", "LAB admin", "SRV1")
	if err != nil {
		t.Fatal(err)
	}
	done(logonRefused)
	_, err = r.permit(t.Context(), "admin", `admin "LAB admin"`, "SRV2")
	if !errors.Is(err, pam.ErrAuthFailed) || !strings.Contains(err.Error(), "SRV1") {
		t.Errorf("got %v", err)
	}
}

func TestNoMoreLogonsAreUnderWayThanTheAccountCanBear(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		budget int
		try    func(n int64) logon
		most   int64 // failed, or not known to have succeeded
		tried  int64 // 0: all
	}{
		{"a budget of four, and all machines lag but the first", 4, func(n int64) logon {
			if n == 1 {
				return logonAccepted
			}
			return logonRefused
		}, 4, 0},
		{"answers that are lost may hide refusals", 3, func(int64) logon { return logonUnknown }, 3, 3},
		{"nothing to spare: one is tried", 0, func(int64) logon { return logonRefused }, 1, 1},
		{"less than nothing to spare: the same", -2, func(int64) logon { return logonUnknown }, 1, 1},
		{"nothing to spare, and nothing goes wrong", 0, func(int64) logon { return logonAccepted }, 0, 64},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRation()
			r.trust("admin")
			r.limit("admin", c.budget)
			var tried, bad, flying, atOnce atomic.Int64
			many(t, r, 64, func(int) logon {
				now := flying.Add(1)
				defer flying.Add(-1)
				for seen := atOnce.Load(); now > seen && !atOnce.CompareAndSwap(seen, now); seen = atOnce.Load() {
				}
				l := c.try(tried.Add(1))
				if l != logonAccepted {
					bad.Add(1)
				}
				return l
			})
			if bad.Load() > c.most || atOnce.Load() > max(1, int64(c.budget)) {
				t.Errorf("%d went wrong, %d were under way at once", bad.Load(), atOnce.Load())
			}
			if c.tried != 0 && tried.Load() != c.tried {
				t.Errorf("%d were tried, want %d", tried.Load(), c.tried)
			}
		})
	}
}
