// Package keyring keeps small secrets in the keyring of the operating system for
// its user: the Secret Service on Linux and the BSDs, the Keychain of macOS, the
// Credential Manager of Windows.
//
// It knows no vault: entries have names. It is the only importer of
// zalando/go-keyring, which takes no context and may wait for a person for ever:
// no call here takes longer than [Timeout].
package keyring

import (
	"context"
	"encoding/base64"
	"errors"
	"runtime"
	"time"

	"github.com/zalando/go-keyring"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// Service is the name under which the keyring shows what is kept here.
const Service = "keyturn"

// Timeout is how long a keyring may take to answer.
const Timeout = 3 * time.Second

// ErrNone is returned where the keyring has no entry of a name.
var ErrNone = errors.New("the keyring has no such entry")

// A Keyring is the one of this process's user. Its methods are safe for
// concurrent use.
type Keyring struct {
	// The library's functions, of a service and a user.
	get func(service, user string) (string, error)
	set func(service, user, value string) error
	del func(service, user string) error
	// reachable says whether there may be a keyring at all; why is for people. The
	// library starts a message bus where there is none, which would outlive us.
	reachable func() (ok bool, why string)
}

// New returns the user's keyring. getenv reads the environment, exists tells
// whether there is a file; nothing is asked yet.
func New(getenv func(string) string, exists func(string) bool, uid int) Keyring {
	return Keyring{
		get: keyring.Get, set: keyring.Set, del: keyring.Delete,
		reachable: func() (bool, string) { return busAround(runtime.GOOS, getenv, exists, uid) },
	}
}

// Get returns the secret kept under a name. ErrNone when there is none.
func (k Keyring) Get(ctx context.Context, name string) (secret.Value, error) {
	return answer(ctx, k, func() (secret.Value, error) {
		text, err := k.get(Service, name)
		if err != nil {
			return secret.Value{}, err
		}
		b, err := base64.StdEncoding.DecodeString(text) // the library has strings
		if err != nil {
			return secret.Value{}, pam.Errorf(pam.ErrInvalidInput, "the keyring's entry %s %q is not of Keyturn", Service, name)
		}
		return secret.New(b), nil
	})
}

// Set keeps a secret under a name and reads it back: some keyrings take what
// they do not keep.
func (k Keyring) Set(ctx context.Context, name string, value secret.Value) error {
	own := value.Clone() // the caller's may be gone before a late answer
	_, err := answer(ctx, k, func() (struct{}, error) {
		defer own.Destroy()
		return struct{}{}, k.set(Service, name, base64.StdEncoding.EncodeToString(own.Reveal()))
	})
	if err != nil {
		return err
	}
	kept, err := k.Get(ctx, name)
	defer kept.Destroy()
	if err == nil && !kept.Equal(value) || errors.Is(err, ErrNone) {
		return unusable("the keyring did not keep what it was given")
	}
	return err
}

// Delete removes what is kept under a name. ErrNone when there is none.
func (k Keyring) Delete(ctx context.Context, name string) error {
	_, err := answer(ctx, k, func() (struct{}, error) { return struct{}{}, k.del(Service, name) })
	return err
}

// answer waits for the library. A call that does not come back is left behind:
// there is no way to end it before the process.
func answer[T any](ctx context.Context, k Keyring, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if ok, why := k.reachable(); !ok {
		return none, unusable(why)
	}
	ctx, stop := context.WithTimeout(ctx, Timeout)
	defer stop()
	done := make(chan result, 1)
	go func() {
		value, err := call()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, understood(r.err)
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return none, unusable("the keyring did not answer within " + Timeout.String() + "; it may be locked and wait for its password")
		}
		return none, ctx.Err()
	}
}

func understood(err error) error {
	if _, typed := errors.AsType[*pam.Error](err); typed || err == nil {
		return err
	}
	switch {
	case errors.Is(err, keyring.ErrNotFound):
		return ErrNone
	case errors.Is(err, keyring.ErrUnsupportedPlatform):
		return unusable("there is no keyring for this platform")
	}
	return unusable("the keyring cannot be used: " + err.Error())
}

func unusable(why string) error { return pam.Errorf(pam.ErrIO, "%s", why) }
