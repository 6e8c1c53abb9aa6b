// Package remote is how a command runs on a machine somewhere else: what to
// reach, how to trust it, one session with a command whose secrets travel on
// standard input, and typed failures.
//
// It knows no transport (see remote/winrm and remote/ssh), no vault, and
// nothing of services or passwords' meaning.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// An Endpoint is where a machine is and how it proves that it is itself. It
// holds no secret and marshals.
type Endpoint struct {
	Transport pam.Transport `json:"transport"`
	Host      string        `json:"host"`
	Port      int           `json:"port"`
	// WinRM: Pin, when set, is "sha256:HEX" of the certificate's DER and stands
	// in place of chain and name checks; otherwise CAPEM, otherwise the system pool.
	Pin   string `json:"pin,omitempty"`
	CAPEM []byte `json:"ca_pem,omitempty"`
	// SSH: accepted host keys, in authorized_keys form. None means that the host
	// is unknown, and an unknown host is never connected to.
	HostKeys []string `json:"host_keys,omitempty"`
}

// Address is host:port.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// A Target is an endpoint and who logs in there.
type Target struct {
	Endpoint
	User     string
	Password secret.Value
	// PrivateKey is PEM. It goes before the password: over SSH a key, with the
	// line of its user certificate after it if there is one; over WinRM a key and
	// its X.509 certificate (a key alone is for SSH and is not used).
	PrivateKey secret.Value
	Passphrase secret.Value // of PrivateKey, SSH only
	// Agent asks for a key of the SSH agent in place of PrivateKey: "on" is the
	// one that it holds, "SHA256:..." one of several. "" never asks an agent.
	Agent string
}

// A Script is one constant command line with data on standard input.
type Script struct {
	// Line is the command line. It is the same for every call and holds no data.
	Line string
	// OnOutput, when set, receives standard output as it arrives, in order. It
	// is called from one goroutine and must not block for long.
	OnOutput func(chunk []byte)
	// KeepRunning asks the transport never to kill the command: when ctx ends
	// the command is left alone on the machine, and its shell is not deleted.
	KeepRunning bool
}

// A Result is what a command left: complete output, within the transport's
// caps, and the exit code. The exit code is a hint only; success is what the
// output proves.
type Result struct {
	Stdout   []byte
	Stderr   []byte
	ExitCode int
}

// A Session is an open way to one machine. It is used by one goroutine.
type Session interface {
	// Run runs script with in, one after another, on its standard input, which ends
	// after them: what many sessions send is held once. They are not destroyed.
	// Failures are *[Error].
	Run(ctx context.Context, script Script, in ...secret.Value) (Result, error)
	Close() error
}

// A Dialer opens sessions over one transport. Logging in costs one attempt.
type Dialer interface {
	Dial(ctx context.Context, t Target) (Session, error)
}

// Limits of every transport: what a target may cost us.
const (
	MaxOutput      = 8 << 20          // bytes of standard output and error together
	ConnectTimeout = 10 * time.Second // TCP, TLS and log-in each
)

// ErrInconclusive is in the chain of an ErrAuthFailed that says nothing of the
// credential: the server does not take its kind, asked for more, or broke off
// before an answer. Without it the server saw the credential and said no.
var ErrInconclusive = errors.New("the server gave no verdict on the credential")

// An Error is a failure to reach, trust or use a target. Kind is one of
// pam.ErrUnreachable, ErrAuthFailed, ErrUntrusted, or ErrIO for a session that
// broke or lied. Its text never holds what the target sent unescaped.
type Error struct {
	Kind    pam.Kind
	Address string
	Op      string // what was being done: "connect", "log in", "send input", ...
	Err     error
	// Sent reports that the command may have seen its whole input: what it did
	// is unknown. False proves that it ran nothing.
	Sent bool
	// Broken reports that the connection of a session went away: nothing was said
	// that would be the same at another try.
	Broken bool
	// Server is what an untrusted server showed, in the form that a record
	// accepts: "sha256:HEX" or "ssh-ed25519 AAAA...". Fingerprint is the short
	// form a person compares ("SHA256:...").
	Server      string
	Fingerprint string
}

// Error says what was done, to what, and why it failed.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s: %v", e.Address, e.Op, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, pam.ErrUnreachable) and its like work.
func (e *Error) Is(target error) bool {
	k, ok := target.(pam.Kind)
	return ok && k == e.Kind
}

// As gives pam.KindOf the kind.
func (e *Error) As(target any) bool {
	k, ok := target.(*pam.Kind)
	if ok {
		*k = e.Kind
	}
	return ok
}
