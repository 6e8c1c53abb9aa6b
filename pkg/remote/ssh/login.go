package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	gossh "golang.org/x/crypto/ssh"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// The methods of RFC 4252 and 4256 that we use.
const (
	methodKey         = "publickey"
	methodPassword    = "password"
	methodInteractive = "keyboard-interactive"
)

// A login is one log-in on one connection. It is used by one goroutine, apart
// from the host key check, which the library repeats with every new exchange.
type login struct {
	target remote.Target
	trust  hostKeys
	cred   credential
	conn   *conn
	watch  *watch

	untrusted *remote.Error
	sent      string   // the method by which a credential was sent last
	used      []string // the kinds of credential that were sent
	decided   error    // why no further method is tried
}

func (l *login) config() *gossh.ClientConfig {
	return &gossh.ClientConfig{
		User:              l.target.User,
		AuthCallback:      l.next,
		HostKeyCallback:   l.checkHostKey,
		HostKeyAlgorithms: l.trust.algorithms(),
		ClientVersion:     "SSH-2.0-Keyturn",
	}
}

func (l *login) checkHostKey(_ string, _ net.Addr, key gossh.PublicKey) error {
	if l.trust.trusts(key) {
		l.watch.step()
		return nil
	}
	l.untrusted = l.trust.refusal(l.target, key)
	return l.untrusted
}

var (
	errRefused      = errors.New("the server refused the credential")
	errBrokeOff     = fmt.Errorf("%w: it broke off the log-in, as for an account that has expired", remote.ErrInconclusive)
	errMoreAsked    = fmt.Errorf("%w: it asks for more than a password", remote.ErrInconclusive)
	errNothingAsked = fmt.Errorf("%w: it lets anybody in without one, which proves nothing", remote.ErrInconclusive)
	errNoCredential = fmt.Errorf("%w: there is neither a password nor a private key to send", remote.ErrInconclusive)
)

// next chooses the method of the one attempt. The library calls it after each
// answer of the server. A second one follows only when the server accepted the
// first and wants both key and password.
func (l *login) next(c *gossh.ClientAuthContext) (gossh.AuthMethod, error) {
	l.watch.step()
	if l.sent != "" && slices.Contains(c.TriedMethods, l.sent) {
		return nil, l.stop(l.answer())
	}
	if a := l.choose(c.AllowedMethods); a != nil {
		return a, nil
	}
	return nil, l.stop(l.nothingToSend(c.AllowedMethods))
}

// choose returns the best method that we have not used and the server takes, or nil.
func (l *login) choose(allowed []string) gossh.AuthMethod {
	if l.cred.signer != nil && !slices.Contains(l.used, methodKey) && slices.Contains(allowed, methodKey) {
		return l.send(methodKey, methodKey, gossh.PublicKeys(l.cred.signer))
	}
	if l.cred.password == nil || slices.Contains(l.used, methodPassword) {
		return nil
	}
	if slices.Contains(allowed, methodPassword) {
		return l.send(methodPassword, methodPassword, gossh.PasswordCallback(func() (string, error) {
			return l.cred.password(), nil
		}))
	}
	if slices.Contains(allowed, methodInteractive) {
		return l.send(methodInteractive, methodPassword, l.interactive())
	}
	return nil
}

func (l *login) nothingToSend(allowed []string) error {
	switch {
	case len(l.used) > 0:
		return errMoreAsked
	case l.cred.signer == nil && l.cred.password == nil:
		return errNoCredential
	default:
		return fmt.Errorf("%w: it takes only %s", remote.ErrInconclusive, clean(strings.Join(allowed, ", ")))
	}
}

func (l *login) send(method, kind string, a gossh.AuthMethod) gossh.AuthMethod {
	l.sent = method
	l.used = append(l.used, kind)
	return a
}

func (l *login) stop(err error) error {
	if l.decided == nil {
		l.decided = err
	}
	return l.decided
}

// answer says what became of the credential that was sent.
func (l *login) answer() error {
	if l.sent == methodKey && l.cred.agent != nil && l.cred.agent.failed != nil {
		return fmt.Errorf("%w: %w", remote.ErrInconclusive, l.cred.agent.failed)
	}
	if l.conn.broken.Load() {
		return errBrokeOff
	}
	return errRefused
}

// interactive answers one hidden question with the password. Any other dialogue
// (a second question, a one-time code, a new password) is no log-in that we
// can judge. No round gets time of its own: a server can ask for ever.
func (l *login) interactive() gossh.AuthMethod {
	asked := false
	return gossh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
		if len(questions) == 0 {
			return nil, nil
		}
		if asked || len(questions) > 1 || echos[0] {
			return nil, l.stop(errMoreAsked)
		}
		asked = true
		return []string{l.cred.password()}, nil
	})
}

// explain turns the library's error into ours.
func (l *login) explain(ctx context.Context, err error) error {
	var mismatch *gossh.AlgorithmNegotiationError
	switch {
	case l.untrusted != nil:
		return l.untrusted
	case ctx.Err() != nil:
		return fail(l.target, l.op(), contextKind(ctx.Err()), context.Cause(ctx))
	case errors.As(err, &mismatch) && len(l.trust.keys) > 0 && mismatch.What == "host key":
		return errOtherKeyType
	case l.decided != nil:
		return fail(l.target, opLogIn, pam.ErrAuthFailed, l.decided)
	case l.sent != "":
		return fail(l.target, opLogIn, pam.ErrAuthFailed, l.unanswered(err))
	case l.watch.hasExpired():
		return fail(l.target, opConnect, pam.ErrUnreachable, errors.New("the server did not answer in time; no credential was sent"))
	case isDrop(err):
		return fail(l.target, opConnect, pam.ErrUnreachable, fmt.Errorf("%w (%w)", errEarly, l.hide(err)))
	default:
		return fail(l.target, opConnect, pam.ErrUnreachable, l.hide(err))
	}
}

// unanswered is the failure of a log-in that ended after the credential was sent.
func (l *login) unanswered(err error) error {
	if l.watch.hasExpired() {
		return fmt.Errorf("%w: it did not answer in time", remote.ErrInconclusive)
	}
	return fmt.Errorf("%w (%w)", errBrokeOff, l.hide(err))
}

func (l *login) op() string {
	if l.sent == "" {
		return opConnect
	}
	return opLogIn
}

func (l *login) hide(err error) error { return hide(err, l.target.Password) }

// isDrop reports that the other side ended the connection.
func isDrop(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED)
}
