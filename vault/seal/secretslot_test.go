package seal_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"

	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

func TestASecretOpensItsSlotAndNoOther(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h := newHeader(t, key, "one")
	strong := word(strings.Repeat("k", seal.MinKeyFile))
	for _, kind := range []string{seal.KindKeyFile, seal.KindRecovery} {
		if _, err := h.AddSecret(rand.Reader, kind, key, strong); err != nil {
			t.Fatal(err)
		}
	}
	file := encode(t, h, key)
	read, err := seal.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := read.Encode(key); err != nil || !bytes.Equal(again, file) {
		t.Errorf("the header is not written as it was read: %v", err)
	}
	ids := []string{}
	for _, kind := range []string{seal.KindKeyFile, seal.KindRecovery} {
		got, id, err := read.Open(kind, strong)
		if err != nil || !got.Equal(key) || slices.Contains(ids, id) {
			t.Errorf("%s: %q, %v", kind, id, err)
		}
		ids = append(ids, id)
		if _, _, err := read.Open(kind, word(strings.Repeat("x", seal.MinKeyFile))); !errors.Is(err, seal.ErrKey) {
			t.Errorf("%s: another secret: %v", kind, err)
		}
		if _, _, err := read.Open(kind, word("short")); !errors.Is(err, seal.ErrParams) {
			t.Errorf("%s: a short secret: %v", kind, err)
		}
	}
	if _, err := read.Unlock(strong); !errors.Is(err, seal.ErrKey) {
		t.Errorf("as a passphrase: %v", err)
	}
	if _, err := read.AddSecret(rand.Reader, seal.KindPassphrase, key, strong); !errors.Is(err, seal.ErrParams) {
		t.Errorf("a passphrase without stretching: %v", err)
	}
}

// A slot of one kind must not open as the other, whoever renames it.
func TestAKindCannotBeChanged(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h := newHeader(t, key, "one")
	strong := word(strings.Repeat("k", seal.MinKeyFile))
	if _, err := h.AddSecret(rand.Reader, seal.KindKeyFile, key, strong); err != nil {
		t.Fatal(err)
	}
	file := bytes.Replace(encode(t, h, key), []byte(`"keyfile"`), []byte(`"recovery"`), 1)
	read, err := seal.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read.Open(seal.KindRecovery, strong); !errors.Is(err, seal.ErrKey) {
		t.Errorf("it opens: %v", err)
	}
}

func TestARecoveryCodeIsReadAsItIsTyped(t *testing.T) {
	t.Parallel()
	code, err := seal.NewRecoveryCode(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := string(code.Reveal())
	want, ok := seal.ParseRecoveryCode(code)
	if !ok || want.Len() != seal.RecoverySize || len(strings.Split(text, "-")) != 8 {
		t.Fatalf("%q: %v", text, ok)
	}
	for name, typed := range map[string]string{
		"in lower case": strings.ToLower(text), "without hyphens": strings.ReplaceAll(text, "-", ""), "with spaces": strings.ReplaceAll(text, "-", " "),
	} {
		if got, ok := seal.ParseRecoveryCode(word(typed)); !ok || !got.Equal(want) {
			t.Errorf("%s: %v", name, ok)
		}
	}
	for name, typed := range map[string]string{
		"a letter less": text[1:], "a letter more": text + "A", "a digit it does not have": "1" + text[1:], "a password": "correct horse battery staple", "nothing": "",
	} {
		if _, ok := seal.ParseRecoveryCode(word(typed)); ok {
			t.Errorf("%s passes for a code", name)
		}
	}
}

func FuzzParseRecoveryCode(f *testing.F) {
	f.Add([]byte("AAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG-2345"))
	f.Add([]byte("correct horse"))
	f.Fuzz(func(t *testing.T, typed []byte) {
		code, ok := seal.ParseRecoveryCode(secret.Copy(typed))
		if ok != (code.Len() == seal.RecoverySize) {
			t.Errorf("%v with %d bytes", ok, code.Len())
		}
	})
}
