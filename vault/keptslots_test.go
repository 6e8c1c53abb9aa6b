package vault_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

// A shelf is a keyring that lives in a test.
type shelf map[string]string

func (s shelf) keep(entry string, with secret.Value) error {
	s[entry] = string(with.Reveal())
	return nil
}

func (s shelf) drop(entry string) { delete(s, entry) }

func (s shelf) get(_ context.Context, entry string) (secret.Value, error) {
	return word(s[entry]), nil
}

func ownSecret(letter string) secret.Value { return word(strings.Repeat(letter, vault.SlotSecretSize)) }

// reading is a decrypt func for age files of the form "for NAME: SECRET".
func reading(name string) func(context.Context, []byte) (secret.Value, error) {
	return func(_ context.Context, sealed []byte) (secret.Value, error) {
		text, _ := strings.CutPrefix(string(sealed), "for "+name+": ")
		if text == string(sealed) {
			return secret.Value{}, nil
		}
		return word(text), nil
	}
}

func TestAnIdentityOpensTheSlotThatIsForIt(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	ctx := t.Context()
	_, _, err := vault.WithAge(reading("ann"))(ctx, dir)
	wants(t, err, pam.ErrLocked, "no key slot for an age identity", "key add --age")
	ids := map[string]string{}
	for _, name := range []string{"ann", "bob"} {
		own := strings.Repeat(name[:1], vault.SlotSecretSize)
		ids[name], err = v.AddAgeSlot(ctx, "age1"+name, ownSecret(name[:1]), []byte("for "+name+": "+own))
		must(t, err)
	}
	key, slot, err := vault.WithAge(reading("bob"))(ctx, dir)
	must(t, err)
	if !key.Equal(v.Key()) || slot != ids["bob"] {
		t.Errorf("opened slot %s, want %s", slot, ids["bob"])
	}
	_, _, err = vault.WithAge(reading("eve"))(ctx, dir)
	wants(t, err, pam.ErrLocked, "opens no key slot", "nothing changed")
	_, err = v.AddAgeSlot(ctx, "age1ann", ownSecret("x"), []byte("again"))
	wants(t, err, pam.ErrConflict, ids["ann"], "already")
	_, err = v.AddAgeSlot(ctx, "ssh-ed25519 AAAA cid@desk", ownSecret("c"), []byte("x"))
	must(t, err)
	_, err = v.AddAgeSlot(ctx, "ssh-ed25519 AAAA cid@home", ownSecret("c"), []byte("x"))
	wants(t, err, pam.ErrConflict, "already")
	slots, err := v.KeySlots()
	must(t, err)
	if slots[1].Recipient != "age1ann" || slots[2].Recipient != "age1bob" || slots[0].Recipient != "" {
		t.Errorf("the recipients are %+v", slots)
	}
}

// A token that fails on one slot does not hide another; an interrupt ends it all.
func TestAFailureIsToldWhenNothingOpens(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	ctx := t.Context()
	for _, name := range []string{"ann", "bob"} {
		_, err := v.AddAgeSlot(ctx, "age1"+name, ownSecret(name[:1]), []byte("for "+name+": "+strings.Repeat(name[:1], vault.SlotSecretSize)))
		must(t, err)
	}
	pulled := pam.Errorf(pam.ErrLocked, "the token was pulled out")
	failing := func(next func(context.Context, []byte) (secret.Value, error), err error) vault.Unlocker {
		return vault.WithAge(func(ctx context.Context, sealed []byte) (secret.Value, error) {
			if strings.HasPrefix(string(sealed), "for ann") {
				return secret.Value{}, err
			}
			return next(ctx, sealed)
		})
	}
	if _, _, err := failing(reading("bob"), pulled)(ctx, dir); err != nil {
		t.Errorf("the other slot: %v", err)
	}
	if _, _, err := failing(reading("eve"), pulled)(ctx, dir); !errors.Is(err, pulled) {
		t.Errorf("got %v", err)
	}
	ended := pam.Errorf(pam.ErrInterrupted, "nothing was typed")
	if _, _, err := failing(reading("bob"), ended)(ctx, dir); !errors.Is(err, pam.ErrInterrupted) {
		t.Errorf("after an interrupt: %v", err)
	}
}

func TestAKeyringOpensItsOwnSlots(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	ctx := t.Context()
	here, there := shelf{}, shelf{}
	_, _, err := vault.WithKeyring(here.get)(ctx, dir)
	wants(t, err, pam.ErrNotFound)
	first, err := v.AddKeyringSlot(ctx, there.keep, there.drop)
	must(t, err)
	second, err := v.AddKeyringSlot(ctx, here.keep, here.drop)
	must(t, err)
	info, err := v.Info(ctx)
	must(t, err)
	for slot, ring := range map[string]shelf{first: there, second: here} {
		key, opened, err := vault.WithKeyring(ring.get)(ctx, dir)
		must(t, err)
		if !key.Equal(v.Key()) || opened != slot {
			t.Errorf("opened %s, want %s", opened, slot)
		}
		if names := slices.Collect(maps.Keys(ring)); len(names) != 1 || names[0] != vault.KeyringEntry(info.ID, slot) {
			t.Errorf("the entries are %q", names)
		}
	}
	_, _, err = vault.WithKeyring(shelf{}.get)(ctx, dir)
	wants(t, err, pam.ErrNotFound)
	unplugged := errors.New("no keyring")
	_, _, err = vault.WithKeyring(func(context.Context, string) (secret.Value, error) {
		return secret.Value{}, pam.Errorf(pam.ErrIO, "%w", unplugged)
	})(ctx, dir)
	if !errors.Is(err, unplugged) {
		t.Errorf("got %v", err)
	}
}

// Nothing is left in a keyring of a slot that was not written, and no slot is
// written that the keyring did not take.
func TestAKeyringAndItsSlotComeTogether(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	before, err := os.ReadFile(filepath.Join(dir, "header"))
	must(t, err)
	full := errors.New("no room")
	_, err = v.AddKeyringSlot(t.Context(), func(string, secret.Value) error { return pam.Errorf(pam.ErrIO, "%w", full) }, nil)
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	ring := shelf{}
	ctx, stop := context.WithCancel(t.Context())
	_, err = v.AddKeyringSlot(ctx, func(entry string, with secret.Value) error {
		stop() // between the keyring and the header
		return ring.keep(entry, with)
	}, ring.drop)
	if err == nil || len(ring) != 0 {
		t.Errorf("%v, and the keyring has %d entries", err, len(ring))
	}
	if after, err := os.ReadFile(filepath.Join(dir, "header")); err != nil || string(after) != string(before) {
		t.Errorf("the header changed: %v", err)
	}
}

// The rules of removal hold for slots with secrets of their own.
func TestTheLastAndTheUsedSlotStay(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	ctx := t.Context()
	ring := shelf{}
	id, err := v.AddKeyringSlot(ctx, ring.keep, ring.drop)
	must(t, err)
	wants(t, v.RemoveSlot(ctx, id, id), pam.ErrConflict, "opened the vault just now")
	slots, err := v.KeySlots()
	must(t, err)
	must(t, v.RemoveSlot(ctx, slots[0].ID, id))
	wants(t, v.RemoveSlot(ctx, id, ""), pam.ErrConflict, "the only way into the vault")
	if _, _, err := vault.WithKeyring(ring.get)(ctx, dir); err != nil {
		t.Error(err)
	}
}
