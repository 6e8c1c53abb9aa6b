// Package winrm runs commands on Windows machines over WinRM: HTTPS only, with
// NTLM, Basic or a client certificate, one connection and one shell for each
// session.
//
// It is the only importer of masterzen/winrm and takes nothing of it but the
// builders of requests. The library's own loop reports success on faults,
// spins, hangs and loses input, and its parsers swallow bad base64 and take a
// missing exit code for 0; so transport, pump and parser are this package's.
// It knows no vault and nothing of what the commands do. What a machine
// answers is capped in size, depth and time, and believed only where it is
// complete.
package winrm

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// Options are a [Dialer]'s settings. Only Now is needed.
type Options struct {
	// Now is the clock that certificates and idle times are judged by.
	Now func() time.Time
	// Logger hears of retries; nil is silence. It never hears a body.
	Logger *slog.Logger
	// Connect bounds TCP, TLS and log-in, each; [remote.ConnectTimeout] unless set.
	Connect time.Duration
	// Operation is how long a machine may hold a request before it answers that
	// there is nothing yet; 20 s unless set.
	Operation time.Duration
	// Grace is what a request may take beyond Operation; 15 s unless set.
	Grace time.Duration
	// Closing bounds what tidies up: ending a command, deleting a shell; 5 s unless set.
	Closing time.Duration
	// Backoff is the first pause after a failed or empty answer, doubled up to
	// 32 times of it; 200 ms unless set.
	Backoff time.Duration
}

// A Dialer opens sessions over WinRM. It is safe for concurrent use.
type Dialer struct {
	o Options
}

// NewDialer returns a Dialer. A missing clock is a programmer's mistake.
func NewDialer(o Options) *Dialer {
	if o.Now == nil {
		panic("winrm: Options.Now is nil")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Connect = orDefault(o.Connect, remote.ConnectTimeout)
	o.Operation = orDefault(o.Operation, 20*time.Second)
	o.Grace = orDefault(o.Grace, 15*time.Second)
	o.Closing = orDefault(o.Closing, 5*time.Second)
	o.Backoff = orDefault(o.Backoff, 200*time.Millisecond)
	return &Dialer{o: o}
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// Dial connects, logs in and opens a shell, so that every reason not to get in
// shows here. It costs one log-in, and a refused one is never tried again.
func (d *Dialer) Dial(ctx context.Context, t remote.Target) (remote.Session, error) {
	c, err := newClient(d.o, t)
	if err != nil {
		return nil, d.fail(ctx, t, "read the record", err)
	}
	s := &session{client: c}
	if err := s.openShell(ctx); err != nil {
		c.forget()
		return nil, d.fail(ctx, t, "open a shell", err)
	}
	return s, nil
}

// fail types an error of Dial, all of which come before any input.
func (d *Dialer) fail(ctx context.Context, t remote.Target, op string, err error) error {
	return remote.Typed(ctx, t.Address(), op, err, false)
}

// inconclusive is a log-in that failed without a word on the password.
func inconclusive(err error) *remote.Error {
	return failure(pam.ErrAuthFailed, "log in", fmt.Errorf("%w: %w", err, remote.ErrInconclusive))
}

// failure is an error whose kind is known where it happens.
func failure(kind pam.Kind, op string, err error) *remote.Error {
	return &remote.Error{Kind: kind, Op: op, Err: err}
}
