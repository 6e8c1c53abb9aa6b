package seal_test

import (
	"errors"
	"fmt"
	"testing"

	"keyturn/vault/seal"
)

// A number that no 32 bits hold is a cost out of range like any other, and is
// refused in words, before anything is allocated.
func TestACostThatIsTooLargeToReadIsOutOfRange(t *testing.T) {
	t.Parallel()
	const header = `keyturn-vault 1
{"vault":"AAAAAAAAAAAAAAAAAAAAAA","epoch":1,"slots":[{"kind":"passphrase","kdf":"argon2id","memory":%s,"time":3,"threads":%s,"salt":"","key":""}]}
hmac-sha256 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
`
	for _, c := range [][3]string{
		{"4294967296", "1", "a number 4294967296 where memory belongs"},
		{"65536", "256", "a number 256 where threads belongs"},
		{"-1", "1", "a number -1 where memory belongs"},
		{`"64"`, "1", "a string where memory belongs"},
	} {
		_, err := seal.Decode(fmt.Appendf(nil, header, c[0], c[1]))
		want := "not a vault header, or a damaged one: passphrase slot: key derivation parameters are out of range: " + c[2]
		if !errors.Is(err, seal.ErrParams) || err.Error() != want {
			t.Errorf("%s: %v", c, err)
		}
	}
}
