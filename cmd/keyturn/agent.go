package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"keyturn/commands"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
	"keyturn/vault/agent"
)

// agentStart is how long a new agent may take until it answers.
const agentStart = 5 * time.Second

// agentSocket is where the agent of the vault in dir listens.
func agentSocket(dir string) (string, error) {
	id, err := vault.ID(dir)
	if err != nil {
		return "", err
	}
	return agent.Socket(id, os.Getenv("XDG_RUNTIME_DIR")), nil
}

// agentKey is the key that the agent of the vault in dir holds; empty without an
// agent, and when the command line names another way in.
func (p *process) agentKey(ctx context.Context, dir string) secret.Value {
	if p.d.Session.Locked || p.d.Session.Globals.Named() {
		return secret.Value{}
	}
	socket, err := agentSocket(dir)
	if err != nil {
		return secret.Value{}
	}
	held, err := agent.Key(ctx, socket)
	if err != nil {
		return secret.Value{} // it is asked for elsewhere then
	}
	p.d.Session.Slot = held.Slot
	return held.Key
}

// startAgent starts "keyturn agent-runner" with the key of the open vault, and
// waits until it answers. One that runs already is replaced, also by one of several
// that start at once: they take turns.
func (p *process) startAgent(ctx context.Context, idle time.Duration) (time.Time, error) {
	v, err := p.vault(ctx)
	if err != nil {
		return time.Time{}, err
	}
	socket, slot, err := p.socketAndSlot()
	if err != nil {
		return time.Time{}, err
	}
	turn := v.LockAgent(ctx)
	defer turn.Release() //nolint:errcheck // the descriptor is closed in any case
	if err := agent.Lock(ctx, socket); err != nil && !errors.Is(err, agent.ErrNone) {
		return time.Time{}, err
	}
	cmd, err := p.agentCommand(context.WithoutCancel(ctx), socket, slot, idle)
	if err != nil {
		return time.Time{}, err
	}
	key := v.Key()
	defer key.Destroy()
	c, err := startWithKey(cmd, key)
	if err != nil {
		return time.Time{}, pam.Errorf(pam.ErrIO, "start the agent: %w", err)
	}
	return awaitAgent(ctx, socket, c)
}

func (p *process) socketAndSlot() (socket, slot string, err error) {
	dir, err := p.d.VaultDir()
	if err != nil {
		return "", "", err
	}
	socket, err = agentSocket(dir)
	return socket, p.d.Session.Slot, err
}

func awaitAgent(ctx context.Context, socket string, c *child) (time.Time, error) {
	deadline := time.NewTimer(agentStart)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if held, err := agent.Key(ctx, socket); err == nil {
			held.Key.Destroy()
			return held.Until, nil
		}
		select {
		case <-tick.C:
		case <-c.gone:
			if err := c.report(); err != nil {
				return time.Time{}, err
			}
			return time.Time{}, pam.Errorf(pam.ErrIO, "the agent ended at once; the vault stays locked for other commands")
		case <-deadline.C:
			return time.Time{}, pam.Errorf(pam.ErrIO, "the agent does not answer")
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

func (p *process) agentCommand(ctx context.Context, socket, slot string, idle time.Duration) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self) //nolint:gosec // this very program
	cmd.Args = []string{programName, "agent-runner", "--slot", slot, "--timeout", idle.String(), socket}
	cmd.Env = runnerEnv()
	if filepath.IsAbs(socket) {
		// Windows removes no folder that a process is in; the program's own is in use anyway.
		cmd.Dir = filepath.Dir(self)
	}
	detach(cmd)
	return cmd, nil
}

// stopAgent ends the agent of the vault; false when none runs.
func (p *process) stopAgent(ctx context.Context) (bool, error) {
	socket, _, err := p.socketAndSlot()
	if err != nil {
		return false, err
	}
	err = agent.Lock(ctx, socket)
	if errors.Is(err, agent.ErrNone) {
		return false, nil
	}
	return err == nil, err
}

// runAgent is the agent: it takes the key from the inherited pipe and serves it.
func (p *process) runAgent(ctx context.Context, o commands.AgentOptions) (err error) {
	defer func() { report(err) }()
	key, err := inheritedKey("agent-runner")
	if err != nil {
		return err
	}
	a, err := agent.Listen(ctx, key, agent.Options{Socket: o.Socket, Slot: o.Slot, Idle: o.Idle, Now: p.d.Now})
	key.Destroy()
	if err != nil {
		return err
	}
	return a.Serve(ctx)
}
