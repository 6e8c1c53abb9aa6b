package seal_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

func TestSlotsComeAlongToTheNextKeyWithTheirSecrets(t *testing.T) {
	t.Parallel()
	key, next := newKey(t), newKey(t)
	h := newHeader(t, key, "one")
	file, code := word(strings.Repeat("k", seal.MinKeyFile)), word(strings.Repeat("c", seal.RecoverySize))
	for kind, with := range map[string]secret.Value{seal.KindKeyFile: file, seal.KindRecovery: code} {
		if _, err := h.AddSecret(rand.Reader, kind, key, with); err != nil {
			t.Fatal(err)
		}
	}
	r := h.Rewrap(rand.Reader, next)
	if len(r.Lost()) != 3 {
		t.Fatalf("%d slots need their secret", len(r.Lost()))
	}
	if _, err := r.Header(); !errors.Is(err, seal.ErrKey) {
		t.Errorf("a header that nothing opens: %v", err)
	}
	for with, want := range map[string]int{"wrong": 0, "one": 1, strings.Repeat("k", seal.MinKeyFile): 1} {
		along, err := r.Offer(word(with))
		if err != nil || len(along) != want {
			t.Errorf("%s brings %v along, %v", with, along, err)
		}
	}
	if again, err := r.Offer(word("one")); err != nil || len(again) != 0 {
		t.Errorf("twice: %v, %v", again, err)
	}
	if lost := r.Lost(); len(lost) != 1 || lost[0].Kind != seal.KindRecovery {
		t.Errorf("left behind: %+v", lost)
	}
	if kept := r.Kept(); len(kept) != 2 || kept[0].Old != h.Slots[0].ID() || kept[0].New == kept[0].Old {
		t.Errorf("kept are %+v", kept)
	}
	made, err := r.Header()
	if err != nil || made.Epoch != h.Epoch+1 || made.Vault != h.Vault {
		t.Fatalf("got %+v, %v", made, err)
	}
	read, err := seal.Decode(encode(t, made, next))
	if err != nil {
		t.Fatal(err)
	}
	for kind, with := range map[string]secret.Value{seal.KindPassphrase: word("one"), seal.KindKeyFile: file} {
		if got, _, err := read.Open(kind, with); err != nil || !got.Equal(next) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, _, err := read.Open(seal.KindRecovery, code); !errors.Is(err, seal.ErrKey) {
		t.Errorf("a slot that was left behind opens: %v", err)
	}
	if read.Slots[0].Costs() != h.Slots[0].Costs() {
		t.Errorf("the costs became %s", read.Slots[0].Costs())
	}
}

// A slot of a kind that this program does not know cannot be wrapped anew, and
// is told of.
func TestAnUnknownSlotIsLeftBehind(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h := newHeader(t, key, "one")
	var unknown seal.Slot
	if err := unknown.UnmarshalJSON([]byte(`{"kind":"tpm","blob":"AAAA"}`)); err != nil {
		t.Fatal(err)
	}
	h.Slots = append(h.Slots, unknown)
	r := h.Rewrap(rand.Reader, newKey(t))
	if _, err := r.Offer(word("one")); err != nil {
		t.Fatal(err)
	}
	if lost := r.Lost(); len(lost) != 1 || lost[0].Kind != "tpm" {
		t.Errorf("left behind: %+v", lost)
	}
}

// A slot with a secret of its own comes along with what wraps it anew, and not with
// what people type, be it that secret.
func TestSlotsWithSecretsOfTheirOwnComeAlong(t *testing.T) {
	t.Parallel()
	key, next := newKey(t), newKey(t)
	h := newHeader(t, key, "one")
	own, fresh := strings.Repeat("o", seal.MinKeyFile), word(strings.Repeat("f", seal.MinKeyFile))
	here, err := h.AddSecret(rand.Reader, seal.KindKeyring, key, word(own))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddSecret(rand.Reader, seal.KindKeyring, key, word(strings.Repeat("e", seal.MinKeyFile))); err != nil {
		t.Fatal(err)
	}
	age, err := h.AddAge(rand.Reader, key, "age1ann", word(own), []byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	r := h.Rewrap(rand.Reader, next)
	if along, err := r.Offer(word(own)); err != nil || len(along) != 0 {
		t.Errorf("its own secret brings %v along, %v", along, err)
	}
	failure := errors.New("locked")
	if _, err := r.OfferKeyring(func(seal.Slot) (secret.Value, error) { return secret.Value{}, failure }); !errors.Is(err, failure) {
		t.Errorf("a keyring that fails: %v", err)
	}
	along, err := r.OfferKeyring(func(s seal.Slot) (secret.Value, error) {
		if s.ID() == here {
			return word(own), nil
		}
		return secret.Value{}, nil
	})
	if err != nil || len(along) != 1 || along[0].Old != here || along[0].New == here {
		t.Errorf("the keyring brings %v along, %v", along, err)
	}
	if _, err := r.WrapAge(here, "age1ann", fresh, []byte("after")); !errors.Is(err, seal.ErrParams) {
		t.Errorf("a keyring slot as one of age: %v", err)
	}
	if got, err := r.WrapAge(age, "age1ann", fresh, []byte("after")); err != nil || got.Old != age || got.New == age {
		t.Errorf("age: %v, %v", got, err)
	}
	made, err := r.Header()
	if err != nil || len(made.Slots) != 2 || len(r.Lost()) != 2 {
		t.Fatalf("%d slots, %d lost, %v", len(made.Slots), len(r.Lost()), err)
	}
	if to, err := made.Recipient(made.Slots[1], next); err != nil || to != "age1ann" || string(made.Slots[1].Sealed()) != "after" {
		t.Errorf("the recipient is %q, %v", to, err)
	}
	if _, err := made.Recipient(made.Slots[1], key); !errors.Is(err, seal.ErrTampered) {
		t.Errorf("the old key shows the recipient: %v", err)
	}
	read, err := seal.Decode(encode(t, made, next))
	if err != nil {
		t.Fatal(err)
	}
	for kind, with := range map[string]secret.Value{seal.KindKeyring: word(own), seal.KindAge: fresh} {
		got, _, err := read.OpenEach(kind, func(seal.Slot) (secret.Value, error) { return with, nil })
		if err != nil || !got.Equal(next) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
