package ssh

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A conn remembers that it broke, which the library does not tell apart from a
// refused log-in.
type conn struct {
	net.Conn
	broken atomic.Bool
}

// Read notes the end of the stream.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.broken.Store(true)
	}
	return n, err
}

// A watch closes a connection when its step takes too long or its context
// ends. It uses no wall clock.
type watch struct {
	conn    net.Conn
	timeout time.Duration
	detach  func() bool

	mu      sync.Mutex
	timer   *time.Timer // nil when stopped
	expired bool
}

func startWatch(ctx context.Context, conn net.Conn, timeout time.Duration) *watch {
	w := &watch{conn: conn, timeout: timeout}
	w.detach = context.AfterFunc(ctx, func() { _ = conn.Close() })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(timeout, w.expire)
	return w
}

func (w *watch) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		return
	}
	w.expired = true
	_ = w.conn.Close()
}

// step gives the next step the whole time. It does nothing after stop: the
// library checks the host key again whenever keys are exchanged anew.
func (w *watch) step() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Reset(w.timeout)
	}
}

func (w *watch) stop() {
	w.detach()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

func (w *watch) hasExpired() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.expired
}
