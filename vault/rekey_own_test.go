package vault_test

import (
	"errors"
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

// sealingFor makes age files that reading reads, for the recipients that it knows.
func sealingFor(names ...string) func(vault.KeySlot, secret.Value) ([]byte, error) {
	return func(s vault.KeySlot, with secret.Value) ([]byte, error) {
		for _, name := range names {
			if s.Recipient == "age1"+name {
				return []byte("for " + name + ": " + string(with.Reveal())), nil
			}
		}
		return nil, nil
	}
}

func TestARekeyKeepsSlotsWithSecretsOfTheirOwn(t *testing.T) {
	t.Parallel()
	ctx, o := t.Context(), options()
	v, dir := createWith(t, o)
	for _, name := range []string{"ann", "bob"} {
		_, err := v.AddAgeSlot(ctx, "age1"+name, ownSecret(name[:1]), []byte("for "+name+": "+strings.Repeat(name[:1], vault.SlotSecretSize)))
		must(t, err)
	}
	here, elsewhere := shelf{}, shelf{}
	_, err := v.AddKeyringSlot(ctx, here.keep, here.drop)
	must(t, err)
	far, err := v.AddKeyringSlot(ctx, elsewhere.keep, elsewhere.drop)
	must(t, err)

	r, err := v.BeginRekey(ctx)
	must(t, err)
	defer r.Close()
	failure := errors.New("no token")
	if _, err := r.OfferAge(func(vault.KeySlot, secret.Value) ([]byte, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Errorf("encrypting failed: %v", err)
	}
	kept, err := r.OfferAge(sealingFor("ann"))
	must(t, err)
	moved, err := r.OfferKeyring(func(entry string) (secret.Value, error) { return here.get(ctx, entry) })
	must(t, err)
	if len(kept) != 1 || len(moved) != 1 {
		t.Fatalf("kept %v and %v", kept, moved)
	}
	if lost := r.Lost(); len(lost) != 3 || lost[1].Recipient != "age1bob" || lost[2].ID != far {
		t.Errorf("lost are %+v", lost)
	}
	here[r.Entry(moved[0].New)] = here[r.Entry(moved[0].Old)]
	key, err := r.Run(ctx)
	must(t, err)

	for name, unlock := range map[string]vault.Unlocker{"ann": vault.WithAge(reading("ann")), "here": vault.WithKeyring(here.get)} {
		got, _, err := unlock(ctx, dir)
		must(t, err)
		if !got.Equal(key) {
			t.Errorf("%s opens another key", name)
		}
	}
	_, _, err = vault.WithAge(reading("bob"))(ctx, dir)
	wants(t, err, pam.ErrLocked)
	_, _, err = vault.WithKeyring(elsewhere.get)(ctx, dir)
	wants(t, err, pam.ErrNotFound)
	again, err := vault.Open(ctx, dir, key, o)
	must(t, err)
	defer again.Close() //nolint:errcheck // only read
	slots, err := again.KeySlots()
	must(t, err)
	if len(slots) != 2 || slots[0].Recipient != "age1ann" {
		t.Errorf("the slots are %+v", slots)
	}
}

// Wherever a rekey is cut off, an identity and a keyring open the vault: which key
// is in force they need not know.
func TestOwnSecretsOpenTheVaultOfACutRekey(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"announced", "torn", "sealed", "named"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			ctx, here := t.Context(), shelf{}
			v, dir := create(t)
			own := strings.Repeat("a", vault.SlotSecretSize)
			_, err := v.AddAgeSlot(ctx, "age1ann", word(own), []byte("for ann: "+own))
			must(t, err)
			_, err = v.AddKeyringSlot(ctx, here.keep, here.drop)
			must(t, err)
			must(t, vault.CutRekeyOf(ctx, v, at, func(r *vault.Rekeying) error {
				if _, err := r.OfferAge(sealingFor("ann")); err != nil {
					return err
				}
				moved, err := r.OfferKeyring(func(entry string) (secret.Value, error) { return here.get(ctx, entry) })
				for _, m := range moved {
					here[r.Entry(m.New)] = here[r.Entry(m.Old)]
				}
				return err
			}))
			for name, unlock := range map[string]vault.Unlocker{"ann": vault.WithAge(reading("ann")), "here": vault.WithKeyring(here.get)} {
				key, _, err := unlock(ctx, dir)
				must(t, err)
				v, err := vault.Open(ctx, dir, key, options())
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				must(t, v.Close())
			}
		})
	}
}
