package executor

import (
	"context"
	"sync/atomic"

	"keyturn/pkg/dependency"
	"keyturn/pkg/directory"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/rotator"
	"keyturn/pkg/secret"
)

// A work is one op under way. What is known goes to result as it becomes known.
type work struct {
	*Embedded
	op     Op
	on     func(Event)
	result *Result
}

func (w work) do(ctx context.Context) error {
	switch q := w.op.Request.(type) {
	case Check:
		return w.atAuthority(q.Authority, func(r rotator.Rotator, a rotator.Authority) (err error) {
			w.result.Findings, err = r.Check(ctx, a)
			return err
		})
	case ReadEvidence:
		return w.atAuthority(q.Authority, func(r rotator.Rotator, a rotator.Authority) (err error) {
			w.result.Evidence, err = r.Evidence(ctx, a)
			return err
		})
	case Set:
		return w.set(ctx, q)
	case Unlock:
		return w.atAuthority(q.Authority, func(r rotator.Rotator, a rotator.Authority) error { return unlock(ctx, r, a) })
	case Verify:
		return w.verify(ctx, q)
	case Look:
		return w.atMachine(ctx, q.Machine, func(h dependency.Host) (err error) {
			w.result.Inventory, err = h.Look(ctx, q.Look)
			return err
		})
	case Update:
		return w.update(ctx, q)
	case Restart:
		return w.atMachine(ctx, q.Machine, func(h dependency.Host) error { return h.Restart(ctx, q.Run, q.Plan, w.item) })
	case Repair:
		return w.atMachine(ctx, q.Machine, func(h dependency.Host) error { return h.Repair(ctx, q.Run, q.Plan, w.item) })
	case Ping:
		return w.ping(ctx, q)
	default:
		return pam.Errorf(pam.ErrInternal, "the executor has no verb %q; nothing was done", w.op.Request.verb())
	}
}

func (w work) item(r dependency.ItemResult) { w.on(Event{Item: r}) }

func (w work) ping(ctx context.Context, q Ping) error {
	target, d, err := w.reach(q.Machine.Endpoint, q.Machine.Login)
	if err != nil {
		return err
	}
	defer w.noteLogIn(d)
	switch q.Kind {
	case pam.AuthorityWindows:
		w.result.Facts, err = dependency.Ping(ctx, d, target, dependency.Options{Random: w.options.Random, Now: w.options.Now})
	case pam.AuthorityLinux:
		w.result.Root, err = rotator.PingLinux(ctx, d, target)
	case pam.AuthorityDirectory:
		w.result.Domain, err = rotator.PingDirectory(ctx, target, directory.Options{Now: w.options.Now, LoggedIn: d.accepted})
	case pam.AuthorityUnknown:
		err = pam.Errorf(pam.ErrInvalidInput, "%s: what is neither Windows nor Linux nor a directory cannot be asked", target.Address())
	}
	return err
}

func (w work) set(ctx context.Context, q Set) error {
	next, err := w.secret(q.Next, required)
	if err != nil {
		return err
	}
	current, err := w.secret(q.Current, optional)
	if err != nil {
		return err
	}
	return w.atAuthority(q.Authority, func(r rotator.Rotator, a rotator.Authority) (err error) {
		// From here to the answer nobody knows, should the rotator not return.
		w.result.Outcome = pam.OutcomeUnknown
		w.result.Outcome, err = r.Set(ctx, a, rotator.Change{
			Next: next, Current: current, Expect: q.Expect, AllowReset: q.AllowReset, Again: q.Again,
		})
		return err
	})
}

func (w work) verify(ctx context.Context, q Verify) error {
	password, err := w.secret(q.Password, required)
	if err != nil {
		return err
	}
	return w.atAuthority(q.Authority, func(r rotator.Rotator, a rotator.Authority) (err error) {
		w.result.Verdict, err = r.Verify(ctx, a, password)
		return err
	})
}

func (w work) update(ctx context.Context, q Update) error {
	next, err := w.secret(q.Next, required)
	if err != nil {
		return err
	}
	return w.atMachine(ctx, q.Machine, func(h dependency.Host) (err error) {
		w.result.Update, err = h.Update(ctx, q.Update, next, w.item)
		return err
	})
}

