package seal_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// sealed is what this package decides of testdata/vault/vectors.json.
type sealed struct {
	Vault    string `json:"vault"`
	VaultKey string `json:"vault_key"`
	Slot     struct {
		Passphrase, Salt, Nonce string
		Memory, Time            uint32
		Threads                 uint8
	} `json:"slot"`
	Subkeys []struct{ Label, Key string } `json:"subkeys"`
	Header  struct {
		Epoch int64
		File  string
	} `json:"header"`
	Row struct{ Plain, AD, Nonce, Sealed string } `json:"row"`

	Index struct {
		Parts []string
		ID    string
	} `json:"index"`
}

func readVectors(t *testing.T) sealed {
	t.Helper()
	file, err := os.ReadFile("../../testdata/vault/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v sealed
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The header that is written with a given salt and nonce is the frozen one, to
// the byte, and opens.
func TestAHeaderIsWrittenAsTheVectorsSay(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	key := secret.New(unhex(t, v.VaultKey))
	h := seal.Header{Vault: v.Vault, Epoch: v.Header.Epoch}
	drawn := bytes.NewReader(append(unhex(t, v.Slot.Salt), unhex(t, v.Slot.Nonce)...))
	costs := seal.KDFParams{Memory: v.Slot.Memory, Time: v.Slot.Time, Threads: v.Slot.Threads}
	if err := h.AddPassphrase(drawn, key, word(v.Slot.Passphrase), costs); err != nil {
		t.Fatal(err)
	}
	if got := encode(t, h, key); string(got) != v.Header.File {
		t.Errorf("got %s, want %s", got, v.Header.File)
	}
	read, err := seal.Decode([]byte(v.Header.File))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read.Unlock(word(v.Slot.Passphrase)); err != nil || !got.Equal(key) {
		t.Errorf("the frozen header does not open: %v", err)
	}
}

// Keys, sealed bytes and blind index are those of the vectors.
func TestABoxSealsAsTheVectorsSay(t *testing.T) {
	t.Parallel()
	v := readVectors(t)
	key := secret.New(unhex(t, v.VaultKey))
	for _, s := range v.Subkeys {
		got, err := seal.Subkey(key, v.Vault, s.Label)
		if err != nil || !got.Equal(secret.New(unhex(t, s.Key))) {
			t.Errorf("%s: got another key, %v", s.Label, err)
		}
	}
	box, err := seal.NewBox(key, v.Vault)
	if err != nil {
		t.Fatal(err)
	}
	got, err := box.Seal(bytes.NewReader(unhex(t, v.Row.Nonce)), unhex(t, v.Row.Plain), unhex(t, v.Row.AD))
	if err != nil || !bytes.Equal(got, unhex(t, v.Row.Sealed)) {
		t.Errorf("got %x, %v", got, err)
	}
	if id, err := box.Index(v.Index.Parts...); err != nil || id != v.Index.ID {
		t.Errorf("got index %s, %v", id, err)
	}
}
