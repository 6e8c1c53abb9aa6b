// Package agent keeps the key of one unlocked vault for a while and gives it to
// other processes of the same user, so that commands need not derive it anew.
//
// It holds the key and nothing else: it knows no record, opens no vault and
// writes no file but its socket, which is a named pipe on Windows. The key is
// given to processes of the user that started the agent, whose identity the
// kernel tells, and to nobody else.
package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

const (
	// callTimeout bounds one exchange: both ends are on this machine.
	callTimeout = 3 * time.Second
	maxRequest  = 256
	maxReply    = 1024
	maxKey      = 64

	opKey  = "key"
	opLock = "lock"
)

// ErrNone says that no agent runs for the vault.
const ErrNone = noAgent("no agent runs for this vault")

type noAgent string

func (e noAgent) Error() string { return string(e) }

// A request is one line of JSON.
type request struct {
	Op string `json:"op"`
}

// A reply is one line of JSON; the key's bytes follow a reply to opKey.
type reply struct {
	OK    bool      `json:"ok"`
	Slot  string    `json:"slot,omitempty"` // the key slot that opened the vault
	Until time.Time `json:"until"`          // when the agent ends, if nobody asks before
	Bytes int       `json:"bytes,omitempty"`
}

// Options are what an agent works with. All fields are required.
type Options struct {
	Socket string // see [Socket]
	Slot   string
	// Idle is how long the agent stays without being asked.
	Idle time.Duration
	Now  func() time.Time
}

// An Agent serves one key until it is locked, idle for too long, or its context
// ends. It is safe for concurrent use.
type Agent struct {
	o        Options
	listener net.Listener
	idle     *time.Timer

	mu    sync.Mutex
	key   secret.Value
	until time.Time
}

// Listen makes the socket of an agent that will serve a copy of key. ErrConflict
// when one runs already; one that does not answer keeps its socket.
func Listen(ctx context.Context, key secret.Value, o Options) (*Agent, error) {
	if _, err := call(ctx, o.Socket, "ping"); err == nil {
		return nil, pam.Errorf(pam.ErrConflict, "an agent runs for this vault already")
	} else if !errors.Is(err, ErrNone) {
		return nil, err
	}
	l, err := listen(ctx, o.Socket)
	if err != nil {
		return nil, err
	}
	return &Agent{o: o, listener: l, key: key.Clone(), until: o.Now().Add(o.Idle), idle: time.NewTimer(o.Idle)}, nil
}

// Serve answers until the agent ends, and destroys its key. The error is only
// for a socket that failed.
func (a *Agent) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.idle.Stop()
	var calls sync.WaitGroup
	calls.Go(func() {
		select {
		case <-a.idle.C:
		case <-ctx.Done():
		}
		a.forget()
		_ = a.listener.Close() // removes the socket too
	})
	var failure error
	for {
		conn, err := a.listener.Accept()
		if err != nil {
			if a.serving() {
				failure = pam.Errorf(pam.ErrIO, "the agent's socket: %w", err)
			}
			break
		}
		calls.Go(func() {
			defer conn.Close() //nolint:errcheck // both ends are done with it
			if a.answer(conn) {
				cancel()
			}
		})
	}
	cancel()
	calls.Wait()
	return failure
}

func (a *Agent) serving() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.key.IsZero()
}

func (a *Agent) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.key.Destroy()
	a.key = secret.Value{}
}