func unlock(ctx context.Context, r rotator.Rotator, a rotator.Authority) error {
	u, ok := r.(rotator.Unlocker)
	if !ok {
		return pam.Errorf(pam.ErrInvalidInput, "accounts of %s are not unlocked from here; nothing changed", a.Admin.Address()).
			WithHint("unlock the account there")
	}
	return u.Unlock(ctx, a)
}

// atAuthority calls do with the rotator of the authority's kind.
func (w work) atAuthority(a Authority, do func(rotator.Rotator, rotator.Authority) error) error {
	target, d, err := w.reach(a.Endpoint, a.Login)
	if err != nil {
		return err
	}
	defer w.noteLogIn(d)
	r, err := w.rotators(a.Kind, d)
	if err != nil {
		return err
	}
	return do(r, rotator.Authority{Kind: a.Kind, Account: a.Account, Admin: target, Run: a.Run})
}

// atMachine calls do with a host that is logged in to as its admin.
func (w work) atMachine(ctx context.Context, m Machine, do func(dependency.Host) error) error {
	target, d, err := w.reach(m.Endpoint, m.Login)
	if err != nil {
		return err
	}
	defer w.noteLogIn(d)
	h, err := w.open(ctx, d, target)
	if err != nil {
		return err
	}
	defer func() {
		if err := h.Close(); err != nil {
			w.options.Logger.DebugContext(ctx, "session did not close", "op", w.op.ID, "error", err)
		}
	}()
	return do(h)
}

// reach puts a login's secrets in their places, and finds the way there.
func (w work) reach(at remote.Endpoint, l Login) (remote.Target, *watchedDialer, error) {
	t := remote.Target{Endpoint: at, User: l.User, Agent: l.Agent}
	dialer, ok := w.options.Dialers[at.Transport]
	if !ok && !at.Transport.LDAP() { // a directory has no sessions: its rotator connects itself
		return t, nil, pam.Errorf(pam.ErrInvalidInput, "%s: no transport %q here; nothing was done", at.Address(), at.Transport)
	}
	var err error
	if t.Password, err = w.secret(l.Password, optional); err != nil {
		return t, nil, err
	}
	if t.PrivateKey, err = w.secret(l.PrivateKey, optional); err != nil {
		return t, nil, err
	}
	if l.Passphrase != 0 {
		if t.Passphrase, err = w.secret(l.Passphrase, required); err != nil {
			return t, nil, err
		}
	}
	return t, &watchedDialer{dialer: dialer, admin: t}, nil
}

// A need says whether an op may do without a secret.
type need int

const (
	required need = iota
	optional
)

func (w work) secret(index int, n need) (secret.Value, error) {
	if index == -1 && n == optional {
		return secret.Value{}, nil
	}
	if index < 0 || index >= len(w.op.Secrets) {
		return secret.Value{}, pam.Errorf(pam.ErrInternal, "%s names secret %d of %d; nothing was done",
			w.op.Request.verb(), index, len(w.op.Secrets))
	}
	return w.op.Secrets[index], nil
}

func (w work) noteLogIn(d *watchedDialer) { w.result.LoggedIn = d.loggedIn.Load() }

// A watchedDialer notes whether the admin's log-in was accepted. A rotator may
// log in as others too: those do not count. Without a dialer it opens nothing.
type watchedDialer struct {
	dialer   remote.Dialer
	admin    remote.Target
	loggedIn atomic.Bool
}

// accepted notes it for who logged in without a session.
func (d *watchedDialer) accepted() { d.loggedIn.Store(true) }

// Dial passes everything on.
func (d *watchedDialer) Dial(ctx context.Context, t remote.Target) (remote.Session, error) {
	if d.dialer == nil {
		return nil, pam.Errorf(pam.ErrInvalidInput, "%s: there is no shell on a directory (%s); nothing was done", t.Address(), t.Transport)
	}
	s, err := d.dialer.Dial(ctx, t)
	if err == nil && t.User == d.admin.User && t.Agent == d.admin.Agent &&
		t.Password.Equal(d.admin.Password) && t.PrivateKey.Equal(d.admin.PrivateKey) {
		d.accepted()
	}
	return s, err
}
