package executor

import (
	"context"
	"sync"

	"keyturn/pkg/pam"
)

// Lanes let one op at a time through each lane, and none that comes late.
type lanes struct {
	mu    sync.Mutex
	lanes map[string]*lane
}

// A lane is never dropped: it remembers its fence.
type lane struct {
	busy  chan struct{} // holds one element while an op is in the lane
	fence int64         // highest seen; belongs to whoever is in the lane
}

func newLanes() *lanes { return &lanes{lanes: map[string]*lane{}} }

func (l *lanes) lane(name string) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	found, ok := l.lanes[name]
	if !ok {
		found = &lane{busy: make(chan struct{}, 1)}
		l.lanes[name] = found
	}
	return found
}

// enter waits until the op's lane is free. The caller leaves the lane when it is
// done. A fence lower than the lane has seen is ErrConflict; a look is let
// through with any, for it changes nothing and comes before a job has its fence.
func (l *lanes) enter(ctx context.Context, op Op) (leave func(), err error) {
	n := l.lane(op.Lane)
	select {
	case n.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, pam.Errorf(pam.KindOf(ctx.Err()), "%s waited for another op on %s and was not begun: %w",
			op.Request.verb(), op.Lane, ctx.Err())
	}
	leave = func() { <-n.busy }
	if err := ctx.Err(); err != nil {
		leave()
		return nil, pam.Errorf(pam.KindOf(err), "%s on %s was not begun: %w", op.Request.verb(), op.Lane, err)
	}
	if op.Fence < n.fence && !harmless(op.Request) {
		leave()
		return nil, pam.Errorf(pam.ErrConflict, "a newer job works on %s (fence %d, this op has %d): %s was not begun",
			op.Lane, n.fence, op.Fence, op.Request.verb()).WithHint("see what runs: keyturn pam action job-list")
	}
	n.fence = max(n.fence, op.Fence)
	return leave, nil
}

// harmless reports whether a request can change nothing, not even a count of
// failed log-ons.
func harmless(r Request) bool {
	switch r.(type) {
	case Check, ReadEvidence, Look, Ping:
		return true
	default:
		return false
	}
}
