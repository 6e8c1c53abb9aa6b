package agekey_test

import (
	"errors"
	"testing"

	"filippo.io/age"

	"keyturn/pkg/pam"
	"keyturn/vault/agekey"
)

func FuzzRecipient(f *testing.F) {
	for _, text := range []string{
		"age1gs2q3c3dzxg7k9dqhgphvmqujq7lrv72kqs7z8yypuvufvudsarsmufpad", "age1pq1qqqq", "age1yubikey1qqqq",
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHpP2ezqm+ZPgNnaNEilNm98gOj6pouUP+JDIY3noPY6 ann@desk", "AGE-SECRET-KEY-1QQQQ", "",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		kept, err := agekey.Recipient(text)
		if err != nil {
			if !errors.Is(err, pam.ErrUsage) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if agekey.Hint(kept) == "" {
			t.Errorf("%q has no hint", kept)
		}
	})
}

func FuzzParseIdentities(f *testing.F) {
	for _, text := range []string{
		"# comment\nAGE-SECRET-KEY-1QQQQ\n", "AGE-PLUGIN-YUBIKEY-1QQQQ", "AGE-SECRET-KEY-PQ-1QQQQ",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", oldFormat, "age-encryption.org/v1\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := agekey.ParseIdentities(t.Context(), word(text), agekey.Talk{})
		if err != nil && !errors.Is(err, pam.ErrInvalidInput) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// An age file comes from the header before anything of it is proven.
func FuzzDecrypt(f *testing.F) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	file, err := agekey.Encrypt(f.Context(), id.Recipient().String(), word(plain), agekey.Talk{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add([]byte("age-encryption.org/v1\n-> scrypt bBjlhJVYZeE4aqUdmtRHfw 22\n\n--- \n"))
	ids, err := agekey.ParseIdentities(f.Context(), word(id.String()), agekey.Talk{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := ids.Decrypt(t.Context(), file)
		if err != nil && (!errors.Is(err, pam.ErrLocked) || !got.IsZero()) {
			t.Errorf("%v", err)
		}
		if got.Len() > agekey.MaxPlain {
			t.Errorf("%d bytes", got.Len())
		}
	})
}
