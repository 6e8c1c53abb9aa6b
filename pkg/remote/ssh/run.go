package ssh

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"

	gossh "golang.org/x/crypto/ssh"

	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// exitSignals are the numbers that a shell adds to 128.
var exitSignals = map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "SEGV": 11, "PIPE": 13, "TERM": 15}

// A run is one command on one channel.
type run struct {
	ch   gossh.Channel
	sent atomic.Bool   // the last byte of the input may have left
	over chan struct{} // closed when the output is above the cap
	done chan struct{} // closed when all of it has ended

	// Written before done is closed, read after it.
	exited bool

	mu       sync.Mutex
	show     func([]byte) // nil once Run has returned
	left     bool         // Run has returned
	stdout   bytes.Buffer
	stderr   bytes.Buffer
	exitCode int
}

// feed writes the input. The last byte goes alone, so that until it does the
// command cannot have seen all.
func (r *run) feed(in []secret.Value) {
	defer func() { _ = r.ch.CloseWrite() }()
	left := length(in)
	for _, part := range in {
		b := part.Reveal()
		if len(b) == 0 {
			continue
		}
		if left -= len(b); left == 0 {
			last := len(b) - 1
			if _, err := r.ch.Write(b[:last]); err != nil {
				return
			}
			r.sent.Store(true)
			b = b[last:]
		}
		if _, err := r.ch.Write(b); err != nil {
			return // the command ended without it, or the connection did: its exit says which
		}
	}
}

func length(in []secret.Value) (n int) {
	for _, part := range in {
		n += part.Len()
	}
	return n
}

// read collects one stream until its end. Above the cap it goes on reading, and
// keeps nothing.
func (r *run) read(from io.Reader, to *bytes.Buffer, show bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			r.keep(buf[:n], to, show)
		}
		if err != nil {
			return
		}
	}
}

//nolint:revive // show tells the one stream from the other
func (r *run) keep(chunk []byte, to *bytes.Buffer, show bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left || isClosed(r.over) {
		return
	}
	if r.stdout.Len()+r.stderr.Len()+len(chunk) > remote.MaxOutput {
		close(r.over)
		return
	}
	to.Write(chunk)
	if show && r.show != nil {
		r.show(chunk)
	}
}

// awaitExit notes the exit code and refuses everything else.
func (r *run) awaitExit(requests <-chan *gossh.Request) {
	for req := range requests {
		switch req.Type {
		case "exit-status":
			if len(req.Payload) == 4 {
				r.exit(int(binary.BigEndian.Uint32(req.Payload)))
			}
		case "exit-signal":
			var m struct {
				Name string
				Rest []byte `ssh:"rest"`
			}
			if gossh.Unmarshal(req.Payload, &m) == nil {
				r.exit(128 + exitSignals[m.Name])
			}
		}
		if req.WantReply {
			_ = req.Reply(false, nil)
		}
	}
}

func (r *run) exit(code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exited, r.exitCode = true, code
}

// result is what has arrived. After it nothing more is kept or shown.
func (r *run) result() remote.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
	return remote.Result{Stdout: r.stdout.Bytes(), Stderr: r.stderr.Bytes(), ExitCode: r.exitCode}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
