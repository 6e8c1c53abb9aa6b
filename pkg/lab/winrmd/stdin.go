package winrmd

import (
	"io"
	"sync"
)

// maxInbox is how much input may wait for a command to read it.
const maxInbox = 16 << 20

// An inbox is a command's standard input. Send fills it, the command reads it.
type inbox struct {
	mu    sync.Mutex
	data  []byte
	ended bool
	fresh chan struct{} // closed and replaced when something changes
}

func newInbox() *inbox { return &inbox{fresh: make(chan struct{})} }

// put adds data; false says that too much is waiting.
func (b *inbox) put(data []byte, end bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.data)+len(data) > maxInbox {
		return false
	}
	if !b.ended {
		b.data = append(b.data, data...)
		b.ended = end
	}
	close(b.fresh)
	b.fresh = make(chan struct{})
	return true
}

// Read implements [io.Reader]: it waits for input or its end.
func (b *inbox) Read(p []byte) (int, error) {
	for {
		b.mu.Lock()
		if len(b.data) > 0 {
			n := copy(p, b.data)
			b.data = b.data[n:]
			b.mu.Unlock()
			return n, nil
		}
		ended, fresh := b.ended, b.fresh
		b.mu.Unlock()
		if ended {
			return 0, io.EOF
		}
		<-fresh
	}
}

// end makes the command see the end of its input, after what came before.
func (b *inbox) end() { b.put(nil, true) }
