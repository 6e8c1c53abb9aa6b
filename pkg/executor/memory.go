package executor

import (
	"sync"

	"keyturn/pkg/pam"
)

// remembered is how many finished ops an executor knows the answers of: enough
// to settle any answer that was just lost, and few enough that the inventories
// of a large fleet are not kept.
const remembered = 1024

// A memory knows the ops under way and the latest that are done.
type memory struct {
	mu      sync.Mutex
	entries map[pam.UID]*entry
	done    []pam.UID // oldest first
	limit   int
}

// An entry is one op. What follows done may be read once done is closed.
type entry struct {
	done      chan struct{}
	result    Result
	err       error
	forgotten bool // it was never begun: the next Do of its id is the first
}

func newMemory(limit int) *memory {
	return &memory{entries: map[pam.UID]*entry{}, limit: limit}
}

// begin returns the entry of an op; mine means that the caller carries it out
// and must finish or forget it.
func (m *memory) begin(id pam.UID) (e *entry, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.entries[id]; ok {
		return e, false
	}
	e = &entry{done: make(chan struct{})}
	m.entries[id] = e
	return e, true
}

func (m *memory) find(id pam.UID) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[id]
}

// finish gives the answer to everybody who waits for it, and drops the oldest.
func (m *memory) finish(id pam.UID, e *entry, r Result, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.result, e.err = r, err
	m.done = append(m.done, id)
	if len(m.done) > m.limit {
		delete(m.entries, m.done[0])
		m.done = m.done[1:]
	}
	close(e.done)
}

// forget is for an op that was not begun.
func (m *memory) forget(id pam.UID, e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, id)
	e.forgotten = true
	close(e.done)
}
