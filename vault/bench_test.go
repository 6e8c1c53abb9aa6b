package vault_test

import (
	"fmt"
	"strconv"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/vault"
)

// BenchmarkAddRecord adds a record to vaults of several sizes, each durable on
// disk before the next: what it costs must not grow with the vault.
func BenchmarkAddRecord(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run("records="+strconv.Itoa(n), func(b *testing.B) {
			v := filledVault(b, n)
			for b.Loop() {
				if _, err := v.AddRecord(b.Context(), loginRecord(n)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func loginRecord(i int) pam.Record {
	return pam.Record{Head: pam.Head{Title: fmt.Sprintf("Record %06d", i), Type: "login"}, Fields: []pam.Field{
		{Type: "login", Values: []string{fmt.Sprintf("user%d", i)}},
		{Type: "password", Secret: word(fmt.Sprintf("password-%d", i))},
	}}
}

func filledVault(b *testing.B, n int) *vault.Vault {
	b.Helper()
	v, err := vault.Create(b.Context(), b.TempDir(), word(testPassphrase), options())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = v.Close() })
	records := make([]vault.Import, n)
	for i := range records {
		records[i].Record = loginRecord(i)
	}
	if _, err := v.Import(b.Context(), records, vault.ImportOptions{}); err != nil {
		b.Fatal(err)
	}
	return v
}
