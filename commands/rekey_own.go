package commands

import (
	"context"
	"errors"
	"fmt"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
	"keyturn/vault/agekey"
	"keyturn/vault/keyring"
	"keyturn/vault/seal"
)

// Key slots with secrets of their own stay in a rekey without being asked for.

// presentIdentity proves that the named identities open the vault.
func (a *rekeying) presentIdentity(ctx context.Context, name string) error {
	dir, err := a.VaultDir()
	if err != nil {
		return err
	}
	key, err := a.tryIdentity(ctx, name, func(unlock vault.Unlocker) (secret.Value, error) {
		key, _, err := unlock(ctx, dir)
		return key, err
	})
	key.Destroy()
	return err
}

// presentKeyring proves that this computer's keyring opens a vault that nothing
// opens which people type.
func (a *rekeying) presentKeyring(ctx context.Context) error {
	if err := a.keepKeyring(ctx); err != nil || len(a.moving) > 0 {
		return err
	}
	return pam.Errorf(pam.ErrLocked, "nothing was named that opens this vault; nothing changed").
		WithHint("give --key-file FILE or --identity FILE")
}

// keepOwn keeps the slots of age recipients, and those that this computer's
// keyring opens.
func (a *rekeying) keepOwn(ctx context.Context) error {
	kept, err := a.OfferAge(func(s vault.KeySlot, with secret.Value) ([]byte, error) {
		sealed, err := agekey.Encrypt(ctx, s.Recipient, with, a.ageTalk())
		if err != nil && ctx.Err() == nil && !errors.Is(err, pam.ErrInterrupted) {
			a.newsf("keyturn: key slot %s (%s) cannot be kept: %s", s.ID, agekey.Hint(s.Recipient), message(err))
			sealed, err = nil, nil
		}
		return sealed, err
	})
	a.tellKept(kept)
	if err != nil {
		return err
	}
	return a.keepKeyring(ctx)
}

// keepKeyring keeps the slots whose keys the keyring has. One that it does not
// have is another computer's.
func (a *rekeying) keepKeyring(ctx context.Context) error {
	if a.Keyring == nil {
		return nil
	}
	var failed error
	kept, err := a.OfferKeyring(func(entry string) (secret.Value, error) {
		var with secret.Value
		if failed == nil { // else each further question would take as long
			var err error
			if with, err = a.Keyring.Get(ctx, entry); !errors.Is(err, keyring.ErrNone) {
				failed = err
			}
		}
		return with, ctx.Err()
	})
	a.tellKept(kept)
	a.moving = append(a.moving, kept...)
	if failed != nil && err == nil {
		a.newsf("keyturn: the keyring slots of this computer cannot be kept: %s", message(failed))
	}
	return err
}

// copyEntries keeps the keys of keyring slots under the names of their next
// entries, before there is a header that needs them.
func (a *rekeying) copyEntries(ctx context.Context) error {
	for _, m := range a.moving {
		with, err := a.Keyring.Get(ctx, a.Entry(m.Old))
		if err == nil {
			err = a.Keyring.Set(ctx, a.Entry(m.New), with)
			with.Destroy()
		}
		if err == nil {
			continue
		}
		a.dropEntries(ctx, newID)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return pam.Errorf(pam.ErrIO, "copy the key of slot %s in the keyring: %w; nothing changed", m.Old, err).
			WithHint("unlock the keyring, or remove the slot first: keyturn key remove %s", m.Old)
	}
	return nil
}

func oldID(m seal.Rewrapped) string { return m.Old }
func newID(m seal.Rewrapped) string { return m.New }

// dropEntries removes entries that are of no use, and says which are left. It does
// so whether or not the command was interrupted.
func (a *rekeying) dropEntries(ctx context.Context, id func(seal.Rewrapped) string) (left []string) {
	for _, m := range a.moving {
		entry := a.Entry(id(m))
		err := a.Keyring.Delete(context.WithoutCancel(ctx), entry)
		if err != nil && !errors.Is(err, keyring.ErrNone) {
			left = append(left, fmt.Sprintf("An entry could not be removed from the keyring (service %s, user %s): %s",
				keyring.Service, entry, output.Clean(message(err))))
		}
	}
	return left
}

// leaveEntries removes the entries of the slots that there were, and says which
// are left. They stay while it is in doubt whether the vault keeps its new key.
func (a *rekeying) leaveEntries(ctx context.Context, doubt error) (left []string) {
	if doubt == nil {
		return a.dropEntries(ctx, oldID)
	}
	for _, m := range a.moving {
		left = append(left, fmt.Sprintf("The keyring keeps the key of the former slot %s too (service %s, user %s).",
			m.Old, keyring.Service, a.Entry(m.Old)))
	}
	return left
}
