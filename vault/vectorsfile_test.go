package vault_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
)

// hexBytes are bytes as the vectors write them.
type hexBytes []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// vectors are testdata/vault/vectors.json, which another program made.
type vectors struct {
	Vault    string   `json:"vault"`
	VaultKey hexBytes `json:"vault_key"`
	Slot     struct {
		Passphrase  string   `json:"passphrase"`
		Memory      uint32   `json:"memory"`
		Time        uint32   `json:"time"`
		Threads     uint8    `json:"threads"`
		Salt        hexBytes `json:"salt"`
		WrappingKey hexBytes `json:"wrapping_key"`
		Nonce       hexBytes `json:"nonce"`
		AD          hexBytes `json:"ad"`
		Key         hexBytes `json:"key"`
	} `json:"slot"`
	Subkeys []struct {
		Label string   `json:"label"`
		Key   hexBytes `json:"key"`
	} `json:"subkeys"`
	Header struct {
		File string `json:"file"`
	} `json:"header"`
	Kinds []string `json:"kinds"`
	Row   struct {
		Kind     int      `json:"kind"`
		Name     string   `json:"name"`
		Owner    string   `json:"owner"`
		ID       string   `json:"id"`
		Revision int64    `json:"revision"`
		Document string   `json:"document"`
		Secrets  []string `json:"secrets"`
		Plain    hexBytes `json:"plain"`
		AD       hexBytes `json:"ad"`
		Nonce    hexBytes `json:"nonce"`
		Sealed   hexBytes `json:"sealed"`
		Page     int      `json:"page"`
		Entry    string   `json:"entry"`
	} `json:"row"`
	PageAD struct {
		Page int      `json:"page"`
		AD   hexBytes `json:"ad"`
	} `json:"page_ad"`
	MetaAD struct {
		Epoch      int64    `json:"epoch"`
		Generation int64    `json:"generation"`
		AD         hexBytes `json:"ad"`
	} `json:"meta_ad"`
	Index struct {
		Parts []string `json:"parts"`
		ID    string   `json:"id"`
	} `json:"index"`
	Audit []struct {
		Key   hexBytes `json:"key"`
		Entry string   `json:"entry"`
		Chain hexBytes `json:"chain"`
	} `json:"audit"`
	Filled struct {
		Row struct {
			Plain  hexBytes `json:"plain"`
			Nonce  hexBytes `json:"nonce"`
			Sealed hexBytes `json:"sealed"`
		} `json:"row"`
	} `json:"filled"`
}

// The vectors are what FORMAT.md says; the tests of package vault and of seal
// hold the program to the same file.
func TestTheVectorsFollowTheDescription(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../testdata/vault/vectors.json")
	must(t, err)
	var v vectors
	must(t, json.Unmarshal(file, &v))
	same := func(what string, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", what, got, want)
		}
	}
	slot := strangerSlot{KDF: "argon2id", Memory: v.Slot.Memory, Time: v.Slot.Time, Threads: v.Slot.Threads, Salt: v.Slot.Salt}
	same("slot ad", slot.ad(v.Vault), v.Slot.AD)
	same("wrapping key", argon2.IDKey([]byte(v.Slot.Passphrase), v.Slot.Salt, v.Slot.Time, v.Slot.Memory, v.Slot.Threads, 32), v.Slot.WrappingKey)
	same("slot nonce", v.Slot.Key[:24], v.Slot.Nonce)
	same("wrapped key", strangerOpen(t, v.Slot.WrappingKey, v.Slot.Key, v.Slot.AD), v.VaultKey)
	s := strangerUnlock(t, v.Header.File, v.Slot.Passphrase)
	same("vault key", s.key, v.VaultKey)
	for _, sub := range v.Subkeys {
		same(sub.Label, strangerHKDF(t, s.key, v.Vault, sub.Label), sub.Key)
	}
	same("kinds", []byte(strings.Join(v.Kinds, " ")), []byte(strings.Join(strangerKinds[:len(v.Kinds)], " ")))
	r := v.Row
	revision := strconv.FormatInt(r.Revision, 10)
	same("row ad", strangerList("keyturn row", "1", v.Vault, strangerKinds[r.Kind-1], r.Owner, r.ID, revision), r.AD)
	same("row nonce", r.Sealed[:24], r.Nonce)
	same("row plaintext", strangerOpen(t, s.sub(t, "rows"), r.Sealed, r.AD), r.Plain)
	var doc json.RawMessage
	secrets := strangerFrame(t, r.Plain, &doc)
	if string(doc) != r.Document || strings.Join(secrets, "\n") != strings.Join(r.Secrets, "\n") || r.Name != strangerKinds[r.Kind-1] {
		t.Errorf("the row holds %s and %q", doc, secrets)
	}
	same("filled row nonce", v.Filled.Row.Sealed[:24], v.Filled.Row.Nonce)
	same("filled row plaintext", strangerOpen(t, s.sub(t, "rows"), v.Filled.Row.Sealed, r.AD), v.Filled.Row.Plain)
	document, hidden := len(strangerList(r.Document)), len(strangerList(r.Secrets...))+1
	if want := strangerStep(document) + strangerStep(hidden); len(v.Filled.Row.Plain) != want {
		t.Errorf("the filled row has %d bytes, not %d", len(v.Filled.Row.Plain), want)
	}
	entry := strconv.Itoa(r.Kind) + "/" + r.Owner + "/" + r.ID
	if page := strangerPage(r.Owner, r.ID); page != r.Page || entry != r.Entry {
		t.Errorf("the row is entry %s of page %d", entry, page)
	}
	same("page ad", strangerList("keyturn manifest", "1", v.Vault, strconv.Itoa(v.PageAD.Page)), v.PageAD.AD)
	same("meta ad", strangerList("keyturn meta", "1", v.Vault, strconv.FormatInt(v.MetaAD.Epoch, 10),
		strconv.FormatInt(v.MetaAD.Generation, 10)), v.MetaAD.AD)
	same("blind index", []byte(s.index(t, v.Index.Parts...)), []byte(v.Index.ID))
	chain := []byte(nil)
	for i, a := range v.Audit[:len(v.Audit)-1] {
		chain = strangerHMAC(a.Key, strangerList(string(chain), a.Entry))
		same("audit chain", chain, a.Chain)
		same("audit key", strangerHKDF(t, a.Key, "", "keyturn vault 1: audit ratchet"), v.Audit[i+1].Key)
	}
}
