package vault

import (
	"context"
	"errors"
	"io"
	"strings"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// The ways in whose slots have secrets of their own.
const (
	ByAge     Way = seal.KindAge     // encrypted to an age recipient
	ByKeyring Way = seal.KindKeyring // kept by an operating system for its user
)

// SlotSecretSize is the number of random bytes in the secret of such a slot.
const SlotSecretSize = seal.MinKeyFile

// An Unlocker reads the header of the vault in dir alone and returns the vault
// key, which the caller owns, and the ID of the slot that opened.
type Unlocker func(ctx context.Context, dir string) (key secret.Value, slot string, err error)

// With is [Unlock] as an [Unlocker]; with stays the caller's.
func With(by Way, with secret.Value) Unlocker {
	return func(ctx context.Context, dir string) (secret.Value, string, error) { return Unlock(ctx, dir, by, with) }
}

// WithAge opens age slots. decrypt is given the age file of each and returns the
// secret in it, or an empty one when it is for somebody else; after a failure the
// other slots are still tried, and the first failure is told if none opens.
// ErrLocked when there is no slot to open.
func WithAge(decrypt func(ctx context.Context, sealed []byte) (secret.Value, error)) Unlocker {
	return func(ctx context.Context, dir string) (secret.Value, string, error) {
		return unlockWith(ctx, dir, func(h seal.Header) (secret.Value, string, error) { return openAge(ctx, h, decrypt) })
	}
}

func openAge(
	ctx context.Context, h seal.Header, decrypt func(ctx context.Context, sealed []byte) (secret.Value, error),
) (key secret.Value, slot string, err error) {
	var failure error
	tried := 0
	key, slot, err = h.OpenEach(seal.KindAge, func(s seal.Slot) (secret.Value, error) {
		tried++
		with, err := decrypt(ctx, s.Sealed())
		if ended := ctx.Err(); ended != nil || errors.Is(err, pam.ErrInterrupted) {
			return with, errors.Join(ended, err)
		}
		if failure == nil {
			failure = err
		}
		return with, nil
	})
	switch {
	case !errors.Is(err, seal.ErrKey) && !errors.Is(err, seal.ErrParams):
		return key, slot, slotError("unlock the vault", err)
	case failure != nil:
		return key, "", failure
	case tried == 0:
		return key, "", pam.Errorf(pam.ErrLocked, "this vault has no key slot for an age identity; nothing changed").
			WithHint("keyturn key add --age RECIPIENT, with the vault opened another way")
	}
	return key, "", pam.Errorf(pam.ErrLocked, "the age identity opens no key slot of this vault; nothing changed").
		WithHint("keyturn key list, with the vault opened another way, shows who opens it")
}

// WithKeyring opens keyring slots. get is given the name of each slot's entry,
// see [KeyringEntry], and returns the secret kept under it, or an empty one where
// there is none. ErrNotFound when there is no slot to open: nothing was wrong.
func WithKeyring(get func(ctx context.Context, entry string) (secret.Value, error)) Unlocker {
	return func(ctx context.Context, dir string) (secret.Value, string, error) {
		return unlockWith(ctx, dir, func(h seal.Header) (secret.Value, string, error) {
			key, slot, err := h.OpenEach(seal.KindKeyring, func(s seal.Slot) (secret.Value, error) {
				return get(ctx, KeyringEntry(pam.UID(h.Vault), s.ID()))
			})
			if errors.Is(err, seal.ErrKey) || errors.Is(err, seal.ErrParams) {
				return key, "", pam.Errorf(pam.ErrNotFound, "no key in this keyring opens the vault")
			}
			return key, slot, slotError("unlock the vault", err)
		})
	}
}

// slotError keeps a failure that is for people already.
func slotError(doing string, err error) error {
	if _, typed := errors.AsType[*pam.Error](err); typed || errors.Is(err, context.Canceled) {
		return err
	}
	return sealError(doing, err)
}

// KeyringEntry names what a keyring keeps for a slot: one entry a slot, so that
// copies of a vault and slots of other computers are not in each other's way.
func KeyringEntry(vaultID pam.UID, slot string) string { return string(vaultID) + "/" + slot }

// NewSlotSecret draws the secret of a slot that has one of its own.
func NewSlotSecret(random io.Reader) (secret.Value, error) {
	b := make([]byte, SlotSecretSize)
	if _, err := io.ReadFull(random, b); err != nil {
		return secret.Value{}, pam.Errorf(pam.ErrIO, "draw the secret of a key slot: %w; nothing changed", err)
	}
	return secret.New(b), nil
}

// AddAgeSlot adds a slot whose secret sealed holds, encrypted to the recipient,
// and returns its ID. ErrConflict when the recipient has a slot already,
// ErrDenied when there is no room for it.
func (v *Vault) AddAgeSlot(ctx context.Context, recipient string, with secret.Value, sealed []byte) (id string, err error) {
	err = v.editHeader(ctx, "add a key slot", "vault.key_add", func(h *seal.Header, key secret.Value) (string, error) {
		for _, s := range h.Slots {
			has, err := h.Recipient(s, key)
			if err != nil {
				return "", err
			}
			if bare(has) == bare(recipient) {
				return "", pam.Errorf(pam.ErrConflict, "key slot %s is for this recipient already; nothing changed", s.ID())
			}
		}
		id, err = h.AddAge(v.random, key, recipient, with, sealed)
		return string(ByAge) + " " + id, err
	})
	return id, err
}

// bare is a recipient without the comment of an SSH key, which is the third word.
func bare(recipient string) string {
	words := strings.Fields(recipient)
	return strings.Join(words[:min(len(words), 2)], " ")
}

// AddKeyringSlot adds a slot whose secret keep puts into a keyring under the
// entry's name, before the slot is written: a slot in the header always opened
// once. Where keep has worked and adding fails after it, drop takes it out again.
func (v *Vault) AddKeyringSlot(
	ctx context.Context, keep func(entry string, with secret.Value) error, drop func(entry string),
) (id string, err error) {
	with, err := NewSlotSecret(v.random)
	if err != nil {
		return "", err
	}
	defer with.Destroy()
	kept := ""
	err = v.editHeader(ctx, "add a key slot", "vault.key_add", func(h *seal.Header, key secret.Value) (string, error) {
		if id, err = h.AddSecret(v.random, seal.KindKeyring, key, with); err != nil {
			return "", err
		}
		entry := KeyringEntry(v.id, id)
		if err := keep(entry, with); err != nil {
			return "", err
		}
		kept = entry
		return string(ByKeyring) + " " + id, nil
	})
	if err != nil && kept != "" {
		drop(kept)
	}
	return id, err
}
