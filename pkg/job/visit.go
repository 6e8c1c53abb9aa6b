package job

import (
	"context"
	"errors"

	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// A Visit does harmless ops on machines outside any job: looks, and questions
// what a machine is. All ops of one Visit share one ration of log-ins, so that a
// stale admin password costs one failed log-in and not one a machine. It is safe
// for concurrent use.
type Visit struct{ run *run }

// Visit begins a Visit.
func (e *Engine) Visit() *Visit { return &Visit{e.newRun(pam.Job{})} }

// AtMachine does one harmless op on a machine as its admin. Its failures name
// the machine and, for the usual causes, the next step.
func (v *Visit) AtMachine(
	ctx context.Context, machine pam.UID, request func(executor.Machine) executor.Request,
) (executor.Result, error) {
	m, admin, at, err := v.run.reach(ctx, machine)
	if err != nil {
		return executor.Result{}, err
	}
	login, secrets := secretsOf(admin)
	op, err := v.run.op("machine:"+string(machine), secrets)
	if err != nil {
		return executor.Result{}, err
	}
	op.Request = request(executor.Machine{UID: machine, Endpoint: at, Login: login})
	res, err := v.run.asAdmin(ctx, admin, m, op, nil)
	if err == nil {
		return res, nil
	}
	err = describe(m, admin, err)
	if e, ok := errors.AsType[*pam.Error](err); ok && e.Kind == pam.ErrUnreachable && remote.UnknownName(err) == "" {
		err = e.WithHint("check that it is up and that %s answers", m.Address()) // nothing is skipped for later here
	}
	return res, err
}

// Identify says which account a user's record names: what is known of it, else
// what its authority says now. An account that may not log on has an identity
// all the same.
func (v *Visit) Identify(ctx context.Context, user pam.UID) (pam.Identity, error) {
	r := v.run.newRun(pam.Job{User: user})
	r.ration = v.run.ration
	var err error
	if r.settings, r.account, err = r.cfg.Store.User(ctx, user); err != nil {
		return pam.Identity{}, err
	}
	if r.account.Identity != "" {
		return pam.Identity{Alias: r.account.Identity, SID: r.account.SID, Name: r.account.Name}, nil
	}
	a := &r.authority
	if a.machine, a.admin, a.endpoint, err = r.reach(ctx, r.settings.Resource); err != nil {
		return pam.Identity{}, err
	}
	res, err := r.atAuthority(ctx, func(a executor.Authority) executor.Request { return executor.Check{Authority: a} })
	if id := res.Findings.Identity; id.Alias != "" {
		return id, nil
	}
	return pam.Identity{}, err
}
