package winrmd

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// maxOutbox is how much output may wait for the client; a command that writes
// more waits, as it would on a full pipe.
const maxOutbox = 1 << 20

var (
	errTimedOut = errors.New("no output within the operation timeout")
	errGone     = errors.New("the command is gone")
)

// A chunk is output of one stream.
type chunk struct {
	stream string
	data   []byte
}

// A delivery is what one Receive brings.
type delivery struct {
	chunks []chunk
	done   bool
	exit   int
}

// An outbox is what a command has written and how it ended.
type outbox struct {
	mu        sync.Mutex
	chunks    []chunk
	size      int
	done      bool
	exit      int
	delivered bool // a Receive has told the end
	deaf      bool // killed: what is written fails
	gone      bool // terminated: a Receive fails
	fresh     chan struct{}
}

func newOutbox() *outbox { return &outbox{fresh: make(chan struct{})} }

// change applies f and wakes whoever waits.
func (b *outbox) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.fresh)
	b.fresh = make(chan struct{})
}

func (b *outbox) finish(exit int) { b.change(func() { b.done, b.exit, b.deaf = true, exit, true }) }
func (b *outbox) silence()        { b.change(func() { b.deaf = true }) }
func (b *outbox) vanish()         { b.change(func() { b.deaf, b.gone = true, true }) }

func (b *outbox) finished() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done
}

// write adds output of a stream, waiting for room.
func (b *outbox) write(stream string, p []byte) (int, error) {
	for {
		b.mu.Lock()
		if b.deaf {
			b.mu.Unlock()
			return 0, io.ErrClosedPipe
		}
		if b.size == 0 || b.size+len(p) <= maxOutbox {
			b.add(stream, p)
			close(b.fresh)
			b.fresh = make(chan struct{})
			b.mu.Unlock()
			return len(p), nil
		}
		fresh := b.fresh
		b.mu.Unlock()
		<-fresh
	}
}

// add appends p, to the last chunk when that is of the same stream.
func (b *outbox) add(stream string, p []byte) {
	b.size += len(p)
	if last := len(b.chunks) - 1; last >= 0 && b.chunks[last].stream == stream {
		b.chunks[last].data = append(b.chunks[last].data, p...)
		return
	}
	b.chunks = append(b.chunks, chunk{stream, slices.Clone(p)})
}

// take waits for output or the end, up to timeout.
func (b *outbox) take(ctx context.Context, limit int, timeout time.Duration) (delivery, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		b.mu.Lock()
		d, ready, err := b.collect(limit)
		fresh := b.fresh
		b.mu.Unlock()
		if ready || err != nil {
			return d, err
		}
		select {
		case <-fresh:
		case <-timer.C:
			return delivery{}, errTimedOut
		case <-ctx.Done():
			return delivery{}, ctx.Err()
		}
	}
}

// collect removes up to limit bytes of what waits, and tells the end once
// nothing is left.
func (b *outbox) collect(limit int) (d delivery, ready bool, err error) {
	if b.gone || b.delivered {
		return delivery{}, false, errGone
	}
	for len(b.chunks) > 0 && limit > 0 {
		first := &b.chunks[0]
		n := min(limit, len(first.data))
		d.chunks = append(d.chunks, chunk{first.stream, first.data[:n:n]})
		limit -= n
		b.size -= n
		first.data = first.data[n:]
		if len(first.data) == 0 {
			b.chunks = b.chunks[1:]
		}
	}
	if len(b.chunks) == 0 && b.done {
		d.done, d.exit, b.delivered = true, b.exit, true
	}
	ready = d.done || len(d.chunks) > 0
	if ready {
		close(b.fresh)
		b.fresh = make(chan struct{})
	}
	return d, ready, nil
}

// stream is the writer of one stream of an outbox.
type stream struct {
	to   *outbox
	name string
}

// Write implements [io.Writer].
func (s stream) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return s.to.write(s.name, p)
}
