package vault

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// A Way is a kind of secret that opens a vault.
type Way string

// The ways in.
const (
	ByPassphrase Way = seal.KindPassphrase
	ByKeyFile    Way = seal.KindKeyFile  // needs no stretching: for pipelines
	ByRecovery   Way = seal.KindRecovery // a code on paper
)

// Unlock reads the header alone and returns the vault key, which the caller
// owns, and the ID of the slot that opened. A passphrase that is a recovery code
// opens the slots of that kind too. ErrLocked for what opens no slot: nothing
// was written, the database was not touched.
func Unlock(ctx context.Context, dir string, by Way, with secret.Value) (key secret.Value, slot string, err error) {
	return unlockWith(ctx, dir, func(h seal.Header) (secret.Value, string, error) { return openSlot(h, by, with) })
}

// unlockWith is [Unlock] with whatever opens a header. Where there are two, the
// database says which of them counts.
func unlockWith(
	ctx context.Context, dir string, open func(seal.Header) (secret.Value, string, error),
) (key secret.Value, slot string, err error) {
	h, err := readHeaders(dir)
	if err != nil {
		return secret.Value{}, "", err
	}
	if err := ctx.Err(); err != nil {
		return secret.Value{}, "", err
	}
	key, slot, err = open(h.now)
	if h.next == nil {
		return key, slot, err
	}
	nextKey, nextSlot, nextErr := open(*h.next)
	if err != nil && nextErr != nil {
		return secret.Value{}, "", err
	}
	epoch, unread := epochOf(ctx, dir)
	if unread == nil && epoch != h.next.Epoch {
		nextKey.Destroy()
		return key, slot, err
	}
	key.Destroy()
	if unread != nil {
		nextKey.Destroy()
		return secret.Value{}, "", unread
	}
	if errors.Is(nextErr, pam.ErrLocked) {
		return secret.Value{}, "", pam.Errorf(pam.ErrLocked, "the vault has a new key, and this way in was closed; nothing changed")
	}
	return nextKey, nextSlot, nextErr
}

// openSlot opens a header's slots with a secret.
func openSlot(h seal.Header, by Way, with secret.Value) (key secret.Value, slot string, err error) {
	if code, ok := seal.ParseRecoveryCode(with); ok && by != ByKeyFile {
		defer code.Destroy()
		if key, slot, err = h.Open(seal.KindRecovery, code); !errors.Is(err, seal.ErrKey) {
			return key, slot, sealError("unlock the vault", err)
		}
	}
	key, slot, err = h.Open(string(by), with)
	if by == ByKeyFile && (errors.Is(err, seal.ErrKey) || errors.Is(err, seal.ErrParams)) {
		return secret.Value{}, "", pam.Errorf(pam.ErrLocked, "the key file does not open this vault; nothing changed").
			WithHint("keyturn key list shows the ways in")
	}
	return key, slot, sealError("unlock the vault", err)
}

// UnlockKey is [Unlock] with a passphrase.
func UnlockKey(ctx context.Context, dir string, passphrase secret.Value) (secret.Value, error) {
	key, _, err := Unlock(ctx, dir, ByPassphrase, passphrase)
	return key, err
}

// A KeySlot is one way into a vault, as people see it.
type KeySlot struct {
	ID    string `json:"id"` // changes when the slot does
	Kind  string `json:"kind"`
	Costs string `json:"costs,omitempty"` // of a passphrase's key derivation
	// Recipient is to whom an age slot is encrypted, as whoever added it wrote it.
	Recipient string `json:"recipient,omitempty"`
}

// KeySlots returns the slots of the vault's header.
func (v *Vault) KeySlots() ([]KeySlot, error) {
	const doing = "read the key slots"
	h, err := v.header(doing)
	if err != nil {
		return nil, err
	}
	slots, err := v.keySlots(h)
	return slots, sealError(doing, err)
}

// keySlots shows the slots of a header of the vault's key to people.
func (v *Vault) keySlots(h seal.Header) ([]KeySlot, error) {
	key := v.Key()
	defer key.Destroy()
	slots := make([]KeySlot, len(h.Slots))
	for i, s := range h.Slots {
		to, err := h.Recipient(s, key)
		if err != nil {
			return nil, err
		}
		slots[i] = KeySlot{ID: s.ID(), Kind: s.Kind, Costs: s.Costs(), Recipient: to}
	}
	return slots, nil
}

// ChangePassphrase gives the slot that old opens a new passphrase. The vault key
// stays: who has an older copy of the header and the old passphrase still opens
// what that key sealed. At every instant exactly one of the two opens the vault.
// ErrLocked when old opens no slot, ErrConflict while another process edits slots.
// The slot costs what it did, and the default at least, unless kdfMemory says otherwise.
func (v *Vault) ChangePassphrase(ctx context.Context, old, next secret.Value, kdfMemory uint32) error {
	return v.editHeader(ctx, "change the master password", "vault.passwd", func(h *seal.Header, key secret.Value) (string, error) {
		var kdf seal.KDFParams
		if kdfMemory != 0 {
			kdf = costs(kdfMemory)
		}
		return "", h.ReplacePassphrase(v.random, key, old, next, kdf)
	})
}