// answer serves one call and reports whether it ends the agent.
func (a *Agent) answer(conn net.Conn) (end bool) {
	if err := conn.SetDeadline(a.o.Now().Add(callTimeout)); err != nil {
		return false
	}
	if ok, err := samePeer(conn); err != nil || !ok {
		return false // a stranger hears nothing
	}
	req, ok := asked(conn)
	if !ok {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.key.IsZero() {
		return false
	}
	r := reply{OK: true, Slot: a.o.Slot, Until: a.until}
	switch req.Op {
	case opKey:
		a.idle.Reset(a.o.Idle)
		a.until = a.o.Now().Add(a.o.Idle)
		r.Until, r.Bytes = a.until, a.key.Len()
	case opLock: // who hears of it finds no key any more, and no socket in the way of another agent
		a.key.Destroy()
		a.key = secret.Value{}
		_ = a.listener.Close()
	case "ping":
	default:
		r = reply{}
	}
	if err := send(conn, r); err != nil || r.Bytes == 0 {
		return req.Op == opLock
	}
	_, _ = conn.Write(a.key.Reveal())
	return false
}

// asked reads a request; ok is false for what is none.
func asked(r io.Reader) (req request, ok bool) {
	line, err := bufio.NewReader(io.LimitReader(r, maxRequest)).ReadBytes('\n')
	ok = err == nil && json.Unmarshal(line, &req) == nil
	return req, ok
}

func send(w io.Writer, r reply) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a reply: %w", err)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// A Held is what an agent gives.
type Held struct {
	Key   secret.Value // the caller owns it
	Slot  string
	Until time.Time
}

// Key asks the agent of a socket for its key, which prolongs its life. ErrNone
// when none runs.
func Key(ctx context.Context, socket string) (Held, error) { return call(ctx, socket, opKey) }

// Lock ends the agent of a socket and waits until that is gone: removing it is the
// last that an agent does, and must not meet the next one's. ErrNone when none runs.
func Lock(ctx context.Context, socket string) error {
	if _, err := call(ctx, socket, opLock); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		conn, err := dial(ctx, socket)
		if err != nil {
			return nil // it is gone
		}
		_ = conn.Close()
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return pam.Errorf(pam.ErrIO, "the agent has forgotten its key, and goes on holding its socket %s", socket)
		}
	}
}

func call(ctx context.Context, socket, op string) (Held, error) {
	// The call ends with its context, which has a deadline of its own here.
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, err := dial(ctx, socket)
	if errors.Is(err, ErrNone) && ctx.Err() != nil {
		return Held{}, silent(ctx, socket)
	}
	if err != nil {
		return Held{}, err
	}
	defer conn.Close() //nolint:errcheck // the answer is read
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if ok, err := samePeer(conn); err != nil || !ok {
		return Held{}, pam.Errorf(pam.ErrDenied, "the agent's socket %s belongs to somebody else; nothing was asked", socket)
	}
	line, err := json.Marshal(request{op})
	if err != nil {
		return Held{}, pam.Errorf(pam.ErrInternal, "ask the agent: %w", err)
	}
	if _, err = conn.Write(append(line, '\n')); err != nil {
		err = ErrNone // it ended just now
	}
	var held Held
	if err == nil {
		held, err = receive(conn)
	}
	if err != nil && ctx.Err() != nil {
		return Held{}, silent(ctx, socket)
	}
	return held, err
}

// silent is the error of a call that ended before its answer came. Who has the socket
// has not gone, and none must be taken for it: it may hold the key.
func silent(ctx context.Context, socket string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return pam.Errorf(pam.ErrIO, "the agent of this vault does not answer, and may still hold the vault's key").
		WithHint("end its process, keyturn agent-runner ... %s", socket)
}

func receive(r io.Reader) (Held, error) {
	in := bufio.NewReaderSize(io.LimitReader(r, maxReply+maxKey), maxReply+maxKey)
	line, err := in.ReadBytes('\n')
	var rep reply
	if err != nil || json.Unmarshal(line, &rep) != nil || !rep.OK || rep.Bytes < 0 || rep.Bytes > maxKey {
		return Held{}, ErrNone
	}
	key := make([]byte, rep.Bytes)
	if _, err := io.ReadFull(in, key); err != nil {
		clear(key)
		return Held{}, ErrNone
	}
	return Held{Key: secret.New(key), Slot: rep.Slot, Until: rep.Until}, nil
}
