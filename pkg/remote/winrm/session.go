package winrm

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// A session is one shell on one machine.
type session struct {
	client *client
	shell  string
	// left is set once a command runs on that must not be killed.
	left   bool
	closed bool
}

func (s *session) requests() requests {
	return newRequests(s.client.url.String(), s.client.o.Operation)
}

// openShell logs in and creates the shell.
func (s *session) openShell(ctx context.Context) error {
	r := request{op: "open a shell", action: actionCreated}
	var err error
	if r.body, err = s.requests().create(idleTime(ctx)); err != nil {
		return failure(pam.ErrInternal, r.op, err)
	}
	a, err := s.client.post(ctx, r)
	if fault, ok := errors.AsType[*Fault](err); ok {
		return fault.typed(r.op)
	}
	if err != nil {
		return err
	}
	if !validID(a.shell) {
		return failure(pam.ErrIO, r.op, errors.New("the machine named no usable shell"))
	}
	s.shell = a.shell
	return nil
}

// Run starts the command, sends its input and collects its output. Output that
// came before a failure is returned with it.
func (s *session) Run(ctx context.Context, script remote.Script, in ...secret.Value) (remote.Result, error) {
	p := &pump{session: s, script: script}
	if s.closed {
		return remote.Result{}, p.fail(ctx, failure(pam.ErrIO, "start the command", errors.New("the session is closed")))
	}
	err := p.start(ctx)
	if err == nil {
		err = p.send(ctx, in)
	}
	if err == nil {
		err = p.collect(ctx)
	} else if fault, ok := errors.AsType[*Fault](err); ok && fault.pipeEnded() {
		p.hear(ctx)
	}
	p.settle(ctx)
	if err != nil {
		return p.result, p.fail(ctx, err)
	}
	return p.result, nil
}

// Close deletes the shell, unless a command in it was left running, and hangs
// up. Closing twice is closing once.
func (s *session) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	defer s.client.forget()
	if s.left {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.client.o.Closing)
	defer cancel()
	if err := s.deleteShell(ctx); err != nil {
		return remote.Typed(context.WithoutCancel(ctx), s.client.t.Address(), "delete the shell", err, false)
	}
	return nil
}

func (s *session) deleteShell(ctx context.Context) error {
	r := request{op: "delete the shell", action: actionDeleted, body: s.requests().remove(s.shell)}
	_, err := s.client.post(ctx, r)
	return err
}

// pause waits for the nth time in a row, longer each time, or until ctx ends.
func (s *session) pause(ctx context.Context, n int) error {
	timer := time.NewTimer(s.client.o.Backoff << min(max(n-1, 0), 5))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// log names the machine in what operators read.
func (s *session) log() *slog.Logger {
	return s.client.o.Logger.With(slog.String("machine", s.client.t.Address()))
}
