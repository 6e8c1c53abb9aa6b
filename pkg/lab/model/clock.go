package model

import (
	"context"
	"sync"
	"time"
)

// A Clock tells the time of the modelled world and waits in it.
type Clock interface {
	Now() time.Time
	// Sleep returns early, with its error, when ctx ends.
	Sleep(ctx context.Context, d time.Duration) error
}

// WallClock is real time; now is time.Now.
func WallClock(now func() time.Time) Clock { return wallClock{now} }

type wallClock struct{ now func() time.Time }

// Now is the real time.
func (c wallClock) Now() time.Time { return c.now() }

// Sleep waits in real time.
func (wallClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A StepClock stands still until somebody sleeps or a test moves it: a Sleep
// returns at once and the time has passed. Minutes of timeouts take no time.
type StepClock struct {
	mu  sync.Mutex
	now time.Time
}

// NewStepClock returns a clock that shows start.
func NewStepClock(start time.Time) *StepClock { return &StepClock{now: start} }

// Now is the time shown.
func (c *StepClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the time.
func (c *StepClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Sleep moves the time by d, unless ctx has ended.
func (c *StepClock) Sleep(ctx context.Context, d time.Duration) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c.Advance(d)
	return nil
}
