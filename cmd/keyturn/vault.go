package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"sync"

	"keyturn/commands"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

// A process holds what lives as long as the program: the open vault.
type process struct {
	d       *commands.Deps
	anchors string // the folder in which this computer remembers vaults
	mu      sync.Mutex
	open    *vault.Vault
}

func (p *process) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != nil {
		_ = p.open.Close() // every write was durable when it was made
		p.open = nil
	}
}

// lock closes the vault and forgets what was read from it.
func (p *process) lock() {
	p.close()
	forget()
}

func (p *process) options(kdfMemory uint32) (vault.Options, error) {
	anchor, err := p.d.AnchorFile()
	return vault.Options{
		KDFMemory: kdfMemory, Now: p.d.Now, Random: p.d.Random, Actor: actor(), AnchorDir: p.anchors, Anchor: anchor,
		Network: os.Getenv(commands.EnvNetwork) == "1",
	}, err
}

// vault opens the vault once.
func (p *process) vault(ctx context.Context) (*vault.Vault, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != nil {
		return p.open, nil
	}
	dir, err := p.d.VaultDir()
	if err != nil {
		return nil, err
	}
	if err := vault.Headless(dir); err != nil {
		return nil, err
	}
	if !vault.Exists(dir) {
		return nil, pam.Errorf(pam.ErrNotFound, "there is no vault in %s", dir).
			WithHint("keyturn init makes one; %s or --vault DIR names another folder", commands.EnvHome)
	}
	if key := p.agentKey(ctx, dir); !key.IsZero() {
		err := p.openWith(ctx, dir, key)
		if !errors.Is(err, pam.ErrLocked) { // else it is the key of what the vault was before
			return p.open, err
		}
	}
	key, err := p.unlock(ctx, dir)
	if err != nil {
		return nil, err
	}
	err = p.openWith(ctx, dir, key)
	return p.open, err
}

// unlock asks for what opens the vault in dir and returns its key.
func (p *process) unlock(ctx context.Context, dir string) (secret.Value, error) {
	return p.d.Unlock(ctx, func(unlock vault.Unlocker) (secret.Value, error) {
		key, slot, err := unlock(ctx, dir)
		p.d.Session.Slot = slot
		return key, err
	})
}

// salvage needs the key of a vault that may not open any more.
func (p *process) salvage(ctx context.Context, dir, out string) (vault.Salvage, error) {
	if err := vault.Headless(dir); err != nil {
		return vault.Salvage{}, err
	}
	o, err := p.options(0)
	if err != nil {
		return vault.Salvage{}, err
	}
	if key := p.agentKey(ctx, dir); !key.IsZero() {
		defer key.Destroy()
		s, err := vault.SalvageVault(ctx, dir, out, key, o)
		if !errors.Is(err, pam.ErrLocked) { // else it is the key of what the vault was before
			return s, err
		}
	}
	key, err := p.unlock(ctx, dir)
	if err != nil {
		return vault.Salvage{}, err
	}
	defer key.Destroy()
	return vault.SalvageVault(ctx, dir, out, key, o)
}

// openWith opens the vault with its key, which it destroys.
func (p *process) openWith(ctx context.Context, dir string, key secret.Value) error {
	defer key.Destroy()
	o, err := p.options(0)
	if err != nil {
		return err
	}
	v, err := vault.Open(ctx, dir, key, o)
	if err != nil {
		return err
	}
	if p.d.Session.Globals.AcceptRollback {
		if err := v.AcceptRollback(ctx); err != nil {
			return errors.Join(err, v.Close())
		}
	}
	if f, ok := p.d.Err.(*os.File); ok && v.FirstSeen() && isTerminal(f) {
		fmt.Fprintln(f, "keyturn: this computer sees the vault for the first time: whether it is the newest copy is taken on trust")
	}
	p.open = v
	return nil
}

// reopen opens the vault with the key that it got while it was open.
func (p *process) reopen(ctx context.Context, key secret.Value, slot string) error {
	p.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, err := p.d.VaultDir()
	if err != nil {
		return err
	}
	p.d.Session.Slot = slot
	return p.openWith(ctx, dir, key.Clone())
}

func (p *process) createVault(ctx context.Context, pass secret.Value, kdfMemory uint32) (*vault.Vault, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, err := p.d.VaultDir()
	if err != nil {
		return nil, err
	}
	o, err := p.options(kdfMemory)
	if err != nil {
		return nil, err
	}
	made, err := vault.Create(ctx, dir, pass, o)
	if err != nil {
		return nil, err
	}
	if p.open != nil {
		_ = p.open.Close()
	}
	p.open = made
	return made, nil
}

// actor is who the audit trail names.
func actor() string {
	host, _ := os.Hostname()
	if u, err := user.Current(); err == nil {
		return u.Username + "@" + host
	}
	return "unknown@" + host
}
