package seal_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// keptSlot is what testdata/vault/slots.json says of one slot.
type keptSlot struct {
	Secret, Salt, Nonce, Age string
	Recipient                struct{ Text, Nonce string }
}

// A header with the kinds of slots that have secrets of their own is the frozen
// one, to the byte, and opens by either.
func TestKeptSlotsAreWrittenAsTheVectorsSay(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../../testdata/vault/slots.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Vault, Header string
		VaultKey      string `json:"vault_key"`
		Epoch         int64
		Keyring, Age  keptSlot
	}
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	key := secret.New(unhex(t, v.VaultKey))
	h := seal.Header{Vault: v.Vault, Epoch: v.Epoch}
	drawn := bytes.NewReader(unhex(t, v.Keyring.Salt+v.Keyring.Nonce+v.Age.Salt+v.Age.Nonce+v.Age.Recipient.Nonce))
	if _, err := h.AddSecret(drawn, seal.KindKeyring, key, secret.New(unhex(t, v.Keyring.Secret))); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddAge(drawn, key, v.Age.Recipient.Text, secret.New(unhex(t, v.Age.Secret)), unhex(t, v.Age.Age)); err != nil {
		t.Fatal(err)
	}
	if got := encode(t, h, key); string(got) != v.Header {
		t.Errorf("got %s, want %s", got, v.Header)
	}
	read, err := seal.Decode([]byte(v.Header))
	if err != nil {
		t.Fatal(err)
	}
	for kind, with := range map[string]string{seal.KindKeyring: v.Keyring.Secret, seal.KindAge: v.Age.Secret} {
		if got, _, err := read.Open(kind, secret.New(unhex(t, with))); err != nil || !got.Equal(key) {
			t.Errorf("the frozen %s slot does not open: %v", kind, err)
		}
	}
	if to, err := read.Recipient(read.Slots[1], key); err != nil || to != v.Age.Recipient.Text {
		t.Errorf("the recipient is %q: %v", to, err)
	}
}
