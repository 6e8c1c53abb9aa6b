package ssh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// closeGrace is how long a host may take to agree that a channel is closed,
// before the whole connection is.
const closeGrace = 2 * time.Second

var (
	errClosed  = errors.New("the session is closed; nothing was sent")
	errTooMuch = fmt.Errorf("the command wrote more than %d MiB", remote.MaxOutput>>20)
	errNoExit  = errors.New("the connection ended before the command did; what it did is not known")
	errDead    = errors.New("the host stopped answering before the command ended; what it did is not known")
	errExec    = errors.New("the server refused to start a command; nothing ran")
)

// A session is one connection, logged in.
type session struct {
	target remote.Target
	client *gossh.Client
	o      Options

	wg     sync.WaitGroup
	done   chan struct{} // closed by Close
	closed atomic.Bool
	dead   atomic.Bool // the host stopped answering
}

func newSession(t remote.Target, client *gossh.Client, o Options) *session {
	// The secrets stay with their owner; the address and the words remain.
	s := &session{target: t, client: client, o: o, done: make(chan struct{})}
	s.wg.Go(s.keepAlive)
	return s
}

// Close ends the connection and waits until nothing of it is left here. It may
// be called twice.
func (s *session) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.done)
	_ = s.client.Close() // fails only for a connection that is gone already
	_ = s.client.Wait()
	s.wg.Wait()
	return nil
}

// keepAlive asks for a sign of life now and then: a host that was switched off
// sends nothing, and nothing of it ever arrives.
func (s *session) keepAlive() {
	tick := time.NewTicker(s.o.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		late := time.AfterFunc(s.o.KeepAlive, func() {
			s.dead.Store(true)
			_ = s.client.Close()
		})
		_, _, err := s.client.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			return
		}
	}
}

// Run runs script without a terminal. Where the error says that the connection
// broke, the Result holds what had arrived by then.
func (s *session) Run(ctx context.Context, script remote.Script, in ...secret.Value) (remote.Result, error) {
	if s.closed.Load() {
		return remote.Result{}, fail(s.target, opStart, pam.ErrIO, errClosed)
	}
	if ctx.Err() != nil {
		return remote.Result{}, fail(s.target, opStart, contextKind(ctx.Err()), context.Cause(ctx))
	}
	r := &run{show: script.OnOutput, over: make(chan struct{}), done: make(chan struct{})}
	if err := s.start(ctx, r, script, in); err != nil {
		return remote.Result{}, err
	}
	select {
	case <-r.done:
	case <-r.over:
		s.kill(r)
		return r.result(), s.broken(r, pam.ErrIO, errTooMuch)
	case <-ctx.Done():
		if !script.KeepRunning {
			s.kill(r)
		}
		return r.result(), s.broken(r, contextKind(ctx.Err()), context.Cause(ctx))
	}
	if isClosed(r.over) {
		return r.result(), s.broken(r, pam.ErrIO, errTooMuch)
	}
	if !r.exited {
		err := errNoExit
		if s.dead.Load() {
			err = errDead
		}
		e := s.broken(r, pam.ErrIO, err)
		e.Broken = true
		return r.result(), e
	}
	return r.result(), nil
}

// broken is the failure of a command that was started.
func (s *session) broken(r *run, kind pam.Kind, err error) *remote.Error {
	e := fail(s.target, opRun, kind, err)
	e.Sent = r.sent.Load()
	return e
}

// start opens a channel, starts the command and the goroutines that feed and
// read it. While it waits for the server, the end of ctx ends the connection.
func (s *session) start(ctx context.Context, r *run, script remote.Script, in []secret.Value) error {
	detach := context.AfterFunc(ctx, func() { _ = s.client.Close() })
	defer detach()
	ch, requests, err := s.client.OpenChannel("session", nil)
	if err != nil {
		return s.notStarted(ctx, r, err)
	}
	r.ch = ch
	if length(in) == 0 {
		r.sent.Store(true) // the command has all of its input once it starts
	}
	ok, err := ch.SendRequest("exec", true, gossh.Marshal(struct{ Command string }{script.Line}))
	if err == nil && !ok {
		r.sent.Store(false)
		err = errExec
	}
	if err != nil {
		_ = ch.Close()
		s.wg.Go(func() { gossh.DiscardRequests(requests) })
		return s.notStarted(ctx, r, err)
	}
	if script.KeepRunning {
		in = []secret.Value{secret.Join(in...)} // Run may return before the command has read it
	}
	var io sync.WaitGroup
	io.Go(func() { r.feed(in) })
	io.Go(func() { r.read(ch, &r.stdout, true) })
	io.Go(func() { r.read(ch.Stderr(), &r.stderr, false) })
	io.Go(func() { r.awaitExit(requests) })
	s.wg.Go(func() {
		io.Wait()
		if script.KeepRunning {
			in[0].Destroy()
		}
		close(r.done)
	})
	return nil
}

func (s *session) notStarted(ctx context.Context, r *run, err error) error {
	e := fail(s.target, opStart, pam.ErrIO, hide(err, s.target.Password))
	e.Broken = !errors.Is(err, errExec)
	if !e.Broken {
		e.Err = err
	}
	if ctx.Err() != nil {
		e.Kind, e.Err, e.Broken = contextKind(ctx.Err()), context.Cause(ctx), false
	}
	e.Sent = r.sent.Load()
	return e
}

// kill ends the command and its channel and waits until both are gone here. A
// host that does not agree loses the connection.
func (s *session) kill(r *run) {
	grace := time.AfterFunc(closeGrace, func() { _ = s.client.Close() })
	defer grace.Stop()
	_, _ = r.ch.SendRequest("signal", false, gossh.Marshal(struct{ Name string }{"TERM"}))
	_ = r.ch.Close()
	<-r.done
}
