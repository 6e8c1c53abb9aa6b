package job

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// maxWait is the longest pause between two tries at a busy machine.
const maxWait = 10 * time.Second

// secretsOf puts the secrets of a login into an op and refers to them by index.
func secretsOf(admin pam.Login, more ...secret.Value) (executor.Login, []secret.Value) {
	secrets := append([]secret.Value{admin.Password}, more...)
	login := executor.Login{User: admin.User, Password: 0, PrivateKey: -1, Agent: admin.Agent}
	if !admin.PrivateKey.IsZero() {
		secrets = append(secrets, admin.PrivateKey)
		login.PrivateKey = len(secrets) - 1
	}
	if !admin.Passphrase.IsZero() {
		secrets = append(secrets, admin.Passphrase)
		login.Passphrase = len(secrets) - 1
	}
	return login, secrets
}

// atAuthority does one op at the authority. The secrets more follow the admin's
// password: their indexes are 1, 2, ...
func (r *run) atAuthority(
	ctx context.Context, request func(executor.Authority) executor.Request, more ...secret.Value,
) (executor.Result, error) {
	a := &r.authority
	login, secrets := secretsOf(a.admin, more...)
	op, err := r.op("account:"+string(r.account.UID), secrets)
	if err != nil {
		return executor.Result{}, err
	}
	op.Request = request(executor.Authority{
		Kind: a.kind(r.account), Account: r.account, Endpoint: a.endpoint, Login: login, Run: r.job.ID,
	})
	res, err := r.asAdmin(ctx, a.admin, a.machine, op, nil)
	if err != nil {
		err = r.ofUser(describe(a.machine, a.admin, atOnce(a.machine, err)))
	}
	return res, err
}

// kind is what the resource is that the job asks. The account's own kind is that
// of the resource it was linked to last: another record may name another one.
func (a *authority) kind(account pam.Account) pam.AuthorityKind {
	if k := a.machine.Authority(); k != pam.AuthorityUnknown {
		return k
	}
	return account.Authority
}

// atMachine does one op at a site as its admin. The op's machine is filled in
// here; next, when given, is secret 1.
func (r *run) atMachine(
	ctx context.Context, s *site, req executor.Request, next *secret.Value, on func(executor.Event),
) (executor.Result, error) {
	var more []secret.Value
	if next != nil {
		more = append(more, *next)
	}
	login, secrets := secretsOf(s.admin, more...)
	op := executor.Op{Lane: "machine:" + string(s.machine.UID), Fence: r.job.Fence, Secrets: secrets}
	m := executor.Machine{UID: s.machine.UID, Endpoint: s.endpoint, Login: login}
	switch q := req.(type) {
	case executor.Look:
		q.Machine = m
		op.Request = q
	case executor.Update:
		q.Machine = m
		op.Request = q
	case executor.Restart:
		q.Machine = m
		op.Request = q
	case executor.Repair:
		q.Machine = m
		op.Request = q
	default:
		return executor.Result{}, pam.Errorf(pam.ErrInternal, "no op of a machine: %T", req)
	}
	return r.whenFree(ctx, s, op, on)
}

// whenFree does an op at a site. Once a password is staged it waits for a machine
// that somebody works on already: mostly that is what a former, killed run of
// this very job left behind, which ends by itself.
func (r *run) whenFree(ctx context.Context, s *site, op executor.Op, on func(executor.Event)) (executor.Result, error) {
	wait, left := r.cfg.Limits.Backoff, r.cfg.Limits.Busy
	for {
		var err error
		if op.ID, err = pam.NewUID(r.cfg.Random); err != nil {
			return executor.Result{}, err
		}
		res, err := r.asAdmin(ctx, s.admin, s.machine, op, on)
		if r.job.Generation == 0 || left <= 0 || pam.KindOf(err) != pam.ErrConflict {
			return res, err
		}
		r.cfg.Log.InfoContext(ctx, "machine busy with another run", "job", r.job.ID, "machine_uid", s.machine.UID, "wait", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return res, err
		}
		left -= wait
		wait = min(2*wait, maxWait)
	}
}

// lookTries is how often something harmless is asked for while its connection
// breaks under it.
const lookTries = 3

// What to do about a machine, and an authority, on which no connection lasts.
const (
	breaksMachine   = "the machine, or something on the way to it, breaks connections; --skip-unreachable leaves such for later"
	breaksAuthority = "it, or something on the way to it, breaks connections, and nothing stands in for it"
)

// harmless does an op that changes nothing, once more when its connection broke. A
// machine on which none lasts cannot be reached: it may be left for later like one
// that is down.
func (r *run) harmless(ctx context.Context, hint string, do func() (executor.Result, error)) (executor.Result, error) {
	wait := r.cfg.Limits.Backoff
	for try := 1; ; try++ {
		res, err := do()
		var broken *remote.Error
		if !errors.As(err, &broken) || !broken.Broken {
			return res, err
		}
		if try == lookTries {
			return res, pam.Errorf(pam.ErrUnreachable, "%w (%d times)", err, try).
				WithHint("%s", hint)
		}
		r.cfg.Log.InfoContext(ctx, "the connection broke, trying again", "job", r.job.ID, "error", err)
		select {
		case <-time.After(wait):
			wait *= 2
		case <-ctx.Done():
			return res, err
		}
	}
}

func (r *run) op(lane string, secrets []secret.Value) (executor.Op, error) {
	id, err := pam.NewUID(r.cfg.Random)
	if err != nil {
		return executor.Op{}, err
	}
	return executor.Op{ID: id, Lane: lane, Fence: r.job.Fence, Secrets: secrets}, nil
}

// asAdmin does an op under a permit for its admin's log-in.
func (r *run) asAdmin(
	ctx context.Context, admin pam.Login, m pam.Machine, op executor.Op, on func(executor.Event),
) (executor.Result, error) {
	done, err := r.ration.permit(ctx, "admin:"+string(admin.Record), "the password of admin \""+admin.Title+"\"", m.Title)
	if err != nil {
		return executor.Result{}, err
	}
	res, err := r.cfg.Executor.Do(ctx, op, on)
	switch {
	case res.LoggedIn:
		done(logonAccepted)
	case errors.Is(err, pam.ErrAuthFailed):
		done(logonRefused)
	default:
		done(logonNeutral)
	}
	return res, err
}

// each calls do for every site at once, within the limit, and waits for all.
func (r *run) each(ctx context.Context, sites []*site, do func(context.Context, *site)) {
	most := r.cfg.Limits.Machines
	if n := r.job.Options.MaxConcurrency; n > 0 {
		most = min(n, most)
	}
	if most == 1 {
		for _, s := range sites {
			do(ctx, s)
		}
		return
	}
	room := make(chan struct{}, most)
	var wg sync.WaitGroup
	for _, s := range sites {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			do(ctx, s)
		})
	}
	wg.Wait()
}

// shownBy returns what an untrusted server showed.
func shownBy(err error) (server, fingerprint string) {
	var e *remote.Error
	if !errors.As(err, &e) {
		return "", ""
	}
	return e.Server, e.Fingerprint
}

func sortedErrors(errs []error) []error {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}
