package seal_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// Derive is HKDF as the standard library has it.
func TestDeriveIsHKDF(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "from")
		salt := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "salt")
		info := rapid.String().Draw(t, "info")
		want, err := hkdf.Key(sha256.New, from, salt, info, seal.KeySize)
		if err != nil {
			t.Fatal(err)
		}
		if got := seal.Derive(secret.Copy(from), salt, info).Reveal(); !bytes.Equal(got, want) {
			t.Errorf("got %x, want %x", got, want)
		}
	})
}
