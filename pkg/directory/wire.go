package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/go-ldap/ldap/v3"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

const (
	// maxAnswers is what one connection reads before it is given up, in bytes. All
	// that is asked for here is a few kilobytes.
	maxAnswers = 1 << 20
	// answerTime is how long one request waits for its answer.
	answerTime = 30 * time.Second
)

// A wire is one LDAP connection inside TLS, not logged in yet. It is used by one
// goroutine.
type wire struct {
	address string
	raw     net.Conn
	ldap    *ldap.Conn
}

// dial reaches a controller and sees that it is the one that e describes.
func dial(ctx context.Context, e remote.Endpoint, now func() time.Time) (*wire, error) {
	w := &wire{address: e.Address()}
	reach, cancel := context.WithTimeout(ctx, remote.ConnectTimeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(reach, "tcp", e.Address())
	if err != nil {
		return nil, remote.Typed(ctx, w.address, "connect", &remote.Error{Kind: pam.ErrUnreachable, Op: "connect", Err: err}, false)
	}
	w.raw = &capped{Conn: raw, left: maxAnswers}
	stop := context.AfterFunc(reach, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	err = w.secure(reach, e, now)
	if !stop() && err == nil {
		err = reach.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, remote.Typed(ctx, w.address, "negotiate TLS", err, false)
	}
	w.ldap.SetTimeout(answerTime)
	return w, nil
}

// secure begins TLS: at once, or by StartTLS on the port that begins in the clear.
func (w *wire) secure(ctx context.Context, e remote.Endpoint, now func() time.Time) error {
	config := remote.TLSConfig(e, now)
	var distrust error // the library keeps only the text of it
	check := config.VerifyConnection
	config.VerifyConnection = func(s tls.ConnectionState) error {
		distrust = check(s)
		return distrust
	}
	var err error
	if e.Transport == pam.StartTLS {
		w.ldap = ldap.NewConn(w.raw, false)
		w.ldap.Start()
		w.ldap.SetTimeout(remote.ConnectTimeout)
		err = insecure(w.ldap.StartTLS(config))
		if err != nil {
			_ = w.ldap.Close()
		}
	} else {
		secured := tls.Client(w.raw, config)
		if err = secured.HandshakeContext(ctx); err == nil {
			w.ldap = ldap.NewConn(secured, true)
			w.ldap.Start()
		}
	}
	switch _, known := errors.AsType[*remote.Error](err); {
	case err == nil:
		return nil
	case distrust != nil:
		return distrust
	case known:
		return err
	}
	return &remote.Error{Kind: pam.ErrUnreachable, Op: "negotiate TLS", Err: errors.New(remote.Clean(err.Error()))}
}

// insecure is the failure of a controller that offers no TLS, which is often one
// without a certificate: nothing is sent to it in the clear.
func insecure(err error) error {
	code, ok := resultOf(err)
	if !ok {
		return err
	}
	return &remote.Error{Kind: pam.ErrUntrusted, Op: "begin TLS", Err: fmt.Errorf(
		"it offers none (StartTLS: LDAP code %d), and passwords are not sent without: give the controller a certificate", code)}
}

// close ends the connection and what reads from it.
func (w *wire) close() error { return w.ldap.Close() }

// failed is a failure of one step that was no refusal.
func (w *wire) failed(op string, kind pam.Kind, err error) error {
	return &remote.Error{Kind: kind, Address: w.address, Op: op, Err: err}
}

// during does one request under ctx. A connection whose context ended is of no
// use any more.
func (w *wire) during(ctx context.Context, op string, sent bool, do func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = w.raw.SetDeadline(time.Unix(1, 0)) })
	err := do()
	if stop(); err == nil {
		return nil
	}
	if r, ok := refusalOf(err); ok {
		return r
	}
	return remote.Typed(ctx, w.address, op, errors.New(remote.Clean(err.Error())), sent)
}

// search reads entries below base: at most two, since more than one is a
// question that has no single answer.
func (w *wire) search(ctx context.Context, base string, scope int, filter string, attributes ...string) ([]*ldap.Entry, error) {
	const op, most = "read the directory", 2
	q := ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, most, int(answerTime/time.Second), false, filter, attributes, nil)
	var found []*ldap.Entry
	err := w.during(ctx, op, false, func() error {
		r, err := w.ldap.Search(q)
		if r != nil {
			found = r.Entries
		}
		return err
	})
	if r, ok := errors.AsType[*refusal](err); ok {
		switch {
		case r.code == ldap.LDAPResultSizeLimitExceeded && len(found) >= most:
			return found, nil
		case r.code == ldap.LDAPResultNoSuchObject:
			return nil, nil
		}
		return nil, w.failed(op, pam.ErrIO, r)
	}
	return found, err
}

// one reads the entry that is there for certain.
func (w *wire) one(ctx context.Context, dn string, attributes ...string) (*ldap.Entry, error) {
	found, err := w.search(ctx, dn, ldap.ScopeBaseObject, "(objectClass=*)", attributes...)
	if err == nil && len(found) != 1 {
		err = w.failed("read the directory", pam.ErrIO, fmt.Errorf("there is no entry %q that may be read", remote.Clean(dn)))
	}
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// bind logs in once. The library takes the password as a string, of which it
// leaves copies in memory until they are collected.
func (w *wire) bind(ctx context.Context, user string, password secret.Value) error {
	const op = "log in"
	if password.IsZero() { // an empty one would be taken, and prove nothing (RFC 4513, 5.1.2)
		return &remote.Error{
			Kind: pam.ErrAuthFailed, Address: w.address, Op: op,
			Err: fmt.Errorf("the record has no password: %w", remote.ErrInconclusive),
		}
	}
	err := w.during(ctx, op, false, func() error { return w.ldap.Bind(user, string(password.Reveal())) })
	if r, ok := errors.AsType[*refusal](err); ok {
		return &remote.Error{Kind: pam.ErrAuthFailed, Address: w.address, Op: op, Err: r.asLogIn()}
	}
	return err
}

// capped is a connection that ends after so many bytes: what answers is not
// trusted with our memory.
type capped struct {
	net.Conn
	left int64
}

// Read reads what the limit leaves.
func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("more than %d bytes of answers: %w", maxAnswers, io.ErrUnexpectedEOF)
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}