// AddSlot adds a way in and returns its ID. ErrDenied when the secret is too
// short, the costs are out of range or there is no room for a slot.
func (v *Vault) AddSlot(ctx context.Context, by Way, with secret.Value, kdfMemory uint32) (id string, err error) {
	err = v.editHeader(ctx, "add a key slot", "vault.key_add", func(h *seal.Header, key secret.Value) (string, error) {
		var err error
		if by == ByPassphrase {
			err = h.AddPassphrase(v.random, key, with, costs(kdfMemory))
		} else {
			_, err = h.AddSecret(v.random, string(by), key, with)
		}
		if err != nil {
			return "", err
		}
		id = h.Slots[len(h.Slots)-1].ID()
		return string(by) + " " + id, nil
	})
	return id, err
}

// NewRecovery adds a recovery slot and returns its code, which is kept nowhere.
func (v *Vault) NewRecovery(ctx context.Context) (code secret.Value, id string, err error) {
	code, err = seal.NewRecoveryCode(v.random)
	if err != nil {
		return code, "", sealError("add a recovery code", err)
	}
	raw, _ := seal.ParseRecoveryCode(code)
	defer raw.Destroy()
	if id, err = v.AddSlot(ctx, ByRecovery, raw, 0); err != nil {
		code.Destroy()
	}
	return code, id, err
}

// RemoveSlot closes a way in. ErrNotFound for an unknown ID; ErrConflict for the
// only slot and for the one that this vault was opened with.
func (v *Vault) RemoveSlot(ctx context.Context, id, openedBy string) error {
	return v.editHeader(ctx, "remove a key slot", "vault.key_remove", func(h *seal.Header, _ secret.Value) (string, error) {
		for i, s := range h.Slots {
			switch {
			case s.ID() != id:
				continue
			case len(h.Slots) == 1:
				return "", pam.Errorf(pam.ErrConflict, "%s is the only way into the vault; nothing changed", id)
			case id == openedBy:
				return "", pam.Errorf(pam.ErrConflict, "%s opened the vault just now; nothing changed", id).
					WithHint("open it another way to remove this one")
			}
			h.Slots = append(h.Slots[:i], h.Slots[i+1:]...)
			return s.Kind + " " + id, nil
		}
		return "", pam.Errorf(pam.ErrNotFound, "there is no key slot %s", id).WithHint("keyturn key list")
	})
}

func costs(memory uint32) seal.KDFParams {
	kdf := seal.DefaultKDF()
	if memory != 0 {
		kdf.Memory = memory
	}
	return kdf
}

// lockHeader keeps everybody else from replacing the header, or the key.
func (v *Vault) lockHeader(ctx context.Context, doing string) (*Lock, error) {
	l, err := v.tryNamed(ctx, headerLock)
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, doing+": %w", err)
	}
	if l == nil {
		return nil, pam.Errorf(pam.ErrConflict, "another process edits the key slots of this vault, or replaces its key; nothing changed").
			WithHint("try again")
	}
	return l, nil
}

// editHeader replaces the header by an edited one, while nobody else does. edit
// returns what the audit says of it.
func (v *Vault) editHeader(ctx context.Context, doing, action string, edit func(*seal.Header, secret.Value) (string, error)) error {
	l, err := v.lockHeader(ctx, doing)
	if err != nil {
		return err
	}
	defer l.Release() //nolint:errcheck // the descriptor is closed in any case
	if err := v.settle(ctx); err != nil {
		return err
	}
	h, err := v.header(doing)
	if err != nil {
		return err
	}
	key := v.Key()
	defer key.Destroy()
	detail, err := edit(&h, key)
	if _, typed := errors.AsType[*pam.Error](err); typed {
		return err
	}
	if err != nil {
		return sealError(doing, err)
	}
	header, err := h.Encode(key)
	if err != nil {
		return sealError(doing, err)
	}
	// The entry comes first: a change that is not in the audit does not happen.
	if err := v.update(ctx, doing, func(t *txn) error { return t.audit(ctx, action, v.id, "%s", detail) }); err != nil {
		return err
	}
	if err := v.replaceHeader(header); err != nil {
		return pam.Errorf(pam.ErrIO, doing+": %w; the vault opens as before", err)
	}
	return nil
}

// replaceHeader puts a new header in the place of the old one, all of it or
// nothing, durably.
func (v *Vault) replaceHeader(header []byte) error {
	path := filepath.Join(v.dir, headerFile)
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // what a cut replacement left
	}
	if err := writeFile(path+newSuffix, header); err != nil {
		return err
	}
	if err := os.Rename(path+newSuffix, path); err != nil {
		return err
	}
	return syncDir(v.dir)
}
