package vault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"filippo.io/age"
)

// A strangerKept is a slot with a secret of its own; vectors have it in hex, the
// header in base64.
type strangerKept[B ~[]byte] struct {
	Kind string `json:"kind"`
	Salt B      `json:"salt"`
	Key  B      `json:"key"`
	Age  B      `json:"age"`
}

// slotVectors are testdata/vault/slots.json, which another program made.
type slotVectors struct {
	Vault    string   `json:"vault"`
	VaultKey hexBytes `json:"vault_key"`
	Header   string   `json:"header"`
	Keyring  struct {
		strangerKept[hexBytes]
		Secret      hexBytes `json:"secret"`
		WrappingKey hexBytes `json:"wrapping_key"`
		AD          hexBytes `json:"ad"`
	} `json:"keyring"`
	Age struct {
		strangerKept[hexBytes]
		Secret      hexBytes `json:"secret"`
		Identity    string   `json:"identity"`
		WrappingKey hexBytes `json:"wrapping_key"`
		AD          hexBytes `json:"ad"`
		Recipient   struct {
			Text        string   `json:"text"`
			WrappingKey hexBytes `json:"wrapping_key"`
			AD          hexBytes `json:"ad"`
			Sealed      hexBytes `json:"sealed"`
		} `json:"recipient"`
	} `json:"age"`
}

// strangerWrap derives the wrapping key of a slot with a secret of its own.
func strangerWrap(t *testing.T, kind, vault string, secret, salt []byte) []byte {
	t.Helper()
	return strangerHKDF(t, secret, string(salt), string(strangerList("keyturn vault 1: secret slot", kind, vault)))
}

func strangerAge(t *testing.T, file []byte, identity string) []byte {
	t.Helper()
	id, err := age.ParseX25519Identity(identity)
	must(t, err)
	r, err := age.Decrypt(bytes.NewReader(file), id)
	must(t, err)
	plain, err := io.ReadAll(r)
	must(t, err)
	return plain
}

// The slots of slots.json follow FORMAT.md, from the secret to the header's MAC.
func TestTheSlotVectorsFollowTheDescription(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../testdata/vault/slots.json")
	must(t, err)
	var v slotVectors
	must(t, json.Unmarshal(file, &v))
	same := func(what string, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", what, got, want)
		}
	}
	same("keyring wrapping key", strangerWrap(t, "keyring", v.Vault, v.Keyring.Secret, v.Keyring.Salt), v.Keyring.WrappingKey)
	same("keyring ad", strangerList("keyturn vault 1: secret slot", "keyring", v.Vault, string(v.Keyring.Salt)), v.Keyring.AD)
	same("age file", strangerAge(t, v.Age.Age, v.Age.Identity), v.Age.Secret)
	same("age wrapping key", strangerWrap(t, "age", v.Vault, v.Age.Secret, v.Age.Salt), v.Age.WrappingKey)
	same("age ad", strangerList("keyturn vault 1: secret slot", "age", v.Vault, string(v.Age.Salt)), v.Age.AD)

	const label = "keyturn vault 1: slot recipient"
	same("recipient key", strangerHKDF(t, v.VaultKey, v.Vault, label), v.Age.Recipient.WrappingKey)
	same("recipient ad", strangerList(label, v.Vault, string(v.Age.Salt)), v.Age.Recipient.AD)

	// The same from the header alone, as who has only the file and one key reads it.
	lines := strings.Split(v.Header, "\n")
	var h struct {
		Slots []struct {
			strangerKept[[]byte]
			Recipient []byte `json:"recipient"`
		} `json:"slots"`
	}
	must(t, json.Unmarshal([]byte(lines[1]), &h))
	for i, secret := range [][]byte{v.Keyring.Secret, strangerAge(t, h.Slots[1].Age, v.Age.Identity)} {
		slot := h.Slots[i]
		ad := strangerList("keyturn vault 1: secret slot", slot.Kind, v.Vault, string(slot.Salt))
		same(slot.Kind+" key", strangerOpen(t, strangerWrap(t, slot.Kind, v.Vault, secret, slot.Salt), slot.Key, ad), v.VaultKey)
	}
	same("recipient", strangerOpen(t, v.Age.Recipient.WrappingKey, h.Slots[1].Recipient, v.Age.Recipient.AD), []byte(v.Age.Recipient.Text))
	s := stranger{id: v.Vault, key: v.VaultKey}
	mac := strangerHMAC(s.sub(t, "header mac"), []byte(lines[0]+"\n"+lines[1]+"\n"))
	same("mac", []byte("hmac-sha256 "+base64.RawStdEncoding.EncodeToString(mac)), []byte(lines[2]))
}
