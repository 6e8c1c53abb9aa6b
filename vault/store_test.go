package vault_test

import (
	"keyturn/pkg/job"
	"keyturn/vault"
)

// The vault is the engine's store without knowing the engine.
var _ job.Store = (*vault.Vault)(nil)
