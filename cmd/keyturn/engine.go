package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"

	"keyturn/commands"
	"keyturn/pkg/executor"
	"keyturn/pkg/job"
	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
	"keyturn/pkg/remote/ssh"
	"keyturn/pkg/remote/winrm"
	"keyturn/vault"
)

// engine puts the engine together over an open vault.
func (p *process) engine(v *vault.Vault, log *slog.Logger) *job.Engine {
	return job.New(job.Config{
		Store:    v,
		Executor: newExecutor(p.d, log),
		Random:   p.d.Random,
		Now:      p.d.Now,
		Log:      log,
		ReadFile: os.ReadFile,
		Lock: func(ctx context.Context, account pam.UID) (func() error, error) {
			l, err := v.LockAccount(ctx, account)
			if err != nil {
				return nil, err
			}
			return l.Release, nil
		},
	})
}

// dryRun plans in this process.
func (p *process) dryRun(ctx context.Context, user pam.UID, o pam.JobOptions) (pam.Plan, error) {
	v, err := p.vault(ctx)
	if err != nil {
		return pam.Plan{}, err
	}
	log, closeLog, err := p.logger()
	if err != nil {
		return pam.Plan{}, err
	}
	defer closeLog()
	return p.engine(v, log).Plan(ctx, user, o)
}

// logger writes to the file that --debug names, or nowhere.
func (p *process) logger() (log *slog.Logger, closeLog func(), err error) {
	f, err := p.d.OpenLog()
	switch {
	case err != nil:
		return nil, nil, err
	case f == nil:
		return slog.New(slog.DiscardHandler), func() {}, nil
	}
	handler := slog.NewJSONHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug})
	return slog.New(handler), func() { _ = f.Close() }, nil
}

// dialAgent connects to the user's SSH agent. Only a record that asks for it
// brings this about.
func dialAgent(ctx context.Context, getenv func(string) string) (net.Conn, error) {
	socket := getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, errors.New("SSH_AUTH_SOCK names no agent")
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", socket)
}

func newExecutor(d *commands.Deps, log *slog.Logger) executor.Executor {
	return executor.NewEmbedded(executor.Options{
		Dialers: map[pam.Transport]remote.Dialer{
			pam.WinRM: winrm.NewDialer(winrm.Options{Now: d.Now, Logger: log}),
			pam.SSH: ssh.NewDialer(ssh.Options{
				Logger: log, Random: d.Random, Agent: func(ctx context.Context) (net.Conn, error) { return dialAgent(ctx, d.Getenv) },
			}),
		},
		Random: d.Random, Now: d.Now, Logger: log,
	})
}
