// Package ssh runs commands on machines over SSH.
//
// It trusts only the host keys that the endpoint names, sends no credential
// before that, tries a credential exactly once, and never asks for a terminal.
// It asks an agent only for a target that says so, forwards none, reads no file
// of the user's ~/.ssh, and knows nothing of what the commands do.
package ssh

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

const (
	// A busy sshd drops connections at random before it says anything
	// (MaxStartups); that is tried again, a little later each time.
	maxAttempts = 5
	firstPause  = 200 * time.Millisecond

	defaultKeepAlive = 15 * time.Second
)

// Options are what a [Dialer] may be told. The zero Options are usable.
type Options struct {
	// Logger hears of retries and lost connections; nil is none.
	Logger *slog.Logger
	// KeepAlive is the time between signs of life of an open session, and how
	// long one may take to be answered before the host counts as dead; 0 is 15 s.
	KeepAlive time.Duration
	// Timeout bounds each of connect, key exchange and log-in; 0 is
	// remote.ConnectTimeout.
	Timeout time.Duration
	// Agent connects to the SSH agent; nil is none. It is called only for a target
	// that asks for it.
	Agent func(ctx context.Context) (net.Conn, error)
	// Random jitters the pauses between attempts; nil is crypto/rand.Reader.
	Random io.Reader
}

// A Dialer is a [remote.Dialer] over SSH. It is safe for concurrent use.
type Dialer struct {
	o Options
}

// NewDialer returns a Dialer.
func NewDialer(o Options) *Dialer {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = defaultKeepAlive
	}
	if o.Timeout == 0 {
		o.Timeout = remote.ConnectTimeout
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	return &Dialer{o: o}
}

// Dial logs in to t with its private key, or a key of the agent where t asks for
// that, or otherwise its password. Errors
// are *[remote.Error]; an ErrAuthFailed holds [remote.ErrInconclusive] unless
// the server saw the credential and refused it.
func (d *Dialer) Dial(ctx context.Context, t remote.Target) (remote.Session, error) {
	trust, err := parseHostKeys(t.Endpoint)
	if err != nil {
		return nil, err
	}
	cred, done, err := d.credential(ctx, t)
	if err != nil {
		return nil, err
	}
	defer done()
	pause := firstPause
	for attempt := 1; ; attempt++ {
		s, err := d.attempt(ctx, t, trust, cred)
		if err == nil {
			return s, nil
		}
		if attempt == maxAttempts || !droppedEarly(err) {
			return nil, err
		}
		d.o.Logger.DebugContext(ctx, "connection dropped before log-in", "address", t.Address(), "attempt", attempt)
		if err := d.wait(ctx, pause); err != nil {
			return nil, fail(t, opConnect, contextKind(err), err)
		}
		pause *= 2
	}
}

// errEarly marks a connection that the server ended before any credential was
// on its way, so that another attempt costs nothing.
var errEarly = errors.New("the server closed the connection before the log-in")

func droppedEarly(err error) bool { return errors.Is(err, errEarly) }

// wait waits between half of pause and all of it, so that clients that were
// dropped together do not come back together.
func (d *Dialer) wait(ctx context.Context, pause time.Duration) error {
	if n, err := rand.Int(d.o.Random, big.NewInt(int64(pause/2))); err == nil {
		pause -= time.Duration(n.Int64())
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// attempt makes one connection and logs in on it.
func (d *Dialer) attempt(ctx context.Context, t remote.Target, trust hostKeys, cred credential) (*session, error) {
	conn, err := d.connect(ctx, t)
	if err != nil {
		return nil, err
	}
	w := startWatch(ctx, conn, d.o.Timeout)
	l := &login{target: t, trust: trust, cred: cred, conn: conn, watch: w}
	c, channels, requests, err := gossh.NewClientConn(conn, t.Address(), l.config())
	w.stop()
	if err != nil {
		_ = conn.Close()
		err = l.explain(ctx, err)
		if errors.Is(err, errOtherKeyType) {
			return nil, d.learn(ctx, t)
		}
		return nil, err
	}
	client := gossh.NewClient(c, channels, requests)
	if l.sent == "" {
		_ = client.Close()
		_ = client.Wait()
		return nil, fail(t, opLogIn, pam.ErrAuthFailed, errNothingAsked)
	}
	return newSession(t, client, d.o), nil
}

// learn connects once more to see the host key of a server that has none of
// the kinds that are trusted, and reports it as changed.
func (d *Dialer) learn(ctx context.Context, t remote.Target) error {
	conn, err := d.connect(ctx, t)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	w := startWatch(ctx, conn, d.o.Timeout)
	defer w.stop()
	l := &login{target: t, trust: hostKeys{changed: true}, conn: conn, watch: w}
	_, _, _, err = gossh.NewClientConn(conn, t.Address(), l.config())
	return l.explain(ctx, err)
}

func (d *Dialer) connect(ctx context.Context, t remote.Target) (*conn, error) {
	nd := net.Dialer{Timeout: d.o.Timeout, KeepAlive: defaultKeepAlive}
	c, err := nd.DialContext(ctx, "tcp", t.Address())
	if err != nil {
		if ctx.Err() != nil {
			return nil, fail(t, opConnect, contextKind(ctx.Err()), context.Cause(ctx))
		}
		return nil, fail(t, opConnect, pam.ErrUnreachable, err)
	}
	return &conn{Conn: c}, nil
}
